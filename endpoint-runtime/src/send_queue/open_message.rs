//! The message that is being sent in parts.

use super::item::{QueueItem, SHARE_FROM, Ticket};
use crate::send_queue::write_buffer::Frames;
use endpoint_wire::deflate::{Deflation, PartDeflater};
use endpoint_wire::encode;
use endpoint_wire::frame::OpCode;

/// Who sends a message in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// `send_text_part` and `send_binary_part`, which share one message per session.
    Session,
    /// The writer with this fragment ticket.
    Writer(u64),
}

/// A message that is being sent in parts.
pub(super) struct OpenMessage {
    owner: Owner,
    ticket: Ticket,
    opcode: OpCode,
    /// Whether its first frame has been queued.
    started: bool,
    deflates: bool,
    deflater: Option<PartDeflater>,
}

impl OpenMessage {
    pub(super) fn new(owner: Owner, ticket: Ticket, opcode: OpCode) -> Self {
        Self { owner, ticket, opcode, started: false, deflates: false, deflater: None }
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub(super) fn opcode(&self) -> OpCode {
        self.opcode
    }

    /// Appends the frame of a part. An empty part is skipped, unless it is the last. False if the message cannot
    /// continue because compressing failed.
    pub(super) fn push_part(
        &mut self,
        frames: &mut Frames,
        part: QueueItem<'_>,
        last: bool,
        compressed: bool,
        deflation: Option<&Deflation>,
    ) -> bool {
        let size = part.len();
        if !last && size == 0 {
            return true;
        }
        if !self.started {
            self.deflates = compressed && deflation.is_some_and(|deflation| deflation.is_for(size));
        }
        let first = !std::mem::replace(&mut self.started, true);
        let opcode = if first { self.opcode } else { OpCode::Continuation };
        match (deflation.filter(|_| self.deflates), part) {
            (None, QueueItem::Shared(_, payload)) if size >= SHARE_FROM => frames.push_shared(last, opcode, payload),
            (None, part) => frames.push(last, opcode, part.payload_bytes()),
            (Some(deflation), part) => {
                return deflation.part(&mut self.deflater, part.payload_bytes(), last, |bytes| {
                    encode::part(frames.small(), last, opcode, first, bytes);
                });
            }
        }
        true
    }
}
