//! Encodes frames (RFC 6455 §5.2), unmasked, as a server must send them (§5.1). A client masks them afterwards.

use crate::binary::INLINE;
use crate::close::{CloseCode, CloseReason};
use crate::frame::{MAX_CONTROL, MAX_HEADER, OpCode, RSV1};
use crate::mask;

/// Appends the header of an unmasked frame that carries `payload` bytes. The length has its shortest form (RFC 6455
/// §5.2).
#[inline]
pub fn header(out: &mut Vec<u8>, fin: bool, opcode: OpCode, payload: usize) {
    let first = if fin { 0x80 } else { 0 } | opcode as u8;
    match payload {
        // each cast keeps the value: the arm's pattern proves it
        ..=125 => out.extend_from_slice(&[first, payload as u8]),
        126..=0xffff => {
            let [a, b] = (payload as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, a, b]);
        }
        _ => {
            let mut long = [first, 127, 0, 0, 0, 0, 0, 0, 0, 0];
            long[2..].copy_from_slice(&(payload as u64).to_be_bytes());
            out.extend_from_slice(&long);
        }
    }
}

/// Appends a whole unmasked frame. The caller keeps to the order of fragments (§5.4), and to [`MAX_CONTROL`] bytes of a
/// control frame (§5.5).
#[inline]
pub fn frame(out: &mut Vec<u8>, fin: bool, opcode: OpCode, payload: &[u8]) {
    out.reserve(payload.len() + MAX_HEADER);
    header(out, fin, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a whole unmasked frame with a compressed message: RSV1 marks it as compressed (RFC 7692 §6).
pub(crate) fn deflated(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let first = out.len();
    frame(out, true, opcode, payload);
    out[first] |= RSV1;
}

/// Appends a frame with a part of a compressed message: RSV1 marks the first frame (RFC 7692 §6.1).
pub fn part(out: &mut Vec<u8>, fin: bool, opcode: OpCode, first: bool, payload: &[u8]) {
    let start = out.len();
    frame(out, fin, opcode, payload);
    if first {
        out[start] |= RSV1;
    }
}

/// Appends a whole frame whose payload is the first `len` bytes of `place`. For `endpoint-runtime`, with
/// [`Binary::inline`](crate::message::Binary::inline).
///
/// Copies all of `place` and truncates afterwards, because a copy of fixed length compiles to no function call.
#[inline]
pub fn small(out: &mut Vec<u8>, opcode: OpCode, place: &[u8; INLINE], len: usize) {
    let mut frame = [0; 2 + INLINE];
    // INLINE is below 126
    (frame[0], frame[1]) = (0x80 | opcode as u8, len as u8);
    frame[2..].copy_from_slice(place);
    let end = out.len() + 2 + len;
    out.extend_from_slice(&frame);
    out.truncate(end);
}

/// Appends a close frame. A code that must not be sent (1005 above all) makes the frame empty (RFC 6455 §7.4.1).
pub fn close(out: &mut Vec<u8>, reason: &CloseReason) {
    if reason.code() == CloseCode::NoStatusCode || !reason.code().is_sendable() {
        return header(out, true, OpCode::Close, 0);
    }
    let phrase = reason.reason().as_bytes();
    // a `CloseReason` limits its phrase to what a frame holds
    debug_assert!(phrase.len() + 2 <= MAX_CONTROL);
    header(out, true, OpCode::Close, 2 + phrase.len());
    out.extend_from_slice(&reason.code().as_u16().to_be_bytes());
    out.extend_from_slice(phrase);
}

/// Lengths of the header and the payload, in bytes, of an unmasked frame that this module encoded.
pub fn lengths(frame: &[u8]) -> (usize, usize) {
    match *frame {
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        [_, 127, p, q, r, s, t, u, v, w, ..] => {
            let long = u64::from_be_bytes([p, q, r, s, t, u, v, w]);
            // the length was a usize before it was encoded
            (10, usize::try_from(long).unwrap_or(usize::MAX))
        }
        [_, short, ..] => (2, usize::from(short)),
        _ => (frame.len(), 0),
    }
}

/// Appends `header`, the header of an unmasked frame, with the mask bit set and with `key` (RFC 6455 §5.3).
pub fn masked_header(out: &mut Vec<u8>, header: &[u8], key: [u8; 4]) {
    let first = out.len();
    out.extend_from_slice(header);
    if let Some(second) = out.get_mut(first + 1) {
        *second |= 0x80;
    }
    out.extend_from_slice(&key);
}

/// Appends `payload` masked with `key` (RFC 6455 §5.3).
pub fn masked(out: &mut Vec<u8>, payload: &[u8], key: [u8; 4]) {
    let first = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[first..], key, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (payload, expected) in [
            (0, &[0x81u8, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65535, &[0x81, 126, 255, 255]),
            (65536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            header(&mut out, true, OpCode::Text, payload);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn small_frames_are_the_same() {
        let place: [u8; INLINE] = std::array::from_fn(|index| index as u8);
        for len in 0..=INLINE {
            let (mut out, mut expected) = (vec![7], vec![7]);
            small(&mut out, OpCode::Binary, &place, len);
            frame(&mut expected, true, OpCode::Binary, &place[..len]);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_masked_frame_is_read_as_what_it_was() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let (payload, key) = (vec![7; len], [1, 2, 3, 4]);
            let mut plain = Vec::new();
            frame(&mut plain, false, OpCode::Text, &payload);
            let (header, length) = lengths(&plain);
            assert_eq!((header + length, length), (plain.len(), len));
            let mut out = Vec::new();
            masked_header(&mut out, &plain[..header], key);
            masked(&mut out, &plain[header..], key);
            let read = crate::frame::parse(&out, crate::role::Role::Server, false).unwrap().unwrap();
            assert_eq!((read.fin, read.opcode, read.mask, read.payload), (false, OpCode::Text, key, len as u64));
            mask::apply(&mut out[read.len..], key, 0);
            assert!(out[read.len..] == payload);
        }
    }

    #[test]
    fn codes_that_must_not_travel_do_not() {
        for code in [1004, 1005, 1006, 1015, 0, 999, 5000] {
            let mut out = Vec::new();
            close(&mut out, &CloseReason::truncating(CloseCode::from(code), "x"));
            assert_eq!(out, [0x88, 0]);
        }
        let mut out = Vec::new();
        close(&mut out, &CloseReason::truncating(CloseCode::TooBig, "big"));
        assert_eq!(out, [0x88, 5, 0x03, 0xf1, b'b', b'i', b'g']);
    }
}
