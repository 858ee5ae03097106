//! One message on its way into a queue: copied or shared, encoded or compressed before.

use bytes::Bytes;

use crate::send_queue::write_buffer::{Burst, Frames};
use endpoint_wire::deflate::Deflation;
use endpoint_wire::frame::OpCode;

/// From this size on a payload is shared with whoever made it; below, copying is cheaper than another write segment.
pub(crate) const SHARE_FROM: usize = 8 << 10;

/// A data frame on its way into the queue.
#[derive(Clone, Debug)]
pub(crate) enum Outgoing<'a> {
    /// To be copied.
    Small(OpCode, &'a [u8]),
    /// To be shared.
    Large(OpCode, Bytes),
    /// Encoded already, as for several sessions.
    Encoded(&'a [u8]),
    /// The same, for one session, or to be shared.
    Frame(Bytes),
    /// The last of several that are shared.
    Burst(&'a Burst),
}

impl Outgoing<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(_, payload) | Self::Encoded(payload) => payload.len(),
            Self::Large(_, payload) | Self::Frame(payload) => payload.len(),
            Self::Burst(burst) => burst.last().len(),
        }
    }

    /// Puts it at the end of `frames`.
    #[inline]
    pub(crate) fn push_to(self, frames: &mut Frames) {
        match self {
            Self::Small(opcode, payload) => frames.push(true, opcode, payload),
            Self::Large(opcode, payload) if payload.len() < SHARE_FROM => frames.push(true, opcode, &payload),
            Self::Large(opcode, payload) => frames.push_shared(true, opcode, payload),
            Self::Encoded(frame) => frames.small().extend_from_slice(frame),
            Self::Frame(frame) if frame.len() < SHARE_FROM => frames.small().extend_from_slice(&frame),
            Self::Frame(frame) => frames.push_encoded(frame),
            Self::Burst(burst) => frames.push_burst(burst),
        }
    }

    /// The same, to be kept.
    pub(super) fn into_owned(self) -> Outgoing<'static> {
        match self {
            Self::Small(opcode, payload) => Outgoing::Large(opcode, Bytes::copy_from_slice(payload)),
            Self::Large(opcode, payload) => Outgoing::Large(opcode, payload),
            Self::Encoded(frame) => Outgoing::Frame(Bytes::copy_from_slice(frame)),
            Self::Frame(frame) => Outgoing::Frame(frame),
            Self::Burst(burst) => Outgoing::Frame(Bytes::copy_from_slice(burst.last())),
        }
    }

    /// The message, if it is not encoded yet.
    pub(super) fn payload(&self) -> Option<(OpCode, &[u8])> {
        match self {
            Self::Small(opcode, payload) => Some((*opcode, payload)),
            Self::Large(opcode, payload) => Some((*opcode, payload)),
            Self::Encoded(_) | Self::Frame(_) | Self::Burst(_) => None,
        }
    }
}

/// Compresses a message by itself, or says that its turn must come first. One that would not become smaller is left.
pub(super) fn deflate<'a>(deflation: &Deflation, message: Outgoing<'a>) -> (Outgoing<'a>, bool) {
    let Some((opcode, payload)) = message.payload() else { return (message, false) };
    if !deflation.forgets() {
        return (message, true);
    }
    let mut frame = Vec::new();
    if deflation.frame_afresh(opcode, payload, &mut frame) {
        return (Outgoing::Frame(frame.into()), false);
    }
    (message, false)
}
