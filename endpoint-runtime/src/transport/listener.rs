//! Where a server listens: a TCP address, a Unix socket, or a socket that somebody else has bound.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, lookup_host};

#[cfg(unix)]
use super::accepted::Acceptor;
use super::bound::Bound;
#[cfg(unix)]
use super::unix_socket::{bind_unix, unix_name};
use crate::config::{LISTEN_BACKLOG, MAX_ACCEPT_LOOPS};
use crate::error::{Error, Kind};

/// Where a [`Server`](crate::Server) listens, for [`ServerBuilder::listen`](crate::ServerBuilder::listen).
///
/// A server may have any number of listeners. They are bound when the server is built; a socket that is bound already
/// converts into a `Listener`: `TcpListener` and `UnixListener` of the standard library and of tokio.
///
/// ```no_run
/// # use endpoint_runtime::{Error, Listener, Server};
/// # async fn f() -> Result<(), Error> {
/// Server::builder()
///     .listen(Listener::tcp("0.0.0.0:8080").backlog(4096))
///     .listen(Listener::unix("/run/chat/chat.sock").permissions(0o660))
///     .run()
///     .await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a listener is bound when a server that has it is built"]
pub struct Listener {
    source: Source,
    backlog: Option<u32>,
    reuse_port: bool,
    accept_loops: usize,
    permissions: Option<u32>,
}

#[derive(Debug)]
enum Source {
    /// An address to be looked up.
    Address(String),
    /// The name of an address, and what the lookup found.
    Addresses(String, io::Result<Vec<SocketAddr>>),
    Std(std::net::TcpListener),
    Tokio(TcpListener),
    #[cfg(unix)]
    Path(std::path::PathBuf),
    #[cfg(unix)]
    StdUnix(std::os::unix::net::UnixListener),
    #[cfg(unix)]
    TokioUnix(tokio::net::UnixListener),
    #[cfg(all(unix, feature = "systemd"))]
    Systemd(Option<String>),
}

impl Listener {
    /// A TCP address such as `0.0.0.0:8080`, `[::]:8080` or `localhost:0`; port 0 is a free port. If the name has several
    /// addresses, the first that can be bound is taken.
    pub fn tcp(addr: impl fmt::Display) -> Self {
        Source::Address(addr.to_string()).into()
    }

    /// An address that was looked up already.
    pub(crate) fn addresses(name: String, addresses: io::Result<Vec<SocketAddr>>) -> Self {
        Source::Addresses(name, addresses).into()
    }

    /// A Unix socket at `path`, to be created. A socket that was left behind there is replaced, but only if nobody listens on
    /// it. The file is removed when the server stops listening, unless somebody has replaced it meanwhile.
    ///
    /// A peer has no address: [`Session::peer_addr`](crate::Session::peer_addr) is `None` unless the
    /// [PROXY protocol](crate::ServerBuilder::proxy_protocol) or a trusted proxy gives one, and limits of addresses do not
    /// apply.
    #[cfg(unix)]
    pub fn unix(path: impl Into<std::path::PathBuf>) -> Self {
        Source::Path(path.into()).into()
    }

    /// All sockets that systemd passes to the program (socket activation, `sd_listen_fds(3)`), or those with this
    /// [`name`](Self::systemd_named). The server cannot be built if there is none (cargo feature `systemd`).
    ///
    /// The environment variables `LISTEN_FDS` and `LISTEN_PID` are removed when a server with such a listener is first
    /// built, so that child processes do not take the sockets for theirs.
    #[cfg(all(unix, feature = "systemd"))]
    pub fn systemd() -> Self {
        Source::Systemd(None).into()
    }

    /// The sockets that systemd passes under this name: `FileDescriptorName=` of the socket unit, which is by default the
    /// name of the unit, such as `chat.socket` (cargo feature `systemd`).
    #[cfg(all(unix, feature = "systemd"))]
    pub fn systemd_named(name: impl Into<String>) -> Self {
        Source::Systemd(Some(name.into())).into()
    }

