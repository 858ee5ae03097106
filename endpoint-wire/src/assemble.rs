//! Assembles messages that do not lie whole in the input: split headers and payloads, fragments, compressed messages.
//!
//! Sizes are checked before anything is buffered, and a buffer grows with the bytes received, never with a claimed
//! length.

use crate::binary::Binary;
use crate::control;
use crate::deflate::{self, Inbound};
use crate::event::{ByteChunk, DecodeOptions, Delivery, Event, Utf8Chunk};
use crate::frame::{self, Header, MAX_HEADER, OpCode};
use crate::message::DataKind;
use crate::role::Role;
use crate::text::Text;
use crate::violation::Violation;
use crate::{mask, utf8};

/// From this many missing bytes on, reading directly into the message's buffer pays off.
const DIRECT_FROM: u64 = 16 << 10;

/// Maximum number of frames, or pieces of a compressed one, that are decoded in one call without completing anything: a
/// message may have endless fragments.
pub(crate) const AT_ONCE: u32 = 8;

/// First reservation for a message that is read directly; it doubles from there.
pub(crate) const DIRECT_STEP: usize = 64 << 10;

/// Approximate size of one part of a compressed message, in bytes, where parts are delivered.
pub(crate) const PART: usize = 64 << 10;

/// Decoder state between two pieces of input, or between two frames of a message.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// The bytes received of an incomplete header.
    head: [u8; MAX_HEADER],
    head_len: u8,
    /// The frame whose payload is incomplete.
    frame: Option<Frame>,
    /// The data message that is incomplete.
    message: Option<Assembly>,
    /// Number of data messages begun here; wraps.
    messages: u32,
    /// The incomplete message's bytes so far if it is assembled whole, otherwise the beginning of a character.
    buffer: Vec<u8>,
    /// Number of bytes at the front of `buffer` that are valid UTF-8.
    validated: usize,
    /// The payload so far of an incomplete control frame.
    control: Vec<u8>,
    /// Set if compression was negotiated.
    deflate: Option<Box<Inbound>>,
    /// Our side of the connection.
    role: Role,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: OpCode,
    /// The key rotated to the next byte.
    mask: [u8; 4],
    remaining: u64,
}

#[derive(Clone, Copy, Debug)]
struct Assembly {
    kind: DataKind,
    delivery: Delivery,
    deflated: bool,
}

