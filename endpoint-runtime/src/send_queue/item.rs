//! One message to be queued: borrowed or shared, and perhaps already encoded or compressed.

use std::ops::Deref;

use bytes::Bytes;

use super::burst::Burst;
use crate::observe::traffic::Shown;
use crate::send_queue::write_buffer::Frames;
use endpoint_wire::deflate::Deflation;
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::{Binary, Message};

/// Position in the order of accepted messages.
pub(crate) type Ticket = u64;

/// From this size on a payload is shared with its owner; below, copying is cheaper than another write segment.
pub(crate) const SHARE_FROM: usize = 8 << 10;

/// A data frame to be queued.
#[derive(Clone, Debug)]
pub(crate) enum QueueItem<'a> {
    /// A payload to copy.
    Borrowed(OpCode, &'a [u8]),
    /// A payload to share.
    Shared(OpCode, Bytes),
    /// A payload that refers to the messages before it: compressed once it is certain to be sent, so that the order of
    /// compressing is that of the wire.
    InOrder(OpCode, Payload<'a>),
    /// A frame encoded already, for several sessions; to copy.
    EncodedBorrowed(&'a [u8]),
    /// A frame encoded already, for one session, or to share.
    EncodedShared(Bytes),
    /// The last of several shared frames.
    Burst(&'a Burst),
}

/// A payload to copy, or to share.
#[derive(Clone, Debug)]
pub(crate) enum Payload<'a> {
    Borrowed(&'a [u8]),
    Shared(Bytes),
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(payload) => payload,
            Self::Shared(payload) => payload,
        }
    }
}

/// The opcode and the payload of a message.
#[inline]
pub(crate) fn frame_of(message: Message) -> (OpCode, Binary) {
    match message {
        Message::Text(text) => (OpCode::Text, Binary::from(text)),
        Message::Binary(data) => (OpCode::Binary, data),
    }
}

/// A whole message as the traffic log shows it.
pub(crate) fn shown(opcode: OpCode, payload: &[u8]) -> Shown<'_> {
    match std::str::from_utf8(payload) {
        Ok(text) if opcode == OpCode::Text => Shown::Text(text),
        _ => Shown::Size("binary", payload.len()),
    }
}

impl<'a> QueueItem<'a> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Borrowed(_, payload) | Self::EncodedBorrowed(payload) => payload.len(),
            Self::Shared(_, payload) | Self::EncodedShared(payload) => payload.len(),
            Self::InOrder(_, payload) => payload.len(),
            Self::Burst(burst) => burst.last().len(),
        }
    }

    /// Appends the frame to `frames`, without further compression.
    #[inline]
    pub(crate) fn push_to(self, frames: &mut Frames) {
        match self {
            Self::Borrowed(opcode, payload) => frames.push(true, opcode, payload),
            Self::Shared(opcode, payload) if payload.len() < SHARE_FROM => frames.push(true, opcode, &payload),
            Self::Shared(opcode, payload) => frames.push_shared(true, opcode, payload),
            Self::InOrder(opcode, payload) => frames.push(true, opcode, &payload),
            Self::EncodedBorrowed(frame) => frames.small().extend_from_slice(frame),
            Self::EncodedShared(frame) if frame.len() < SHARE_FROM => frames.small().extend_from_slice(&frame),
            Self::EncodedShared(frame) => frames.push_encoded(frame),
            Self::Burst(burst) => frames.push_burst(burst),
        }
    }

    /// Appends the frame to `frames`, in the order of the wire. Returns the number of bytes that it adds to a queue.
    #[inline]
    pub(super) fn encode(self, frames: &mut Frames, deflation: Option<&Deflation>) -> usize {
        if let (Self::InOrder(opcode, payload), Some(deflation)) = (&self, deflation) {
            let before = frames.len();
            deflation.frame_in_order(*opcode, payload, frames.small());
            return frames.len() - before;
        }
        let size = self.len();
        self.push_to(frames);
        size
    }

    /// Marks a payload to be compressed in order.
    pub(crate) fn in_order(self) -> Self {
        match self {
            Self::Borrowed(opcode, payload) => Self::InOrder(opcode, Payload::Borrowed(payload)),
            Self::Shared(opcode, payload) => Self::InOrder(opcode, Payload::Shared(payload)),
            item => item,
        }
    }

    pub(crate) fn is_in_order(&self) -> bool {
        matches!(self, Self::InOrder(..))
    }

    /// Compresses a message by itself, or marks it to be compressed in order. A message that would not become smaller
    /// stays as it is.
    pub(super) fn compress(self, deflation: &Deflation) -> Self {
        if !deflation.no_context_takeover() {
            return self.in_order();
        }
        let Some((opcode, payload)) = self.payload() else { return self };
        let mut frame = Vec::new();
        if deflation.frame_afresh(opcode, payload, &mut frame) { Self::EncodedShared(frame.into()) } else { self }
    }

    /// Converts it into an owned item.
    pub(super) fn into_owned(self) -> QueueItem<'static> {
        match self {
            Self::Borrowed(opcode, payload) => QueueItem::Shared(opcode, Bytes::copy_from_slice(payload)),
            Self::Shared(opcode, payload) => QueueItem::Shared(opcode, payload),
            Self::InOrder(opcode, payload) => {
                let payload = match payload {
                    Payload::Borrowed(payload) => Bytes::copy_from_slice(payload),
                    Payload::Shared(payload) => payload,
                };
                QueueItem::InOrder(opcode, Payload::Shared(payload))
            }
            Self::EncodedBorrowed(frame) => QueueItem::EncodedShared(Bytes::copy_from_slice(frame)),
            Self::EncodedShared(frame) => QueueItem::EncodedShared(frame),
            Self::Burst(burst) => QueueItem::EncodedShared(Bytes::copy_from_slice(burst.last())),
        }
    }

    /// The message as the traffic log shows it: of one that is encoded already, the kind and the encoded size.
    pub(crate) fn shown(&self) -> Shown<'_> {
        let opcode = match self {
            Self::Borrowed(opcode, payload) => return shown(*opcode, payload),
            Self::Shared(opcode, payload) => return shown(*opcode, payload),
            Self::InOrder(opcode, payload) => return shown(*opcode, payload),
            Self::EncodedBorrowed(frame) => frame.first(),
            Self::EncodedShared(frame) => frame.first(),
            Self::Burst(burst) => burst.last().first(),
        };
        let is_text = opcode.is_some_and(|first| first & 0x0f == OpCode::Text as u8);
        Shown::Size(if is_text { "text" } else { "binary" }, self.len())
    }

    /// The payload, if it is not encoded yet.
    pub(super) fn payload(&self) -> Option<(OpCode, &[u8])> {
        match self {
            Self::Borrowed(opcode, payload) => Some((*opcode, payload)),
            Self::Shared(opcode, payload) => Some((*opcode, payload)),
            Self::InOrder(opcode, payload) => Some((*opcode, payload)),
            Self::EncodedBorrowed(_) | Self::EncodedShared(_) | Self::Burst(_) => None,
        }
    }

    /// The bytes of the payload, if it is not encoded yet; otherwise none.
    pub(super) fn payload_bytes(&self) -> &[u8] {
        self.payload().map_or(&[], |(_, payload)| payload)
    }
}