    /// Number of connections that may wait to be accepted. The system may limit it further (on Linux
    /// `net.core.somaxconn`). Default: 1,024. For sockets that the server binds.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = Some(connections);
        self
    }

    /// Sets `SO_REUSEPORT`, with which several processes listen on one address and the kernel distributes the connections
    /// (on Linux). All of them have to set it, and must belong to one user. Default: off. For TCP addresses, on Unix.
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Number of loops that accept connections, each with its own task and socket (`SO_REUSEPORT`): as many as the
    /// runtime has workers, if a single one cannot accept connections as fast as they come. Default: one, at most 1,024.
    /// For TCP addresses, on Unix.
    ///
    /// The kernel distributes connections by their addresses, not by load, and a connection that waits at one loop is not
    /// accepted by another.
    pub fn accept_loops(mut self, loops: usize) -> Self {
        self.accept_loops = loops;
        self
    }

    /// The mode of the socket's file, such as `0o660`: who may connect needs the permission to write. It is set before
    /// anybody can connect. Default: what the process's umask leaves. For Unix sockets.
    #[cfg(unix)]
    pub fn permissions(mut self, mode: u32) -> Self {
        self.permissions = Some(mode);
        self
    }

    /// Settings that do not apply.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let is_address = matches!(self.source, Source::Address(_) | Source::Addresses(..));
        #[cfg(unix)]
        let is_path = matches!(self.source, Source::Path(_));
        #[cfg(not(unix))]
        let is_path = false;
        let mut mistakes = Vec::new();
        let mut needs = |is_met: bool, text: &str| {
            if !is_met {
                mistakes.push(format!("the listener {self}: {text}"));
            }
        };
        let sets_several = self.reuse_port || self.accept_loops != 1;
        needs(self.backlog.is_none() || is_address || is_path, "`backlog` needs a socket that the server binds");
        needs(self.backlog != Some(0), "`backlog` must be at least 1");
        needs(!sets_several || is_address, "`reuse_port` and `accept_loops` need a TCP address");
        needs(
            !sets_several || cfg!(unix),
            "`reuse_port` and `accept_loops` need SO_REUSEPORT, which this system has not",
        );
        let loops = 1..=MAX_ACCEPT_LOOPS;
        needs(loops.contains(&self.accept_loops), "`accept_loops` must be between 1 and 1024");
        needs(self.permissions.is_none_or(|mode| mode <= 0o777), "`permissions` must be at most 0o777");
        needs(self.permissions.is_none() || is_path, "`permissions` needs `Listener::unix`");
        mistakes
    }

    /// Binds it.
    ///
    /// # Errors
    /// [`Error::is_io`]; the text names the address.
    pub(crate) async fn bind(self) -> Result<Vec<Bound>, Error> {
        let name = self.to_string();
        let failed = |error| cannot_listen(&name, error);
        let options = Options {
            backlog: self.backlog.unwrap_or(LISTEN_BACKLOG),
            reuse_port: self.reuse_port || self.accept_loops > 1,
            loops: self.accept_loops,
        };
        Ok(vec![match self.source {
            Source::Address(addr) => {
                let addresses = lookup_host(&addr).await.map_err(failed)?;
                bind_first(&name, addresses.collect(), &options)?
            }
            Source::Addresses(_, addresses) => bind_first(&name, addresses.map_err(failed)?, &options)?,
            Source::Std(listener) => Bound::std(listener).map_err(failed)?,
            Source::Tokio(listener) => Bound::tcp(vec![listener]),
            #[cfg(unix)]
            Source::Path(path) => {
                let bound = bind_unix(&path, self.permissions, options.backlog).await;
                let (listener, file) = bound.map_err(failed)?;
                Bound { acceptors: vec![Acceptor::Unix(listener)], name, file: Some(file) }
            }
            #[cfg(unix)]
            Source::StdUnix(listener) => Bound::std_unix(listener, name.clone()).map_err(failed)?,
            #[cfg(unix)]
            Source::TokioUnix(listener) => Bound { acceptors: vec![Acceptor::Unix(listener)], name, file: None },
            #[cfg(all(unix, feature = "systemd"))]
            Source::Systemd(wanted) => return super::socket_activation::take(wanted.as_deref()).map_err(failed),
        }])
    }
}

impl From<Source> for Listener {
    fn from(source: Source) -> Self {
        Self { source, backlog: None, reuse_port: false, accept_loops: 1, permissions: None }
    }
}

