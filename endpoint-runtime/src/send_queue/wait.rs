//! Futures that wait for the queue: for space, or until a message is written.

use std::task::{Context, Poll};

use super::item::Ticket;
use super::queue::{SendQueue, WRITE_BATCH_BYTES};
use super::refused::Refused;
use super::state::{Phase, QueueState};
use super::waiters::{FAR, Waiting};
use crate::send_queue::sync::MutexGuard;

impl SendQueue {
    /// Waits until the message of `ticket` is written, at most for the send timeout.
    pub(crate) fn poll_written(
        &self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        // a message copied into the batch counts as sent
        let batched = |state: &QueueState| {
            state.mode.is_batching() && state.bytes.get() < WRITE_BATCH_BYTES && !state.has_ended()
        };
        self.poll_ticket(cx, ticket, waiting, batched)
    }

    /// Like [`poll_written`](Self::poll_written), but also waits while batching.
    pub(crate) fn poll_flushed(
        &self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        self.poll_ticket(cx, ticket, waiting, |_| false)
    }

    #[inline]
    fn poll_ticket(
        &self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        waiting: &mut Waiting,
        suffices: impl FnOnce(&QueueState) -> bool,
    ) -> Poll<Result<(), Refused>> {
        let mut state = self.lock();
        if state.written() >= ticket || suffices(&state) {
            state.unregister(waiting);
            return Poll::Ready(Ok(()));
        }
        if state.has_ended() {
            let timed_out = state.phase == Phase::TimedOut;
            state.unregister(waiting);
            return Poll::Ready(Err(if timed_out { Refused::TimedOut } else { Refused::Closed }));
        }
        // a handler's own message leaves with its batch, at the latest when the handler waits for something else;
        // one that waits behind a message in parts might wait for the handler itself
        let behind = || ticket > state.accepted() && state.is_open_in_parts();
        if self.is_in_own_handler()
            && (!state.backpressure.blocked && state.bytes.get() < WRITE_BATCH_BYTES || behind())
        {
            state.unregister(waiting);
            return Poll::Ready(Ok(()));
        }
        self.poll_waiting(state, cx, waiting)
    }

    /// Waits until a message of `size` bytes may be enqueued again. A sender that waits when the send timeout ends the
    /// session gets `TimedOut`.
    pub(crate) fn poll_capacity(
        &self,
        cx: &mut Context<'_>,
        size: usize,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        self.poll_until(cx, waiting, |send_queue, state| !send_queue.is_full(state, size))
    }

    /// Waits until `is_met` returns true, or the session ends.
    pub(super) fn poll_until(
        &self,
        cx: &mut Context<'_>,
        waiting: &mut Waiting,
        mut is_met: impl FnMut(&Self, &mut QueueState) -> bool,
    ) -> Poll<Result<(), Refused>> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            let timed_out = waiting.is_registered() && state.phase == Phase::TimedOut;
            state.unregister(waiting);
            return Poll::Ready(Err(if timed_out { Refused::TimedOut } else { Refused::Closed }));
        }
        if is_met(self, &mut state) {
            return Poll::Ready(Ok(()));
        }
        self.poll_waiting(state, cx, waiting)
    }

    fn poll_waiting(
        &self,
        mut state: MutexGuard<'_, QueueState>,
        cx: &mut Context<'_>,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        if waiting.is_registered() {
            if state.cold().waiters.keep(waiting, cx) {
                return Poll::Pending;
            }
            state.unregister(waiting);
            return Poll::Ready(Err(Refused::TimedOut));
        }
        let limit = match state.send_timeout() {
            Some(own) => own.unwrap_or(FAR),
            None => self.bounds.send_timeout,
        };
        state.cold().waiters.register(waiting, limit, cx);
        // the connection owns the clock
        self.notify(state);
        Poll::Pending
    }

    /// Removes a waiter whose future was dropped.
    pub(crate) fn stop_waiting(&self, waiting: &mut Waiting) {
        if waiting.is_registered() {
            self.lock().unregister(waiting);
        }
    }
}

/// A registered waiter, removed when it is dropped.
pub(crate) struct WaitGuard<'a> {
    pub(crate) send_queue: &'a SendQueue,
    pub(crate) waiting: Waiting,
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.send_queue.stop_waiting(&mut self.waiting);
    }
}
