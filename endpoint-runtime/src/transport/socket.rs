//! The socket of a connection: plain TCP, which several tasks may write to, or any other reader and writer.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Anything that can carry a WebSocket.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// The connection's part of a socket.
pub(crate) enum Socket {
    /// Plain TCP, with no layer between. The session's send queue has the writing half, so that a broadcast can write
    /// without waking the connection.
    Tcp(OwnedReadHalf),
    /// TLS, HTTP/2, an in-memory duplex: any reader and writer.
    Other(Box<dyn Io>),
}

impl Socket {
    /// A plain socket and its writing half.
    pub(crate) fn tcp(stream: TcpStream) -> (Self, OwnedWriteHalf) {
        let (read, write) = stream.into_split();
        (Self::Tcp(read), write)
    }

    /// Reads into `buffer`. Returns the number of bytes read, zero at the end.
    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(buffer);
        let read = match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut into),
            Self::Other(io) => Pin::new(io).poll_read(cx, &mut into),
        };
        read.map_ok(|()| into.filled().len())
    }

    /// Waits until there may be bytes to read, if the socket can report it.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            // the next read reports an error
            Self::Tcp(tcp) => tcp.as_ref().poll_read_ready(cx).map(drop),
            Self::Other(_) => Poll::Ready(()),
        }
    }

    /// Reads at most `room` bytes and appends them to `place`.
    pub(crate) fn poll_append(
        &mut self,
        cx: &mut Context<'_>,
        place: &mut Vec<u8>,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        let mut place = place.limit(room);
        match self {
            Self::Tcp(tcp) => pin!(tcp.read_buf(&mut place)).poll(cx),
            Self::Other(io) => pin!(io.read_buf(&mut place)).poll(cx),
        }
    }
}
