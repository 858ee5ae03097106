//! The socket of a request that hyper upgrades, taken out of hyper's wrappers.

use bytes::Bytes;
#[cfg(feature = "http2")]
use http::Version;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade as auto;
use tokio::net::TcpStream;

use super::accepted::AcceptedSocket;
use super::serving::Upgraded;
#[cfg(feature = "http2")]
use crate::transport::http2_stream::{Http2Stream, StreamEnd};
#[cfg(feature = "tls")]
use crate::transport::tls;

/// The socket of a request, to be released when the response is sent.
pub(super) struct Upgrading {
    upgrade: OnUpgrade,
    #[cfg(feature = "http2")]
    is_http2: bool,
    /// Where the server in front is ours, the end of its stream.
    #[cfg(feature = "http2")]
    end: Option<StreamEnd>,
}

impl Upgrading {
    /// Takes what the HTTP server put into the request; `None` if it does not serve upgrades.
    pub(super) fn take(parts: &mut Parts) -> Option<Self> {
        Some(Self {
            upgrade: parts.extensions.remove()?,
            #[cfg(feature = "http2")]
            is_http2: parts.version == Version::HTTP_2,
            #[cfg(feature = "http2")]
            end: parts.extensions.remove(),
        })
    }

    /// Waits for the socket; with the bytes that were read ahead.
    pub(super) async fn socket(self) -> hyper::Result<(Upgraded, Bytes)> {
        let upgraded = self.upgrade.await?;
        #[cfg(feature = "http2")]
        if self.is_http2 {
            let stream = Http2Stream::new(TokioIo::new(upgraded), self.end);
            return Ok((Upgraded::Other(Box::new(stream)), Bytes::new()));
        }
        Ok(take_socket(upgraded))
    }
}

/// Takes the socket from hyper, as a plain TCP socket if it is one, with the bytes that hyper read ahead.
pub(crate) fn take_socket(upgraded: hyper::upgrade::Upgraded) -> (Upgraded, Bytes) {
    let upgraded = match upgraded.downcast::<TokioIo<AcceptedSocket>>() {
        Ok(parts) => {
            let (upgraded, left) = parts.io.into_inner().into_upgraded();
            // as good as always hyper has read all of them
            let early = if left.is_empty() { parts.read_buf } else { [parts.read_buf, left].concat().into() };
            return (upgraded, early);
        }
        Err(upgraded) => upgraded,
    };
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return (Upgraded::Tcp(parts.io.into_inner(), None), parts.read_buf),
        Err(upgraded) => upgraded,
    };
    match auto::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => (Upgraded::Tcp(parts.io.into_inner(), None), parts.read_buf),
        Err(upgraded) => take_other(upgraded),
    }
}

/// Takes a socket other than plain TCP.
fn take_other(upgraded: hyper::upgrade::Upgraded) -> (Upgraded, Bytes) {
    #[cfg(feature = "tls")]
    let upgraded = match tls::take_stream::<AcceptedSocket>(upgraded) {
        Ok((stream, early)) => return (Upgraded::Other(stream), early),
        Err(upgraded) => upgraded,
    };
    // `Upgraded` returns the bytes read ahead itself
    (Upgraded::Other(Box::new(TokioIo::new(upgraded))), Bytes::new())
}
