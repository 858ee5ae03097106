//! Whether the connection should check the queue, readable without the lock.
//!
//! The caller that raises the flag must make sure that the queue is checked. A sender wakes the connection; a broadcast
//! puts the session on a flusher's list instead.

use crate::send_queue::sync::{AtomicBool, Ordering};

/// Mirrors whether anything was queued, or became news, since the last collection or flush.
pub(super) struct Pending(AtomicBool);

impl Pending {
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[inline]
    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Raises the flag. False if it was raised already.
    #[inline]
    pub(super) fn raise(&self) -> bool {
        // a raised flag may be lowered at once by a collector, but it waits for the lock, and then sees the change
        !self.is_raised() && !self.0.swap(true, Ordering::AcqRel)
    }

    /// Lowers the flag, before the queue is checked.
    #[inline]
    pub(super) fn lower(&self) {
        // a swap, so that it is ordered after the write that raised the flag, in every memory order
        self.0.swap(false, Ordering::AcqRel);
    }
}
