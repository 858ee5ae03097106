//! The entrance of the queue: it accepts, drops or refuses a message.

use super::item::{QueueItem, Ticket};
use super::queue::{SendQueue, WRITE_BATCH_BYTES};
use super::refused::Refused;
use super::state::{Phase, QueueState};
use crate::config::Overflow;
use crate::send_queue::sync::MutexGuard;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::encode;
use endpoint_wire::frame::OpCode;

/// How a full queue treats a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// A handler's reply is accepted nevertheless; the connection then stops reading.
    Reply,
    /// It is refused, and may be sent again.
    Bounded,
    /// The oldest messages with this admission are dropped until it fits; so this one may be dropped later.
    DropOldest,
    /// It is dropped.
    DropNewest,
    /// It ends the session with 1013.
    Close,
}

impl From<Overflow> for Admission {
    fn from(overflow: Overflow) -> Self {
        match overflow {
            Overflow::Wait | Overflow::Error => Self::Bounded,
            Overflow::DropOldest => Self::DropOldest,
            Overflow::DropNewest => Self::DropNewest,
            Overflow::Close => Self::Close,
        }
    }
}

/// An accepted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) ticket: Ticket,
    /// Number of older messages dropped to make space.
    pub(crate) evicted: u32,
}

impl SendQueue {
    /// Compresses a message before it is queued, if compression is negotiated, the message is large enough and messages
    /// are independent. If they are not, it is marked, and [`enqueue`](Self::enqueue) compresses it in order.
    #[inline]
    pub(crate) fn compress<'a>(&self, item: QueueItem<'a>) -> QueueItem<'a> {
        match self.deflation() {
            Some(deflation) if deflation.is_for(item.len()) && self.is_open() => item.compress(deflation),
            _ => item,
        }
    }

    /// Like [`compress`](Self::compress), but skips a message that would be refused: compressing it is wasted work.
    #[inline]
    pub(crate) fn compress_if_accepted<'a>(&self, item: QueueItem<'a>, admission: Admission) -> QueueItem<'a> {
        // otherwise compressed under the lock, or older messages are dropped to make space
        let may_be_refused = |queue: &Self| {
            queue.deflation().is_some_and(|deflation| deflation.no_context_takeover())
                && admission != Admission::DropOldest
        };
        if may_be_refused(self) && self.is_full(&self.lock(), item.len()) { item } else { self.compress(item) }
    }

    /// Accepts a message, or refuses it because the queue is closed or full.
    #[inline]
    pub(crate) fn enqueue(&self, item: QueueItem<'_>, admission: Admission) -> Result<Accepted, Refused> {
        let state = self.lock();
        if state.phase != Phase::Open {
            return Err(Refused::Closed);
        }
        if admission == Admission::DropOldest {
            return self.enqueue_droppable(state, item);
        }
        // the size of a message that is compressed in order is not known yet, but is hardly larger
        if admission != Admission::Reply && self.is_full(&state, item.len()) {
            return Err(self.refuse(state, admission));
        }
        let ticket = if state.has_backlog() { self.push_backlog(state, item, false) } else { self.accept(state, item) };
        Ok(Accepted { ticket, evicted: 0 })
    }

    /// Drops older droppable messages until there is space for a message, and accepts it.
    fn enqueue_droppable(
        &self,
        mut state: MutexGuard<'_, QueueState>,
        item: QueueItem<'_>,
    ) -> Result<Accepted, Refused> {
        let (dropped, bytes, size) = (state.dropped, state.bytes.get(), item.len());
        // in the container's budget a message has space once as many bytes were dropped for it
        while self.exceeds_bounds(&state, size)
            || bytes - state.bytes.get().min(bytes) < size && self.is_full(&state, size)
        {
            if !state.drop_oldest() {
                return Err(self.refuse(state, Admission::DropOldest));
            }
        }
        let evicted = state.dropped - dropped;
        // if nothing is queued before it, it counts as sent
        let waits = state.has_backlog() || state.outstanding() > 0;
        let ticket = if waits { self.push_backlog(state, item, true) } else { self.accept(state, item) };
        Ok(Accepted { ticket, evicted })
    }

    /// Encodes an accepted message.
    #[inline]
    fn accept(&self, mut state: MutexGuard<'_, QueueState>, item: QueueItem<'_>) -> Ticket {
        let size = item.encode(&mut state.frames, self.deflation());
        self.add_bytes(&mut state, size);
        let ticket = state.next_ticket();
        if state.mode.is_batching() {
            self.batch(state);
        } else {
            self.notify(state);
        }
        ticket
    }

    /// Puts an accepted message at the end of the backlog.
    #[cold]
    fn push_backlog(&self, mut state: MutexGuard<'_, QueueState>, item: QueueItem<'_>, droppable: bool) -> Ticket {
        let size = item.len();
        let (backlog, accepted) = state.backlog();
        let ticket = backlog.push(item, droppable, *accepted);
        self.add_bytes(&mut state, size);
        self.notify(state);
        ticket
    }

    /// Refuses a message for which there is no space.
    #[cold]
    fn refuse(&self, mut state: MutexGuard<'_, QueueState>, admission: Admission) -> Refused {
        match admission {
            Admission::Reply | Admission::Bounded => Refused::Full,
            Admission::DropOldest | Admission::DropNewest => {
                state.count_dropped();
                Refused::Dropped
            }
            Admission::Close => {
                drop(state);
                let reason = CloseReason::truncating(CloseCode::TryAgainLater, "the send queue is full");
                self.close(reason.by(Initiator::Container));
                Refused::Closed
            }
        }
    }

    /// Queues a ping or pong in the control lane.
    pub(crate) fn control(&self, opcode: OpCode, payload: &[u8]) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Err(Refused::Closed);
        }
        let control = &mut state.cold().control;
        if control.len() > WRITE_BATCH_BYTES {
            return Err(Refused::Full);
        }
        encode::frame(control, true, opcode, payload);
        self.notify(state);
        Ok(())
    }
}
