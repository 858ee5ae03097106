//! One message to be queued: borrowed or shared, and perhaps already encoded or compressed.

use bytes::Bytes;

use crate::send_queue::write_buffer::{Burst, Frames};
use endpoint_wire::deflate::Deflation;
use endpoint_wire::frame::OpCode;

/// From this size on a payload is shared with its owner; below, copying is cheaper than another write segment.
pub(crate) const SHARE_FROM: usize = 8 << 10;

/// A data frame to be queued.
#[derive(Clone, Debug)]
pub(crate) enum QueueItem<'a> {
    /// A payload to copy.
    Borrowed(OpCode, &'a [u8]),
    /// A payload to share.
    Shared(OpCode, Bytes),
    /// A frame encoded already, for several sessions; to copy.
    EncodedBorrowed(&'a [u8]),
    /// A frame encoded already, for one session, or to share.
    EncodedShared(Bytes),
    /// The last of several shared frames.
    Burst(&'a Burst),
}

impl QueueItem<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Borrowed(_, payload) | Self::EncodedBorrowed(payload) => payload.len(),
            Self::Shared(_, payload) | Self::EncodedShared(payload) => payload.len(),
            Self::Burst(burst) => burst.last().len(),
        }
    }

    /// Appends the frame to `frames`.
    #[inline]
    pub(crate) fn push_to(self, frames: &mut Frames) {
        match self {
            Self::Borrowed(opcode, payload) => frames.push(true, opcode, payload),
            Self::Shared(opcode, payload) if payload.len() < SHARE_FROM => frames.push(true, opcode, &payload),
            Self::Shared(opcode, payload) => frames.push_shared(true, opcode, payload),
            Self::EncodedBorrowed(frame) => frames.small().extend_from_slice(frame),
            Self::EncodedShared(frame) if frame.len() < SHARE_FROM => frames.small().extend_from_slice(&frame),
            Self::EncodedShared(frame) => frames.push_encoded(frame),
            Self::Burst(burst) => frames.push_burst(burst),
        }
    }

    /// Converts it into an owned item.
    pub(super) fn into_owned(self) -> QueueItem<'static> {
        match self {
            Self::Borrowed(opcode, payload) => QueueItem::Shared(opcode, Bytes::copy_from_slice(payload)),
            Self::Shared(opcode, payload) => QueueItem::Shared(opcode, payload),
            Self::EncodedBorrowed(frame) => QueueItem::EncodedShared(Bytes::copy_from_slice(frame)),
            Self::EncodedShared(frame) => QueueItem::EncodedShared(frame),
            Self::Burst(burst) => QueueItem::EncodedShared(Bytes::copy_from_slice(burst.last())),
        }
    }

    /// The payload, if it is not encoded yet.
    pub(super) fn payload(&self) -> Option<(OpCode, &[u8])> {
        match self {
            Self::Borrowed(opcode, payload) => Some((*opcode, payload)),
            Self::Shared(opcode, payload) => Some((*opcode, payload)),
            Self::EncodedBorrowed(_) | Self::EncodedShared(_) | Self::Burst(_) => None,
        }
    }
}

/// Compresses a message by itself, or returns true if it must be compressed in order. A message that would not become
/// smaller stays as it is.
pub(super) fn deflate<'a>(deflation: &Deflation, message: QueueItem<'a>) -> (QueueItem<'a>, bool) {
    let Some((opcode, payload)) = message.payload() else { return (message, false) };
    if !deflation.no_context_takeover() {
        return (message, true);
    }
    let mut frame = Vec::new();
    if deflation.frame_afresh(opcode, payload, &mut frame) {
        return (QueueItem::EncodedShared(frame.into()), false);
    }
    (message, false)
}
