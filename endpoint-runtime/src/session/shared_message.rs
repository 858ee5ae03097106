//! One message for several sessions: encoded and compressed once, offered to the queue of each.

use bytes::Bytes;

use crate::cluster::envelope::Form;
use crate::config::Overflow;
use crate::send_queue::{Admission, BroadcastTime, Burst, QueueItem, Refused, SHARE_FROM, SendQueue, frame_of, shown};
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
        let (opcode, payload) = frame_of(message);
        let mut frame = Vec::new();
        if payload.len() < SHARE_FROM {
            encode::frame(&mut frame, true, opcode, &payload);
        }
        Self { opcode, payload, frame, burst: None, options, deflated: Vec::new() }
    }

    /// A message that another node has encoded.
    pub(crate) fn received(form: &Form, options: SendOptions) -> Self {
        let payload = Binary::from(form.payload.clone());
        let mut frame = Vec::new();
        if payload.len() < SHARE_FROM {
            encode::frame(&mut frame, true, form.opcode, &payload);
        }
        let deflated = form.deflated.iter().map(|(kind, frame)| (*kind, Some(frame.clone()))).collect();
        Self { opcode: form.opcode, payload, frame, burst: None, options, deflated }
    }

    /// The message for other nodes.
    pub(crate) fn to_form(&self, subprotocol: Option<&str>) -> Form {
        let made = self.deflated.iter().filter_map(|(kind, frame)| Some((*kind, frame.clone()?)));
        Form {
            subprotocol: subprotocol.map(str::to_owned),
            opcode: self.opcode,
            payload: self.payload.clone().into(),
            deflated: made.collect(),
        }
    }

    /// Adds the frame to a burst, after the frames that are already in it.
    pub(crate) fn join_burst(&mut self, before: Option<Bytes>) {
        if !self.frame.is_empty() {
            self.burst = Some(Burst::add(before, &self.frame));
        }
    }

    /// The frames of the burst, including this one.
    pub(crate) fn take_burst(&mut self) -> Option<Bytes> {
        self.burst.take().map(Burst::into_bytes)
    }

    /// Enqueues the message for one session; returns the number of older messages dropped for it. With `direct`, tries to
    /// write to the socket first. Sets `claimed` if the caller must hand the session over to a flusher.
    // called for each session of a broadcast
    #[inline(always)]
    pub(crate) fn enqueue(
        &mut self,
        send_queue: &SendQueue,
        direct: Option<BroadcastTime>,
        claimed: &mut bool,
    ) -> Result<u32, Refused> {
        let admission = match self.options.overflow.or(send_queue.overflow()) {
            // a broadcast does not report to the session that it skips, so the dropped message is counted in any case
            None | Some(Overflow::Wait | Overflow::Error) => Admission::DropNewest,
            Some(overflow) => overflow.into(),
        };
        if send_queue.converts() {
            return self.convert_and_enqueue(send_queue, direct, claimed, admission);
        }
        self.write_or_enqueue(send_queue, direct, claimed, admission)
    }

    /// Enqueues the message for one session that compresses it, whose interceptors see it, or that logs it.
    #[inline(never)]
    fn convert_and_enqueue(
        &mut self,
        send_queue: &SendQueue,
        direct: Option<BroadcastTime>,
        claimed: &mut bool,
        admission: Admission,
    ) -> Result<u32, Refused> {
        let evicted = match send_queue.deflation_or_hook() {
            Err(_) => self.show_and_enqueue(send_queue, claimed, admission)?,
            Ok(Some(deflation)) if self.options.compressed && deflation.is_for(self.payload.len()) => {
                self.deflate_and_enqueue(send_queue, deflation, direct, claimed, admission)?
            }
            Ok(_) => self.write_or_enqueue(send_queue, direct, claimed, admission)?,
        };
        send_queue.log_sent(|| shown(self.opcode, &self.payload));
        Ok(evicted)
    }

    fn deflate_and_enqueue(
        &mut self,
        send_queue: &SendQueue,
        deflation: &Deflation,
        direct: Option<BroadcastTime>,
        claimed: &mut bool,
        admission: Admission,
    ) -> Result<u32, Refused> {
        if !deflation.no_context_takeover() {
            let item = QueueItem::Borrowed(self.opcode, &self.payload).in_order();
            return put(send_queue, item, claimed, admission);
        }
        let Some(frame) = self.deflated(deflation) else {
            return self.write_or_enqueue(send_queue, direct, claimed, admission);
        };
        match direct.filter(|_| frame.len() < SHARE_FROM) {
            Some(time) if send_queue.try_write_direct(&frame, time)? => Ok(0),
            _ => put(send_queue, QueueItem::EncodedShared(frame), claimed, admission),
        }
    }

    #[inline(always)]
    fn write_or_enqueue(
        &self,
        send_queue: &SendQueue,
        direct: Option<BroadcastTime>,
        claimed: &mut bool,
        admission: Admission,
    ) -> Result<u32, Refused> {
        match direct {
            _ if self.payload.len() >= SHARE_FROM => {
                put(send_queue, QueueItem::Shared(self.opcode, self.payload.clone().into()), claimed, admission)
            }
            Some(time) if send_queue.try_write_direct(&self.frame, time)? => Ok(0),
            _ => match &self.burst {
                // a client's frames are masked one by one
                Some(burst) if send_queue.role == Role::Server => {
                    put(send_queue, QueueItem::Burst(burst), claimed, admission)
                }
                _ => put(send_queue, QueueItem::EncodedBorrowed(&self.frame), claimed, admission),
            },
        }
    }

    /// Enqueues the message for one session whose interceptors see what is sent.
    #[cold]
    fn show_and_enqueue(
        &self,
        send_queue: &SendQueue,
        claimed: &mut bool,
        admission: Admission,
    ) -> Result<u32, Refused> {
        let item = send_queue.show(QueueItem::Shared(self.opcode, self.payload.clone().into()))?;
        let item = if self.options.compressed { send_queue.compress_if_accepted(item, admission) } else { item };
        put(send_queue, item, claimed, admission)
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

/// Enqueues for one session; the caller may have to hand it over to a flusher then.
#[inline(always)]
fn put(send_queue: &SendQueue, item: QueueItem<'_>, claimed: &mut bool, admission: Admission) -> Result<u32, Refused> {
    *claimed = send_queue.claim();
    send_queue.enqueue(item, admission).map(|accepted| accepted.evicted)
}
