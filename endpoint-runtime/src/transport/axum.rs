//! Adapter for axum's own WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Error;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

use super::message_socket::{Messages, close_parts, close_payload};
use endpoint_wire::frame::OpCode;

/// Messages of an axum WebSocket. Its errors are opaque, so each of them ends the connection.
pub(crate) struct AxumMessages(pub(crate) WebSocket);

impl Messages for AxumMessages {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<(OpCode, Bytes)>>> {
        let Some(message) = ready!(Pin::new(&mut self.0).poll_next(cx)) else { return Poll::Ready(Ok(None)) };
        Poll::Ready(Ok(Some(match message.map_err(io_error)? {
            Message::Text(text) => (OpCode::Text, text.into()),
            Message::Binary(data) => (OpCode::Binary, data),
            Message::Ping(data) => (OpCode::Ping, data),
            Message::Pong(data) => (OpCode::Pong, data),
            Message::Close(frame) => {
                let frame = frame.as_ref().map(|frame| (frame.code, frame.reason.as_str()));
                (OpCode::Close, close_payload(frame))
            }
        })))
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
                Some((code, reason)) => Some(CloseFrame { code, reason: utf8(reason)? }),
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

fn io_error(error: Error) -> io::Error {
    io::Error::other(error)
}
