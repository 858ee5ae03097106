//! Counts the long-lived part of a queue in the container's budget. A message that leaves at once is never counted.

use endpoint_wire::budget::Budget;

/// A queue of at most this many bytes, whose peer reads, is not counted: it is about to leave.
const UNCOUNTED: usize = 64 << 10;

/// The same limit for a queue whose peer does not read.
const BLOCKED_STEP: usize = 4 << 10;

/// Bytes of messages that are accepted and not written.
#[derive(Debug, Default)]
pub(super) struct QueuedBytes {
    bytes: usize,
    /// Number of these bytes that are counted in the container's budget.
    counted: usize,
}

impl QueuedBytes {
    #[inline]
    pub(super) fn get(&self) -> usize {
        self.bytes
    }

    /// Whether the container has no space for `size` bytes behind others that stay. A short queue of a peer that reads
    /// is not penalised for peers that do not.
    #[inline]
    pub(super) fn exceed_budget(&self, size: usize, blocked: bool, budget: &Budget) -> bool {
        (blocked || self.bytes.saturating_add(size) > UNCOUNTED) && budget.is_used_up()
    }

    /// Adds the bytes of an accepted message.
    #[inline]
    pub(super) fn add(&mut self, size: usize, blocked: bool, budget: &Budget) {
        self.bytes += size;
        let step = if blocked { BLOCKED_STEP } else { UNCOUNTED };
        if self.bytes > self.counted.saturating_add(step) {
            self.count(budget);
        }
    }

    /// Removes the bytes of a dropped message; the next change counts them.
    pub(super) fn remove(&mut self, size: usize) {
        self.bytes = self.bytes.saturating_sub(size);
    }

    /// Sets the number after bytes were written or dropped.
    #[inline]
    pub(super) fn set(&mut self, bytes: usize, budget: &Budget) {
        self.bytes = bytes;
        if self.counted > 0 {
            self.count(budget);
        }
    }

    /// Sets the number once the peer does not read: all of them stay, and are counted.
    pub(super) fn set_staying(&mut self, bytes: usize, budget: &Budget) {
        self.bytes = bytes;
        self.count(budget);
    }

    #[cold]
    fn count(&mut self, budget: &Budget) {
        let (before, now) = (std::mem::replace(&mut self.counted, self.bytes), self.bytes);
        if now > before {
            budget.add(now - before);
        } else {
            budget.give_back(before - now);
        }
    }
}
