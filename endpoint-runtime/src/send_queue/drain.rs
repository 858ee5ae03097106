//! The connection's side of a send queue: collecting, writing, and reporting what is written.

use std::io;
use std::task::{Context, Poll, Waker};

use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

use super::direct_write::try_write;
use super::{SendQueue, State, Ticket, wake_waiters};
use crate::send_queue::sync::{MutexGuard, Ordering};
use crate::send_queue::write_buffer::Frames;
use endpoint_wire::close::CloseReason;

/// The result of [`SendQueue::collect`].
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// The close requested by the application, reported once.
    pub(crate) close: Option<CloseReason>,
    /// Whether to abort at once.
    pub(crate) cut: bool,
    /// Whether the application's pings or pongs were collected.
    pub(crate) control: bool,
    /// A sender waits, or a limit was changed: the connection must check the deadlines.
    pub(crate) look: bool,
    /// Everything up to this ticket is now with the connection.
    pub(crate) ticket: Ticket,
    /// Messages wait in the backlog: everything else goes behind them.
    pub(crate) lined: bool,
    /// Whether written bytes must be reported even if the ticket is an old one.
    pub(crate) report: bool,
}

impl SendQueue {
    /// Resolves when the connection is aborted; for tasks that continue after its end.
    pub(crate) fn poll_aborted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.cut {
            return Poll::Ready(());
        }
        state.rare().closing = Some(cx.waker().clone());
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
        if !state.ended {
            drop(state);
            self.end(false);
            state = self.lock();
        }
        let gone = (state.connection.take(), state.rare.take());
        // dropping a waker may run code that locks this queue
        drop(state);
        drop(gone);
    }

    /// Sets whether the connection holds bytes that are not with the socket.
    #[inline]
    pub(crate) fn set_has_unflushed(&self, has_unflushed: bool) {
        self.has_unflushed.store(has_unflushed, Ordering::Relaxed);
    }

    /// Writes to a plain socket once. Returns the number of bytes written, zero if it would block. `out` must not be
    /// empty.
    pub(crate) fn write(&self, out: &mut Frames, most: usize) -> io::Result<usize> {
        let mut state = self.lock();
        state.prepend_partial(out);
        let Some(socket) = &state.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        match try_write(socket, out, most) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                out.advance(count);
                if out.is_empty() {
                    self.set_has_unflushed(false);
                }
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
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

    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Moves everything queued to the end of `out`, control frames first.
    pub(crate) fn collect(&self, out: &mut Frames) -> Collected {
        // a swap, so that it is ordered after the write that set the flag, in every memory order
        self.pending.swap(false, Ordering::AcqRel);
        let mut state = self.lock();
        state.batched = false;
        state.prepend_partial(out);
        let mut collected = Collected {
            cut: state.cut,
            look: std::mem::take(&mut state.look),
            ticket: state.accepted,
            ..<_>::default()
        };
        if let Some(rare) = &mut state.rare {
            collected.control = !rare.control.is_empty();
            collected.look |= !rare.waiters.is_empty();
            collected.close = rare.close.take();
            out.small().extend_from_slice(&std::mem::take(&mut rare.control));
        }
        out.append(&mut state.frames);
        // an idle session keeps at most a small buffer
        state.frames.shrink(512);
        if state.lined || state.parts {
            self.collect_line(state, out, &mut collected);
        }
        collected
    }

    /// Like [`collect`](Self::collect), for the backlog.
    #[cold]
    fn collect_line(&self, mut state: MutexGuard<'_, State>, out: &mut Frames, collected: &mut Collected) {
        let granted = state.lined && self.advance_line(&mut state, out);
        state.parts = false;
        (collected.ticket, collected.lined, collected.report) = (state.accepted, state.lined, true);
        if granted {
            wake_waiters(state);
        }
    }

    /// Drops the backlog: the session ends.
    pub(crate) fn clear_backlog(&self) {
        self.lock().clear_line();
    }

    /// Reports that everything up to `ticket` is written, and that `left` bytes behind it are not. True if the backlog
    /// has messages that are due.
    pub(crate) fn written(&self, ticket: Ticket, left: usize) -> bool {
        let mut state = self.lock();
        state.blocked = false;
        state.bytes = state.own_bytes() + left;
        // a broadcast may have been written directly since, and its ticket is later
        state.written = state.written.max(ticket);
        state.warned = false;
        state.count_gaps();
        let more = state.lined && self.count_line(&mut state);
        self.shrank(&mut state);
        if state.rare.as_ref().is_some_and(|rare| !rare.waiters.is_empty()) {
            wake_waiters(state);
        }
        more
    }

    /// Counts the bytes of the backlog. True if some of it is due.
    #[cold]
    fn count_line(&self, state: &mut State) -> bool {
        state.bytes += state.line_bytes();
        !state.is_open_in_parts()
    }

    /// Reports that the peer currently accepts no bytes, and how many bytes of the connection are not written: those
    /// collected here, replies and pongs.
    pub(crate) fn blocked(&self, left: usize) {
        let mut state = self.lock();
        if !state.ended {
            state.blocked = true;
            state.bytes = state.own_bytes() + state.line_bytes() + left;
            self.recount(&mut state);
        }
    }

    /// Wakes the waiters whose deadline has passed. Returns the next deadline, and whether a broadcast was written
    /// meanwhile.
    pub(crate) fn expire(&self, now: Instant) -> (Option<Instant>, bool) {
        let mut state = self.lock();
        let app_activity = std::mem::take(&mut state.app_activity);
        let Some(rare) = &mut state.rare else { return (None, app_activity) };
        let (missed, next) = rare.waiters.expire(now);
        drop(state);
        missed.into_iter().for_each(Waker::wake);
        (next, app_activity)
    }

    /// Ends the queue: it accepts and writes nothing more, and wakes all waiters.
    pub(crate) fn end(&self, timed_out: bool) {
        let mut state = self.lock();
        self.open.store(false, Ordering::Release);
        state.timed_out |= timed_out;
        state.ended = true;
        (state.frames, state.bytes) = (Frames::default(), 0);
        self.shrank(&mut state);
        state.clear_line();
        if let Some(rare) = &mut state.rare {
            (rare.control, rare.partial_frame) = (Vec::new(), Vec::new());
        }
        if let Some(deflation) = &self.deflation {
            deflation.end();
        }
        wake_waiters(state);
    }

    /// Refuses further messages, as after a received close frame; wakes the senders that wait for space.
    pub(crate) fn stop_accepting(&self) {
        let state = self.lock();
        self.open.store(false, Ordering::Release);
        wake_waiters(state);
    }
}
