//! The way to a server: its name, its addresses one after the other, TCP; or a proxy's, and a tunnel through it.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::exchange::tunnel;
use super::proxy::Proxy;
use super::target::Target;
use crate::error::{Error, Kind};

/// Connects to the server, through the proxy that stands before it if there is one.
pub(crate) async fn dial(target: &Target, proxy: &Proxy, deadline: Instant) -> Result<TcpStream, Error> {
    let Some(hop) = proxy.before(target)? else { return connect(&target.host, target.port, deadline).await };
    let stream = connect(&hop.host, hop.port, deadline).await?;
    tunnel(stream, target, hop, deadline).await
}

/// Connects to the first address of the host that takes the connection; they are tried in the order of the resolver.
async fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, Error> {
    timeout_at(deadline, connect_to_any(host, port))
        .await
        .unwrap_or_else(|_| Err(Error::new(Kind::Timeout, format!("no connection to {host}:{port} in time"))))
}

async fn connect_to_any(host: &str, port: u16) -> Result<TcpStream, Error> {
    let addresses = lookup_host((host, port))
        .await
        .map_err(|error| Error::with_source(Kind::Io, format!("the name {host:?} was not resolved: {error}"), error))?;
    let mut last: Option<(SocketAddr, io::Error)> = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // a batch is one write: waiting for more only delays it
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => {
                tracing::debug!(%error, %address, "an address of the server did not take the connection");
                last = Some((address, error));
            }
        }
    }
    Err(match last {
        Some((address, error)) => {
            Error::with_source(Kind::Io, format!("no connection to {host}:{port} ({address}): {error}"), error)
        }
        None => Error::new(Kind::Io, format!("the name {host:?} has no address")),
    })
}
