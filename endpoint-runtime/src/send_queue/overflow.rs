//! What is done with a message for which the queue has no room.

use super::{QueueItem, Refused, SendQueue, State, Ticket};
use crate::config::Overflow;
use crate::observe::log_rate::QueueLog;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};

impl SendQueue {
    /// What the endpoint, or the container, says of messages for which there is no room.
    #[inline]
    pub(crate) fn overflow(&self) -> Option<Overflow> {
        self.bounds.overflow
    }

    /// What is logged of the queues of its endpoint.
    pub(crate) fn log(&self) -> &QueueLog {
        &self.bounds.log
    }

    /// How many messages were dropped for want of room.
    pub(crate) fn dropped(&self) -> u32 {
        self.lock().dropped
    }

    /// Offers a message, and does what `overflow` says if there is no room. Nothing waits here.
    #[inline]
    pub(crate) fn offer_or(
        &self,
        message: QueueItem<'_>,
        in_order: bool,
        overflow: Overflow,
    ) -> Result<Ticket, Refused> {
        if overflow == Overflow::DropOldest {
            return self.offer_droppable(message, in_order).map(|(ticket, _)| ticket);
        }
        let offered = if in_order { self.offer_in_order(message, true) } else { self.offer(message) };
        if offered == Err(Refused::Full) { Err(self.overflows(overflow)) } else { offered }
    }

    /// There was no room for a message.
    #[cold]
    pub(crate) fn overflows(&self, overflow: Overflow) -> Refused {
        match overflow {
            Overflow::Wait | Overflow::Error => Refused::Full,
            Overflow::DropOldest | Overflow::DropNewest => {
                self.lock().count_dropped();
                Refused::Dropped
            }
            Overflow::Close => {
                let reason = CloseReason::truncating(CloseCode::TryAgainLater, "the outbound queue is full");
                self.close(reason.by(Initiator::Container));
                Refused::Closed
            }
        }
    }

    /// Accepts a message that may be dropped later, and drops older ones of its kind until there is room; how many.
    pub(crate) fn offer_droppable(&self, message: QueueItem<'_>, in_order: bool) -> Result<(Ticket, u32), Refused> {
        let mut state = self.lock();
        if !self.is_open() {
            return Err(Refused::Closed);
        }
        let (before, bytes, size) = (state.dropped, state.bytes, message.len());
        // in the budget of the container a message has room where as much was dropped for it
        while self.exceeds_bounds(&state, size) || bytes - state.bytes.min(bytes) < size && self.is_full(&state, size) {
            if !state.drop_oldest() {
                state.count_dropped();
                return Err(Refused::Dropped);
            }
        }
        let evicted = state.dropped - before;
        if state.lined || state.outstanding() > 0 {
            return Ok((self.line_up(state, message, in_order, true), evicted));
        }
        drop(state);
        // nothing is before it, so it is as good as sent
        let offered = if in_order { self.offer_in_order(message, false) } else { self.offer_reply(message) };
        Ok((offered?, evicted))
    }
}

impl State {
    pub(super) fn count_dropped(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }
}
