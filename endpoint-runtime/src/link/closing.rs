//! How it ends: who is first to say so, what the close frame says, and how the socket is left.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::{End, Input, Link};
use crate::buffer;
use crate::close::{CloseCode, CloseReason, Initiator};
use crate::error::Error;
use crate::frames::Frames;
use crate::role::Role;
use crate::socket::Socket;
use crate::wire::encode;
use crate::wire::event::{Event, Rules, Take};

impl Link {
    /// The first reason wins. `wire` is what the close frame says, if one can be sent.
    pub(super) fn finish(&mut self, local: CloseReason, wire: Option<CloseReason>) {
        if self.end.is_some() {
            return;
        }
        self.outbound.refuse();
        self.break_stream(Error::closed);
        self.session.retire();
        self.end = Some(Box::new(End { reason: local, seen: None }));
        self.clock.look = true;
        if self.outbound.has_news() || self.lined {
            // what was queued before goes before
            self.collect_news();
            self.outbound.seal();
        }
        if let Some(wire) = wire {
            if !self.close_sent && !self.broken {
                encode::close(self.room().small(), &wire);
                self.close_sent = true;
            }
        }
    }

    /// Ends the session from our side.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.finish(reason.clone(), Some(reason));
    }

    /// Ends the session because of a limit or a shutdown: locally it ended abnormally, the peer is told the code.
    pub(super) fn cut(&mut self, reason: CloseReason) {
        let local = CloseReason::truncating(CloseCode::ClosedAbnormally, reason.reason()).by(Initiator::Container);
        self.finish(local, Some(reason));
    }

    pub(super) fn peer_closes(&mut self, reason: CloseReason) {
        self.close_received = true;
        self.finish(reason.clone(), Some(reason));
    }

    #[cold]
    pub(super) fn lost(&mut self, why: &str) {
        self.break_off(why, Initiator::Transport);
    }

    /// The peer has not read for too long: a message is half-way, so the connection cannot go on.
    pub(super) fn unsent(&mut self) {
        self.break_off("send timeout: the peer does not read", Initiator::Container);
    }

    /// Nothing more is read, and what was not written never will be.
    fn break_off(&mut self, why: &str, initiator: Initiator) {
        (self.reading, self.broken, self.unflushed) = (false, true, false);
        self.stall = None;
        // before the end, whose last words have no one to be written to
        self.outbound.end(initiator == Initiator::Container);
        self.finish(CloseReason::truncating(CloseCode::ClosedAbnormally, why).by(initiator), None);
        self.out = Frames::default();
    }

    /// Reads on until the peer's close frame; its messages are no longer wanted.
    pub(crate) fn poll_peer_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let rules = Rules { text: Take::Discard, binary: Take::Discard };
        loop {
            while !self.input.is_empty() && !self.quantum.is_over() {
                let Input { buffer, start, end, .. } = &mut self.input;
                match self.decoder.next(&rules, &mut buffer[*start..*end]) {
                    Ok((_, Some(Event::Close(_)))) => {
                        self.close_received = true;
                        self.input.release();
                        return Poll::Ready(());
                    }
                    Err(_) => {
                        self.input.release();
                        return Poll::Ready(());
                    }
                    Ok((used, _)) => {
                        self.input.start += used;
                        self.quantum.spend_on_frame(used + self.decoder.take_work());
                    }
                }
            }
            if !self.may_go_on(cx) {
                self.input.put_aside();
                self.suspend(cx);
                return Poll::Pending;
            }
            match self.poll_raw(cx) {
                Poll::Ready(0) => return Poll::Ready(()),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Says that nothing more will be written, then reads until the peer has nothing more to say, so that the kernel
    /// does not take the close frame back with a reset.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // both close frames have passed: the server closes TCP first, a client waits for that (RFC 6455 §7.1.1)
        let waits = self.role == Role::Client && self.close_received;
        if !self.shut && !waits {
            match &mut self.socket {
                // both close frames have passed, so it is closed as a whole
                Socket::Tcp(_) if self.close_received => {}
                Socket::Tcp(_) => self.outbound.shut(),
                Socket::Other(io) => {
                    let _ = ready!(Pin::new(io).poll_shutdown(cx));
                }
            }
            self.shut = true;
        }
        self.input.release();
        loop {
            if !self.may_go_on(cx) {
                self.suspend(cx);
                return Poll::Pending;
            }
            match self.poll_raw(cx) {
                Poll::Ready(0) => return Poll::Ready(()),
                Poll::Ready(_) => self.input.release(),
                // both close frames have passed: there is nothing to wait for
                Poll::Pending if self.close_received && !waits => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads into the thread's buffer whatever comes; zero at the end.
    pub(super) fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.input.release();
        let mut buffer = buffer::lend_for_reading();
        let read = self.socket.poll_read(cx, &mut buffer).map(|read| read.unwrap_or(0));
        let end = if let Poll::Ready(count) = read { count } else { 0 };
        self.quantum.spend(end);
        self.input = Input { buffer, start: 0, end, lent: true };
        if end == 0 {
            self.input.release();
        }
        if read.is_pending() {
            self.suspend(cx);
        }
        read
    }
}
