//! RFC 6455 frames as the load needs them: building masked client frames, reading whole texts
//! and control frames of a server. Pure.

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Appends one final frame from client to server, masked.
pub fn put_client_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    put_header(out, opcode, payload.len(), MASKED);
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Appends one final frame as the server must send it: unmasked, with the shortest length.
pub fn put_server_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_header(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

fn put_header(out: &mut Vec<u8>, opcode: u8, length: usize, masked: u8) {
    out.push(FIN | opcode);
    if let Ok(short @ 0..=125) = u8::try_from(length) {
        out.push(masked | short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.push(masked | 126);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(masked | 127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// A control frame from the server.
#[derive(Debug, PartialEq)]
pub enum Control {
    Ping(Vec<u8>),
    Pong,
    /// With its code; a close without one has none.
    Close(Option<u16>),
}

/// Reads a control frame at the start of `bytes`: its length and itself, or `None` while it is incomplete.
pub fn read_control(bytes: &[u8]) -> Result<Option<(usize, Control)>, String> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let length = usize::from(second);
    if first & 0x70 != 0 || first & FIN == 0 || length > 125 {
        return Err(format!("a server sent a control frame that starts {first:#04x} {second:#04x}"));
    }
    let Some(payload) = bytes.get(2..2 + length) else { return Ok(None) };
    let control = match (first & 0x0f, payload) {
        (PING, payload) => Control::Ping(payload.to_vec()),
        (PONG, _) => Control::Pong,
        (CLOSE, []) => Control::Close(None),
        (CLOSE, [high, low, ..]) => Control::Close(Some(u16::from_be_bytes([*high, *low]))),
        (CLOSE, [_]) => return Err("a server sent a close frame of one byte".to_owned()),
        (opcode, _) => return Err(format!("a server sent a frame of opcode {opcode}")),
    };
    Ok(Some((2 + length, control)))
}

/// A frame of a session that speaks in whole texts.
#[derive(Debug, PartialEq)]
pub enum Frame<'a> {
    Text(&'a str),
    Control(Control),
}

/// Reads the text or control frame at the start of `bytes`: its length and itself, or `None` while it is incomplete.
/// Refuses fragments, binary messages and texts of 64 KiB or more.
pub fn read_text_or_control(bytes: &[u8]) -> Result<Option<(usize, Frame<'_>)>, String> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0x0f >= CLOSE {
        return Ok(read_control(bytes)?.map(|(length, control)| (length, Frame::Control(control))));
    }
    if first != FIN | TEXT {
        return Err(format!("a server sent a frame that starts {first:#04x}, not a whole text"));
    }
    let (start, length) = match second {
        0..=125 => (2, usize::from(second)),
        126 => match bytes.get(2..4) {
            Some(length) => (4, usize::from(u16::from_be_bytes([length[0], length[1]]))),
            None => return Ok(None),
        },
        _ => return Err("a server sent a masked text or one of 64 KiB or more".to_owned()),
    };
    let Some(payload) = bytes.get(start..start + length) else { return Ok(None) };
    let text = std::str::from_utf8(payload).map_err(|_| "a server sent a text that is not UTF-8")?;
    Ok(Some((start + length, Frame::Text(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_frame_is_that_of_the_rfc() {
        // RFC 6455, section 5.7: a masked "Hello".
        let mut out = Vec::new();
        put_client_frame(&mut out, TEXT, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        let header = |length: usize| {
            let mut out = Vec::new();
            put_server_frame(&mut out, BINARY, &vec![0; length]);
            out.truncate(out.len() - length);
            out
        };
        assert_eq!(header(0), [0x82, 0]);
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(65_535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(header(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn control_frames_are_read_only_when_whole() {
        let ping = b"\x89\x02hi";
        for end in 0..ping.len() {
            assert_eq!(read_control(&ping[..end]), Ok(None));
        }
        assert_eq!(read_control(ping), Ok(Some((4, Control::Ping(b"hi".to_vec())))));
        assert_eq!(read_control(b"\x88\x02\x03\xe8rest"), Ok(Some((4, Control::Close(Some(1000))))));
        assert_eq!(read_control(b"\x88\x00"), Ok(Some((2, Control::Close(None)))));
    }

    #[test]
    fn masked_fragmented_reserved_and_unknown_are_refused() {
        for bytes in [&b"\x89\x80"[..], b"\x09\x00", b"\xc9\x00", b"\x89\x7e", b"\x8b\x00", b"\x88\x01\x03"] {
            assert!(read_control(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn texts_are_read_only_when_whole() {
        for text in ["hi".to_owned(), "x".repeat(300)] {
            let mut bytes = Vec::new();
            put_server_frame(&mut bytes, TEXT, text.as_bytes());
            for end in 0..bytes.len() {
                assert_eq!(read_text_or_control(&bytes[..end]).unwrap(), None);
            }
            bytes.push(0x81);
            assert_eq!(read_text_or_control(&bytes).unwrap(), Some((bytes.len() - 1, Frame::Text(&text))));
        }
    }

    #[test]
    fn fragments_and_binary_are_refused() {
        assert!(read_text_or_control(b"\x01\x00").is_err() && read_text_or_control(b"\x82\x00").is_err());
    }
}
