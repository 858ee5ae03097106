//! The stream of an HTTP/2 connection as the socket of a session, and how it ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// Reports that a session has dropped its stream, to the task that sends for it. A clone is of the same stream.
///
/// hyper's task would otherwise wait until the peer has read everything, which may be never, and would end the stream as
/// if the session had ended in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamEnd(Arc<Notify>);

impl StreamEnd {
    /// Resolves when the session has dropped the stream.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn dropped(&self) {
        self.0.notified().await;
    }
}

/// Maximum size of a write: a frame of HTTP/2 as most peers take it (RFC 9113 §6.5.2). hyper copies a write, whatever its
/// size, and holds up to three for a peer that does not read.
const MAX_WRITE: usize = 16 << 10;

/// A stream that a session reads and writes.
#[derive(Debug)]
pub(crate) struct Http2Stream<S> {
    stream: S,
    /// `None` if the server in front is not ours: what it has not sent then waits for its peer.
    end: Option<StreamEnd>,
}

impl<S> Http2Stream<S> {
    pub(crate) fn new(stream: S, end: Option<StreamEnd>) -> Self {
        Self { stream, end }
    }
}

/// After a shutdown that has completed, the task that sends has ended, and this does nothing. Before, it abandons what is
/// not sent: the stream is reset with CANCEL, as TCP is reset (RFC 8441 §5).
impl<S> Drop for Http2Stream<S> {
    fn drop(&mut self) {
        // before the stream itself is dropped, which would look like an end in order
        if let Some(StreamEnd(end)) = &self.end {
            end.notify_one();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Http2Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Http2Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, &from[..from.len().min(MAX_WRITE)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
