//! What the server sends, as tungstenite's client reads it: every frame whole, as it was meant, and nothing besides.

use std::io::{self, Cursor};

use endpoint_wire::close::{CloseCode, CloseReason};
use endpoint_wire::encode;
use endpoint_wire::frame::OpCode;
use tungstenite::protocol::frame::FrameSocket;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message, error::ProtocolError};

use crate::input::Input;

pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let (mut out, mut frames, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    while !input.is_empty() {
        let (choice, len) = (input.byte(), usize::from(input.byte()));
        let mut payload = input.take(len).to_vec();
        if choice & 0x80 != 0 {
            payload = input.stretch(&payload);
        }
        match choice % 5 {
            kind @ (0 | 1) => {
                let text = String::from_utf8_lossy(&payload).into_owned();
                let (opcode, payload) =
                    if kind == 0 { (OpCode::Text, text.clone().into_bytes()) } else { (OpCode::Binary, payload) };
                // a fragment may end inside a character
                let cut = if choice & 0x40 == 0 { payload.len() } else { usize::from(input.byte()) };
                let (first, second) = payload.split_at(cut.min(payload.len()));
                let is_whole = choice & 0x40 == 0;
                encode::frame(&mut out, is_whole, opcode, first);
                frames.push((is_whole, opcode, first.to_vec()));
                if !is_whole {
                    encode::frame(&mut out, true, OpCode::Continuation, second);
                    frames.push((true, OpCode::Continuation, second.to_vec()));
                }
                messages.push(if kind == 0 { Message::text(text) } else { Message::binary(payload) });
            }
            kind @ (2 | 3) => {
                payload.truncate(125);
                let opcode = if kind == 2 { OpCode::Ping } else { OpCode::Pong };
                encode::frame(&mut out, true, opcode, &payload);
                frames.push((true, opcode, payload.clone()));
                messages.push(if kind == 2 { Message::Ping(payload.into()) } else { Message::Pong(payload.into()) });
            }
            _ => {
                let code = u16::from_be_bytes([input.byte(), input.byte()]);
                let phrase = String::from_utf8_lossy(&payload);
                let reason = CloseReason::truncating(CloseCode::from(code), &phrase);
                encode::close(&mut out, &reason);
                let said = reason.reason();
                assert!(phrase.starts_with(said) && (said.len() == phrase.len() || said.len() > 119));
                // RFC 6455 §7.4, and IANA's registry: any other code is not sent at all
                let travels = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                let body = if travels { [&code.to_be_bytes(), said.as_bytes()].concat() } else { Vec::new() };
                frames.push((true, OpCode::Close, body));
                break;
            }
        }
    }

    let mut socket = FrameSocket::new(Cursor::new(&out[..]));
    for expected in &frames {
        let frame = socket.read(None).expect("a frame that can be read").expect("a frame");
        let header = frame.header();
        assert!(header.mask.is_none() && !header.rsv1 && !header.rsv2 && !header.rsv3);
        assert_eq!(header.len(frame.payload().len() as u64), frame.len() - frame.payload().len());
        let opcode = u8::from(header.opcode);
        assert_eq!((header.is_final, opcode, frame.payload()), (expected.0, expected.1 as u8, &expected.2[..]));
    }
    let (stream, rest) = socket.into_inner();
    assert!(rest.is_empty() && stream.position() == out.len() as u64, "bytes are left over");
    // headers in their shortest form: with the lengths known, so is the sum
    let headers = frames.iter().map(|(_, _, payload)| match payload.len() {
        ..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    });
    assert_eq!(out.len(), headers.sum::<usize>() + frames.iter().map(|frame| frame.2.len()).sum::<usize>());

    let closes = frames.last().is_some_and(|(_, opcode, _)| *opcode == OpCode::Close);
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let mut socket = WebSocket::from_raw_socket(Server(Cursor::new(&out[..])), Role::Client, Some(config));
    for expected in messages {
        assert_eq!(socket.read().expect("a message that can be read"), expected);
    }
    match socket.read() {
        Ok(Message::Close(_)) if closes => {}
        Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) if !closes => {}
        other => panic!("{other:?} at the end"),
    }
}

/// A server that has said everything, and does not listen.
struct Server<'a>(Cursor<&'a [u8]>);

impl io::Read for Server<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl io::Write for Server<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
