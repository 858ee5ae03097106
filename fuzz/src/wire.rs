//! Client frames for the targets that decode: as they are, or out of a short script, and how they are read.

use std::sync::Arc;

use endpoint_wire::Violation;
use endpoint_wire::compression::Compression;
use endpoint_wire::decode::Decoder;
use endpoint_wire::deflate::Deflation;
use endpoint_wire::event::{DecodeOptions, Delivery, Event};
use endpoint_wire::extension::{Extension, Parameter};
use endpoint_wire::message::DataKind;
use endpoint_wire::role::Role;

use crate::input::Input;

/// The rest of `input` as a client's bytes: raw if its first is even, else a script of frames.
///
/// Each frame of a script is its first byte, a byte of oddities, and a length with as many bytes of payload. The
/// oddities: 1 the 16 bit form of the length, 2 the 64 bit form, 4 no mask, 8 the payload many times over by one byte
/// more, 16 to 112 the number of a mask's key, 128 one more byte is claimed than there is.
pub fn client(input: &mut Input<'_>) -> Vec<u8> {
    if input.byte() & 1 == 0 {
        return input.take(usize::MAX).to_vec();
    }
    let mut out = Vec::new();
    while !input.is_empty() && out.len() < 1 << 18 {
        let (first, odd, len) = (input.byte(), input.byte(), usize::from(input.byte()));
        let mut payload = input.take(len).to_vec();
        if odd & 8 != 0 {
            payload = input.stretch(&payload);
        }
        let key = [odd >> 4 & 7, odd & 0x70, (odd & 0x70) << 1, odd & 0x60];
        let claimed = payload.len() as u64 + u64::from(odd >> 7);
        let masked = if odd & 4 == 0 { 0x80 } else { 0 };
        out.push(first);
        match (odd & 3, claimed) {
            (2.., _) | (_, 0x1_0000..) => {
                out.push(masked | 127);
                out.extend(claimed.to_be_bytes());
            }
            (1, _) | (_, 126..) => {
                out.push(masked | 126);
                out.extend((claimed as u16).to_be_bytes());
            }
            (0, _) => out.push(masked | claimed as u8),
        }
        if masked != 0 {
            out.extend(key);
            payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        out.extend(payload);
    }
    out
}

/// A limit on messages, the boundaries of the wire's length forms among them.
pub fn limit(choice: u8) -> usize {
    const LIMITS: [usize; 12] = [0, 1, 5, 38, 125, 126, 1000, 20_000, 65_535, 65_536, 100_000, 1 << 20];
    LIMITS[usize::from(choice) % LIMITS.len()]
}

/// An event without its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    Text(String, bool),
    Binary(Vec<u8>, bool),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
    Discarded(DataKind),
}

impl From<Event<'_>> for Decoded {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text { text, last } => Self::Text(text.into_text().into(), last),
            Event::Binary { data, last } => Self::Binary(data.into_binary().into(), last),
            Event::Ping(data) => Self::Ping(data.into()),
            Event::Pong(data) => Self::Pong(data.into()),
            Event::Close(reason) => Self::Close(reason.code().as_u16(), reason.reason().to_owned()),
            Event::Discarded { kind } => Self::Discarded(kind),
        }
    }
}

/// Why the decoder gave the peer up: a close code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub u16, pub String);

impl From<Violation> for Rejected {
    fn from(violation: Violation) -> Self {
        let reason = violation.close_reason();
        Self(reason.code().as_u16(), reason.reason().to_owned())
    }
}

/// What was said of a stream, until it ended or something was wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Parts of one message that follow upon each other are joined, because their boundaries are those of the reads.
    pub said: Vec<Decoded>,
    pub wrong: Option<Rejected>,
    pub is_idle: bool,
}

/// One delivery for text and binary data alike.
pub fn both(delivery: Delivery) -> DecodeOptions {
    DecodeOptions { text: delivery, binary: delivery }
}

