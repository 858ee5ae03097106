//! Batching: messages are held back until they are flushed.

use super::item::Ticket;
use super::queue::{SendQueue, WRITE_BATCH_BYTES};
use super::state::{Mode, QueueState};
use crate::send_queue::sync::MutexGuard;

impl SendQueue {
    /// Whether sent messages may wait for more.
    pub(crate) fn batches(&self) -> bool {
        self.lock().mode.is_batching()
    }

    /// Allows batching, or ends it and flushes.
    pub(crate) fn set_batching(&self, allowed: bool) {
        let mut state = self.lock();
        if allowed {
            if state.mode == Mode::Immediate {
                state.mode = Mode::Batching { unwoken: false };
            }
            return;
        }
        let unwoken = state.mode.take_unwoken();
        state.mode = Mode::Immediate;
        if self.pending.raise() || unwoken {
            self.wake_outside_handler(state);
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
    pub(super) fn batch(&self, mut state: MutexGuard<'_, QueueState>) {
        if state.bytes.get() >= WRITE_BATCH_BYTES {
            self.notify(state);
        } else if self.pending.raise() {
            state.mode = Mode::Batching { unwoken: true };
        }
    }
}
