//! Incremental decoding of frames into messages and control events: any split of the input gives the same events.
//!
//! A message that lies whole in the input is borrowed from it. Only incomplete messages are copied, and a large message
//! may be read directly into the buffer where it is assembled ([`Decoder::direct`]).

use std::ops::Range;

use bytes::{Buf, Bytes};

use crate::assemble::Assembler;
pub use crate::assemble::Unfinished;
use crate::binary::Binary;
use crate::deflate::Inbound;
use crate::event::{ByteChunk, DecodeOptions, Delivery, Event, Utf8Chunk};
use crate::message::DataKind;
use crate::role::Role;
use crate::text::Text;
use crate::violation::Violation;
use crate::{mask, utf8};

/// From this size in bytes on, [`Decoder::next_owned`] lets a message take over the buffer it was read into, if it is
/// alone in that buffer. For `endpoint-runtime`, which reads such messages into a buffer of their size.
pub const OWN_FROM: usize = 8 << 10;

/// Decodes messages from a stream of bytes.
///
/// After a [`Violation`] the connection must be failed (RFC 6455 §7.1.7): what the decoder would return next is not
/// specified.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Created once something does not lie whole in the input, or if compression was negotiated: most connections of a
    /// server need none. A client's decoder always has it, because the assembler knows the role.
    assembler: Option<Box<Assembler>>,
}

impl Decoder {
    /// The kind of the incomplete data message, if there is one. Control frames may come before its end (RFC 6455
    /// §5.4).
    pub fn started(&self) -> Option<DataKind> {
        self.assembler.as_ref()?.started()
    }

    /// The incomplete message, if it is assembled whole: only then its bytes are kept. For `endpoint-runtime`.
    pub fn unfinished(&self) -> Option<Unfinished> {
        self.assembler.as_ref()?.unfinished()
    }

    /// Creates a decoder. `role` is our side; `deflate` is there if permessage-deflate was negotiated
    /// ([`Deflation::inbound`](crate::deflate::Deflation::inbound)).
    pub fn new(role: Role, deflate: Option<Inbound>) -> Self {
        let is_plain = role == Role::Server && deflate.is_none();
        Self { assembler: (!is_plain).then(|| Box::new(Assembler::new(role, deflate))) }
    }

    /// Decodes from the front of `input`. Returns the number of bytes used, and an event. There is no event if all of
    /// the input, or a limited number of frames, completes none. The input is unmasked in place.
    ///
    /// # Errors
    /// A [`Violation`] of the protocol, or of a limit of `options`, by the peer.
    #[inline]
    pub fn next<'i>(
        &mut self,
        options: &DecodeOptions,
        input: &'i mut [u8],
    ) -> Result<(usize, Option<Event<'i>>), Violation> {
        // the common case first: a message in a single frame, whole, between two others
        if self.assembler.as_ref().is_none_or(|assembler| assembler.is_idle() && assembler.takes_masked()) {
            if let Some((place, key)) = whole_frame(options, input) {
                let (text, used) = (input[0] == TEXT, place.end);
                let payload = &mut input[place];
                mask::apply(payload, key, 0);
                let event = if text {
                    let text = utf8::whole(payload).ok_or(Violation::NotUtf8)?;
                    Event::Text { text: Utf8Chunk::Borrowed(text), last: true }
                } else {
                    Event::Binary { data: ByteChunk::Borrowed(payload), last: true }
                };
                return Ok((used, Some(event)));
            }
        }
        self.assembler.get_or_insert_default().next(options, input)
    }

    /// Like [`Decoder::next`], for input at `range` of its own buffer: a large message that fills at least half of the
    /// buffer takes it over instead of being copied. Returns the range of the remaining input.
    ///
    /// # Errors
    /// As for [`Decoder::next`].
    pub fn next_owned(
        &mut self,
        options: &DecodeOptions,
        buffer: &mut Vec<u8>,
        range: Range<usize>,
    ) -> Result<(Range<usize>, Option<Event<'static>>), Violation> {
        let (beginning, end) = (buffer.as_ptr() as usize, range.end);
        // the message keeps the whole buffer alive for as long as the application keeps the message
        let least = OWN_FROM.max(buffer.capacity() / 2);
        let (used, event) = self.next(options, &mut buffer[range.clone()])?;
        let rest = range.start + used..end;
        let (text, data, last) = match &event {
            Some(Event::Text { text: Utf8Chunk::Borrowed(text), last }) => (true, text.as_bytes(), *last),
            Some(Event::Binary { data: ByteChunk::Borrowed(data), last }) => (false, *data, *last),
            _ => return Ok((rest, event.map(Event::into_owned))),
        };
        if data.len() < least {
            return Ok((rest, event.map(Event::into_owned)));
        }
        let (place, len) = (data.as_ptr() as usize - beginning, data.len());
        buffer.truncate(end);
        let rest = buffer.split_off(rest.start);
        let mut data = Bytes::from(std::mem::replace(buffer, rest));
        data.advance(place);
        data.truncate(len);
        let data = Binary::from(data);
        let event = if text {
            Event::Text { text: Utf8Chunk::Owned(Text::from_validated(data)), last }
        } else {
            Event::Binary { data: ByteChunk::Owned(data), last }
        };
        Ok((0..buffer.len(), Some(event)))
    }

    /// The buffer that a large message may be read into directly, and the most bytes to append; then call
    /// [`filled`](Self::filled). `None` if no large message is under way.
    ///
    /// The buffer grows by as many bytes as this message already has, or by the `expected` bytes of the message before
    /// it: the peer has shown that it sends that much. The caller only appends to the vector.
    pub fn direct(&mut self, expected: usize) -> Option<(&mut Vec<u8>, usize)> {
        self.assembler.as_mut()?.direct(expected)
    }

    /// Reports that `count` bytes, still masked, were appended to the buffer that [`direct`](Self::direct) returned.
    ///
    /// # Errors
    /// As for [`Decoder::next`].
    pub fn filled(&mut self, count: usize) -> Result<Option<Event<'static>>, Violation> {
        self.assembler.as_mut().map_or(Ok(None), |assembler| assembler.filled(count))
    }

    /// Returns the decompression work since the last call, in bytes of output. For `endpoint-runtime`, which lets other
    /// connections run after so much work.
    #[inline]
    pub fn take_work(&mut self) -> usize {
        self.assembler.as_mut().map_or(0, |assembler| assembler.take_work())
    }

    /// Whether the input so far ends between two messages, so that an end of input here loses nothing.
    #[cfg(any(test, fuzzing))]
    pub fn is_idle(&self) -> bool {
        self.assembler.as_ref().is_none_or(|assembler| assembler.is_idle())
    }

    /// Bytes kept of a data message and of a control frame, and the capacity reserved for both.
    #[cfg(any(test, fuzzing))]
    pub fn kept(&self) -> (usize, usize, usize) {
        self.assembler.as_ref().map_or((0, 0, 0), |assembler| assembler.kept())
    }
}

