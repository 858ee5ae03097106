//! A socket that a server's listener accepted, with what belongs to it until it is closed. hyper returns it after an upgrade.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::serving::Upgraded;
use crate::limits::connections::ConnectionGuard;
use crate::transport::accepted::AcceptedStream;

/// An accepted socket.
#[derive(Debug)]
pub(crate) struct AcceptedSocket {
    stream: AcceptedStream,
    /// `None` for most connections, which then take no memory for it.
    extra: Option<Box<Extra>>,
}

/// What some connections have.
#[derive(Debug, Default)]
struct Extra {
    /// Bytes that were read to find out what the peer speaks, and are read again.
    early: Bytes,
    /// Counts the connection for the limits of its server.
    guard: ConnectionGuard,
}

impl AcceptedSocket {
    pub(crate) fn new(stream: AcceptedStream, guard: ConnectionGuard) -> Self {
        let extra = (!guard.is_empty()).then(|| Box::new(Extra { early: Bytes::new(), guard }));
        Self { stream, extra }
    }

    /// Returns bytes that were read from the socket: they are read again, before all others.
    pub(crate) fn unread(&mut self, early: Bytes) {
        if !early.is_empty() {
            let extra = self.extra.get_or_insert_default();
            extra.early = if extra.early.is_empty() { early } else { [early, extra.early.clone()].concat().into() };
        }
    }

    /// What counts the connection, to add to it.
    pub(crate) fn guard(&mut self) -> &mut ConnectionGuard {
        &mut self.extra.get_or_insert_default().guard
    }

    /// The socket for a session, and the bytes that are left to read again.
    pub(super) fn into_upgraded(mut self) -> (Upgraded, Bytes) {
        match (self.stream, self.extra.take()) {
            (AcceptedStream::Tcp(tcp), None) => (Upgraded::Tcp(tcp, None), Bytes::new()),
            (AcceptedStream::Tcp(tcp), Some(extra)) => {
                let Extra { early, guard } = *extra;
                (Upgraded::Tcp(tcp, (!guard.is_empty()).then_some(guard)), early)
            }
            #[cfg(unix)]
            (stream @ AcceptedStream::Unix(_), extra) => {
                (Upgraded::Other(Box::new(Self { stream, extra })), Bytes::new())
            }
        }
    }
}

impl AsyncRead for AcceptedSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(extra) = &mut self.extra {
            if !extra.early.is_empty() {
                let count = extra.early.len().min(into.remaining());
                into.put_slice(&extra.early[..count]);
                extra.early.advance(count);
                if extra.early.is_empty() {
                    // frees what they were read into
                    extra.early = Bytes::new();
                }
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for AcceptedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
