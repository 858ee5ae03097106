//! Messages that do not lie whole in the input: cut headers and payloads, fragments, what is compressed.
//!
//! Sizes are checked before anything is buffered, and a buffer grows with the bytes that came, never with a length that
//! was claimed.

use crate::close::{CloseCode, CloseReason, Initiator};
use crate::deflate::{self, Inbound};
use crate::event::{ByteChunk, DecodeOptions, Delivery, Event, Utf8Chunk};
use crate::frame::{self, Header, MAX_HEADER, OpCode};
use crate::message::Binary;
use crate::role::Role;
use crate::text::Text;
use crate::{Violation, mask, utf8};

/// From this many missing bytes on, reading past the receive buffer pays.
const DIRECT_FROM: u64 = 16 << 10;

/// So many frames, or pieces of a compressed one, that complete nothing are taken at once: a message may have fragments
/// without end.
pub(crate) const AT_ONCE: u32 = 8;

/// The first reservation for a message that is read directly; it doubles from there.
pub(crate) const DIRECT_STEP: usize = 64 << 10;

/// About so much of a compressed message is handed on at a time where parts are wanted.
pub(crate) const PART: usize = 64 << 10;

/// The state between two pieces of input, or two frames of a message.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// The beginning of a header.
    head: [u8; MAX_HEADER],
    head_len: u8,
    /// The frame whose payload is not all here.
    frame: Option<Frame>,
    /// The data message that is not complete.
    message: Option<Assembly>,
    /// How many of them there were.
    messages: u32,
    /// Its bytes so far if it is taken whole, else the beginning of a character.
    buffer: Vec<u8>,
    /// How many bytes of `buffer` are known to be UTF-8.
    validated: usize,
    /// The payload so far of a control frame that is not all here.
    control: Vec<u8>,
    /// There if compression was negotiated.
    deflate: Option<Box<Inbound>>,
    /// Which side we are.
    role: Role,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: OpCode,
    /// The key as seen from the next byte.
    mask: [u8; 4],
    remaining: u64,
}

#[derive(Clone, Copy, Debug)]
struct Assembly {
    text: bool,
    take: Delivery,
    deflated: bool,
}

/// A message that is to be taken whole, and whose end has not come.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished {
    /// Which one it is.
    pub number: u32,
    /// The bytes of its payload that have come.
    pub received: u64,
    /// The bytes that are kept for it, which may be more if it is compressed.
    pub held: usize,
}

impl Assembler {
    pub(crate) fn new(role: Role, deflate: Option<Inbound>) -> Self {
        Self { role, deflate: deflate.map(Box::new), ..Self::default() }
    }

    /// Whether the peer's frames are masked.
    #[inline]
    pub(crate) fn takes_masked(&self) -> bool {
        self.role == Role::Server
    }

    /// Whether there is a data message that is not complete: true is text.
    pub(crate) fn started(&self) -> Option<bool> {
        self.message.map(|message| message.text)
    }

    /// As [`Decoder::unfinished`](crate::decode::Decoder::unfinished).
    pub(crate) fn unfinished(&self) -> Option<Unfinished> {
        let message = self.message.filter(|message| matches!(message.take, Delivery::Whole { .. }))?;
        let received = match &self.deflate {
            Some(deflate) if message.deflated => deflate.fed(),
            _ => self.buffer.len() as u64,
        };
        Some(Unfinished { number: self.messages, received, held: self.buffer.capacity() })
    }

