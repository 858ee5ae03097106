//! Frames to messages and control events, incrementally: any split of the input gives the same events.
//!
//! A message that lies whole in the input is handed out where it lies. Only what is incomplete is copied, and a large
//! message may be read straight into the place where it is put together ([`Decoder::direct`]). Sizes are checked
//! before anything is buffered, and a buffer grows with the octets that came, never with a length that was claimed.

use super::deflate::{self, Inbound};
use super::frame::{self, Header, MAX_HEADER, OpCode};
use super::{Violation, mask, utf8};
use crate::close::{CloseCode, CloseReason, Initiator};
use crate::message::Binary;
use crate::text::Text;

/// From this many missing octets on, reading past the receive buffer pays.
const DIRECT_FROM: u64 = 16 << 10;

/// The header of a masked frame of up to 125 octets.
const SMALL_HEADER: usize = 6;

/// The first reservation for a message that is read directly; it doubles from there.
const DIRECT_STEP: usize = 64 << 10;

/// About so much of a compressed message is handed on at a time where parts are wanted.
const PART: usize = 64 << 10;

/// What becomes of the messages of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// Put together, up to so many octets.
    Whole { limit: usize },
    /// Handed on as it comes.
    Parts,
    /// Nobody wants it: checked and dropped.
    Discard,
}

/// How the messages of a connection are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) text: Take,
    pub(crate) binary: Take,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'i> {
    Text {
        text: Chars<'i>,
        last: bool,
    },
    Binary {
        data: Octets<'i>,
        last: bool,
    },
    Ping(Binary),
    Pong(Binary),
    Close(CloseReason),
    /// A message of a kind that is discarded came to its end.
    Unwanted {
        text: bool,
    },
}

/// Text, in the input or put together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chars<'i> {
    Borrowed(&'i str),
    Owned(Text),
}

/// Octets, in the input or put together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Octets<'i> {
    Borrowed(&'i [u8]),
    Owned(Binary),
}

impl Event<'_> {
    /// The same, out of the input.
    pub(crate) fn into_owned(self) -> Event<'static> {
        match self {
            Self::Text { text, last } => Event::Text { text: Chars::Owned(text.into_text()), last },
            Self::Binary { data, last } => Event::Binary { data: Octets::Owned(data.into_binary()), last },
            Self::Ping(data) => Event::Ping(data),
            Self::Pong(data) => Event::Pong(data),
            Self::Close(reason) => Event::Close(reason),
            Self::Unwanted { text } => Event::Unwanted { text },
        }
    }
}

impl Chars<'_> {
    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }

    #[inline]
    pub(crate) fn into_text(self) -> Text {
        match self {
            Self::Borrowed(text) => text.into(),
            Self::Owned(text) => text,
        }
    }
}

impl Octets<'_> {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(data) => data,
            Self::Owned(data) => data,
        }
    }

    #[inline]
    pub(crate) fn into_binary(self) -> Binary {
        match self {
            Self::Borrowed(data) => data.into(),
            Self::Owned(data) => data,
        }
    }
}

/// The state between two pieces of input.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The beginning of a header.
    head: [u8; MAX_HEADER],
    head_len: u8,
    /// The frame whose payload is not all here.
    frame: Option<Frame>,
    /// The data message that is not complete.
    message: Option<Assembly>,
    /// Its octets so far if it is taken whole, else the beginning of a character.
    buffer: Vec<u8>,
    /// How many octets of `buffer` are known to be UTF-8.
    validated: usize,
    /// The payload so far of a control frame that is not all here.
    control: Vec<u8>,
    /// There if compression was negotiated.
    deflate: Option<Box<Inbound>>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: OpCode,
    /// The key as seen from the next octet.
    mask: [u8; 4],
    remaining: u64,
}

#[derive(Clone, Copy, Debug)]
struct Assembly {
    text: bool,
    take: Take,
    deflated: bool,
}

impl Decoder {
    pub(crate) fn new(deflate: Option<Inbound>) -> Self {
        Self { deflate: deflate.map(Box::new), ..Self::default() }
    }

