//! The end of a connection: which side ends it first, what the close frame carries, and how the socket is closed.

use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::end::End;
use super::io::ConnectionIo;
use crate::error::Error;
use endpoint_wire::Violation;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::event::{DecodeOptions, Delivery, Event};
use endpoint_wire::role::Role;

/// Discards messages, and reports only that they ended.
const DISCARD: DecodeOptions = DecodeOptions { text: Delivery::Discard, binary: Delivery::Discard };

impl ConnectionIo {
    /// Ends the session; the first reason wins. `wire` is for the close frame, if one can be sent. With
    /// `handles_received`, messages that were received before the end are still handled.
    fn finish(&mut self, local: CloseReason, wire: Option<CloseReason>, handles_received: bool) {
        if self.ended().is_some() {
            return;
        }
        self.send_queue().stop_accepting();
        self.session.unregister();
        self.slow_path.get_or_insert_default().end = Some(End::new(local, handles_received));
        if !self.has_unhandled() {
            self.break_stream(Error::closed);
        }
        self.timers.check_soon();
        if self.send_queue().has_news() || self.writer.has_backlog() {
            // messages queued earlier are sent before the close frame
            self.collect_news();
            self.send_queue().clear_backlog();
        }
        if let Some(reason) = wire {
            self.writer.close(&reason);
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

    /// Ends the session as the send queue asks for: at once with `is_cut`, or with a close frame.
    pub(super) fn obey(&mut self, is_cut: bool, close: Option<CloseReason>) {
        if is_cut {
            self.on_disconnect("the container aborted the connection");
            if let Some(end) = self.ended_mut() {
                end.abandon();
            }
        }
        match close {
            Some(reason) if reason.initiator() == Initiator::Container => self.cut(reason),
            Some(reason) => self.close(reason),
            None => {}
        }
    }

    /// Answers the peer's close frame (RFC 6455 §5.5.1).
    pub(super) fn on_close_frame(&mut self, reason: CloseReason) {
        self.reader.close();
        self.finish(reason.clone(), Some(reason), true);
    }

    /// The peer closed TCP, or TCP failed: nothing more can be read.
    #[cold]
    pub(super) fn on_disconnect(&mut self, why: &str) {
        self.reader.stop();
        self.abort_writing(why, Initiator::Transport);
        // a message that a handler is reading will not be completed
        self.break_stream(Error::closed);
    }

    #[cold]
    pub(super) fn on_read_error(&mut self, error: &io::Error) {
        // a transport that reads frames itself reports their violations as I/O errors
        #[cfg(feature = "adopted")]
        if let Some(violation) = error.get_ref().and_then(|inner| inner.downcast_ref::<Violation>()) {
            return self.on_violation(*violation);
        }
        self.on_disconnect(&format!("the connection failed while reading: {error}"));
    }

    /// Nothing more can be written. What the peer sent before it went away is still read: the kernel keeps it, also
    /// after a reset.
    #[cold]
    pub(super) fn on_write_error(&mut self, why: &str) {
        self.abort_writing(why, Initiator::Transport);
    }

    /// The peer has read too little for too long. A message is half written, so the connection cannot go on.
    pub(super) fn on_send_timeout(&mut self, why: &str) {
        self.session.open_set().counters.send_timeouts.add(1);
        self.abort_writing(&format!("send timeout: {why}"), Initiator::Container);
    }

    /// Drops everything that is not written, and ends the session.
    fn abort_writing(&mut self, why: &str, initiator: Initiator) {
        self.writer.abort();
        // before `finish`: nothing that it queues can be written any more
        self.send_queue().end(initiator == Initiator::Container);
        self.finish(CloseReason::truncating(CloseCode::ClosedAbnormally, why).by(initiator), None, true);
        self.writer.release();
    }

    /// Keeps the peer's violation, and stops reading.
    #[cold]
    pub(super) fn on_violation(&mut self, violation: Violation) {
        if violation == Violation::NoRoom {
            if let Some(not_logged) = self.session.open_set().log.no_room.due() {
                let (endpoint, path) = (self.session.open_set().name, &*self.session.open_set().path);
                tracing::warn!(
                    endpoint,
                    path,
                    not_logged,
                    "a message did not fit into the receive or compression budget"
                );
            }
        }
        self.reader.fail(violation);
        self.break_stream(|| violation.into());
    }

    /// Drops the added handlers: the session has ended.
    pub(crate) fn drop_dynamic_handlers(&mut self) {
        self.dynamic_handlers = None;
    }

    /// Drops the remaining messages of a session that has ended: a handler failed for good.
    pub(crate) fn drop_received(&mut self) {
        if let Some(end) = self.ended_mut() {
            end.drop_received();
        }
    }

    /// Number of complete messages that no handler received, with those that are still undecoded as far as the quantum
    /// reaches.
    pub(crate) fn count_dropped(&mut self) -> u64 {
        // nothing after the peer's close frame is a message
        while self.reader.has_input() && !self.reader.is_closed() && !self.quantum.is_over() {
            if self.discard_event().is_break() {
                self.reader.release();
            }
        }
        let waiting = self.inbox.as_ref().map_or(0, |inbox| inbox.unhandled());
        waiting + self.ended().map_or(0, End::dropped)
    }

    /// Whether the closing handshake still lacks the peer's half.
    pub(crate) fn awaits_close(&self) -> bool {
        self.reader.is_open() && self.writer.sent_close_frame()
    }

    /// Whether our close frame was written, so that the socket must be closed in order.
    pub(crate) fn sent_close_frame(&self) -> bool {
        self.writer.sent_close_frame()
    }

    /// Number of bytes of messages and the close frame that are not yet written to the socket.
    pub(crate) fn unwritten_bytes(&self) -> usize {
        self.writer.len()
    }

    /// When the wait for the peer's close frame began: at the start of the handlers' grace period, or now.
    pub(crate) fn ended_at(&self) -> Instant {
        self.ended().and_then(End::seen).unwrap_or_else(Instant::now)
    }

    /// Reads until the peer's close frame, and discards messages.
    pub(crate) fn poll_peer_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            while self.reader.has_input() && !self.quantum.is_over() {
                if let Break(()) = self.discard_event() {
                    self.reader.release();
                    return Poll::Ready(());
                }
            }
            if !self.may_go_on(cx) {
                self.reader.put_aside();
                self.suspend(cx);
                return Poll::Pending;
            }
            if self.reader.has_input() {
                // the quantum ended in the middle of the input; the close frame may be in the rest
                continue;
            }
            if ready!(self.poll_read_any(cx)) == 0 {
                return Poll::Ready(());
            }
        }
    }

