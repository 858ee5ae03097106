//! Decodes control frames (RFC 6455 §5.5).

use crate::close::{CloseCode, CloseReason, Initiator};
use crate::event::Event;
use crate::frame::OpCode;
use crate::utf8;
use crate::violation::Violation;

/// Decodes a complete control frame, unmasked.
pub(crate) fn event<'i>(opcode: OpCode, payload: &[u8]) -> Result<Event<'i>, Violation> {
    Ok(match opcode {
        OpCode::Ping => Event::Ping(payload.into()),
        OpCode::Pong => Event::Pong(payload.into()),
        _ => Event::Close(close_reason(payload)?),
    })
}

/// Decodes the body of a close frame (RFC 6455 §5.5.1): empty, or a sendable code and a phrase in UTF-8.
fn close_reason(payload: &[u8]) -> Result<CloseReason, Violation> {
    let reason = match payload {
        [] => CloseReason::from(CloseCode::NoStatusCode),
        [_] => return Err(Violation::Protocol("the body of a close frame must start with a two-byte code")),
        [a, b, phrase @ ..] => {
            let code = CloseCode::from(u16::from_be_bytes([*a, *b]));
            if !code.is_sendable() {
                return Err(Violation::Protocol("the close frame has a code that must not be sent"));
            }
            CloseReason::truncating(code, utf8::whole(phrase).ok_or(Violation::NotUtf8)?)
        }
    };
    Ok(reason.by(Initiator::Peer))
}