/// An incomplete message that is assembled whole. For `endpoint-runtime`, which counts its memory and its pace.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished {
    /// Sequence number of the message on its connection; wraps.
    pub number: u32,
    /// Bytes of its payload received so far.
    pub received: u64,
    /// Bytes allocated for it, which may be more than `received` if it is compressed.
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

    /// See [`Decoder::started`](crate::decode::Decoder::started).
    pub(crate) fn started(&self) -> Option<DataKind> {
        self.message.map(|message| message.kind)
    }

    /// See [`Decoder::unfinished`](crate::decode::Decoder::unfinished).
    pub(crate) fn unfinished(&self) -> Option<Unfinished> {
        let message = self.message.filter(|message| matches!(message.delivery, Delivery::Whole { .. }))?;
        let received = match &self.deflate {
            Some(deflate) if message.deflated => deflate.fed(),
            _ => self.buffer.len() as u64,
        };
        Some(Unfinished { number: self.messages, received, held: self.buffer.capacity() })
    }

    /// See [`Decoder::next`](crate::decode::Decoder::next).
    pub(crate) fn next<'i>(
        &mut self,
        options: &DecodeOptions,
        mut input: &'i mut [u8],
    ) -> Result<(usize, Option<Event<'i>>), Violation> {
        let (total, mut frames, mut inflated) = (input.len(), 0, 0);
        loop {
            if self.frame.is_none() {
                let Some((header, rest)) = self.header(input)? else { return Ok((total, None)) };
                input = rest;
                self.admit(options, &header)?;
                let here = header.payload <= input.len() as u64 && !header.deflated;
                if here && (header.opcode.is_control() || (header.fin && header.opcode != OpCode::Continuation)) {
                    let (payload, rest) = input.split_at_mut(header.payload as usize);
                    unmask(payload, header.mask, 0);
                    let event = single_frame(options, header.opcode, payload)?;
                    return Ok((total - rest.len(), Some(event)));
                }
                self.begin(options, &header);
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

    /// The buffer that a large message may be read into directly, and the most bytes to append; then call
    /// [`filled`](Self::filled).
    ///
    /// The buffer grows by as many bytes as this message already has, or by the `expected` bytes of the message before
    /// it: the peer has shown that it sends that much.
    ///
    /// The caller may only append to the vector, at most the returned number of bytes.
    pub(crate) fn direct(&mut self, expected: usize) -> Option<(&mut Vec<u8>, usize)> {
        let frame = self.frame.filter(|frame| !frame.opcode.is_control() && frame.remaining >= DIRECT_FROM)?;
        self.message.filter(|message| matches!(message.delivery, Delivery::Whole { .. }) && !message.deflated)?;
        let missing = usize::try_from(frame.remaining).unwrap_or(usize::MAX);
        if self.buffer.len() == self.buffer.capacity() {
            self.buffer.reserve_exact(missing.min(self.buffer.len().max(expected).max(DIRECT_STEP)));
        }
        let room = (self.buffer.capacity() - self.buffer.len()).min(missing);
        Some((&mut self.buffer, room))
    }

    /// Reports that `count` bytes were appended to the buffer that [`direct`](Self::direct) returned.
    pub(crate) fn filled(&mut self, count: usize) -> Result<Option<Event<'static>>, Violation> {
        let Some(frame) = &mut self.frame else { return Ok(None) };
        let start = self.buffer.len() - count;
        unmask(&mut self.buffer[start..], frame.mask, 0);
        frame.mask.rotate_left(count % 4);
        frame.remaining -= count as u64;
        self.assembled()
    }

    /// Decompression work since the last call, in bytes of output.
    pub(crate) fn take_work(&mut self) -> usize {
        self.deflate.as_mut().map_or(0, |deflate| deflate.take_work())
    }

    /// Whether the input so far ends between two messages, so that an end of input here loses nothing.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Bytes kept of a data message and of a control frame, and the capacity reserved for both.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn kept(&self) -> (usize, usize, usize) {
        (self.buffer.len(), self.control.len(), self.buffer.capacity() + self.control.capacity())
    }

    /// Completes a header, or keeps the bytes received of it.
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

    /// Rejects a frame that does not fit those before it (RFC 6455 §5.4), or that would exceed the limit.
    fn admit(&self, options: &DecodeOptions, header: &Header) -> Result<(), Violation> {
        let delivery = match (header.opcode, self.message) {
            (OpCode::Continuation, None) => {
                return Err(Violation::Protocol("a continuation frame without a message to continue"));
            }
            (OpCode::Text | OpCode::Binary, Some(_)) => {
                return Err(Violation::Protocol("a new message started before the previous one was complete"));
            }
            (OpCode::Continuation, Some(message)) => message.delivery,
            (OpCode::Text, None) => options.text,
            (OpCode::Binary, None) => options.binary,
            (OpCode::Close | OpCode::Ping | OpCode::Pong, _) => return Ok(()),
        };
        match (delivery, &self.deflate) {
            // the output is limited while it is decompressed
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

    /// Decodes a piece of the current frame's payload, still masked.
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
            return control::event(opcode, &std::mem::take(&mut self.control)).map(Some);
        }
        match self.message {
            Some(Assembly { delivery: Delivery::Whole { .. }, .. }) => {
                self.buffer.extend_from_slice(piece);
                self.assembled()
            }
            Some(Assembly { kind, delivery, .. }) => {
                if complete {
                    self.frame = None;
                }
                if last {
                    self.message = None;
                }
                let empty = piece.is_empty();
                let event = if kind == DataKind::Text {
                    let text = self.part(piece, last)?;
                    let nothing = matches!(&text, Utf8Chunk::Borrowed(""));
                    (!nothing || last).then_some(Event::Text { text, last })
                } else {
                    (!empty || last).then_some(Event::Binary { data: ByteChunk::Borrowed(piece), last })
                };
                if delivery == Delivery::Discard {
                    return Ok(last.then_some(Event::Discarded { kind }));
                }
                Ok(event)
            }
            // a data frame begins only together with a message
            None => Ok(None),
        }
    }

    /// Whether the current frame belongs to a compressed message.
    #[inline]
    fn inflates(&self) -> bool {
        self.message.is_some_and(|message| message.deflated)
            && self.frame.is_some_and(|frame| !frame.opcode.is_control())
    }

    /// Begins a frame that is not whole in the input, and its message if it is the first one.
    fn begin(&mut self, options: &DecodeOptions, header: &Header) {
        if !header.opcode.is_control() && self.message.is_none() {
            let (kind, delivery) = match header.opcode {
                OpCode::Text => (DataKind::Text, options.text),
                _ => (DataKind::Binary, options.binary),
            };
            self.message = Some(Assembly { kind, delivery, deflated: header.deflated });
            self.messages = self.messages.wrapping_add(1);
        }
        let Header { fin, opcode, mask, payload: remaining, .. } = *header;
        self.frame = Some(Frame { fin, opcode, mask, remaining });
    }

    /// Decodes a piece of a compressed message, still masked. Returns how many bytes were used; the rest is masked
    /// again.
    fn inflate(&mut self, piece: &mut [u8]) -> Result<(usize, Option<Event<'static>>), Violation> {
        let (Some(frame), Some(message), Some(deflate)) = (&mut self.frame, self.message, &mut self.deflate) else {
            return Ok((piece.len(), None));
        };
        unmask(piece, frame.mask, 0);
        let mut used = 0;
        match message.delivery {
            _ if piece.is_empty() => {}
            Delivery::Whole { limit }
                if self.buffer.is_empty() && frame.fin && frame.remaining == piece.len() as u64 =>
            {
                let event = deflate::with_scratch(|out| {
                    inflate_within(deflate, piece, out, limit, message.kind)?;
                    deflate.finish()?;
                    whole(message.kind, out)
                });
                (self.frame, self.message, self.buffer) = (None, None, Vec::new());
                return Ok((piece.len(), Some(event?)));
            }
            Delivery::Whole { limit } => {
                inflate_within(deflate, piece, &mut self.buffer, limit, message.kind)?;
                used = piece.len();
            }
            // no later message refers to it
            Delivery::Discard if deflate.no_context_takeover() => used = piece.len(),
            Delivery::Parts | Delivery::Discard => loop {
                let full = self.buffer.len() + PART;
                let (count, drained) = deflate.inflate(&piece[used..], &mut self.buffer, full)?;
                used += count;
                // the inflater's remaining output comes without input, so the last byte of input must wait for it
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
        if matches!(message.delivery, Delivery::Whole { .. }) {
            return Ok((used, self.assembled()?));
        }
        if complete {
            self.frame = None;
        }
        if last {
            self.message = None;
        }
        Ok((used, self.inflated_part(message, last)?))
    }

    /// The event of a part whose output is in the buffer, if there is any.
    fn inflated_part(&mut self, message: Assembly, last: bool) -> Result<Option<Event<'static>>, Violation> {
        if self.buffer.is_empty() {
            // no output, so no capacity is kept for it
            self.buffer = Vec::new();
        }
        let event = if message.kind == DataKind::Text {
            // all output is in the buffer
            let text = self.part(&[], last)?;
            let is_empty = text.as_str().is_empty();
            (!is_empty || last).then_some(Event::Text { text: Utf8Chunk::Owned(text.into_text()), last })
        } else {
            let data = ByteChunk::Owned(Binary::from(std::mem::take(&mut self.buffer)));
            (!data.as_slice().is_empty() || last).then_some(Event::Binary { data, last })
        };
        if message.delivery == Delivery::Discard {
            return Ok(last.then_some(Event::Discarded { kind: message.kind }));
        }
        Ok(event)
    }

    /// The characters that `piece` completes; the beginning of an incomplete one is kept.
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

    /// Validates the bytes added to a message that is assembled whole, and returns the message if it is complete.
    fn assembled(&mut self) -> Result<Option<Event<'static>>, Violation> {
        let (Some(frame), Some(message)) = (self.frame, self.message) else { return Ok(None) };
        if message.kind == DataKind::Text {
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
        if message.kind == DataKind::Binary {
            return Ok(Some(Event::Binary { data: ByteChunk::Owned(Binary::from(data)), last: true }));
        }
        if std::mem::take(&mut self.validated) != data.len() {
            return Err(Violation::NotUtf8);
        }
        Ok(Some(Event::Text { text: Utf8Chunk::Owned(Text::from_validated(Binary::from(data))), last: true }))
    }
}

/// Like [`mask::apply`], but skips unmasked data.
#[inline]
fn unmask(data: &mut [u8], key: [u8; 4], offset: usize) {
    if key != [0; 4] {
        mask::apply(data, key, offset);
    }
}

/// Decompresses a piece of a message that is assembled whole. Of several violations, the first in the output is
/// reported.
fn inflate_within(
    deflate: &mut Inbound,
    piece: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
    kind: DataKind,
) -> Result<(), Violation> {
    let inflated = deflate.inflate(piece, out, limit.saturating_add(1));
    match out.get(..limit).filter(|within| within.len() < out.len()) {
        Some(within) if kind == DataKind::Text && utf8::valid_prefix(within).is_none() => Err(Violation::NotUtf8),
        Some(_) => Err(Violation::TooBig { limit, size: out.len() as u64 }),
        None => inflated.map(drop),
    }
}

/// The event of a frame that is whole in the input, unmasked: a control frame, or a message in one frame.
#[inline]
fn single_frame<'i>(options: &DecodeOptions, opcode: OpCode, payload: &'i [u8]) -> Result<Event<'i>, Violation> {
    Ok(match opcode {
        OpCode::Text => {
            let text = utf8::whole(payload).ok_or(Violation::NotUtf8)?;
            match options.text {
                Delivery::Discard => Event::Discarded { kind: DataKind::Text },
                _ => Event::Text { text: Utf8Chunk::Borrowed(text), last: true },
            }
        }
        OpCode::Binary if options.binary == Delivery::Discard => Event::Discarded { kind: DataKind::Binary },
        OpCode::Binary => Event::Binary { data: ByteChunk::Borrowed(payload), last: true },
        opcode => control::event(opcode, payload)?,
    })
}

/// Builds a complete message from a buffer that is reused.
fn whole(kind: DataKind, data: &[u8]) -> Result<Event<'static>, Violation> {
    if kind == DataKind::Binary {
        return Ok(Event::Binary { data: ByteChunk::Owned(data.into()), last: true });
    }
    let text = utf8::whole(data).ok_or(Violation::NotUtf8)?;
    Ok(Event::Text { text: Utf8Chunk::Owned(text.into()), last: true })
}