impl From<std::net::TcpListener> for Listener {
    fn from(listener: std::net::TcpListener) -> Self {
        Source::Std(listener).into()
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Source::Tokio(listener).into()
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixListener> for Listener {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Source::StdUnix(listener).into()
    }
}

#[cfg(unix)]
impl From<tokio::net::UnixListener> for Listener {
    fn from(listener: tokio::net::UnixListener) -> Self {
        Source::TokioUnix(listener).into()
    }
}

/// The address, as texts of errors name it.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Address(name) | Source::Addresses(name, _) => f.write_str(name),
            Source::Std(listener) => named(f, listener.local_addr()),
            Source::Tokio(listener) => named(f, listener.local_addr()),
            #[cfg(unix)]
            Source::Path(path) => write!(f, "unix:{}", path.display()),
            #[cfg(unix)]
            Source::StdUnix(listener) => {
                f.write_str(&unix_name(listener.local_addr().ok().as_ref().and_then(|addr| addr.as_pathname())))
            }
            #[cfg(unix)]
            Source::TokioUnix(listener) => {
                f.write_str(&unix_name(listener.local_addr().ok().as_ref().and_then(|addr| addr.as_pathname())))
            }
            #[cfg(all(unix, feature = "systemd"))]
            Source::Systemd(None) => f.write_str("the sockets of systemd"),
            #[cfg(all(unix, feature = "systemd"))]
            Source::Systemd(Some(name)) => write!(f, "the sockets of systemd named `{name}`"),
        }
    }
}

fn named(f: &mut fmt::Formatter<'_>, addr: io::Result<SocketAddr>) -> fmt::Result {
    match addr {
        Ok(addr) => write!(f, "{addr}"),
        Err(_) => f.write_str("an unknown address"),
    }
}

/// How a TCP address is bound.
struct Options {
    backlog: u32,
    reuse_port: bool,
    loops: usize,
}

/// Binds the first of `addresses` that can be bound.
fn bind_first(name: &str, addresses: Vec<SocketAddr>, options: &Options) -> Result<Bound, Error> {
    let mut last = cannot_listen(&name, io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    for address in addresses {
        match bind_tcp(address, options) {
            Ok(listeners) => return Ok(Bound::tcp(listeners)),
            Err(error) => last = cannot_listen(&address, error),
        }
    }
    Err(last)
}

/// The error about an address; names it, and says what to do if that is known.
pub(super) fn cannot_listen(name: &dyn fmt::Display, error: io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => ". Stop the process that listens there, or choose another address",
        io::ErrorKind::AddrNotAvailable => ". Choose an address of this machine, or 0.0.0.0 for all of them",
        io::ErrorKind::InvalidInput => ". Write a host and a port, such as 127.0.0.1:8080",
        io::ErrorKind::PermissionDenied => ". Ports below 1024 and some folders need a permission: choose another",
        _ => "",
    };
    Error::with_source(Kind::Io, format!("cannot listen on {name}: {error}{advice}"), error)
}

/// One socket for each accept loop, all with the same address.
fn bind_tcp(address: SocketAddr, options: &Options) -> io::Result<Vec<TcpListener>> {
    let first = bind_one(address, options)?;
    // with the assigned port
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..options.loops {
        listeners.push(bind_one(address, options)?);
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr, options: &Options) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // a restarted server binds its port while connections of the former are still closing
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settings_that_do_not_apply_are_reported_together() {
        let given = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mistakes = Listener::from(given).backlog(5).accept_loops(0).permissions(0o1777).mistakes();
        assert_eq!(mistakes.len(), 5, "{mistakes:?}");
        assert!(mistakes.iter().all(|mistake| mistake.starts_with("the listener 127.0.0.1:")), "{mistakes:?}");
        assert!(Listener::tcp("127.0.0.1:0").backlog(1).reuse_port(true).accept_loops(2).mistakes().is_empty());
        assert!(Listener::unix("/tmp/x").backlog(1).permissions(0o600).mistakes().is_empty());
    }

    #[tokio::test]
    async fn accept_loops_have_sockets_of_one_address() {
        let bound = Listener::tcp("127.0.0.1:0").accept_loops(3).bind().await.unwrap();
        let addresses: Vec<_> = bound[0].acceptors.iter().map(Acceptor::tcp_addr).collect();
        assert_eq!(addresses.len(), 3);
        assert!(addresses[0].is_some_and(|addr| addr.port() > 0) && addresses.iter().all(|addr| *addr == addresses[0]));
        let taken = Listener::tcp(addresses[0].unwrap()).bind().await.unwrap_err();
        let text = taken.to_string();
        assert!(taken.is_io() && text.starts_with(&format!("cannot listen on {}: ", addresses[0].unwrap())), "{text}");
        assert!(text.ends_with("Stop the process that listens there, or choose another address"), "{text}");
    }
}