    /// Takes events off the front of `input`: returns how many octets it used, and an event unless it used them all
    /// without completing one.
    pub(crate) fn next<'i>(
        &mut self,
        rules: &Rules,
        mut input: &'i mut [u8],
    ) -> Result<(usize, Option<Event<'i>>), Violation> {
        let total = input.len();
        // the common case first: a small message, whole, between two others
        if self.is_idle() {
            if let [first @ (0x81 | 0x82), second @ 0x80..=0xfd, a, b, c, d, rest @ ..] = &mut *input {
                let (text, length) = (*first == 0x81, usize::from(*second & 0x7f));
                let take = if text { rules.text } else { rules.binary };
                let fits = matches!(take, Take::Whole { limit } if length <= limit) || take == Take::Parts;
                if fits && length <= rest.len() {
                    let key = [*a, *b, *c, *d];
                    let payload = &mut input[SMALL_HEADER..SMALL_HEADER + length];
                    mask::apply(payload, key, 0);
                    let event = if text {
                        let text = utf8::whole(payload).ok_or(Violation::NotUtf8)?;
                        Event::Text { text: Chars::Borrowed(text), last: true }
                    } else {
                        Event::Binary { data: Octets::Borrowed(payload), last: true }
                    };
                    return Ok((SMALL_HEADER + length, Some(event)));
                }
            }
        }
        loop {
            if self.frame.is_none() {
                let Some((header, rest)) = self.header(input)? else { return Ok((total, None)) };
                input = rest;
                self.admit(rules, &header)?;
                let here = header.payload <= input.len() as u64 && !header.deflated;
                if here && (header.opcode.is_control() || (header.fin && header.opcode != OpCode::Continuation)) {
                    let (payload, rest) = input.split_at_mut(header.payload as usize);
                    mask::apply(payload, header.mask, 0);
                    let event = match header.opcode {
                        OpCode::Text => {
                            let text = utf8::whole(payload).ok_or(Violation::NotUtf8)?;
                            if rules.text == Take::Discard {
                                Event::Unwanted { text: true }
                            } else {
                                Event::Text { text: Chars::Borrowed(text), last: true }
                            }
                        }
                        OpCode::Binary if rules.binary == Take::Discard => Event::Unwanted { text: false },
                        OpCode::Binary => Event::Binary { data: Octets::Borrowed(payload), last: true },
                        control => control_event(control, payload)?,
                    };
                    return Ok((total - rest.len(), Some(event)));
                }
                if !header.opcode.is_control() && self.message.is_none() {
                    let text = header.opcode == OpCode::Text;
                    let take = if text { rules.text } else { rules.binary };
                    self.message = Some(Assembly { text, take, deflated: header.deflated });
                }
                self.frame = Some(Frame {
                    fin: header.fin,
                    opcode: header.opcode,
                    mask: header.mask,
                    remaining: header.payload,
                });
            }
            let missing = self.frame.map_or(0, |frame| frame.remaining);
            let here = usize::try_from(missing).map_or(input.len(), |n| n.min(input.len()));
            if self.inflates() {
                let (used, event) = self.inflate(&mut input[..here])?;
                input = &mut input[used..];
                if event.is_some() || input.is_empty() {
                    return Ok((total - input.len(), event));
                }
                continue;
            }
            let (piece, rest) = input.split_at_mut(here);
            input = rest;
            if let Some(event) = self.payload(piece)? {
                return Ok((total - input.len(), Some(event)));
            }
            if input.is_empty() {
                return Ok((total, None));
            }
        }
    }

    /// The place a large message may be read into directly, and how much of it; then call [`Decoder::filled`].
    ///
    /// The vector is only to be appended to, by at most so many octets.
    pub(crate) fn direct(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        let frame = self.frame.filter(|frame| !frame.opcode.is_control() && frame.remaining >= DIRECT_FROM)?;
        self.message.filter(|message| matches!(message.take, Take::Whole { .. }) && !message.deflated)?;
        let missing = usize::try_from(frame.remaining).unwrap_or(usize::MAX);
        if self.buffer.len() == self.buffer.capacity() {
            self.buffer.reserve_exact(missing.min(self.buffer.len().max(DIRECT_STEP)));
        }
        let room = (self.buffer.capacity() - self.buffer.len()).min(missing);
        Some((&mut self.buffer, room))
    }

    /// Says that `count` octets were appended to the place [`Decoder::direct`] gave.
    pub(crate) fn filled(&mut self, count: usize) -> Result<Option<Event<'static>>, Violation> {
        let Some(frame) = &mut self.frame else { return Ok(None) };
        let start = self.buffer.len() - count;
        mask::apply(&mut self.buffer[start..], frame.mask, 0);
        frame.mask.rotate_left(count % 4);
        frame.remaining -= count as u64;
        self.assembled()
    }

    /// Whether the input so far ends between two messages, so that nothing is lost if it ends there.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// How many octets are kept of a data message and of a control frame, and the room reserved for both.
    #[cfg(fuzzing)]
    pub(crate) fn kept(&self) -> (usize, usize, usize) {
        (self.buffer.len(), self.control.len(), self.buffer.capacity() + self.control.capacity())
    }

    /// Completes a header, or keeps its beginning.
    fn header<'i>(&mut self, input: &'i mut [u8]) -> Result<Option<(Header, &'i mut [u8])>, Violation> {
        let kept = usize::from(self.head_len);
        if kept == 0 {
            if let Some(header) = frame::parse(input, self.deflate.is_some())? {
                return Ok(Some((header, &mut input[header.len..])));
            }
        }
        let taken = input.len().min(MAX_HEADER - kept);
        self.head[kept..kept + taken].copy_from_slice(&input[..taken]);
        if let Some(header) = frame::parse(&self.head[..kept + taken], self.deflate.is_some())? {
            self.head_len = 0;
            return Ok(Some((header, &mut input[header.len - kept..])));
        }
        // MAX_HEADER octets always make a header, so all of the input was taken and the sum fits
        self.head_len = (kept + taken) as u8;
        Ok(None)
    }

    /// Refuses a frame that does not fit what came before it (RFC 6455 §5.4), or would exceed the limit.
    fn admit(&self, rules: &Rules, header: &Header) -> Result<(), Violation> {
        let take = match (header.opcode, self.message) {
            (OpCode::Continuation, None) => {
                return Err(Violation::Protocol("a continuation frame has no message to continue"));
            }
            (OpCode::Text | OpCode::Binary, Some(_)) => {
                return Err(Violation::Protocol("a message began before the one before it was complete"));
            }
            (OpCode::Continuation, Some(message)) => message.take,
            (OpCode::Text, None) => rules.text,
            (OpCode::Binary, None) => rules.binary,
            (OpCode::Close | OpCode::Ping | OpCode::Pong, _) => return Ok(()),
        };
        match take {
            // it is limited while it is decompressed
            _ if header.deflated || self.message.is_some_and(|message| message.deflated) => Ok(()),
            Take::Whole { limit } => {
                let size = (self.buffer.len() as u64).saturating_add(header.payload);
                if size > limit as u64 { Err(Violation::TooBig { limit, size }) } else { Ok(()) }
            }
            Take::Parts | Take::Discard => Ok(()),
        }
    }

    /// A piece of the current frame's payload, still masked.
    fn payload<'i>(&mut self, piece: &'i mut [u8]) -> Result<Option<Event<'i>>, Violation> {
        let Some(frame) = &mut self.frame else { return Ok(None) };
        mask::apply(piece, frame.mask, 0);
        frame.mask.rotate_left(piece.len() % 4);
        frame.remaining -= piece.len() as u64;
        let (opcode, complete) = (frame.opcode, frame.remaining == 0);
        let last = complete && frame.fin;
        if opcode.is_control() {
            self.control.extend_from_slice(piece);
            if !complete {
                return Ok(None);
            }
            self.frame = None;
            return control_event(opcode, &std::mem::take(&mut self.control)).map(Some);
        }
        match self.message {
            Some(Assembly { take: Take::Whole { .. }, .. }) => {
                self.buffer.extend_from_slice(piece);
                self.assembled()
            }
            Some(Assembly { text, take, .. }) => {
                if complete {
                    self.frame = None;
                }
                if last {
                    self.message = None;
                }
                let empty = piece.is_empty();
                let event = if text {
                    let text = self.part(piece, last)?;
                    let nothing = matches!(&text, Chars::Borrowed(""));
                    (!nothing || last).then_some(Event::Text { text, last })
                } else {
                    (!empty || last).then_some(Event::Binary { data: Octets::Borrowed(piece), last })
                };
                if take == Take::Discard {
                    return Ok(last.then_some(Event::Unwanted { text }));
                }
                Ok(event)
            }
            // a data frame is only begun with a message
            None => Ok(None),
        }
    }

    /// Whether the current frame belongs to a compressed message.
    #[inline]
    fn inflates(&self) -> bool {
        self.message.is_some_and(|message| message.deflated)
            && self.frame.is_some_and(|frame| !frame.opcode.is_control())
    }

    /// A piece of a compressed message, still masked. Returns how much of it was used: what is left is masked again.
    fn inflate(&mut self, piece: &mut [u8]) -> Result<(usize, Option<Event<'static>>), Violation> {
        let (Some(frame), Some(message), Some(deflate)) = (&mut self.frame, self.message, &mut self.deflate) else {
            return Ok((piece.len(), None));
        };
        mask::apply(piece, frame.mask, 0);
        let mut used = 0;
        match message.take {
            _ if piece.is_empty() => {}
            Take::Whole { limit } if self.buffer.is_empty() && frame.fin && frame.remaining == piece.len() as u64 => {
                let event = deflate::with_scratch(|out| {
                    inflate_within(deflate, piece, out, limit, message.text)?;
                    deflate.finish()?;
                    whole(message.text, out)
                });
                (self.frame, self.message, self.buffer) = (None, None, Vec::new());
                return Ok((piece.len(), Some(event?)));
            }
            Take::Whole { limit } => {
                inflate_within(deflate, piece, &mut self.buffer, limit, message.text)?;
                used = piece.len();
            }
            // nothing that comes later refers to it
            Take::Discard if deflate.forgets() => used = piece.len(),
            Take::Parts | Take::Discard => loop {
                let full = self.buffer.len() + PART;
                let (count, drained) = deflate.inflate(&piece[used..], &mut self.buffer, full)?;
                used += count;
                // what the inflater still holds comes out without input, so the last octet has to wait for it
                if drained || used < piece.len() {
                    break;
                }
            },
        }
        mask::apply(&mut piece[used..], frame.mask, used);
        frame.mask.rotate_left(used % 4);
        frame.remaining -= used as u64;
        let complete = frame.remaining == 0;
        let last = complete && frame.fin;
        if last {
            deflate.finish()?;
        } else {
            deflate.wait();
        }
        if matches!(message.take, Take::Whole { .. }) {
            return Ok((used, self.assembled()?));
        }
        if self.buffer.is_empty() {
            // nothing was made, so no room is kept for it
            self.buffer = Vec::new();
        }
        if complete {
            self.frame = None;
        }
        if last {
            self.message = None;
        }
        let event = if message.text {
            // whatever was made is in the buffer
            let text = self.part(&[], last)?;
            let nothing = text.as_str().is_empty();
            (!nothing || last).then_some(Event::Text { text: Chars::Owned(text.into_text()), last })
        } else {
            let data = Octets::Owned(Binary::from(std::mem::take(&mut self.buffer)));
            (!data.as_slice().is_empty() || last).then_some(Event::Binary { data, last })
        };
        if message.take == Take::Discard {
            return Ok((used, last.then_some(Event::Unwanted { text: message.text })));
        }
        Ok((used, event))
    }

    /// The characters that are complete with `piece`; the beginning of one more is kept.
    fn part<'i>(&mut self, piece: &'i [u8], last: bool) -> Result<Chars<'i>, Violation> {
        let text = if self.buffer.is_empty() {
            let end = utf8::valid_prefix(piece).ok_or(Violation::NotUtf8)?;
            self.buffer.extend_from_slice(&piece[end..]);
            Chars::Borrowed(utf8::whole(&piece[..end]).ok_or(Violation::NotUtf8)?)
        } else {
            let mut joined = std::mem::take(&mut self.buffer);
            joined.extend_from_slice(piece);
            let end = utf8::valid_prefix(&joined).ok_or(Violation::NotUtf8)?;
            self.buffer.extend_from_slice(&joined[end..]);
            joined.truncate(end);
            if joined.is_empty() {
                Chars::Borrowed("")
            } else {
                Chars::Owned(Text::from_validated(Binary::from(joined)))
            }
        };
        if last && !std::mem::take(&mut self.buffer).is_empty() {
            return Err(Violation::NotUtf8);
        }
        Ok(text)
    }

    /// Checks what was added to a message that is taken whole, and hands it out if it is complete.
    fn assembled(&mut self) -> Result<Option<Event<'static>>, Violation> {
        let (Some(frame), Some(message)) = (self.frame, self.message) else { return Ok(None) };
        if message.text {
            self.validated += utf8::valid_prefix(&self.buffer[self.validated..]).ok_or(Violation::NotUtf8)?;
        }
        if frame.remaining > 0 {
            return Ok(None);
        }
        self.frame = None;
        if !frame.fin {
            return Ok(None);
        }
        self.message = None;
        let data = std::mem::take(&mut self.buffer);
        if !message.text {
            return Ok(Some(Event::Binary { data: Octets::Owned(Binary::from(data)), last: true }));
        }
        if std::mem::take(&mut self.validated) != data.len() {
            return Err(Violation::NotUtf8);
        }
        Ok(Some(Event::Text { text: Chars::Owned(Text::from_validated(Binary::from(data))), last: true }))
    }
}

