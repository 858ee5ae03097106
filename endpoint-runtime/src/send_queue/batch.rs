//! Batching: messages gather until they are asked for.

use super::{SendQueue, State, Ticket, WRITE_BATCH_BYTES};
use crate::send_queue::sync::{MutexGuard, Ordering};

impl SendQueue {
    /// Whether what is sent may wait for more.
    pub(crate) fn batches(&self) -> bool {
        self.lock().batching
    }

    /// Says so, or flushes.
    pub(crate) fn set_batching(&self, allowed: bool) {
        let mut state = self.lock();
        state.batching = allowed;
        if !allowed {
            self.notify(state);
        }
    }

    /// Has everything written that was accepted; its ticket.
    pub(crate) fn flush_batch(&self) -> Ticket {
        let state = self.lock();
        let ticket = state.last_ticket();
        self.notify(state);
        ticket
    }

    /// A message was accepted. The connection sleeps on until there is enough for a good write; if it runs anyway, it
    /// takes the batch along.
    #[cold]
    pub(super) fn gather(&self, mut state: MutexGuard<'_, State>) {
        if state.bytes >= WRITE_BATCH_BYTES {
            self.notify(state);
        } else {
            state.batched |= !self.pending.swap(true, Ordering::AcqRel);
        }
    }
}
