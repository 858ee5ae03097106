//! A listener of a server that is bound: its sockets and its name.

use std::io;

use tokio::net::TcpListener;

use super::accepted::Acceptor;
#[cfg(unix)]
use super::unix_socket::SocketFile;

/// A listener that is bound.
#[derive(Debug)]
pub(crate) struct Bound {
    /// One for each accept loop.
    pub(crate) acceptors: Vec<Acceptor>,
    /// The address as the log shows it.
    pub(crate) name: String,
    /// The file of a Unix socket; dropped after the socket.
    #[cfg(unix)]
    #[allow(dead_code)] // it is there for its destructor
    pub(crate) file: Option<SocketFile>,
}

impl Bound {
    pub(super) fn tcp(listeners: Vec<TcpListener>) -> Self {
        let addr = listeners.first().and_then(|listener| listener.local_addr().ok());
        Self {
            name: addr.map_or_else(|| "an unknown address".to_owned(), |addr| addr.to_string()),
            acceptors: listeners.into_iter().map(Acceptor::Tcp).collect(),
            #[cfg(unix)]
            file: None,
        }
    }

    pub(super) fn std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::tcp(vec![TcpListener::from_std(listener)?]))
    }

    #[cfg(unix)]
    pub(super) fn std_unix(listener: std::os::unix::net::UnixListener, name: String) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        Ok(Self { acceptors: vec![Acceptor::Unix(listener)], name, file: None })
    }
}
