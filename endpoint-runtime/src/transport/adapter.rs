//! The common part of the adapters of axum and tungstenite: their messages are different types with the same variants.

use bytes::Bytes;

/// Opcode and payload of a message that the library received; `None` for a variant that reading never returns.
macro_rules! received {
    ($message:expr $(, never $never:pat)?) => {
        match $message {
            Message::Text(text) => Some((OpCode::Text, text.into())),
            Message::Binary(data) => Some((OpCode::Binary, data)),
            Message::Ping(data) => Some((OpCode::Ping, data)),
            Message::Pong(data) => Some((OpCode::Pong, data)),
            Message::Close(frame) => {
                let frame = frame.as_ref().map(|frame| (frame.code.into(), frame.reason.as_str()));
                Some((OpCode::Close, $crate::transport::adapter::close_payload(frame)))
            }
            $($never => None,)?
        }
    };
}
pub(super) use received;

/// The half of `Messages` that sends, for a library's `Message`, `CloseFrame` and `Utf8Bytes`; its errors go through
/// `io_error`.
macro_rules! sending {
    () => {
        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_ready(cx).map_err(io_error)
        }

        fn send(&mut self, opcode: OpCode, payload: Bytes) -> io::Result<()> {
            let utf8 = |bytes: Bytes| {
                Utf8Bytes::try_from(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            };
            let message = match opcode {
                OpCode::Text => Message::Text(utf8(payload)?),
                OpCode::Binary | OpCode::Continuation => Message::Binary(payload),
                OpCode::Ping => Message::Ping(payload),
                OpCode::Pong => Message::Pong(payload),
                OpCode::Close => Message::Close(match $crate::transport::adapter::close_parts(&payload) {
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
    };
}
pub(super) use sending;

/// The payload of a close frame, from the parts that the libraries provide.
pub(super) fn close_payload(frame: Option<(u16, &str)>) -> Bytes {
    let bytes = frame.map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat());
    bytes.unwrap_or_default().into()
}

/// Code and reason from the payload of our close frame.
pub(super) fn close_parts(payload: &Bytes) -> Option<(u16, Bytes)> {
    let [a, b, ..] = **payload else { return None };
    Some((u16::from_be_bytes([a, b]), payload.slice(2..)))
}
