//! Adapter for axum's own WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Error;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;

use super::adapter::{received, sending};
use super::message_socket::Messages;
use endpoint_wire::frame::OpCode;

/// Messages of an axum WebSocket. Its errors are opaque, so each of them ends the connection.
pub(crate) struct AxumMessages(pub(crate) WebSocket);

impl Messages for AxumMessages {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<(OpCode, Bytes)>>> {
        let Some(message) = ready!(Pin::new(&mut self.0).poll_next(cx)) else { return Poll::Ready(Ok(None)) };
        Poll::Ready(Ok(received!(message.map_err(io_error)?)))
    }

    sending!();
}

fn io_error(error: Error) -> io::Error {
    io::Error::other(error)
}
