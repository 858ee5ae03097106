//! Parses a frame's header (RFC 6455 §5.2), and rejects frames that are invalid by themselves.

use crate::role::Role;
use crate::violation::Violation;

/// Length of the longest header: two bytes, eight of length, four of mask.
pub const MAX_HEADER: usize = 14;

/// Maximum payload of a control frame, in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL: usize = 125;

/// The reserved bit that marks a compressed message on its first frame (RFC 7692 §6).
pub(crate) const RSV1: u8 = 0x40;

/// The kinds of frame (RFC 6455 §11.8).
///
/// Exhaustive: the RFC reserves all others, and only an extension could define one (§5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpCode {
    /// 0: the next frame of a fragmented message.
    Continuation = 0,
    /// 1: the first frame of a text message.
    Text = 1,
    /// 2: the first frame of a binary message.
    Binary = 2,
    /// 8: closes the connection.
    Close = 8,
    /// 9: requests a pong.
    Ping = 9,
    /// 10: answers a ping.
    Pong = 10,
}

impl OpCode {
    pub(crate) fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// A header that is well-formed by itself (RFC 6455 §5.2). Whether it may follow the frames before it is the decoder's
/// question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// Whether this frame begins a compressed message.
    pub deflated: bool,
    /// The kind of frame.
    pub opcode: OpCode,
    /// The masking key; all zero, which changes nothing, if the payload is not masked.
    pub mask: [u8; 4],
    /// Length of the payload, in bytes.
    pub payload: u64,
    /// Length of the header, in bytes.
    pub len: usize,
}

/// Parses the header at the front of `input`; `None` if it is not complete yet. `role` is our side; `deflate` is true
/// if permessage-deflate was negotiated.
///
/// # Errors
/// Rejects each violation as early as possible: reserved bits and opcodes, a client's frame without a mask and a
/// server's with one (§5.1), control frames that are fragmented or too long (§5.5), lengths that are not in their
/// shortest form (§5.2).
#[inline]
pub fn parse(input: &[u8], role: Role, deflate: bool) -> Result<Option<Header>, Violation> {
    let [first, second, rest @ ..] = input else {
        return match input {
            [first] => check_first(*first, deflate).map(|_| None),
            _ => Ok(None),
        };
    };
    let opcode = check_first(*first, deflate)?;
    let (fin, deflated) = (first & 0x80 != 0, first & RSV1 != 0);
    match role {
        Role::Server if second & 0x80 == 0 => return Err(Violation::Protocol("a client's frame must be masked")),
        Role::Client if second & 0x80 != 0 => return Err(Violation::Protocol("a server's frame must not be masked")),
        Role::Server | Role::Client => {}
    }
    let short = second & 0x7f;
    if opcode.is_control() {
        if !fin {
            return Err(Violation::Protocol("a control frame must not be fragmented"));
        }
        if usize::from(short) > MAX_CONTROL {
            return Err(Violation::Protocol("a control frame must not have more than 125 bytes"));
        }
    }
    let (payload, rest, len) = match (short, rest) {
        (..126, rest) => (u64::from(short), rest, 2),
        (126, &[x, y, ref rest @ ..]) => {
            let payload = u64::from(u16::from_be_bytes([x, y]));
            if payload < 126 {
                return Err(Violation::Protocol("a length must use its shortest form"));
            }
            (payload, rest, 4)
        }
        (127, &[p, q, r, s, t, u, v, w, ref rest @ ..]) => {
            let payload = u64::from_be_bytes([p, q, r, s, t, u, v, w]);
            if payload >> 63 != 0 {
                return Err(Violation::Protocol("a length must not have its highest bit set"));
            }
            if payload <= u64::from(u16::MAX) {
                return Err(Violation::Protocol("a length must use its shortest form"));
            }
            (payload, rest, 10)
        }
        _ => return Ok(None),
    };
    let (mask, len) = match (role, rest) {
        (Role::Server, &[a, b, c, d, ..]) => ([a, b, c, d], len + 4),
        (Role::Server, _) => return Ok(None),
        (Role::Client, _) => ([0; 4], len),
    };
    Ok(Some(Header { fin, deflated, opcode, mask, payload, len }))
}

/// The opcode of a frame's first byte. All reserved bits must be clear, except that of a compressed message (RFC 7692
/// §6.2).
#[inline]
fn check_first(first: u8, deflate: bool) -> Result<OpCode, Violation> {
    let begins_message = matches!(first & 0x0f, 1 | 2);
    let defined = if deflate && begins_message { RSV1 } else { 0 };
    if first & 0x70 & !defined != 0 {
        return Err(Violation::Protocol("a reserved bit is set without an extension that defines it"));
    }
    Ok(match first & 0x0f {
        0 => OpCode::Continuation,
        1 => OpCode::Text,
        2 => OpCode::Binary,
        8 => OpCode::Close,
        9 => OpCode::Ping,
        10 => OpCode::Pong,
        _ => return Err(Violation::Protocol("the opcode is reserved")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_of_length_are_read() {
        let header = parse(&[0x81, 0x85, 1, 2, 3, 4], Role::Server, false).unwrap().unwrap();
        assert_eq!(
            header,
            Header { fin: true, deflated: false, opcode: OpCode::Text, mask: [1, 2, 3, 4], payload: 5, len: 6 }
        );
        let header = parse(&[0x02, 0xfe, 1, 0, 1, 2, 3, 4], Role::Server, false).unwrap().unwrap();
        assert_eq!((header.fin, header.payload, header.len), (false, 256, 8));
        let header = parse(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], Role::Server, false).unwrap().unwrap();
        assert_eq!((header.payload, header.len), (65536, 14));
    }

    #[test]
    fn a_client_reads_the_same_forms_without_a_mask() {
        for (bytes, payload, len) in
            [(&[0x81, 5][..], 5, 2), (&[0x82, 126, 1, 0], 256, 4), (&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65536, 10)]
        {
            let header = parse(bytes, Role::Client, false).unwrap().unwrap();
            assert_eq!((header.mask, header.payload, header.len), ([0; 4], payload, len));
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end], Role::Client, false), Ok(None));
            }
        }
        let masked = parse(&[0x81, 0x85], Role::Client, false);
        assert_eq!(masked, Err(Violation::Protocol("a server's frame must not be masked")));
    }

    #[test]
    fn an_unfinished_header_is_waited_for_at_every_byte() {
        for whole in [
            &[0x81, 0x85, 1, 2, 3, 4][..],
            &[0x81, 0xfe, 1, 0, 1, 2, 3, 4],
            &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
        ] {
            for end in 0..whole.len() {
                assert_eq!(parse(&whole[..end], Role::Server, false), Ok(None));
            }
        }
    }

    #[test]
    fn what_one_frame_may_not_be_is_refused() {
        for (bytes, about) in [
            (&[0xc1u8, 0x80][..], "reserved bit"),
            (&[0xa1, 0x80], "reserved bit"),
            (&[0x91], "reserved bit"),
            (&[0x83], "opcode"),
            (&[0x8b, 0x80], "opcode"),
            (&[0x81, 0x05], "masked"),
            (&[0x09, 0x80], "fragmented"),
            (&[0x89, 0xfe], "125"),
            (&[0x88, 0xff], "125"),
            (&[0x81, 0xfe, 0, 125], "shortest"),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 255, 255], "shortest"),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], "highest bit"),
        ] {
            let Err(Violation::Protocol(text)) = parse(bytes, Role::Server, false) else {
                panic!("{bytes:?} was accepted")
            };
            assert!(text.contains(about), "{bytes:?}: {text}");
        }
    }
}
