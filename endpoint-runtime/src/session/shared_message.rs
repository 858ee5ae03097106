//! One message for several sessions: encoded and compressed once, offered to the queue of each.

use bytes::Bytes;

use crate::config::Overflow;
use crate::send_queue::write_buffer::Burst;
use crate::send_queue::{Millisecond, QueueItem, Refused, SHARE_FROM, SendQueue};
use crate::session::send_options::SendOptions;
use endpoint_wire::deflate::Deflation;
use endpoint_wire::encode;
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::role::Role;

/// A message for several sessions: encoded once, and compressed once for all sessions that compress to the same bytes.
pub(crate) struct SharedMessage {
    opcode: OpCode,
    payload: Binary,
    /// The uncompressed frame, if it is small; otherwise empty.
    frame: Vec<u8>,
    /// The frame, after the earlier frames of the same burst.
    burst: Option<Burst>,
    options: SendOptions,
    /// Compressed frame by kind of compression; `None` if compression did not make it smaller.
    deflated: Vec<((u32, u8), Option<Bytes>)>,
}

impl SharedMessage {
    pub(crate) fn new(message: Message, options: SendOptions) -> Self {
        let (opcode, payload) = match message {
            Message::Text(text) => (OpCode::Text, Binary::from(text)),
            Message::Binary(data) => (OpCode::Binary, data),
        };
        let mut frame = Vec::new();
        if payload.len() < SHARE_FROM {
            encode::frame(&mut frame, true, opcode, &payload);
        }
        Self { opcode, payload, frame, burst: None, options, deflated: Vec::new() }
    }

    /// Adds the frame to a burst, after the frames that are already in it.
    pub(crate) fn join_burst(&mut self, before: Option<Bytes>) {
        if !self.frame.is_empty() {
            self.burst = Some(Burst::add(before, &self.frame));
        }
    }

    /// The frames of the burst, including this one.
    pub(crate) fn into_burst(self) -> Option<Bytes> {
        self.burst.map(Burst::into_bytes)
    }

    /// Offers the message to one session; returns the number of older messages dropped for it. With `direct`, tries to
    /// write to the socket first. Sets `claimed` if the caller must hand the session over to a flusher.
    pub(crate) fn offer(
        &mut self,
        send_queue: &SendQueue,
        direct: Option<Millisecond>,
        claimed: &mut bool,
    ) -> Result<u32, Refused> {
        let overflow = self.options.overflow.or(send_queue.overflow()).unwrap_or(Overflow::DropNewest);
        match self.offer_as(send_queue, direct, claimed, overflow == Overflow::DropOldest) {
            // a broadcast does not report to the session that it skips, so the dropped message is counted in any case
            Err(Refused::Full) if overflow != Overflow::Close => Err(send_queue.overflows(Overflow::DropNewest)),
            Err(Refused::Full) => Err(send_queue.overflows(overflow)),
            offered => offered,
        }
    }

    fn offer_as(
        &mut self,
        send_queue: &SendQueue,
        direct: Option<Millisecond>,
        claimed: &mut bool,
        droppable: bool,
    ) -> Result<u32, Refused> {
        let (opcode, size) = (self.opcode, self.payload.len());
        let mut put = |message: QueueItem<'_>, in_order: bool| {
            *claimed = send_queue.claim();
            if droppable {
                return send_queue.offer_droppable(message, in_order).map(|(_, evicted)| evicted);
            }
            let offered = if in_order { send_queue.offer_in_order(message, true) } else { send_queue.offer(message) };
            offered.map(|_| 0)
        };
        let deflation = send_queue.deflation().filter(|deflation| self.options.compressed && deflation.is_for(size));
        match deflation {
            Some(deflation) if !deflation.no_context_takeover() => {
                return put(QueueItem::Borrowed(opcode, &self.payload), true);
            }
            Some(deflation) => {
                if let Some(frame) = self.deflated(deflation) {
                    return match direct.filter(|_| frame.len() < SHARE_FROM) {
                        Some(moment) if send_queue.try_write_direct(&frame, moment)? => Ok(0),
                        _ => put(QueueItem::EncodedShared(frame), false),
                    };
                }
            }
            None => {}
        }
        match direct {
            _ if size >= SHARE_FROM => put(QueueItem::Shared(opcode, self.payload.clone().into()), false),
            Some(moment) if send_queue.try_write_direct(&self.frame, moment)? => Ok(0),
            _ => match &self.burst {
                // a client's frames are masked one by one
                Some(burst) if send_queue.role == Role::Server => put(QueueItem::Burst(burst), false),
                _ => put(QueueItem::EncodedBorrowed(&self.frame), false),
            },
        }
    }

    /// The message as a compressed frame, created for the first session with this kind of compression.
    fn deflated(&mut self, deflation: &Deflation) -> Option<Bytes> {
        let kind = deflation.kind();
        if let Some((_, frame)) = self.deflated.iter().find(|(other, _)| *other == kind) {
            return frame.clone();
        }
        let mut frame = Vec::new();
        let smaller = deflation.frame_afresh(self.opcode, &self.payload, &mut frame);
        let frame = smaller.then(|| Bytes::from(frame));
        self.deflated.push((kind, frame.clone()));
        frame
    }
}
