//! Compressed messages are read as flate2 reads them in one piece, however they are cut and within their limit; and
//! what the server compresses is read again.

use std::sync::Arc;

use endpoint_wire::compression::Compression;
use endpoint_wire::deflate::Deflation;
use endpoint_wire::event::Delivery;
use endpoint_wire::extension::{Extension, Parameter};
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::DataKind;
use endpoint_wire::role::Role;
use flate2::{Decompress, FlushDecompress, Status};

use crate::input::Input;
use crate::wire::{self, Decoded, Reading, Rejected};

/// Up to eight messages: bytes as they are, or something compressed by the server.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let choices = input.byte();
    let no_context_takeover = choices & 1 == 0;
    let limit = wire::limit(choices >> 1);
    let (level, window_bits) = (u32::from(input.byte() % 10), 9 + input.byte() % 7);
    let sizes = input.sizes();
    let deflation = deflation(level, window_bits, no_context_takeover);
    let mut oracle = Oracle { stream: Decompress::new(false), no_context_takeover, made: Vec::new() };

    let (mut stream, mut expected) = (Vec::new(), Reading { is_idle: true, ..Reading::default() });
    let mut is_ours = None;
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let (kind, len) = (input.byte(), input.byte());
        let mut payload = input.take(usize::from(len)).to_vec();
        if kind & 2 != 0 {
            payload = input.stretch(&payload);
        }
        // in one context all messages have one sender
        let ours = kind & 1 == 0 && (no_context_takeover || *is_ours.get_or_insert(true));
        let mut deflated = true;
        let bytes = if ours {
            let mut frame = Vec::new();
            deflated = compress(&deflation, &payload, &mut frame);
            assert!(!no_context_takeover || !deflated || frame.len() - header(&frame) < payload.len());
            if deflated { frame.split_off(header(&frame)) } else { payload.clone() }
        } else {
            is_ours = Some(false);
            payload.clone()
        };
        let text = kind & 16 != 0;
        let pieces = pieces(&bytes, if deflated { kind >> 2 & 3 } else { 0 });
        let outcome = if deflated { oracle.message(&pieces, limit, text) } else { plain(&bytes, limit) };
        if ours && payload.len() <= limit {
            assert!(outcome.as_ref().is_err_and(|code| text && *code == 1007) || outcome.as_ref() == Ok(&payload));
        }
        frames(&mut stream, deflated, text, &pieces);
        let outcome = outcome.and_then(|message| match String::from_utf8(message) {
            Ok(message) if text => Ok(Decoded::Text(message, true)),
            Ok(message) => Ok(Decoded::Binary(message.into(), true)),
            Err(_) if text => Err(1007),
            Err(error) => Ok(Decoded::Binary(error.into_bytes(), true)),
        });
        match outcome {
            Ok(said) => expected.said.push(said),
            Err(code) => {
                expected.wrong = Some(Rejected(code, String::new()));
                expected.is_idle = false;
                break;
            }
        }
    }

    // put together
    for sizes in [&[usize::MAX][..], &sizes, &[1]] {
        let mut whole = wire::inflate(Delivery::Whole { limit }, no_context_takeover, &stream, sizes);
        whole.wrong.iter_mut().for_each(|wrong| wrong.1.clear());
        assert_eq!(whole, expected, "in pieces of {sizes:?}");
    }
    if expected.wrong.as_ref().is_some_and(|wrong| wrong.0 == 1009) {
        // there is no other end that is known
        return;
    }
    // as parts, and not at all
    let mut parts = wire::inflate(Delivery::Parts, no_context_takeover, &stream, &sizes);
    parts.wrong.iter_mut().for_each(|wrong| wrong.1.clear());
    if let (Some(_), Some(Decoded::Binary(_, false) | Decoded::Text(_, false))) = (&parts.wrong, parts.said.last()) {
        parts.said.pop();
    }
    assert_eq!(parts, expected, "as parts");
    let mut nothing = wire::inflate(Delivery::Discard, no_context_takeover, &stream, &sizes);
    nothing.wrong.iter_mut().for_each(|wrong| wrong.1.clear());
    // a message that no other refers to is passed over without a look
    if !no_context_takeover || expected.wrong.is_none() {
        assert_eq!(nothing.wrong, expected.wrong);
        let kind = |said: &Decoded| if matches!(said, Decoded::Text(..)) { DataKind::Text } else { DataKind::Binary };
        let discarded = expected.said.iter().map(|said| Decoded::Discarded(kind(said)));
        assert_eq!(nothing.said, discarded.collect::<Vec<_>>());
    }
}

/// The compression of a server's session.
fn deflation(level: u32, window_bits: u8, no_context_takeover: bool) -> Deflation {
    let parameters = no_context_takeover.then_some(Parameter::ServerNoContextTakeover);
    let parameters = parameters.into_iter().chain([Parameter::ServerMaxWindowBits(window_bits)]);
    let extension = Extension::permessage_deflate(parameters);
    let deflation = Deflation::new(extension, Role::Server, &Compression::ON.level(level), &Arc::default());
    deflation.expect("a budget without a limit")
}

