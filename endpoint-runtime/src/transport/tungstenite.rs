//! Adapter for tungstenite's WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::adapter::{received, sending};
use super::message_socket::Messages;
use endpoint_wire::Violation;
use endpoint_wire::frame::OpCode;

/// Messages and errors of a tungstenite WebSocket.
pub(crate) struct TungsteniteMessages<T>(pub(crate) T);

impl<T> Messages for TungsteniteMessages<T>
where
    T: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin + Send + 'static,
{
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<(OpCode, Bytes)>>> {
        loop {
            let message = match ready!(Pin::new(&mut self.0).poll_next(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(read_error(error)),
            };
            // reading never returns a raw frame
            if let Some(received) = received!(message, never Message::Frame(_)) {
                return Poll::Ready(Ok(Some(received)));
            }
        }
    }

    sending!();
}

/// Maps a peer's violation to [`Violation`], and the end of the connection to `None`.
fn read_error(error: Error) -> io::Result<Option<(OpCode, Bytes)>> {
    Err(match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return Ok(None),
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            let size = u64::try_from(size).unwrap_or(u64::MAX);
            Violation::TooBig { limit: max_size, size }.into()
        }
        Error::Utf8(_) => Violation::NotUtf8.into(),
        Error::Protocol(error) => {
            tracing::debug!(%error, "tungstenite rejected a frame");
            Violation::Protocol("a frame violates RFC 6455").into()
        }
        other => io_error(other),
    })
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::other(other),
    }
}