/// Decompresses a piece of a message that is taken whole. Of what is wrong with it that counts which comes first.
fn inflate_within(
    deflate: &mut Inbound,
    piece: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
    text: bool,
) -> Result<(), Violation> {
    let inflated = deflate.inflate(piece, out, limit.saturating_add(1));
    match out.get(..limit).filter(|within| within.len() < out.len()) {
        Some(within) if text && utf8::valid_prefix(within).is_none() => Err(Violation::NotUtf8),
        Some(_) => Err(Violation::TooBig { limit, size: out.len() as u64 }),
        None => inflated.map(drop),
    }
}

/// A complete message, out of a buffer that is needed again.
fn whole(text: bool, data: &[u8]) -> Result<Event<'static>, Violation> {
    if !text {
        return Ok(Event::Binary { data: Octets::Owned(data.into()), last: true });
    }
    let text = utf8::whole(data).ok_or(Violation::NotUtf8)?;
    Ok(Event::Text { text: Chars::Owned(text.into()), last: true })
}

/// A complete control frame, unmasked.
fn control_event<'i>(opcode: OpCode, payload: &[u8]) -> Result<Event<'i>, Violation> {
    Ok(match opcode {
        OpCode::Ping => Event::Ping(payload.into()),
        OpCode::Pong => Event::Pong(payload.into()),
        _ => Event::Close(close_reason(payload)?),
    })
}

