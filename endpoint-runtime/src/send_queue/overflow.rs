//! When the queue is full, and what is known about full queues.

use super::queue::SendQueue;
use super::state::QueueState;
use crate::config::Overflow;
use crate::observe::log_rate::QueueLog;
use crate::observe::tally::QueueCounts;

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

    /// What went through the queue so far.
    pub(crate) fn counts(&self) -> QueueCounts {
        self.lock().counts()
    }

    /// Whether this is the first message refused for lack of space since the queue was empty.
    pub(crate) fn is_first_overflow(&self) -> bool {
        !std::mem::replace(&mut self.lock().backpressure.overflow_reported, true)
    }

    /// Whether the queue exceeds its limit in bytes.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().bytes.get() > self.bounds.bytes
    }

    /// Whether all queues of the container together have reached their limit.
    #[inline]
    pub(crate) fn is_budget_used_up(&self) -> bool {
        self.bounds.budget.is_used_up()
    }

    /// Whether a message must be refused. A message that is alone may exceed the bound, so that it can be sent at all.
    #[inline]
    pub(super) fn is_full(&self, state: &QueueState, size: usize) -> bool {
        self.exceeds_bounds(state, size)
            || state.outstanding() > 0
                && state.bytes.exceed_budget(size, state.backpressure.blocked, &self.bounds.budget)
    }

    /// Whether a message exceeds the bounds of this queue alone.
    #[inline]
    pub(super) fn exceeds_bounds(&self, state: &QueueState, size: usize) -> bool {
        let outstanding = state.outstanding();
        outstanding > 0
            && (outstanding >= self.bounds.messages as u64
                || state.bytes.get().saturating_add(size) > self.bounds.bytes)
    }

    /// Adds the bytes of an accepted message.
    #[inline]
    pub(super) fn add_bytes(&self, state: &mut QueueState, size: usize) {
        state.bytes.add(size, state.backpressure.blocked, &self.bounds.budget);
    }
}