/// Appends a binary message as a frame; false if it is not worth it.
fn compress(deflation: &Deflation, payload: &[u8], out: &mut Vec<u8>) -> bool {
    if deflation.no_context_takeover() {
        return deflation.frame_afresh(OpCode::Binary, payload, out);
    }
    deflation.frame_in_order(OpCode::Binary, payload, out);
    true
}

/// A message in up to `1 + more` parts.
fn pieces(bytes: &[u8], more: u8) -> Vec<&[u8]> {
    let count = usize::from(more) + 1;
    let size = bytes.len().div_ceil(count).max(1);
    let mut pieces: Vec<&[u8]> = bytes.chunks(size).collect();
    pieces.resize(pieces.len().max(1), &[]);
    pieces
}

/// Its frames from a client, masked with zeros.
fn frames(stream: &mut Vec<u8>, deflated: bool, text: bool, pieces: &[&[u8]]) {
    for (place, piece) in pieces.iter().enumerate() {
        let fin = if place + 1 == pieces.len() { 0x80 } else { 0 };
        let first = match place {
            0 => (if deflated { 0x40 } else { 0 }) | (if text { 1 } else { 2 }),
            _ => 0x00,
        };
        stream.push(fin | first);
        match piece.len() {
            len @ ..126 => stream.push(0x80 | len as u8),
            len @ ..0x1_0000 => {
                stream.push(0x80 | 126);
                stream.extend((len as u16).to_be_bytes());
            }
            len => {
                stream.push(0x80 | 127);
                stream.extend((len as u64).to_be_bytes());
            }
        }
        stream.extend([0; 4]);
        stream.extend(*piece);
    }
}

/// The length of the header of a frame that a server sent.
fn header(frame: &[u8]) -> usize {
    assert_eq!(frame[0], 0xc2, "a whole compressed binary message");
    match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

/// The header says how long it is before any of its bytes can be wrong.
fn plain(bytes: &[u8], limit: usize) -> Result<Vec<u8>, u16> {
    if bytes.len() > limit { Err(1009) } else { Ok(bytes.to_vec()) }
}

/// flate2, with each frame of a message and the end of its flush in one piece.
struct Oracle {
    stream: Decompress,
    no_context_takeover: bool,
    /// What came of the messages so far that may be referred to.
    made: Vec<u8>,
}

impl Oracle {
    /// Of what is wrong with it, what comes first.
    fn message(&mut self, pieces: &[&[u8]], limit: usize, text: bool) -> Result<Vec<u8>, u16> {
        let mut out = Vec::with_capacity(limit + 1);
        let (mut is_over, mut fed) = (true, 0);
        for piece in pieces {
            // the header of a frame says that the message is too large for what it may make
            fed += piece.len();
            if fed > 2 * limit + 1024 {
                return Err(1009);
            }
            let mut rest = *piece;
            while !rest.is_empty() {
                let ended = self.feed(&mut rest, &mut out);
                if out.len() > limit {
                    let is_bad = |error: std::str::Utf8Error| error.error_len().is_some();
                    let bad = text && std::str::from_utf8(&out[..limit]).is_err_and(is_bad);
                    return Err(if bad { 1007 } else { 1009 });
                }
                is_over = ended?;
            }
        }
        let mut rest: &[u8];
        // behind a last block, or nothing, no flush has to end
        if !is_over {
            let before = out.len();
            rest = &[0x00, 0x00, 0xff, 0xff];
            is_over = self.feed(&mut rest, &mut out)?;
            if out.len() > before || !rest.is_empty() {
                return Err(1007);
            }
        }
        if !is_over && self.no_context_takeover {
            let before = out.len();
            rest = &[0x03, 0x00];
            if !self.feed(&mut rest, &mut out)? || !rest.is_empty() || out.len() > before {
                return Err(1007);
            }
        }
        if self.no_context_takeover {
            self.stream.reset(false);
            self.made.clear();
        }
        Ok(out)
    }

    /// Feeds all of it, or up to a last block: true for that. Stops as well where `out` is full.
    fn feed(&mut self, rest: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, u16> {
        let (before, start) = (self.stream.total_in(), out.len());
        let status = self.stream.decompress_vec(rest, out, FlushDecompress::Sync).map_err(|_| 1007u16)?;
        *rest = &rest[(self.stream.total_in() - before) as usize..];
        self.made.extend_from_slice(&out[start..]);
        if status == Status::StreamEnd {
            self.stream.reset(false);
            if !self.made.is_empty() {
                let window = &self.made[self.made.len().saturating_sub(32 << 10)..];
                self.stream.set_dictionary(window).map_err(|_| 1007u16)?;
            }
            return Ok(true);
        }
        assert!(rest.is_empty() || out.len() == out.capacity());
        Ok(false)
    }
}