/// The body of a close frame (RFC 6455 §5.5.1): nothing, or a code that may travel and a phrase in UTF-8.
fn close_reason(payload: &[u8]) -> Result<CloseReason, Violation> {
    let reason = match payload {
        [] => CloseReason::from(CloseCode::NoStatusCode),
        [_] => return Err(Violation::Protocol("a close frame with a body must carry a code of two bytes")),
        [a, b, phrase @ ..] => {
            let code = CloseCode::from(u16::from_be_bytes([*a, *b]));
            if !code.is_sendable() {
                return Err(Violation::Protocol("the close frame carries a code that must not be sent"));
            }
            CloseReason::truncating(code, utf8::whole(phrase).ok_or(Violation::NotUtf8)?)
        }
    };
    Ok(reason.by(Initiator::Peer))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: Rules = Rules { text: Take::Whole { limit: 1000 }, binary: Take::Whole { limit: 1000 } };
    const PARTS: Rules = Rules { text: Take::Parts, binary: Take::Parts };
    const NONE: Rules = Rules { text: Take::Discard, binary: Take::Discard };

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

    /// An event without its input: what it says, not where it lies. Parts of one message are joined, because their
    /// boundaries follow the input's.
    #[derive(Clone, Debug, PartialEq)]
    enum Said {
        Text(String, bool),
        Binary(Vec<u8>, bool),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(u16, String),
        Unwanted(bool),
        Wrong(u16),
    }

    fn said(event: Event<'_>) -> Said {
        match event {
            Event::Text { text, last } => Said::Text(text.as_str().to_owned(), last),
            Event::Binary { data, last } => Said::Binary(data.as_slice().to_vec(), last),
            Event::Ping(data) => Said::Ping(data.to_vec()),
            Event::Pong(data) => Said::Pong(data.to_vec()),
            Event::Close(reason) => Said::Close(reason.code().as_u16(), reason.reason().to_owned()),
            Event::Unwanted { text } => Said::Unwanted(text),
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

    /// Everything the decoder says of `input` fed in pieces of the given sizes, repeated.
    fn decode(rules: &Rules, input: &[u8], sizes: &[usize], direct: bool) -> Vec<Said> {
        decode_by(Decoder::default(), rules, input, sizes, direct)
    }

    fn decode_by(mut decoder: Decoder, rules: &Rules, input: &[u8], sizes: &[usize], direct: bool) -> Vec<Said> {
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
                if let Some((place, room)) = decoder.direct() {
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
                match decoder.next(rules, piece) {
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

    fn readings(rules: &Rules, input: &[u8]) -> Vec<Said> {
        let whole = decode(rules, input, &[usize::MAX], false);
        assert_eq!(decode(rules, input, &[1], false), whole, "byte by byte");
        for cut in 1..input.len() {
            assert_eq!(decode(rules, input, &[cut, usize::MAX], false), whole, "split at {cut}");
        }
        whole
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
        assert_eq!(event, Some(Event::Text { text: Chars::Borrowed("A"), last: false }));
        let mut input = client(0x80, b"B");
        let (_, event) = decoder.next(&PARTS, &mut input).unwrap();
        assert_eq!(event, Some(Event::Text { text: Chars::Borrowed("B"), last: true }));
        assert!(decoder.is_idle());
    }

    #[test]
    fn unwanted_messages_are_checked_and_dropped() {
        let input = [client(0x01, b"a"), client(0x80, b"b"), client(0x82, b"c")].concat();
        assert_eq!(readings(&NONE, &input), [Said::Unwanted(true), Said::Unwanted(false)]);
        assert_eq!(readings(&NONE, &client(0x81, b"\xff")), [Said::Wrong(1007)]);
    }

    #[test]
    fn a_bad_octet_fails_before_its_frame_is_complete() {
        for rules in [WHOLE, PARTS, NONE] {
            let mut decoder = Decoder::default();
            let mut begun = client(0x01, &[&b"ab\xff"[..], &[b'c'; 100]].concat());
            assert_eq!(decoder.next(&rules, &mut begun[..9]).unwrap_err(), Violation::NotUtf8);
        }
        // and an unfinished character at the end of a message too
        let cut = &"言".as_bytes()[..2];
        for rules in [WHOLE, PARTS, NONE] {
            assert_eq!(readings(&rules, &client(0x81, cut)), [Said::Wrong(1007)]);
            assert_eq!(
                readings(&rules, &[client(0x01, cut), client(0x80, b"")].concat()).last(),
                Some(&Said::Wrong(1007))
            );
        }
    }

    #[test]
    fn the_limit_counts_bytes_over_all_fragments_and_is_allowed_itself() {
        let rules = Rules { text: Take::Whole { limit: 5 }, binary: Take::Whole { limit: 5 } };
        assert_eq!(readings(&rules, &client(0x81, b"12345")), [Said::Text("12345".into(), true)]);
        assert_eq!(readings(&rules, &client(0x81, b"123456")), [Said::Wrong(1009)]);
        assert_eq!(readings(&rules, &client(0x81, "言言".as_bytes())), [Said::Wrong(1009)]);
        assert_eq!(readings(&rules, &[client(0x02, b"123"), client(0x80, b"456")].concat()), [Said::Wrong(1009)]);
        // the header is enough
        let mut decoder = Decoder::default();
        let mut header = [0x82, 0xff, 0, 0, 0, 0xff, 0, 0, 0, 0, 1, 2, 3, 4];
        assert!(matches!(decoder.next(&rules, &mut header), Err(Violation::TooBig { limit: 5, .. })));
    }

    #[test]
    fn a_claimed_length_reserves_nothing_like_it() {
        let rules = Rules { text: Take::Discard, binary: Take::Whole { limit: usize::MAX } };
        let mut decoder = Decoder::default();
        let mut header = [0x82, 0xff, 0, 0, 0x10, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(decoder.next(&rules, &mut header).unwrap(), (14, None));
        let (place, room) = decoder.direct().unwrap();
        assert!(room <= DIRECT_STEP && place.capacity() <= DIRECT_STEP);
    }

    /// "Hello" as in RFC 7692 §7.2.3.1, and the same once more as in §7.2.3.2, for who has seen the first.
    const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    const AGAIN: [u8; 5] = [0xf2, 0x00, 0x11, 0x00, 0x00];

    fn readings_deflated(rules: &Rules, input: &[u8], forgets: bool) -> Vec<Said> {
        let decode =
            |sizes: &[usize], direct| decode_by(Decoder::new(Some(Inbound::new(forgets))), rules, input, sizes, direct);
        let whole = decode(&[usize::MAX], false);
        assert_eq!(decode(&[1], true), whole, "octet by octet");
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
        let dropped = [true, true].map(Said::Unwanted);
        let dropped = [&dropped[..], &[said[2].clone()], &[true, false, false].map(Said::Unwanted)].concat();
        for forgets in [true, false] {
            assert_eq!(readings_deflated(&WHOLE, &input, forgets), said);
            assert_eq!(readings_deflated(&NONE, &input, forgets), dropped);
            assert_eq!(readings_parts(&input, forgets), said);
        }
    }

    /// The parts of each message joined, across control frames as well.
    fn readings_parts(input: &[u8], forgets: bool) -> Vec<Said> {
        let decode = |sizes: &[usize]| {
            let said = decode_by(Decoder::new(Some(Inbound::new(forgets))), &PARTS, input, sizes, true);
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
        assert_eq!(decode(&[1]), whole, "octet by octet");
        whole
    }

    #[test]
    fn a_context_is_taken_over_if_it_is_kept_whatever_becomes_of_the_message() {
        let input = [client(0xc1, &HELLO), client(0xc2, &AGAIN)].concat();
        let rules = |text, binary| Rules { text, binary };
        let hello = Said::Binary(b"Hello".to_vec(), true);
        for (text, first) in [
            (Take::Whole { limit: 9 }, Said::Text("Hello".into(), true)),
            (Take::Parts, Said::Text("Hello".into(), true)),
            (Take::Discard, Said::Unwanted(true)),
        ] {
            let rules = rules(text, Take::Whole { limit: 9 });
            assert_eq!(readings_deflated(&rules, &input, false).last(), Some(&hello), "{first:?}");
            assert_eq!(readings_deflated(&rules, &input, true).last(), Some(&Said::Wrong(1007)), "{first:?}");
        }
    }

    #[test]
    fn the_limit_counts_what_is_decompressed() {
        let rules = |limit| Rules { text: Take::Whole { limit }, binary: Take::Discard };
        let fragments = [client(0x41, &HELLO[..4]), client(0x80, &HELLO[4..])].concat();
        for input in [client(0xc1, &HELLO), fragments] {
            assert_eq!(readings_deflated(&rules(5), &input, true), [Said::Text("Hello".into(), true)]);
            assert_eq!(readings_deflated(&rules(4), &input, true), [Said::Wrong(1009)]);
            assert_eq!(readings_deflated(&rules(0), &input, true), [Said::Wrong(1009)]);
        }
        // what is too big first and wrong after is too big, also where both are seen at once
        let both = [&[0x00, 0x05, 0x00, 0xfa, 0xff][..], b"Hello", &[0x07, 0x07]].concat();
        assert_eq!(readings_deflated(&rules(4), &client(0xc1, &both), true), [Said::Wrong(1009)]);
        assert_eq!(readings_deflated(&rules(5), &client(0xc1, &both), true), [Said::Wrong(1007)]);
        let bad = [&[0x00, 0x05, 0x00, 0xfa, 0xff][..], b"He\xfflo", &[0x00]].concat();
        assert_eq!(readings_deflated(&rules(3), &client(0xc1, &bad), true), [Said::Wrong(1007)]);
        assert_eq!(readings_deflated(&rules(2), &client(0xc1, &bad), true), [Said::Wrong(1009)]);
        // stored blocks make it larger on the wire than it is
        let stored = [&[0x00, 0x00, 0x00, 0xff, 0xff].repeat(20)[..], &[0x00]].concat();
        assert_eq!(readings_deflated(&rules(0), &client(0xc1, &stored), true), [Said::Text(String::new(), true)]);
    }

    #[test]
    fn compressed_text_is_checked_as_it_comes() {
        // stored blocks: the first octet of a character, then a wrong one
        let bad = [0x00, 0x03, 0x00, 0xfc, 0xff, b'a', 0xe8, b'x'];
        for rules in [WHOLE, PARTS, NONE] {
            for forgets in [true, false] {
                if rules.text == Take::Discard && forgets {
                    continue;
                }
                let mut decoder = Decoder::new(Some(Inbound::new(forgets)));
                let mut begun = client(0x41, &[&bad[..], &[0; 50]].concat());
                let (seen, _) = begun.split_at_mut(14);
                assert_eq!(decoder.next(&rules, seen).unwrap_err(), Violation::NotUtf8);
                // and one that is cut off by the end
                let cut = client(0xc1, &[0x00, 0x02, 0x00, 0xfd, 0xff, b'a', 0xe8, 0x00]);
                for size in 1..=cut.len() {
                    let decoder = Decoder::new(Some(Inbound::new(forgets)));
                    let said = decode_by(decoder, &rules, &cut, &[size], true);
                    assert_eq!(said.last(), Some(&Said::Wrong(1007)));
                }
            }
        }
    }

    #[test]
    fn the_bit_of_a_compressed_message_stands_on_its_first_frame_alone() {
        let first = client(0x41, &HELLO[..3]);
        for (input, forgets) in [
            (client(0xc9, b""), true),
            (client(0xca, b""), false),
            (client(0xc8, b""), true),
            (client(0xc0, b""), true),
            ([first.clone(), client(0xc0, &HELLO[3..])].concat(), true),
            (client(0xa1, b""), true),
            (client(0xd1, b""), false),
            (client(0xf2, b""), false),
        ] {
            assert_eq!(readings_deflated(&WHOLE, &input, forgets), [Said::Wrong(1002)], "{input:02x?}");
        }
        assert_eq!(readings(&WHOLE, &client(0xc1, &HELLO)), [Said::Wrong(1002)]);
    }

    #[test]
    fn what_comes_to_nothing_keeps_no_room() {
        let nothing = client(0x41, &[&[0x00, 0x00, 0x00, 0xff, 0xff].repeat(200)[..], &[0x00]].concat());
        for (rules, forgets) in [(PARTS, true), (PARTS, false), (NONE, true), (NONE, false)] {
            let mut decoder = Decoder::new(Some(Inbound::new(forgets)));
            assert_eq!(decoder.next(&rules, &mut nothing.clone()), Ok((nothing.len(), None)));
            assert_eq!(decoder.buffer.capacity(), 0);
        }
        // nor behind the end, if it was waited for
        let mut decoder = Decoder::new(Some(Inbound::new(true)));
        let mut octets = nothing;
        octets[0] |= 0x80;
        let (begun, rest) = octets.split_at_mut(500);
        assert_eq!(decoder.next(&WHOLE, begun), Ok((500, None)));
        assert!(matches!(decoder.next(&WHOLE, rest), Ok((_, Some(Event::Text { last: true, .. })))));
        assert_eq!((decoder.is_idle(), decoder.buffer.capacity()), (true, 0));
    }

    #[test]
    fn parts_of_what_grows_are_bounded() {
        // stored once, then repeated: 258 octets for a few bits
        let zeros = vec![0; 1 << 20];
        let mut stream = flate2::Compress::new(flate2::Compression::best(), false);
        let mut bomb = Vec::with_capacity(1 << 16);
        stream.compress_vec(&zeros, &mut bomb, flate2::FlushCompress::Sync).unwrap();
        bomb.truncate(bomb.len() - 4);
        for size in [1, 7, usize::MAX] {
            let mut decoder = Decoder::new(Some(Inbound::new(true)));
            let (mut total, mut parts, mut ends) = (0, 0, 0);
            for piece in client(0xc2, &bomb).chunks_mut(size.min(1 << 20)) {
                let mut piece = piece;
                while !piece.is_empty() {
                    let (used, event) = decoder.next(&PARTS, piece).unwrap();
                    let event = event.map(Event::into_owned);
                    piece = &mut piece[used..];
                    if let Some(Event::Binary { data, last }) = event {
                        assert!(data.as_slice().iter().all(|octet| *octet == 0));
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
            for rules in [WHOLE, PARTS, NONE] {
                let whole = decode(&rules, &input, &[usize::MAX], false);
                let split = decode(&rules, &input, &sizes, false);
                // cut before the violation was seen, parts may have come further
                if whole.last().is_some_and(|said| matches!(said, Said::Wrong(_))) && rules.text == Take::Parts {
                    prop_assert_eq!(whole.last(), split.last());
                } else {
                    prop_assert_eq!(whole, split);
                }
            }
        }

        #[test]
        fn arbitrary_octets_never_panic(input: Vec<u8>, sizes in proptest::collection::vec(1usize..40, 1..8)) {
            for rules in [WHOLE, PARTS, NONE] {
                decode(&rules, &input, &sizes, true);
            }
        }

        #[test]
        fn reading_directly_changes_nothing(
            tail in "\\PC{0,8}", seed: u8, fragments in 1usize..4, sizes in proptest::collection::vec(1usize..50_000, 1..8)
        ) {
            let rules = Rules { text: Take::Whole { limit: 1 << 20 }, binary: Take::Discard };
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
            prop_assert_eq!(&decode(&rules, &input, &sizes, true)[..], &expected);
        }
    }
}