/// The first byte of an unfragmented text message, and of a binary one, without an extension's bits.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// The payload's range and its key, if a message of up to 64 KiB lies whole at the front of `input` and is not
/// discarded. The assembler handles everything else, invalid frames too.
#[inline]
fn whole_frame(options: &DecodeOptions, input: &[u8]) -> Option<(Range<usize>, [u8; 4])> {
    let (first, start, length, key) = match input {
        [first, second @ 0x80..=0xfd, a, b, c, d, ..] => (*first, 6, usize::from(*second & 0x7f), [*a, *b, *c, *d]),
        [first, 0xfe, x, y, a, b, c, d, ..] => {
            let length = u16::from_be_bytes([*x, *y]);
            (*first, 8, usize::from(length).checked_sub(126)? + 126, [*a, *b, *c, *d])
        }
        _ => return None,
    };
    let delivery = match first {
        TEXT => options.text,
        BINARY => options.binary,
        _ => return None,
    };
    let wanted = match delivery {
        Delivery::Whole { limit } => length <= limit,
        Delivery::Parts => true,
        Delivery::Discard => false,
    };
    (wanted && length <= input.len() - start).then_some((start..start + length, key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::assemble::{AT_ONCE, DIRECT_STEP, PART};

    const WHOLE: DecodeOptions =
        DecodeOptions { text: Delivery::Whole { limit: 1000 }, binary: Delivery::Whole { limit: 1000 } };
    const PARTS: DecodeOptions = DecodeOptions { text: Delivery::Parts, binary: Delivery::Parts };
    const NONE: DecodeOptions = DecodeOptions { text: Delivery::Discard, binary: Delivery::Discard };

    /// A masked client frame.
    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let mut out = vec![first];
        match payload.len() {
            n @ ..=125 => out.push(0x80 | n as u8),
            n @ 126..=0xffff => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&key);
        let mut payload = payload.to_vec();
        mask::apply(&mut payload, key, 0);
        out.extend_from_slice(&payload);
        out
    }

    /// An event without its input: its content, not its location. Parts of one message are joined, because their
    /// boundaries follow the input's.
    #[derive(Clone, Debug, PartialEq)]
    enum Said {
        Text(String, bool),
        Binary(Vec<u8>, bool),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(u16, String),
        Discarded(DataKind),
        Wrong(u16),
    }

    fn said(event: Event<'_>) -> Said {
        match event {
            Event::Text { text, last } => Said::Text(text.as_str().to_owned(), last),
            Event::Binary { data, last } => Said::Binary(data.as_slice().to_vec(), last),
            Event::Ping(data) => Said::Ping(data.to_vec()),
            Event::Pong(data) => Said::Pong(data.to_vec()),
            Event::Close(reason) => Said::Close(reason.code().as_u16(), reason.reason().to_owned()),
            Event::Discarded { kind } => Said::Discarded(kind),
        }
    }

    fn join(all: &mut Vec<Said>, next: Said) {
        match (all.last_mut(), next) {
            (Some(Said::Text(before, last @ false)), Said::Text(text, end)) => {
                before.push_str(&text);
                *last = end;
            }
            (Some(Said::Binary(before, last @ false)), Said::Binary(data, end)) => {
                before.extend(data);
                *last = end;
            }
            (_, next) => all.push(next),
        }
    }

    /// All events of a decoder that is fed `input` in pieces of the given sizes, repeated.
    fn decode(options: &DecodeOptions, input: &[u8], sizes: &[usize], direct: bool) -> Vec<Said> {
        decode_by(Decoder::default(), options, input, sizes, direct)
    }

    fn decode_by(
        mut decoder: Decoder,
        options: &DecodeOptions,
        input: &[u8],
        sizes: &[usize],
        direct: bool,
    ) -> Vec<Said> {
        let (mut all, mut rest) = (Vec::new(), input);
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).clamp(1, rest.len()));
            rest = after;
            let mut piece = piece.to_vec();
            let mut piece = &mut piece[..];
            if direct {
                if let Some((place, room)) = decoder.direct(0) {
                    let count = room.min(piece.len());
                    place.extend_from_slice(&piece[..count]);
                    match decoder.filled(count) {
                        Ok(event) => event.into_iter().for_each(|event| join(&mut all, said(event))),
                        Err(violation) => {
                            all.push(Said::Wrong(violation.close_code().as_u16()));
                            return all;
                        }
                    }
                    piece = &mut piece[count..];
                }
            }
            while !piece.is_empty() {
                match decoder.next(options, piece) {
                    Ok((used, event)) => {
                        event.into_iter().for_each(|event| join(&mut all, said(event)));
                        piece = &mut piece[used..];
                    }
                    Err(violation) => {
                        all.push(Said::Wrong(violation.close_code().as_u16()));
                        return all;
                    }
                }
            }
        }
        all
    }

    fn readings(options: &DecodeOptions, input: &[u8]) -> Vec<Said> {
        let whole = decode(options, input, &[usize::MAX], false);
        assert_eq!(decode(options, input, &[1], false), whole, "byte by byte");
        for cut in 1..input.len() {
            assert_eq!(decode(options, input, &[cut, usize::MAX], false), whole, "split at {cut}");
        }
        whole
    }

    #[test]
    fn fragments_without_end_are_not_taken_without_end() {
        let mut decoder = Decoder::default();
        let mut input = [client(0x02, b""), client(0x00, b"").repeat(100)].concat();
        assert_eq!(decoder.next(&WHOLE, &mut input).unwrap(), (AT_ONCE as usize * 6, None));
    }

    #[test]
    fn whole_messages_are_the_same_however_they_are_cut() {
        let input = [client(0x81, "grüß 言".as_bytes()), client(0x82, &[0, 255]), client(0x81, b"")].concat();
        assert_eq!(
            readings(&WHOLE, &input),
            [Said::Text("grüß 言".into(), true), Said::Binary(vec![0, 255], true), Said::Text(String::new(), true)]
        );
    }

    #[test]
    fn a_client_takes_the_same_without_a_mask_and_refuses_one() {
        let plain = |first: u8, payload: &[u8]| [&[first, payload.len() as u8][..], payload].concat();
        let input = [plain(0x01, b"a"), plain(0x89, b"ping"), plain(0x80, b"b"), plain(0x82, &[7; 100])].concat();
        let expected = [Said::Ping(b"ping".to_vec()), Said::Text("ab".into(), true), Said::Binary(vec![7; 100], true)];
        for size in 1..=input.len() {
            let decoder = Decoder::new(Role::Client, None);
            assert_eq!(decode_by(decoder, &WHOLE, &input, &[size], false), expected, "{size} at a time");
        }
        let masked = decode_by(Decoder::new(Role::Client, None), &WHOLE, &client(0x81, b"a"), &[usize::MAX], false);
        assert_eq!(masked, [Said::Wrong(1002)]);
    }

    #[test]
    fn control_frames_pass_between_fragments() {
        let input = [
            client(0x01, "a言".as_bytes()),
            client(0x89, b"ping"),
            client(0x00, b""),
            client(0x8a, b"pong"),
            client(0x80, b"z"),
            client(0x88, b"\x03\xe8bye"),
        ]
        .concat();
        let ends = [Said::Pong(b"pong".to_vec()), Said::Text("a言z".into(), true), Said::Close(1000, "bye".into())];
        assert_eq!(readings(&WHOLE, &input), [&[Said::Ping(b"ping".to_vec())], &ends[..]].concat());
    }

    #[test]
    fn parts_come_as_they_arrive_and_characters_stay_whole() {
        // the second fragment begins in the middle of a character
        let sign = "言".as_bytes();
        let input = [client(0x01, &[b"a", &sign[..1]].concat()), client(0x00, &sign[1..]), client(0x80, b"")].concat();
        assert_eq!(
            decode(&PARTS, &input, &[usize::MAX], false),
            [Said::Text("a言".into(), true)],
            "joined by the test, whatever the parts were"
        );
        assert_eq!(readings(&PARTS, &input), [Said::Text("a言".into(), true)]);
        let mut decoder = Decoder::default();
        let mut input = client(0x01, b"A");
        let (_, event) = decoder.next(&PARTS, &mut input).unwrap();
        assert_eq!(event, Some(Event::Text { text: Utf8Chunk::Borrowed("A"), last: false }));
        let mut input = client(0x80, b"B");
        let (_, event) = decoder.next(&PARTS, &mut input).unwrap();
        assert_eq!(event, Some(Event::Text { text: Utf8Chunk::Borrowed("B"), last: true }));
        assert!(decoder.is_idle());
    }

    #[test]
    fn discarded_messages_are_checked_and_dropped() {
        let input = [client(0x01, b"a"), client(0x80, b"b"), client(0x82, b"c")].concat();
        assert_eq!(readings(&NONE, &input), [Said::Discarded(DataKind::Text), Said::Discarded(DataKind::Binary)]);
        assert_eq!(readings(&NONE, &client(0x81, b"\xff")), [Said::Wrong(1007)]);
    }

    #[test]
    fn a_bad_byte_fails_before_its_frame_is_complete() {
        for options in [WHOLE, PARTS, NONE] {
            let mut decoder = Decoder::default();
            let mut begun = client(0x01, &[&b"ab\xff"[..], &[b'c'; 100]].concat());
            assert_eq!(decoder.next(&options, &mut begun[..9]).unwrap_err(), Violation::NotUtf8);
        }
        // and an unfinished character at the end of a message too
        let cut = &"言".as_bytes()[..2];
        for options in [WHOLE, PARTS, NONE] {
            assert_eq!(readings(&options, &client(0x81, cut)), [Said::Wrong(1007)]);
            assert_eq!(
                readings(&options, &[client(0x01, cut), client(0x80, b"")].concat()).last(),
                Some(&Said::Wrong(1007))
            );
        }
    }

    #[test]
    fn the_limit_counts_bytes_over_all_fragments_and_is_allowed_itself() {
        let options = DecodeOptions { text: Delivery::Whole { limit: 5 }, binary: Delivery::Whole { limit: 5 } };
        assert_eq!(readings(&options, &client(0x81, b"12345")), [Said::Text("12345".into(), true)]);
        assert_eq!(readings(&options, &client(0x81, b"123456")), [Said::Wrong(1009)]);
        assert_eq!(readings(&options, &client(0x81, "言言".as_bytes())), [Said::Wrong(1009)]);
        assert_eq!(readings(&options, &[client(0x02, b"123"), client(0x80, b"456")].concat()), [Said::Wrong(1009)]);
        // the header suffices
        let mut decoder = Decoder::default();
        let mut header = [0x82, 0xff, 0, 0, 0, 0xff, 0, 0, 0, 0, 1, 2, 3, 4];
        assert!(matches!(decoder.next(&options, &mut header), Err(Violation::TooBig { limit: 5, .. })));
    }

    #[test]
    fn a_claimed_length_reserves_nothing_like_it() {
        let options = DecodeOptions { text: Delivery::Discard, binary: Delivery::Whole { limit: usize::MAX } };
        let mut decoder = Decoder::default();
        let mut header = [0x82, 0xff, 0, 0, 0x10, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(decoder.next(&options, &mut header).unwrap(), (14, None));
        let (place, room) = decoder.direct(0).unwrap();
        assert!(room <= DIRECT_STEP && place.capacity() <= DIRECT_STEP);
    }

    /// "Hello" as in RFC 7692 §7.2.3.1, and again as in §7.2.3.2, for a decoder that has seen the first.
    const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    const AGAIN: [u8; 5] = [0xf2, 0x00, 0x11, 0x00, 0x00];

    fn readings_deflated(options: &DecodeOptions, input: &[u8], no_context_takeover: bool) -> Vec<Said> {
        let decode = |sizes: &[usize], direct| {
            decode_by(
                Decoder::new(Role::Server, Some(Inbound::new(no_context_takeover))),
                options,
                input,
                sizes,
                direct,
            )
        };
        let whole = decode(&[usize::MAX], false);
        assert_eq!(decode(&[1], true), whole, "byte by byte");
        for cut in 1..input.len() {
            assert_eq!(decode(&[cut, usize::MAX], true), whole, "split at {cut}");
        }
        whole
    }

    #[test]
    fn compressed_messages_are_the_same_however_they_are_cut() {
        let hello = Said::Text("Hello".into(), true);
        let input = [
            client(0xc1, &HELLO),
            client(0x81, b"plain"),
            client(0x41, &HELLO[..3]),
            client(0x89, b"ping"),
            client(0x00, b""),
            client(0x00, &HELLO[3..]),
            client(0x80, b""),
            client(0xc2, &[0x00]),
            client(0xc2, b""),
        ]
        .concat();
        let said = [
            hello.clone(),
            Said::Text("plain".into(), true),
            Said::Ping(b"ping".to_vec()),
            hello,
            Said::Binary(Vec::new(), true),
            Said::Binary(Vec::new(), true),
        ];
        let dropped = [DataKind::Text, DataKind::Text].map(Said::Discarded);
        let dropped = [
            &dropped[..],
            &[said[2].clone()],
            &[DataKind::Text, DataKind::Binary, DataKind::Binary].map(Said::Discarded),
        ]
        .concat();
        for no_context_takeover in [true, false] {
            assert_eq!(readings_deflated(&WHOLE, &input, no_context_takeover), said);
            assert_eq!(readings_deflated(&NONE, &input, no_context_takeover), dropped);
            assert_eq!(readings_parts(&input, no_context_takeover), said);
        }
    }

    /// The parts of each message joined, across control frames as well.
    fn readings_parts(input: &[u8], no_context_takeover: bool) -> Vec<Said> {
        let decode = |sizes: &[usize]| {
            let said = decode_by(
                Decoder::new(Role::Server, Some(Inbound::new(no_context_takeover))),
                &PARTS,
                input,
                sizes,
                true,
            );
            let (mut joined, mut begun): (Vec<Said>, Vec<Said>) = (Vec::new(), Vec::new());
            for said in said {
                match said {
                    Said::Text(..) | Said::Binary(..) => join(&mut begun, said),
                    other => joined.push(other),
                }
                if let [Said::Text(_, true) | Said::Binary(_, true)] = &begun[..] {
                    joined.append(&mut begun);
                }
            }
            assert_eq!(begun, []);
            joined
        };
        let whole = decode(&[usize::MAX]);
        for cut in 1..input.len() {
            assert_eq!(decode(&[cut, usize::MAX]), whole, "split at {cut}");
        }
        assert_eq!(decode(&[1]), whole, "byte by byte");
        whole
    }

    #[test]
    fn a_context_is_taken_over_if_it_is_kept_whatever_becomes_of_the_message() {
        let input = [client(0xc1, &HELLO), client(0xc2, &AGAIN)].concat();
        let options = |text, binary| DecodeOptions { text, binary };
        let hello = Said::Binary(b"Hello".to_vec(), true);
        for (text, first) in [
            (Delivery::Whole { limit: 9 }, Said::Text("Hello".into(), true)),
            (Delivery::Parts, Said::Text("Hello".into(), true)),
            (Delivery::Discard, Said::Discarded(DataKind::Text)),
        ] {
            let options = options(text, Delivery::Whole { limit: 9 });
            assert_eq!(readings_deflated(&options, &input, false).last(), Some(&hello), "{first:?}");
            assert_eq!(readings_deflated(&options, &input, true).last(), Some(&Said::Wrong(1007)), "{first:?}");
        }
    }

    #[test]
    fn the_limit_counts_what_is_decompressed() {
        let options = |limit| DecodeOptions { text: Delivery::Whole { limit }, binary: Delivery::Discard };
        let fragments = [client(0x41, &HELLO[..4]), client(0x80, &HELLO[4..])].concat();
        for input in [client(0xc1, &HELLO), fragments] {
            assert_eq!(readings_deflated(&options(5), &input, true), [Said::Text("Hello".into(), true)]);
            assert_eq!(readings_deflated(&options(4), &input, true), [Said::Wrong(1009)]);
            assert_eq!(readings_deflated(&options(0), &input, true), [Said::Wrong(1009)]);
        }
        // a message that is first too big and then invalid is too big, also if both are seen at once
        let both = [&[0x00, 0x05, 0x00, 0xfa, 0xff][..], b"Hello", &[0x07, 0x07]].concat();
        assert_eq!(readings_deflated(&options(4), &client(0xc1, &both), true), [Said::Wrong(1009)]);
        assert_eq!(readings_deflated(&options(5), &client(0xc1, &both), true), [Said::Wrong(1007)]);
        let bad = [&[0x00, 0x05, 0x00, 0xfa, 0xff][..], b"He\xfflo", &[0x00]].concat();
        assert_eq!(readings_deflated(&options(3), &client(0xc1, &bad), true), [Said::Wrong(1007)]);
        assert_eq!(readings_deflated(&options(2), &client(0xc1, &bad), true), [Said::Wrong(1009)]);
        // stored blocks make it larger on the wire than it is
        let stored = [&[0x00, 0x00, 0x00, 0xff, 0xff].repeat(20)[..], &[0x00]].concat();
        assert_eq!(readings_deflated(&options(0), &client(0xc1, &stored), true), [Said::Text(String::new(), true)]);
    }

    #[test]
    fn compressed_text_is_checked_as_it_comes() {
        // stored blocks: the first byte of a character, then a wrong one
        let bad = [0x00, 0x03, 0x00, 0xfc, 0xff, b'a', 0xe8, b'x'];
        for options in [WHOLE, PARTS, NONE] {
            for no_context_takeover in [true, false] {
                if options.text == Delivery::Discard && no_context_takeover {
                    continue;
                }
                let mut decoder = Decoder::new(Role::Server, Some(Inbound::new(no_context_takeover)));
                let mut begun = client(0x41, &[&bad[..], &[0; 50]].concat());
                let (seen, _) = begun.split_at_mut(14);
                assert_eq!(decoder.next(&options, seen).unwrap_err(), Violation::NotUtf8);
                // and a character that the end cuts off
                let cut = client(0xc1, &[0x00, 0x02, 0x00, 0xfd, 0xff, b'a', 0xe8, 0x00]);
                for size in 1..=cut.len() {
                    let decoder = Decoder::new(Role::Server, Some(Inbound::new(no_context_takeover)));
                    let said = decode_by(decoder, &options, &cut, &[size], true);
                    assert_eq!(said.last(), Some(&Said::Wrong(1007)));
                }
            }
        }
    }

    #[test]
    fn the_bit_of_a_compressed_message_stands_on_its_first_frame_alone() {
        let first = client(0x41, &HELLO[..3]);
        for (input, no_context_takeover) in [
            (client(0xc9, b""), true),
            (client(0xca, b""), false),
            (client(0xc8, b""), true),
            (client(0xc0, b""), true),
            ([first.clone(), client(0xc0, &HELLO[3..])].concat(), true),
            (client(0xa1, b""), true),
            (client(0xd1, b""), false),
            (client(0xf2, b""), false),
        ] {
            assert_eq!(readings_deflated(&WHOLE, &input, no_context_takeover), [Said::Wrong(1002)], "{input:02x?}");
        }
        assert_eq!(readings(&WHOLE, &client(0xc1, &HELLO)), [Said::Wrong(1002)]);
    }

    #[test]
    fn what_comes_to_nothing_keeps_no_room() {
        let nothing = client(0x41, &[&[0x00, 0x00, 0x00, 0xff, 0xff].repeat(200)[..], &[0x00]].concat());
        for (options, no_context_takeover) in [(PARTS, true), (PARTS, false), (NONE, true), (NONE, false)] {
            let mut decoder = Decoder::new(Role::Server, Some(Inbound::new(no_context_takeover)));
            assert_eq!(decoder.next(&options, &mut nothing.clone()), Ok((nothing.len(), None)));
            assert_eq!(decoder.kept(), (0, 0, 0));
        }
        // nor after the end, if the rest of the message came later
        let mut decoder = Decoder::new(Role::Server, Some(Inbound::new(true)));
        let mut bytes = nothing;
        bytes[0] |= 0x80;
        let (begun, rest) = bytes.split_at_mut(500);
        assert_eq!(decoder.next(&WHOLE, begun), Ok((500, None)));
        assert!(matches!(decoder.next(&WHOLE, rest), Ok((_, Some(Event::Text { last: true, .. })))));
        assert_eq!((decoder.is_idle(), decoder.kept()), (true, (0, 0, 0)));
    }

    #[test]
    fn parts_of_what_grows_are_bounded() {
        // stored once, then repeated: 258 bytes for a few bits
        let zeros = vec![0; 1 << 20];
        let mut stream = flate2::Compress::new(flate2::Compression::best(), false);
        let mut bomb = Vec::with_capacity(1 << 16);
        stream.compress_vec(&zeros, &mut bomb, flate2::FlushCompress::Sync).unwrap();
        bomb.truncate(bomb.len() - 4);
        for size in [1, 7, usize::MAX] {
            let mut decoder = Decoder::new(Role::Server, Some(Inbound::new(true)));
            let (mut total, mut parts, mut ends) = (0, 0, 0);
            for piece in client(0xc2, &bomb).chunks_mut(size.min(1 << 20)) {
                let mut piece = piece;
                while !piece.is_empty() {
                    let (used, event) = decoder.next(&PARTS, piece).unwrap();
                    let event = event.map(Event::into_owned);
                    piece = &mut piece[used..];
                    if let Some(Event::Binary { data, last }) = event {
                        assert!(data.as_slice().iter().all(|byte| *byte == 0));
                        assert!(data.as_slice().len() <= 2 * PART, "{}", data.as_slice().len());
                        (total, parts, ends) = (total + data.as_slice().len(), parts + 1, ends + usize::from(last));
                    }
                }
            }
            assert_eq!((total, ends), (zeros.len(), 1));
            assert!(parts >= zeros.len() / (2 * PART), "{parts}");
            assert!(decoder.is_idle());
        }
    }

    #[test]
    fn what_is_dropped_is_not_inflated_all_at_once() {
        let mut stream = flate2::Compress::new(flate2::Compression::best(), false);
        let mut bomb = Vec::with_capacity(1 << 16);
        stream.compress_vec(&vec![0; 16 << 20], &mut bomb, flate2::FlushCompress::Sync).unwrap();
        bomb.truncate(bomb.len() - 4);
        let mut decoder = Decoder::new(Role::Server, Some(Inbound::new(false)));
        let mut bytes = client(0xc2, &bomb);
        let (mut start, mut total) = (0, 0);
        loop {
            let (used, event) = decoder.next(&NONE, &mut bytes[start..]).unwrap();
            let event = event.map(Event::into_owned);
            start += used;
            let work = decoder.take_work();
            assert!(work <= 2 * PART * AT_ONCE as usize, "{work}");
            total += work;
            if event.is_some() {
                assert_eq!(event, Some(Event::Discarded { kind: DataKind::Binary }));
                break;
            }
        }
        assert_eq!((start, total), (bytes.len(), (16 << 20) + 16 * bomb.len()));
    }

    #[test]
    fn what_makes_nothing_is_work_and_is_not_taken_all_at_once() {
        let nothing = [0x03, 0x00].repeat(64 << 10);
        let whole = DecodeOptions { binary: Delivery::Whole { limit: 1 << 20 }, ..NONE };
        for options in [whole, PARTS, NONE] {
            let mut decoder = Decoder::new(Role::Server, Some(Inbound::new(false)));
            let mut bytes = client(0xc2, &nothing);
            let (mut start, mut total, mut calls) = (0, 0, 0);
            while start < bytes.len() {
                let (used, _) = decoder.next(&options, &mut bytes[start..]).unwrap();
                // including the header of the frame
                assert!(used <= (8 << 10) + 14, "{used}");
                (start, total, calls) = (start + used, total + decoder.take_work(), calls + 1);
            }
            assert_eq!((total, calls), (16 * nothing.len(), nothing.len() >> 13));
        }
    }

    #[test]
    fn a_message_does_not_hold_on_to_much_more_than_itself() {
        let options = DecodeOptions { text: Delivery::Discard, binary: Delivery::Whole { limit: 1 << 20 } };
        let message = client(0x82, &[7; OWN_FROM]);
        let mut buffer = message.repeat(15);
        let (mut decoder, mut range) = (Decoder::default(), 0..buffer.len());
        while !range.is_empty() {
            let (rest, event) = decoder.next_owned(&options, &mut buffer, range).unwrap();
            range = rest;
            let Some(Event::Binary { data: ByteChunk::Owned(data), .. }) = event else { panic!("{event:?}") };
            let data = Vec::from(Bytes::from(data));
            assert!(data.capacity() <= 2 * OWN_FROM + 100, "{} bytes in {}", data.len(), data.capacity());
        }
    }

    #[test]
    fn frames_out_of_order_are_refused() {
        assert_eq!(readings(&WHOLE, &client(0x80, b"x")), [Said::Wrong(1002)]);
        assert_eq!(readings(&WHOLE, &[client(0x01, b"x"), client(0x81, b"y")].concat()), [Said::Wrong(1002)]);
        assert_eq!(readings(&WHOLE, &[client(0x01, b"x"), client(0x02, b"y")].concat()), [Said::Wrong(1002)]);
    }

    #[test]
    fn close_bodies_are_judged() {
        assert_eq!(readings(&WHOLE, &client(0x88, b"")), [Said::Close(1005, String::new())]);
        assert_eq!(readings(&WHOLE, &client(0x88, b"\x03")), [Said::Wrong(1002)]);
        assert_eq!(readings(&WHOLE, &client(0x88, b"\x03\xed")), [Said::Wrong(1002)]);
        assert_eq!(readings(&WHOLE, &client(0x88, b"\x03\xe8\xff")), [Said::Wrong(1007)]);
        assert_eq!(readings(&WHOLE, &client(0x88, b"\x0f\xa1x")), [Said::Close(4001, "x".into())]);
    }

    /// Streams of frames, mostly well-formed.
    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let payload = prop_oneof![
            4 => "\\PC{0,12}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..300),
            1 => Just("言".as_bytes()[..2].to_vec()),
        ];
        let first = prop_oneof![
            8 => proptest::sample::select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88]),
            1 => any::<u8>(),
        ];
        proptest::collection::vec((first, payload), 0..12)
            .prop_map(|frames| frames.iter().flat_map(|(first, payload)| client(*first, payload)).collect())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(input in streams(), sizes in proptest::collection::vec(1usize..40, 1..8)) {
            for options in [WHOLE, PARTS, NONE] {
                let whole = decode(&options, &input, &[usize::MAX], false);
                let split = decode(&options, &input, &sizes, false);
                // parts that were cut before the violation was seen may have got further
                if whole.last().is_some_and(|said| matches!(said, Said::Wrong(_))) && options.text == Delivery::Parts {
                    prop_assert_eq!(whole.last(), split.last());
                } else {
                    prop_assert_eq!(whole, split);
                }
            }
        }

        #[test]
        fn messages_that_take_their_buffer_over_are_the_same(
            sizes in proptest::collection::vec(prop_oneof![0usize..20, OWN_FROM - 2..OWN_FROM + 40], 1..5),
            text: bool, before in 0usize..30, cut in 0usize..60,
        ) {
            let messages: Vec<Vec<u8>> = (0u8..).zip(&sizes).map(|(i, size)| vec![b'a' + i; *size]).collect();
            let first = if text { 0x81 } else { 0x82 };
            let mut buffer = vec![0; before];
            messages.iter().for_each(|message| buffer.extend(client(first, message)));
            let cut = cut.min(buffer.len() - before);
            let end = buffer.len() - cut;
            let tail = buffer[end..].to_vec();
            let (mut decoder, mut range, mut said) = (Decoder::default(), before..end, Vec::new());
            let whole = Delivery::Whole { limit: 1 << 20 };
            let options = DecodeOptions { text: whole, binary: whole };
            for last in [false, true] {
                while !range.is_empty() {
                    let (rest, event) = decoder.next_owned(&options, &mut buffer, range).unwrap();
                    range = rest;
                    match event {
                        Some(Event::Text { text: Utf8Chunk::Owned(text), last: true }) => said.push(text.as_bytes().to_vec()),
                        Some(Event::Binary { data: ByteChunk::Owned(data), last: true }) => said.push(data.to_vec()),
                        None => {}
                        other => panic!("{other:?}"),
                    }
                }
                if !last {
                    (buffer, range) = (tail.clone(), 0..cut);
                }
            }
            prop_assert_eq!(said, messages);
        }

        #[test]
        fn arbitrary_bytes_never_panic(input: Vec<u8>, sizes in proptest::collection::vec(1usize..40, 1..8)) {
            for options in [WHOLE, PARTS, NONE] {
                decode(&options, &input, &sizes, true);
            }
        }

        #[test]
        fn reading_directly_changes_nothing(
            tail in "\\PC{0,8}", seed: u8, fragments in 1usize..4, sizes in proptest::collection::vec(1usize..50_000, 1..8)
        ) {
            let options = DecodeOptions { text: Delivery::Whole { limit: 1 << 20 }, binary: Delivery::Discard };
            let piece: String = (0..30_000).map(|i| if (i + usize::from(seed)) % 7 == 0 { '言' } else { 'x' }).collect();
            let mut input = Vec::new();
            for i in 0..fragments {
                let first = if i == 0 { 0x01 } else { 0x00 };
                input.extend(client(first, piece.as_bytes()));
            }
            input.extend(client(0x80, tail.as_bytes()));
            input.extend(client(0x89, b"after"));
            let expected =
                [Said::Text(piece.repeat(fragments) + &tail, true), Said::Ping(b"after".to_vec())];
            prop_assert_eq!(&decode(&options, &input, &sizes, true)[..], &expected);
        }
    }
}
