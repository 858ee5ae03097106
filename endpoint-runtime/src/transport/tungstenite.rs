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

use super::message_socket::{Messages, close_parts, close_payload};
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
            return Poll::Ready(Ok(Some(match message {
                Message::Text(text) => (OpCode::Text, text.into()),
                Message::Binary(data) => (OpCode::Binary, data),
                Message::Ping(data) => (OpCode::Ping, data),
                Message::Pong(data) => (OpCode::Pong, data),
                Message::Close(frame) => {
                    let frame = frame.as_ref().map(|frame| (frame.code.into(), frame.reason.as_str()));
                    (OpCode::Close, close_payload(frame))
                }
                // reading never returns a raw frame
                Message::Frame(_) => continue,
            })));
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_ready(cx).map_err(io_error)
    }

    fn send(&mut self, opcode: OpCode, payload: Bytes) -> io::Result<()> {
        let message = match opcode {
            OpCode::Text => Message::Text(utf8(payload)?),
            OpCode::Binary | OpCode::Continuation => Message::Binary(payload),
            OpCode::Ping => Message::Ping(payload),
            OpCode::Pong => Message::Pong(payload),
            OpCode::Close => Message::Close(match close_parts(&payload) {
                Some((code, reason)) => Some(CloseFrame { code: code.into(), reason: utf8(reason)? }),
                None => None,
            }),
        };
        Pin::new(&mut self.0).start_send(message).map_err(io_error)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(io_error)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx).map_err(io_error)
    }
}

fn utf8(bytes: Bytes) -> io::Result<Utf8Bytes> {
    Utf8Bytes::try_from(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
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
