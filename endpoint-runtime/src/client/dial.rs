//! The way to a server: its name, its addresses one after the other, TCP.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};

use crate::error::{Error, Kind};

/// Connects to the first address of the host that takes the connection; they are tried in the order of the resolver.
pub(crate) async fn dial(host: &str, port: u16) -> Result<TcpStream, Error> {
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