    /// Discards an event. `Break` at the peer's close frame or a violation.
    fn discard_event(&mut self) -> ControlFlow<()> {
        let Ok((cost, event)) = self.reader.next_event(&DISCARD) else { return Break(()) };
        self.quantum.spend_on_frame(cost);
        match event {
            Some(Event::Close(_)) => {
                self.reader.close();
                return Break(());
            }
            Some(Event::Discarded { .. }) => {
                self.session.tally().note_received(true);
                self.ended_mut().into_iter().for_each(End::count_dropped);
            }
            _ => {}
        }
        Continue(())
    }

    /// Shuts down writing, then reads until the peer closes, so that the kernel does not discard the close frame with a
    /// reset.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // both close frames were exchanged: the server closes TCP first, a client waits for that (RFC 6455 §7.1.1)
        let is_closed = self.reader.is_closed();
        let waits = self.writer.role() == Role::Client && is_closed;
        if !self.writer.is_shut_down() && !waits {
            ready!(self.writer.poll_shutdown(cx, &mut self.socket, is_closed));
        }
        self.reader.release();
        loop {
            if !self.may_go_on(cx) {
                self.suspend(cx);
                return Poll::Pending;
            }
            match self.poll_read_any(cx) {
                Poll::Ready(0) => return Poll::Ready(()),
                Poll::Ready(_) => self.reader.release(),
                // both close frames were exchanged: there is nothing to wait for
                Poll::Pending if is_closed && !waits => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads any bytes; zero at the end of the stream or after an error.
    fn poll_read_any(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let read = self.reader.poll_read_any(cx, &mut self.socket);
        match read {
            Poll::Ready(count) => self.quantum.spend(count),
            Poll::Pending => self.suspend(cx),
        }
        read
    }
}
