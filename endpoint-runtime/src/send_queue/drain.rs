//! The connection's side of a queue: it takes over, writes, and says how far it has come.

use std::io;
use std::task::{Context, Poll, Waker};

use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

use super::direct_write::try_write;
use super::{SendQueue, State, Ticket, wake_waiters};
use crate::send_queue::sync::{MutexGuard, Ordering};
use crate::send_queue::write_buffer::Frames;
use endpoint_wire::close::CloseReason;

/// What the connection collected.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// The close the application asked for, once.
    pub(crate) close: Option<CloseReason>,
    /// Give up at once.
    pub(crate) cut: bool,
    /// Pings or pongs of the application were among it.
    pub(crate) control: bool,
    /// Somebody waits, or a limit was changed: the clock is to be looked at.
    pub(crate) look: bool,
    /// Everything up to this ticket is now with the connection.
    pub(crate) ticket: Ticket,
    /// Messages wait in the line: everything else goes behind them.
    pub(crate) lined: bool,
    /// What is written is to be reported, though the ticket may be an old one.
    pub(crate) report: bool,
}

impl SendQueue {
    /// Resolves if the connection is given up; for what goes on after its end.
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

    /// Forgets it: its memory must not live as long as the last clone of the session. Without a connection the queue has
    /// ended.
    pub(crate) fn detach(&self) {
        let mut state = self.lock();
        if !state.ended {
            drop(state);
            self.end(false);
            state = self.lock();
        }
        let gone = (state.connection.take(), state.rare.take());
        // what is dropped with a waker may look here
        drop(state);
        drop(gone);
    }

    /// Says whether the connection has bytes that are not with the socket.
    #[inline]
    pub(crate) fn set_has_unflushed(&self, has_unflushed: bool) {
        self.has_unflushed.store(has_unflushed, Ordering::Relaxed);
    }

    /// Writes to a plain socket once: how much it took, zero if it takes nothing now. There must be something to write.
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

    /// Ends our half of a plain connection.
    pub(crate) fn shutdown_write(&self) {
        // dropping it says so to the peer
        self.lock().socket = None;
    }

    /// Lets go of a plain socket, which is closed when the connection does, too.
    pub(crate) fn release_socket(&self) {
        self.lock().socket.take().into_iter().for_each(OwnedWriteHalf::forget);
    }

    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Moves what has gathered to the end of `out`, control frames first.
    pub(crate) fn collect(&self, out: &mut Frames) -> Collected {
        // swapped, so that it comes after whatever set it, in every order of memory
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
        // an idle session keeps a little room at most
        state.frames.shrink(512);
        if state.lined || state.parts {
            self.collect_line(state, out, &mut collected);
        }
        collected
    }

    /// As [`collect`](Self::collect), for what waits its turn.
    #[cold]
    fn collect_line(&self, mut state: MutexGuard<'_, State>, out: &mut Frames, collected: &mut Collected) {
        let granted = state.lined && self.advance_line(&mut state, out);
        state.parts = false;
        (collected.ticket, collected.lined, collected.report) = (state.accepted, state.lined, true);
        if granted {
            wake_waiters(state);
        }
    }

    /// Forgets what has not had its turn: the session ends.
    pub(crate) fn clear_backlog(&self) {
        self.lock().clear_line();
    }

    /// Says that everything up to `ticket` is written, and `left` bytes behind it are not. True if there is more whose
    /// turn has come.
    pub(crate) fn written(&self, ticket: Ticket, left: usize) -> bool {
        let mut state = self.lock();
        state.blocked = false;
        state.bytes = state.own_bytes() + left;
        // a broadcast may have been written at once since, and its ticket is later
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

    /// Counts what waits its turn. True if that has come for some of it.
    #[cold]
    fn count_line(&self, state: &mut State) -> bool {
        state.bytes += state.line_bytes();
        !state.is_open_in_parts()
    }

    /// Says that the peer takes nothing at the moment, and how many bytes the connection has that are not written: what
    /// came from here, replies and pongs.
    pub(crate) fn blocked(&self, left: usize) {
        let mut state = self.lock();
        if !state.ended {
            state.blocked = true;
            state.bytes = state.own_bytes() + state.line_bytes() + left;
            self.recount(&mut state);
        }
    }

    /// Wakes whoever has waited too long; returns the next deadline, and whether a broadcast was written meanwhile.
    pub(crate) fn expire(&self, now: Instant) -> (Option<Instant>, bool) {
        let mut state = self.lock();
        let app_activity = std::mem::take(&mut state.app_activity);
        let Some(rare) = &mut state.rare else { return (None, app_activity) };
        let (missed, next) = rare.waiters.expire(now);
        drop(state);
        missed.into_iter().for_each(Waker::wake);
        (next, app_activity)
    }

    /// Ends it: nothing is accepted, nothing more will be written, whoever waits is told.
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

    /// Refuses further messages, as after a close frame was received; whoever waits for room is told.
    pub(crate) fn stop_accepting(&self) {
        let state = self.lock();
        self.open.store(false, Ordering::Release);
        wake_waiters(state);
    }
}