/// Reads `stream` in pieces of `sizes`, over and over; with `direct`, large messages go into their own place.
pub fn read(options: DecodeOptions, stream: &[u8], sizes: &[usize], direct: bool) -> Reading {
    read_by(Decoder::default(), options, stream, sizes, direct)
}

/// The same, by a decoder that takes compressed messages.
pub fn inflate(delivery: Delivery, no_context_takeover: bool, stream: &[u8], sizes: &[usize]) -> Reading {
    let parameters = no_context_takeover.then_some(Parameter::ClientNoContextTakeover);
    let extension = Extension::permessage_deflate(parameters);
    let deflation = Deflation::new(extension, Role::Server, &Compression::ON, &Arc::default());
    let decoder = Decoder::new(Role::Server, Some(deflation.expect("a budget without a limit").inbound()));
    read_by(decoder, both(delivery), stream, sizes, true)
}

fn read_by(mut decoder: Decoder, options: DecodeOptions, stream: &[u8], sizes: &[usize], direct: bool) -> Reading {
    let mut reading = Reading::default();
    let mut rest = stream;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        rest = after;
        if let Err(violation) = feed(&mut decoder, options, piece, direct, &mut |said| join(&mut reading.said, said)) {
            reading.wrong = Some(violation.into());
            return reading;
        }
    }
    reading.is_idle = decoder.is_idle();
    reading
}

fn feed(
    decoder: &mut Decoder,
    options: DecodeOptions,
    piece: &[u8],
    direct: bool,
    hear: &mut dyn FnMut(Decoded),
) -> Result<(), Violation> {
    let mut piece = piece.to_vec();
    let mut start = 0;
    // as the connection reads into a large message's own place, if there is one
    while let Some((place, room)) = if direct { decoder.direct(0) } else { None } {
        let count = room.min(piece.len() - start);
        place.extend_from_slice(&piece[start..start + count]);
        start += count;
        decoder.filled(count)?.into_iter().for_each(|event| hear(event.into()));
        check_room(decoder, options);
        if start == piece.len() {
            return Ok(());
        }
    }
    // as the connection decodes what lies in its read buffer
    while start < piece.len() {
        let (used, event) = decoder.next(&options, &mut piece[start..])?;
        let said = event.map(Decoded::from);
        assert!(used <= piece.len() - start, "more was used than there is");
        assert!(used > 0, "nothing was used");
        // eight fragments, of one of them perhaps the last byte
        assert!(said.is_some() || start + used == piece.len() || used > 7 * 6, "bytes were left without an event");
        start += used;
        said.into_iter().for_each(&mut *hear);
        check_room(decoder, options);
    }
    Ok(())
}

/// Never more is kept than the limit, and never much more room than that.
fn check_room(decoder: &Decoder, options: DecodeOptions) {
    // of text that is not put together, the beginning of one character
    let most = |delivery| if let Delivery::Whole { limit } = delivery { limit.max(3) } else { 3 };
    let most = most(options.text).max(most(options.binary)).min(usize::MAX / 2);
    let (data, control, room) = decoder.kept();
    assert!(data <= most, "{data} bytes of a message are kept, the limit is {most}");
    assert!(control <= 125, "{control} bytes of a control frame are kept");
    // a vector doubles
    assert!(room / 2 <= most + 256, "{room} bytes are reserved, the limit is {most}");
    // what is not there yet takes no more room than what is, but for one step
    assert!(room <= 2 * data + (64 << 10) + 256, "{room} bytes are reserved for {data}");
}

fn join(all: &mut Vec<Decoded>, next: Decoded) {
    match (all.last_mut(), next) {
        (Some(Decoded::Text(before, last @ false)), Decoded::Text(text, end)) => {
            before.push_str(&text);
            *last = end;
        }
        (Some(Decoded::Binary(before, last @ false)), Decoded::Binary(data, end)) => {
            before.extend(data);
            *last = end;
        }
        (_, next) => all.push(next),
    }
}