    /// As [`Decoder::next`](crate::decode::Decoder::next).
    pub(crate) fn next<'i>(
        &mut self,
        rules: &DecodeOptions,
        mut input: &'i mut [u8],
    ) -> Result<(usize, Option<Event<'i>>), Violation> {
        let (total, mut frames, mut inflated) = (input.len(), 0, 0);
        loop {
            if self.frame.is_none() {
                let Some((header, rest)) = self.header(input)? else { return Ok((total, None)) };
                input = rest;
                self.admit(rules, &header)?;
                let here = header.payload <= input.len() as u64 && !header.deflated;
                if here && (header.opcode.is_control() || (header.fin && header.opcode != OpCode::Continuation)) {
                    let (payload, rest) = input.split_at_mut(header.payload as usize);
                    unmask(payload, header.mask, 0);
                    let event = match header.opcode {
                        OpCode::Text => {
                            let text = utf8::whole(payload).ok_or(Violation::NotUtf8)?;
                            if rules.text == Delivery::Discard {
                                Event::Unwanted { text: true }
                            } else {
                                Event::Text { text: Utf8Chunk::Borrowed(text), last: true }
                            }
                        }
                        OpCode::Binary if rules.binary == Delivery::Discard => Event::Unwanted { text: false },
                        OpCode::Binary => Event::Binary { data: ByteChunk::Borrowed(payload), last: true },
                        control => control_event(control, payload)?,
                    };
                    return Ok((total - rest.len(), Some(event)));
                }
                if !header.opcode.is_control() && self.message.is_none() {
                    let text = header.opcode == OpCode::Text;
                    let take = if text { rules.text } else { rules.binary };
                    self.message = Some(Assembly { text, take, deflated: header.deflated });
                    self.messages = self.messages.wrapping_add(1);
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
                let piece = here.min(deflate::INPUT_AT_ONCE);
                let (used, event) = self.inflate(&mut input[..piece])?;
                input = &mut input[used..];
                frames += 1;
                inflated += used;
                let enough = frames == AT_ONCE || inflated >= deflate::INPUT_AT_ONCE;
                if event.is_some() || input.is_empty() || enough {
                    return Ok((total - input.len(), event));
                }
                continue;
            }
            let (piece, rest) = input.split_at_mut(here);
            input = rest;
            if let Some(event) = self.payload(piece)? {
                return Ok((total - input.len(), Some(event)));
            }
            frames += 1;
            if input.is_empty() || frames == AT_ONCE {
                return Ok((total - input.len(), None));
            }
        }
    }

    /// The place a large message may be read into directly, and how much of it; then call [`filled`](Self::filled).
    ///
    /// Room is made for as much as came of this message already, or for the `expected` bytes of the one before it: so
    /// much the peer has shown that it sends.
    ///
    /// The vector is only to be appended to, by at most so many bytes.
    pub(crate) fn direct(&mut self, expected: usize) -> Option<(&mut Vec<u8>, usize)> {
        let frame = self.frame.filter(|frame| !frame.opcode.is_control() && frame.remaining >= DIRECT_FROM)?;
        self.message.filter(|message| matches!(message.take, Delivery::Whole { .. }) && !message.deflated)?;
        let missing = usize::try_from(frame.remaining).unwrap_or(usize::MAX);
        if self.buffer.len() == self.buffer.capacity() {
            self.buffer.reserve_exact(missing.min(self.buffer.len().max(expected).max(DIRECT_STEP)));
        }
        let room = (self.buffer.capacity() - self.buffer.len()).min(missing);
        Some((&mut self.buffer, room))
    }

    /// Says that `count` bytes were appended to the place [`direct`](Self::direct) gave.
    pub(crate) fn filled(&mut self, count: usize) -> Result<Option<Event<'static>>, Violation> {
        let Some(frame) = &mut self.frame else { return Ok(None) };
        let start = self.buffer.len() - count;
        unmask(&mut self.buffer[start..], frame.mask, 0);
        frame.mask.rotate_left(count % 4);
        frame.remaining -= count as u64;
        self.assembled()
    }

    /// How much work compressed messages were since it was asked last, in bytes that are made.
    pub(crate) fn take_work(&mut self) -> usize {
        self.deflate.as_mut().map_or(0, |deflate| deflate.take_work())
    }

    /// Whether the input so far ends between two messages, so that nothing is lost if it ends there.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// How many bytes are kept of a data message and of a control frame, and the room reserved for both.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn kept(&self) -> (usize, usize, usize) {
        (self.buffer.len(), self.control.len(), self.buffer.capacity() + self.control.capacity())
    }

    /// Completes a header, or keeps its beginning.
    fn header<'i>(&mut self, input: &'i mut [u8]) -> Result<Option<(Header, &'i mut [u8])>, Violation> {
        let kept = usize::from(self.head_len);
        if kept == 0 {
            if let Some(header) = frame::parse(input, self.role, self.deflate.is_some())? {
                return Ok(Some((header, &mut input[header.len..])));
            }
        }
        let taken = input.len().min(MAX_HEADER - kept);
        self.head[kept..kept + taken].copy_from_slice(&input[..taken]);
        if let Some(header) = frame::parse(&self.head[..kept + taken], self.role, self.deflate.is_some())? {
            self.head_len = 0;
            return Ok(Some((header, &mut input[header.len - kept..])));
        }
        // MAX_HEADER bytes always make a header, so all of the input was taken and the sum fits
        self.head_len = (kept + taken) as u8;
        Ok(None)
    }

    /// Refuses a frame that does not fit what came before it (RFC 6455 §5.4), or would exceed the limit.
    fn admit(&self, rules: &DecodeOptions, header: &Header) -> Result<(), Violation> {
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
        match (take, &self.deflate) {
            // what it makes is limited while it is decompressed
            (Delivery::Whole { limit }, Some(deflate))
                if header.deflated || self.message.is_some_and(|message| message.deflated) =>
            {
                deflate.admit(header.payload, limit)
            }
            (Delivery::Whole { limit }, _) => {
                let size = (self.buffer.len() as u64).saturating_add(header.payload);
                if size > limit as u64 { Err(Violation::TooBig { limit, size }) } else { Ok(()) }
            }
            (Delivery::Parts | Delivery::Discard, _) => Ok(()),
        }
    }

    /// A piece of the current frame's payload, still masked.
    fn payload<'i>(&mut self, piece: &'i mut [u8]) -> Result<Option<Event<'i>>, Violation> {
        let Some(frame) = &mut self.frame else { return Ok(None) };
        unmask(piece, frame.mask, 0);
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
            Some(Assembly { take: Delivery::Whole { .. }, .. }) => {
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
                    let nothing = matches!(&text, Utf8Chunk::Borrowed(""));
                    (!nothing || last).then_some(Event::Text { text, last })
                } else {
                    (!empty || last).then_some(Event::Binary { data: ByteChunk::Borrowed(piece), last })
                };
                if take == Delivery::Discard {
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
        unmask(piece, frame.mask, 0);
        let mut used = 0;
        match message.take {
            _ if piece.is_empty() => {}
            Delivery::Whole { limit }
                if self.buffer.is_empty() && frame.fin && frame.remaining == piece.len() as u64 =>
            {
                let event = deflate::with_scratch(|out| {
                    inflate_within(deflate, piece, out, limit, message.text)?;
                    deflate.finish()?;
                    whole(message.text, out)
                });
                (self.frame, self.message, self.buffer) = (None, None, Vec::new());
                return Ok((piece.len(), Some(event?)));
            }
            Delivery::Whole { limit } => {
                inflate_within(deflate, piece, &mut self.buffer, limit, message.text)?;
                used = piece.len();
            }
            // nothing that comes later refers to it
            Delivery::Discard if deflate.no_context_takeover() => used = piece.len(),
            Delivery::Parts | Delivery::Discard => loop {
                let full = self.buffer.len() + PART;
                let (count, drained) = deflate.inflate(&piece[used..], &mut self.buffer, full)?;
                used += count;
                // what the inflater still holds comes out without input, so the last byte has to wait for it
                if drained || used < piece.len() {
                    break;
                }
            },
        }
        unmask(&mut piece[used..], frame.mask, used);
        frame.mask.rotate_left(used % 4);
        frame.remaining -= used as u64;
        let complete = frame.remaining == 0;
        let last = complete && frame.fin;
        if last {
            deflate.finish()?;
        } else {
            deflate.wait()?;
        }
        if matches!(message.take, Delivery::Whole { .. }) {
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
            (!nothing || last).then_some(Event::Text { text: Utf8Chunk::Owned(text.into_text()), last })
        } else {
            let data = ByteChunk::Owned(Binary::from(std::mem::take(&mut self.buffer)));
            (!data.as_slice().is_empty() || last).then_some(Event::Binary { data, last })
        };
        if message.take == Delivery::Discard {
            return Ok((used, last.then_some(Event::Unwanted { text: message.text })));
        }
        Ok((used, event))
    }

    /// The characters that are complete with `piece`; the beginning of one more is kept.
    fn part<'i>(&mut self, piece: &'i [u8], last: bool) -> Result<Utf8Chunk<'i>, Violation> {
        let text = if self.buffer.is_empty() {
            let end = utf8::valid_prefix(piece).ok_or(Violation::NotUtf8)?;
            self.buffer.extend_from_slice(&piece[end..]);
            Utf8Chunk::Borrowed(utf8::whole(&piece[..end]).ok_or(Violation::NotUtf8)?)
        } else {
            let mut joined = std::mem::take(&mut self.buffer);
            joined.extend_from_slice(piece);
            let end = utf8::valid_prefix(&joined).ok_or(Violation::NotUtf8)?;
            self.buffer.extend_from_slice(&joined[end..]);
            joined.truncate(end);
            if joined.is_empty() {
                Utf8Chunk::Borrowed("")
            } else {
                Utf8Chunk::Owned(Text::from_validated(Binary::from(joined)))
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
            return Ok(Some(Event::Binary { data: ByteChunk::Owned(Binary::from(data)), last: true }));
        }
        if std::mem::take(&mut self.validated) != data.len() {
            return Err(Violation::NotUtf8);
        }
        Ok(Some(Event::Text { text: Utf8Chunk::Owned(Text::from_validated(Binary::from(data))), last: true }))
    }
}

/// As [`mask::apply`], but passes by what is not masked.
#[inline]
fn unmask(data: &mut [u8], key: [u8; 4], offset: usize) {
    if key != [0; 4] {
        mask::apply(data, key, offset);
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
        return Ok(Event::Binary { data: ByteChunk::Owned(data.into()), last: true });
    }
    let text = utf8::whole(data).ok_or(Violation::NotUtf8)?;
    Ok(Event::Text { text: Utf8Chunk::Owned(text.into()), last: true })
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
