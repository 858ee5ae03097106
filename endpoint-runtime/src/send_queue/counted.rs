//! Counts the long-lived part of a queue in the container's budget. A message that leaves at once is never counted.

use super::{SendQueue, State};

/// A queue of at most this many bytes, whose peer reads, is not counted: it is about to leave.
const UNCOUNTED: usize = 64 << 10;

/// The same limit for a queue whose peer does not read.
const BLOCKED_STEP: usize = 4 << 10;

impl SendQueue {
    /// Whether the container has no space for a message behind others that stay. A short queue of a peer that reads is
    /// not penalised for peers that do not.
    #[inline]
    pub(super) fn exceeds_budget(&self, state: &State, size: usize) -> bool {
        (state.blocked || state.bytes.saturating_add(size) > UNCOUNTED) && self.is_budget_used_up()
    }

    /// Whether all queues of the container together have reached their limit.
    #[inline]
    pub(crate) fn is_budget_used_up(&self) -> bool {
        self.bounds.budget.is_used_up()
    }

    /// Updates the count after bytes were added.
    #[inline]
    pub(super) fn grew(&self, state: &mut State) {
        let step = if state.blocked { BLOCKED_STEP } else { UNCOUNTED };
        if state.bytes > state.counted.saturating_add(step) {
            self.recount(state);
        }
    }

    /// Updates the count after bytes have left.
    #[inline]
    pub(super) fn shrank(&self, state: &mut State) {
        if state.counted > 0 {
            self.recount(state);
        }
    }

    #[cold]
    pub(super) fn recount(&self, state: &mut State) {
        let (before, now) = (std::mem::replace(&mut state.counted, state.bytes), state.bytes);
        if now > before {
            self.bounds.budget.add(now - before);
        } else {
            self.bounds.budget.give_back(before - now);
        }
    }
}

/// A queue may be dropped without its end, with a task that is dropped.
impl Drop for SendQueue {
    fn drop(&mut self) {
        let counted = self.lock().counted;
        if counted > 0 {
            self.bounds.budget.give_back(counted);
        }
    }
}
