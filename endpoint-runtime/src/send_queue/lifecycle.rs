//! The life of a queue: its connection, the close, the abort and the end.

use std::task::{Context, Poll, Waker};

use tokio::net::tcp::OwnedWriteHalf;

use super::queue::SendQueue;
use super::state::Phase;
use endpoint_wire::close::CloseReason;

impl SendQueue {
    /// Resolves when the connection is aborted; for tasks that continue after its end.
    pub(crate) fn poll_aborted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.news.aborted {
            return Poll::Ready(());
        }
        state.cold().on_abort = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Registers the task that empties the queue.
    pub(crate) fn attach(&self, waker: &Waker) {
        self.lock().connection = Some(waker.clone());
    }

    /// Removes that task: its memory must not live as long as the last clone of the session. Without a connection the
    /// queue has ended.
    pub(crate) fn detach(&self) {
        let mut state = self.lock();
        if !state.has_ended() {
            drop(state);
            self.end(false);
            state = self.lock();
        }
        let gone = state.take_allocations();
        // dropping a waker may run code that locks this queue
        drop(state);
        drop(gone);
    }

    /// Requests the closing handshake after the queued messages; the first reason wins. Nothing more is accepted.
    pub(crate) fn close(&self, reason: CloseReason) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            self.advance_phase(&mut state, Phase::Draining);
            state.cold().close = Some(reason);
            self.notify(state);
        }
    }

    /// Aborts the connection: no close frame, and running handlers stop.
    pub(crate) fn abort(&self) {
        let mut state = self.lock();
        state.news.aborted = true;
        let closing = state.cold().on_abort.take();
        self.notify(state);
        if let Some(waker) = closing {
            waker.wake();
        }
    }

    /// Shuts down our half of a plain connection.
    pub(crate) fn shutdown_write(&self) {
        // dropping it sends the shutdown to the peer
        self.lock().socket = None;
    }

    /// Releases a plain socket without a shutdown; it closes when the connection drops its half.
    pub(crate) fn release_socket(&self) {
        self.lock().socket.take().into_iter().for_each(OwnedWriteHalf::forget);
    }

    /// Drops the backlog: the session ends.
    pub(crate) fn clear_backlog(&self) {
        self.lock().clear_backlog();
    }

    /// Ends the queue: it accepts and writes nothing more, and wakes all waiters.
    pub(crate) fn end(&self, timed_out: bool) {
        let mut state = self.lock();
        self.advance_phase(&mut state, if timed_out { Phase::TimedOut } else { Phase::Ended });
        state.discard_output();
        state.bytes.set(0, &self.bounds.budget);
        state.clear_backlog();
        if let Some(deflation) = self.deflation() {
            deflation.end();
        }
        self.wake_waiters(state);
    }

    /// Refuses further messages, as after a received close frame; wakes the senders that wait for space.
    pub(crate) fn stop_accepting(&self) {
        let mut state = self.lock();
        self.advance_phase(&mut state, Phase::Draining);
        self.wake_waiters(state);
    }
}
