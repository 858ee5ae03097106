//! Client frames for the targets that decode: as they are, or out of a short script, and how they are read.

use endpoint_runtime::fuzzing::{Decoded, Decoder, Rejected, Take};

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

/// What was said of a stream, until it ended or something was wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Parts of one message that follow upon each other are joined, because their boundaries are those of the reads.
    pub decoded: Vec<Decoded>,
    pub rejected: Option<Rejected>,
    pub is_idle: bool,
}

/// Reads `stream` in pieces of `sizes`, over and over; with `direct`, large messages go into their own place.
pub fn read(text: Take, binary: Take, stream: &[u8], sizes: &[usize], direct: bool) -> Reading {
    read_by(Decoder::new(text, binary), text, binary, stream, sizes, direct)
}

/// The same, by a decoder that takes compressed messages.
pub fn inflate(take: Take, no_context_takeover: bool, stream: &[u8], sizes: &[usize]) -> Reading {
    read_by(Decoder::inflating(take, take, no_context_takeover), take, take, stream, sizes, true)
}

fn read_by(mut decoder: Decoder, text: Take, binary: Take, stream: &[u8], sizes: &[usize], direct: bool) -> Reading {
    let mut reading = Reading::default();
    let mut rest = stream;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        rest = after;
        let outcome =
            feed(&mut decoder, piece, direct, &mut |decoded| join(&mut reading.decoded, decoded), [text, binary]);
        if let Err(rejected) = outcome {
            reading.rejected = Some(rejected);
            return reading;
        }
    }
    reading.is_idle = decoder.is_idle();
    reading
}

fn feed(
    decoder: &mut Decoder,
    piece: &[u8],
    direct: bool,
    hear: &mut dyn FnMut(Decoded),
    takes: [Take; 2],
) -> Result<(), Rejected> {
    let mut piece = piece.to_vec();
    let mut start = 0;
    while let Some((count, decoded)) = if direct { decoder.direct(&piece[start..])? } else { None } {
        start += count;
        decoded.into_iter().for_each(&mut *hear);
        check_room(decoder, takes);
        if start == piece.len() {
            return Ok(());
        }
    }
    while start < piece.len() {
        let (used, decoded) = decoder.next(&mut piece[start..])?;
        assert!(used <= piece.len() - start, "more was used than there is");
        assert!(used > 0, "nothing was used");
        // eight fragments, of one of them perhaps the last byte
        assert!(decoded.is_some() || start + used == piece.len() || used > 7 * 6, "bytes were left without an event");
        start += used;
        decoded.into_iter().for_each(&mut *hear);
        check_room(decoder, takes);
    }
    Ok(())
}

/// Never more is kept than the limit, and never much more room than that.
fn check_room(decoder: &Decoder, takes: [Take; 2]) {
    // of text that is not put together, the beginning of one character
    let most = takes.map(|take| if let Take::Whole { limit } = take { limit.max(3) } else { 3 });
    let most = most[0].max(most[1]).min(usize::MAX / 2);
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
