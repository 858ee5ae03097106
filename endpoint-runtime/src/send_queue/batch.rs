//! Batching: messages are held back until they are flushed.

use super::{SendQueue, State, Ticket, WRITE_BATCH_BYTES};
use crate::send_queue::sync::{MutexGuard, Ordering};

impl SendQueue {
    /// Whether sent messages may wait for more.
    pub(crate) fn batches(&self) -> bool {
        self.lock().batching
    }

    /// Allows batching, or ends it and flushes.
    pub(crate) fn set_batching(&self, allowed: bool) {
        let mut state = self.lock();
        state.batching = allowed;
        if !allowed {
            self.notify(state);
        }
    }

    /// Flushes everything accepted; returns the last ticket.
    pub(crate) fn flush_batch(&self) -> Ticket {
        let state = self.lock();
        let ticket = state.last_ticket();
        self.notify(state);
        ticket
    }

    /// Queues an accepted message without waking the connection until there is enough for an efficient write. A
    /// connection that runs anyway takes the batch along.
    #[cold]
    pub(super) fn gather(&self, mut state: MutexGuard<'_, State>) {
        if state.bytes >= WRITE_BATCH_BYTES {
            self.notify(state);
        } else {
            state.batched |= !self.pending.swap(true, Ordering::AcqRel);
        }
    }
}
