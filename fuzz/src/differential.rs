//! The decoder beside tungstenite's: the same bytes of a client are the same messages, or wrong at the same frame.
//!
//! Where the two are known to differ, and why:
//!
//! - A length that is not in its shortest form: RFC 6455 §5.2 has it in the shortest, we refuse it, tungstenite reads
//!   it, in control frames as well. The comparison ends there.
//! - A close frame whose code must not be sent: we refuse it; tungstenite reports a close of its own making, "1002
//!   Protocol violation", which is a refusal as well.
//! - 1014 (IANA's registry, after the RFC): a close like any other to us, such a refusal to tungstenite.
//! - We refuse at the first byte that is wrong; tungstenite at the end of the frame, or of its header. What the frame
//!   claims to have is therefore appended for tungstenite before the verdicts are compared.
//! - A frame that is wrong in two ways is refused for what each finds first: a size, a header, text.
//! - Nothing is compared after a close frame: our connection ends its reading there, and not the decoder.

use std::io::{self, Read, Write};

use endpoint_wire::event::Delivery;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message, error::ProtocolError};

use crate::input::Input;
use crate::wire::{self, Decoded, Reading, Rejected, both, read};

pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let limit = wire::limit(input.byte());
    let sizes = input.sizes();
    let stream = wire::client(&mut input);

    let ours = read(both(Delivery::Whole { limit }), &stream, &sizes, true);
    let (theirs, end) = tungstenite(limit, &stream, &sizes);
    let Reading { mut said, wrong, .. } = ours;
    let close = said.iter().position(|said| matches!(said, Decoded::Close(..)));
    if let Some(close) = close {
        let after = said.split_off(close);
        assert_eq!(said, theirs);
        let Some(Decoded::Close(code, phrase)) = after.into_iter().next() else { unreachable!() };
        match end {
            End::Close(theirs) if code != 1014 => assert_eq!((code, phrase), theirs),
            end => assert!(code == 1014 && end.is_made_up(), "{code} {phrase:?}, but {end:?}"),
        }
        return;
    }
    let Some(Rejected(code, about)) = wrong else {
        assert_eq!(said, theirs);
        assert!(matches!(end, End::Waiting), "accepted, but {end:?}");
        return;
    };
    // a control frame has no longer form at all
    if about.contains("shortest form") || (about.contains("more than 125") && has_long_form(&stream)) {
        assert!(theirs.starts_with(&said), "{said:?} is not the beginning of {theirs:?}");
        return;
    }
    assert_eq!(said, theirs);
    let end = match end {
        End::Waiting => {
            let mut stream = stream;
            complete(&mut stream, limit);
            tungstenite(limit, &stream, &sizes).1
        }
        end => end,
    };
    match (code, &end) {
        (1009, End::TooBig) | (1007, End::NotUtf8) => {}
        (1002, End::Protocol | End::TooBig | End::NotUtf8) => {}
        (1002, end) if end.is_made_up() => {}
        _ => panic!("{code} {about}, but {end:?}"),
    }
}

/// How tungstenite's reading ended.
#[derive(Debug)]
enum End {
    /// With the stream, everything well so far.
    Waiting,
    Close((u16, String)),
    Protocol,
    NotUtf8,
    TooBig,
}

impl End {
    /// Whether this is the close that tungstenite puts in the place of one whose code must not be sent.
    fn is_made_up(&self) -> bool {
        matches!(self, Self::Close((1002, phrase)) if phrase == "Protocol violation")
    }
}

fn tungstenite(limit: usize, stream: &[u8], sizes: &[usize]) -> (Vec<Decoded>, End) {
    let config = WebSocketConfig::default()
        .read_buffer_size(sizes[0].min(1 << 16))
        .max_message_size(Some(limit))
        // this limit is on control frames as well
        .max_frame_size(Some(limit.max(125)));
    let mut socket = WebSocket::from_raw_socket(Client(stream), Role::Server, Some(config));
    let mut said = Vec::new();
    let end = loop {
        match socket.read() {
            Ok(Message::Text(text)) => said.push(Decoded::Text(text.to_string(), true)),
            Ok(Message::Binary(data)) => said.push(Decoded::Binary(data.to_vec(), true)),
            Ok(Message::Ping(data)) => said.push(Decoded::Ping(data.to_vec())),
            Ok(Message::Pong(data)) => said.push(Decoded::Pong(data.to_vec())),
            Ok(Message::Close(None)) => break End::Close((u16::from(CloseCode::Status), String::new())),
            Ok(Message::Close(Some(frame))) => break End::Close((frame.code.into(), frame.reason.to_string())),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => break End::Waiting,
            Err(Error::Protocol(_)) => break End::Protocol,
            Err(Error::Utf8(_)) => break End::NotUtf8,
            Err(Error::Capacity(_)) => break End::TooBig,
            other => panic!("tungstenite: {other:?}"),
        }
    };
    (said, end)
}

/// Appends what the last frame lacks: the rest of its header, and letters.
fn complete(stream: &mut Vec<u8>, limit: usize) {
    let mut start = 0;
    while start < stream.len() {
        if stream.len() == start + 1 {
            stream.push(0x80);
        }
        let (extended, masked) = (stream[start + 1] & 0x7f, stream[start + 1] & 0x80 != 0);
        let mask = start + 2 + [0, 2, 8][usize::from(extended.saturating_sub(125))];
        let payload = mask + if masked { 4 } else { 0 };
        // a length that needs its form, and any key
        if stream.len() < mask {
            stream.resize(mask, 0xff);
        }
        if stream.len() < payload {
            stream.resize(payload, 0);
        }
        let len = match extended {
            126.. => stream[start + 2..mask].iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
            short => u64::from(short),
        };
        if len > limit.max(125) as u64 {
            return;
        }
        let end = payload + len as usize;
        for at in stream.len()..end {
            let key = if masked { stream[mask + (at - payload) % 4] } else { 0 };
            stream.push(b'a' ^ key);
        }
        start = end;
    }
}

/// Whether there is a frame whose length is not in its shortest form.
fn has_long_form(stream: &[u8]) -> bool {
    let mut rest = stream;
    while let [_, second, after @ ..] = rest {
        let (extended, least) = match second & 0x7f {
            126 => (2, 126),
            127 => (8, 0x1_0000),
            _ => (0, 0),
        };
        if after.len() < extended {
            return false;
        }
        let (long, after) = after.split_at(extended);
        let short = if extended == 0 { u64::from(second & 0x7f) } else { 0 };
        let len = long.iter().fold(short, |len, byte| len << 8 | u64::from(*byte));
        if len < least {
            return true;
        }
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let end = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(mask);
        rest = after.get(end..).unwrap_or_default();
    }
    false
}

/// A client that has said everything, and does not listen.
struct Client<'a>(&'a [u8]);

impl Read for Client<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Client<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
