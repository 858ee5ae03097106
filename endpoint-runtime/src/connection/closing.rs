//! The end of a connection: which side ends it first, what the close frame carries, and how the socket is closed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::io::{ConnectionIo, End, Input};
use crate::error::Error;
use crate::send_queue::write_buffer::Frames;
use crate::transport::buffers;
use crate::transport::socket::Socket;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::encode;
use endpoint_wire::event::{DecodeOptions, Delivery, Event};
use endpoint_wire::role::Role;

impl ConnectionIo {
    /// Ends the session; the first reason wins. `wire` is for the close frame, if one can be sent. With
    /// `delivers_received`, messages that were received before the end are still handled.
    fn finish(&mut self, local: CloseReason, wire: Option<CloseReason>, delivers_received: bool) {
        if self.end.is_some() {
            return;
        }
        self.send_queue.stop_accepting();
        self.session.unregister();
        self.end = Some(Box::new(End { reason: local, delivers_received, seen: None, dropped: 0 }));
        if !self.has_unhandled() {
            self.break_stream(Error::closed);
        }
        self.clock.look = true;
        if self.send_queue.has_news() || self.has_backlog {
            // messages queued earlier are sent before the close frame
            self.collect_news();
            self.send_queue.clear_backlog();
        }
        if let Some(wire) = wire {
            if !self.close_sent && !self.broken {
                encode::close(self.write_buffer().small(), &wire);
                self.close_sent = true;
            }
        }
    }

    /// Ends the session from our side, because the application closed it or a handler failed. No further message is
    /// handled.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.finish(reason.clone(), Some(reason), false);
    }

    /// Ends the session because of a limit or a shutdown. Locally the end is abnormal; the peer receives the code.
    pub(super) fn cut(&mut self, reason: CloseReason) {
        let local = CloseReason::truncating(CloseCode::ClosedAbnormally, reason.reason()).by(Initiator::Container);
        self.finish(local, Some(reason), true);
    }

    pub(super) fn on_close_frame(&mut self, reason: CloseReason) {
        self.close_received = true;
        self.finish(reason.clone(), Some(reason), true);
    }

    /// The peer closed TCP, or TCP failed: nothing more can be read.
    #[cold]
    pub(super) fn on_disconnect(&mut self, why: &str) {
        self.reading = false;
        self.abort_writing(why, Initiator::Transport);
        // a message that a handler is reading will not be completed
        self.break_stream(Error::closed);
    }

    /// Nothing more can be written. What the peer sent before it went away is still read: the kernel keeps it, also
    /// after a reset.
    #[cold]
    pub(super) fn on_write_error(&mut self, why: &str) {
        self.abort_writing(why, Initiator::Transport);
    }

    /// The peer has read too little for too long. A message is half written, so the connection cannot go on.
    pub(super) fn on_send_timeout(&mut self, why: &str) {
        self.abort_writing(&format!("send timeout: {why}"), Initiator::Container);
    }

    /// Drops everything that is not written, and ends the session.
    fn abort_writing(&mut self, why: &str, initiator: Initiator) {
        (self.broken, self.unflushed) = (true, false);
        self.stall = None;
        // before `finish`: nothing that it queues can be written any more
        self.send_queue.end(initiator == Initiator::Container);
        self.finish(CloseReason::truncating(CloseCode::ClosedAbnormally, why).by(initiator), None, true);
        self.out = Frames::default();
    }

    /// Number of bytes of messages and the close frame that are not yet written to the socket.
    pub(crate) fn unwritten_bytes(&self) -> usize {
        self.out.len()
    }

    /// When the wait for the peer's close frame began: at the start of the handlers' grace period, or now.
    pub(crate) fn ended_at(&self) -> Instant {
        self.end.as_ref().and_then(|end| end.seen).unwrap_or_else(Instant::now)
    }

    /// Reads until the peer's close frame, and discards messages.
    pub(crate) fn poll_peer_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let rules = DecodeOptions { text: Delivery::Discard, binary: Delivery::Discard };
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
                    Ok((used, event)) => {
                        let dropped = matches!(event, Some(Event::Unwanted { .. }));
                        self.input.start += used;
                        self.quantum.spend_on_frame(used + self.decoder.take_work());
                        self.drop_message(dropped);
                    }
                }
            }
            if !self.may_go_on(cx) {
                self.input.put_aside();
                self.suspend(cx);
                return Poll::Pending;
            }
            if !self.input.is_empty() {
                // the quantum ended in the middle of the input; the close frame may be in the rest
                continue;
            }
            match self.poll_raw(cx) {
                Poll::Ready(0) => return Poll::Ready(()),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Counts a complete message that came too late for a handler.
    fn drop_message(&mut self, dropped: bool) {
        if let Some(end) = &mut self.end {
            end.dropped += u64::from(dropped);
        }
    }

    /// Shuts down writing, then reads until the peer closes, so that the kernel does not discard the close frame with a
    /// reset.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // both close frames were exchanged: the server closes TCP first, a client waits for that (RFC 6455 §7.1.1)
        let waits = self.role == Role::Client && self.close_received;
        if !self.shut && !waits {
            match &mut self.socket {
                // both close frames were exchanged, so dropping the socket closes it in both directions
                Socket::Tcp(_) if self.close_received => {}
                Socket::Tcp(_) => self.send_queue.shutdown_write(),
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
                // both close frames were exchanged: there is nothing to wait for
                Poll::Pending if self.close_received && !waits => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads any bytes into the thread's buffer; zero at the end of the stream or after an error.
    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        debug_assert!(self.input.is_empty(), "undecoded input would be lost");
        self.input.release();
        let mut buffer = buffers::lend_for_reading();
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
