//! Handling of messages for which the queue has no space.

use super::{QueueItem, Refused, SendQueue, State, Ticket};
use crate::config::Overflow;
use crate::observe::log_rate::QueueLog;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};

impl SendQueue {
    /// The overflow policy of the endpoint, or of the container.
    #[inline]
    pub(crate) fn overflow(&self) -> Option<Overflow> {
        self.bounds.overflow
    }

    /// Rate limits of the log lines about the queues of the endpoint.
    pub(crate) fn log(&self) -> &QueueLog {
        &self.bounds.log
    }

    /// Number of messages dropped because the queue was full.
    pub(crate) fn dropped(&self) -> u32 {
        self.lock().dropped
    }

    /// Offers a message, and applies `overflow` if there is no space. Never waits.
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

    /// Applies `overflow` to a message for which there is no space.
    #[cold]
    pub(crate) fn overflows(&self, overflow: Overflow) -> Refused {
        match overflow {
            Overflow::Wait | Overflow::Error => Refused::Full,
            Overflow::DropOldest | Overflow::DropNewest => {
                self.lock().count_dropped();
                Refused::Dropped
            }
            Overflow::Close => {
                let reason = CloseReason::truncating(CloseCode::TryAgainLater, "the send queue is full");
                self.close(reason.by(Initiator::Container));
                Refused::Closed
            }
        }
    }

    /// Accepts a message that may be dropped later; drops older droppable ones until there is space. Returns how many.
    pub(crate) fn offer_droppable(&self, message: QueueItem<'_>, in_order: bool) -> Result<(Ticket, u32), Refused> {
        let mut state = self.lock();
        if !self.is_open() {
            return Err(Refused::Closed);
        }
        let (before, bytes, size) = (state.dropped, state.bytes, message.len());
        // in the container's budget a message has space once as many bytes were dropped for it
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
        // nothing is queued before it, so it counts as sent
        let offered = if in_order { self.offer_in_order(message, false) } else { self.offer_reply(message) };
        Ok((offered?, evicted))
    }
}

impl State {
    pub(super) fn count_dropped(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }
}
