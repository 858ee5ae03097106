//! One socket: its input, its output and its time limits. Everything here is a poll; user code runs only through
//! `dispatch`.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::dynamic_handlers::DynamicHandlers;
use super::end::End;
use super::inbox::{Inbox, size_of};
use super::reader::{Read, Reader};
use super::slow_path::{Gate, SlowPath};
use super::timers::Timers;
use super::writer::Writer;
use crate::config::Limits;
use crate::endpoint::contract::EndpointHandlers;
use crate::error::Error;
use crate::scheduling::fairness::Quantum;
use crate::send_queue::{SendQueue, frame_of};
use crate::session::Session;
use crate::transport::socket::Socket;
use endpoint_wire::Violation;
use endpoint_wire::close::CloseReason;
use endpoint_wire::decode::Decoder;
use endpoint_wire::deflate::Deflation;
use endpoint_wire::message::Message;

/// A socket and the protocol's state on it. The parts do not know each other; what concerns several of them is decided
/// here, in `routing`, `limits` and `closing`.
pub(crate) struct ConnectionIo {
    pub(super) socket: Socket,
    pub(super) session: Session,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) timers: Timers,
    pub(super) quantum: Quantum,
    /// `Some` once messages arrived while a handler ran.
    pub(super) inbox: Option<Box<Inbox>>,
    /// `Some` once handlers were added to the session, or if messages without a handler pass the gate.
    pub(super) dynamic_handlers: Option<Box<DynamicHandlers>>,
    /// `Some` once the session has ended, and from the beginning if its messages pass a gate.
    pub(super) slow_path: Option<Box<SlowPath>>,
    /// A message without a handler was logged.
    pub(super) logged_discard: bool,
}

/// Closes the socket, though the application may keep the session for long.
impl Drop for ConnectionIo {
    fn drop(&mut self) {
        self.writer.queue().release_socket();
        self.break_stream(Error::closed);
    }
}

impl ConnectionIo {
    pub(crate) fn new(socket: Socket, early: Bytes, session: Session, gate: Option<Gate>) -> Self {
        let queue: Arc<SendQueue> = session.send_queue().clone();
        session.tally().note_read(early.len());
        let decoder = Decoder::new(queue.role, queue.deflation().map(Deflation::inbound));
        Self {
            socket,
            reader: Reader::new(decoder, early, session.max_message_size()),
            writer: Writer::new(queue),
            timers: Timers::new(),
            quantum: Quantum::new(),
            session,
            inbox: None,
            dynamic_handlers: gate
                .as_ref()
                .filter(|gate| gate.takes_unhandled())
                .map(|_| DynamicHandlers::taking_all()),
            slow_path: gate.map(|gate| Box::new(SlowPath { gate: Some(Box::new(gate)), end: None })),
            logged_discard: false,
        }
    }

    /// Has the queue wake this task. The connection owns its task, whose waker never changes, so once is enough.
    pub(crate) fn poll_attach(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.writer.queue().attach(cx.waker());
        Poll::Ready(())
    }

    #[inline]
    pub(crate) fn send_queue(&self) -> &SendQueue {
        self.writer.queue()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.session.open_set().limits
    }

    /// The end of the session, once it has ended.
    #[inline]
    pub(super) fn ended(&self) -> Option<&End> {
        self.slow_path.as_ref()?.end.as_ref()
    }

    /// The end of the session, once it has ended.
    #[inline]
    pub(super) fn ended_mut(&mut self) -> Option<&mut End> {
        self.slow_path.as_mut()?.end.as_mut()
    }

    /// Why the session ends, once it does.
    pub(crate) fn end(&self) -> Option<&CloseReason> {
        self.ended().map(End::reason)
    }

    /// Takes the peer's violation, once; everything before it has been handled.
    pub(crate) fn take_violation(&mut self) -> Option<Box<Violation>> {
        self.reader.take_violation()
    }

    /// Whether messages may still be handled: the session is open, or messages that were received before its end wait
    /// and the grace period for closing is not over.
    #[inline]
    pub(crate) fn handles_received(&self) -> bool {
        self.ended().is_none_or(End::handles_received)
    }

    /// Whether messages may remain after the end: in bytes that are not decoded yet, or in the kernel's buffer.
    pub(crate) fn has_unhandled(&self) -> bool {
        self.handles_received() && (self.reader.is_open() && self.reader.has_input() || self.drains())
    }

    /// Whether the socket is read although the session has ended: nothing more can be written, but the peer may have
    /// sent messages before it went away, and the kernel has acknowledged them.
    fn drains(&self) -> bool {
        let is_lost = |end: &End| end.handles_received() && end.is_by_transport();
        self.writer.is_broken() && self.reader.is_open() && self.ended().is_some_and(is_lost)
    }

    /// Whether the socket is read: before the end unless a rate pauses it, and after it only for what the peer sent before
    /// it went away.
    fn reads(&self) -> bool {
        self.slow_path.as_ref().is_none_or(|slow| !slow.is_paused() && (slow.end.is_none() || self.drains()))
    }

    /// Whether the grace period for closing is over.
    fn is_abandoned(&self) -> bool {
        self.ended().is_some_and(End::is_abandoned)
    }

    pub(super) fn inbox_has_space(&self) -> bool {
        self.inbox.as_ref().is_none_or(|inbox| inbox.has_space())
    }

    /// Whether reading from the peer pauses: the peer left too much unread, or a message in parts delays too much.
    #[inline]
    pub(super) fn is_behind(&self) -> bool {
        self.writer.is_behind(self.limits().send_queue_bytes)
    }

    /// Writes, reads into the inbox, answers pings, checks the limits. Returns true if the handler must be dropped.
    pub(crate) fn poll_io<E: EndpointHandlers>(&mut self, cx: &mut Context<'_>) -> bool {
        self.reader.put_aside();
        loop {
            self.collect();
            let may_go_on = self.may_go_on(cx);
            let _ = self.poll_flush(cx);
            if may_go_on && self.reader.is_open() {
                self.fill_inbox::<E>(cx);
            }
            if self.ended().is_some() && !self.has_unhandled() {
                // the message that a handler is reading will not be completed
                self.break_stream(Error::closed);
            }
            self.reader.release_finished();
            if !self.poll_limits(cx) {
                self.suspend(cx);
                return self.is_abandoned();
            }
        }
    }

    /// Reads and decodes into the inbox while a handler runs.
    fn fill_inbox<E: EndpointHandlers>(&mut self, cx: &mut Context<'_>) {
        self.decode_into_inbox::<E>();
        while !self.reader.has_input()
            && self.reader.is_open()
            && self.reads()
            && self.inbox_has_space()
            && !self.quantum.is_over()
            // without this, pongs for a peer that pings and never reads would pile up
            && !self.is_behind()
        {
            if self.poll_read::<E>(cx).is_pending() {
                break;
            }
            self.decode_into_inbox::<E>();
            // write the answers to pings
            let _ = self.poll_flush(cx);
        }
        self.reader.put_aside();
        // the decoded input may have held a ping or a close to answer
        let _ = self.poll_flush(cx);
        if !self.inbox_has_space() {
            // nothing is read, so the peer's silence proves nothing
            self.timers.note_heard();
        }
    }

    /// Waits for input, a queued message or a limit. Flushes first, unless the batch goes on.
    pub(crate) fn poll_input<E: EndpointHandlers>(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.collect();
            let is_over = self.quantum.is_over();
            let may_go_on = self.may_go_on(cx);
            if is_over && may_go_on && self.reader.has_input() && !self.is_behind() && !self.is_paused() {
                // the batch goes on in the next quantum
                return Poll::Ready(());
            }
            let is_blocked = self.poll_flush(cx).is_pending();
            let mut may_read = may_go_on && !self.quantum.is_over();
            if let Some(slow) = &self.slow_path {
                if slow.end.is_some() && !self.has_unhandled() || may_read && self.has_waiting(slow) {
                    return Poll::Ready(());
                }
                may_read &= !slow.is_paused();
            }
            if may_read && (!(is_blocked || self.writer.has_backlog()) || !self.is_behind()) {
                // with input, the previous quantum ended in the middle of a batch
                if self.reader.has_input() || self.poll_read::<E>(cx).is_ready() {
                    return Poll::Ready(());
                }
            }
            if may_go_on && self.has_presence_change::<E>() {
                return Poll::Ready(());
            }
            self.reader.release_finished();
            // once the grace period for closing has ended, there is nothing to wait for
            if !self.poll_limits(cx) && !self.is_abandoned() {
                self.reader.put_aside();
                self.suspend(cx);
                return Poll::Pending;
            }
            if self.reader.has_violation() {
                // a message that takes too long is a violation, too
                return Poll::Ready(());
            }
        }
    }

    /// Whether a change of presence may be handled now. Like a message, it waits for a peer that reads too little.
    #[inline]
    pub(super) fn has_presence_change<E: EndpointHandlers>(&self) -> bool {
        E::PRESENCE.exists()
            && self.session.has_presence_changes()
            && self.ended().is_none()
            && !self.quantum.is_over()
            && !self.is_behind()
    }

    /// Whether messages, or parts of one, wait to be decoded or handled.
    pub(super) fn has_input(&self) -> bool {
        self.reader.has_input() || self.inbox.as_ref().is_some_and(|inbox| !inbox.is_empty())
    }

    /// Reads once.
    fn poll_read<E: EndpointHandlers>(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.reader.poll_read(cx, &mut self.socket, self.quantum.most())) {
            Ok(Read { count: 0, .. }) => self.on_disconnect("the peer closed the connection without a close frame"),
            Ok(Read { count, direct }) => {
                self.timers.note_heard();
                self.session.tally().note_read(count);
                let Some(direct) = direct else { return Poll::Ready(()) };
                self.quantum.spend(count);
                match direct {
                    Ok(Some(event)) => {
                        let invocation = self.receive::<E>(event);
                        self.enqueue(invocation);
                    }
                    Ok(None) => self.note_unfinished(),
                    Err(violation) => self.on_violation(violation),
                }
            }
            Err(error) => self.on_read_error(&error),
        }
        Poll::Ready(())
    }

    /// Whether this peer may be served: its quantum goes on, or the next one begins.
    #[inline]
    pub(super) fn may_go_on(&mut self, cx: &mut Context<'_>) -> bool {
        self.quantum.goes_on(&self.session.open_set().round, cx)
    }

    /// Notes that a handler was called and has returned.
    #[inline]
    pub(crate) fn handler_returned(&mut self) {
        self.quantum.called();
    }

    /// Whether messages wait in the inbox until other connections have been served.
    #[inline]
    pub(crate) fn must_yield(&self) -> bool {
        let waits = |inbox: &Inbox| !inbox.is_empty();
        self.handles_received() && self.quantum.is_over() && self.inbox.as_deref().is_some_and(waits)
    }

    /// Waits until other connections have been served. Meanwhile it writes and checks the limits.
    pub(crate) fn poll_next_quantum(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.collect();
            if self.may_go_on(cx) {
                return Poll::Ready(());
            }
            let _ = self.poll_flush(cx);
            if !self.poll_limits(cx) {
                self.reader.put_aside();
                self.suspend(cx);
                return Poll::Pending;
            }
        }
    }

    /// Notes that the task is about to suspend. If its quantum is over, the task is woken for the next one.
    #[inline]
    pub(super) fn suspend(&mut self, cx: &mut Context<'_>) {
        self.quantum.suspend(&self.session.open_set().round, cx);
    }

    /// Takes everything that the session's queue has gathered.
    #[inline]
    pub(crate) fn collect(&mut self) {
        if self.writer.queue().has_news() {
            self.collect_news();
        }
    }

    pub(super) fn collect_news(&mut self) {
        let (collected, is_activity) = self.writer.collect();
        if is_activity {
            self.timers.note_sent();
        }
        self.reader.set_max_message_size(self.session.max_message_size());
        if collected.news.recheck {
            self.timers.check_soon();
            self.refresh_dynamic_handlers();
        }
        self.obey(collected.news.aborted, collected.close);
    }

    /// Sends a handler's reply, after everything that the handler itself has sent.
    #[inline]
    pub(crate) fn reply(&mut self, message: Message) -> Result<(), Error> {
        self.collect();
        if self.ended().is_some() {
            return Err(Error::closed());
        }
        self.timers.note_sent();
        if self.writer.has_stall() {
            // a blocked write is not counted yet, but copying the reply to memory costs as much as a write
            self.quantum.spend(size_of(&message));
        }
        if self.writer.reply_inline(&message) {
            self.session.tally().note_reply();
            return Ok(());
        }
        let (opcode, data) = frame_of(message);
        if self.writer.reply(opcode, data)? {
            self.collect();
        } else {
            self.session.tally().note_reply();
        }
        Ok(())
    }

    /// Whether enough bytes are gathered for a write.
    #[inline]
    pub(crate) fn is_batch_full(&self) -> bool {
        self.writer.is_batch_full()
    }

    /// Writes in the middle of a batch; waits only if the peer has left too much unread.
    pub(crate) fn poll_flush_batch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.collect();
            let _ = self.may_go_on(cx);
            let is_flushed = self.poll_flush(cx).is_ready();
            self.writer.seal_block();
            let has_space = self.writer.len() < self.limits().send_queue_bytes && !self.writer.is_out_of_budget();
            if is_flushed || self.ended().is_some() || has_space {
                return Poll::Ready(());
            }
            if !self.poll_limits(cx) {
                self.reader.put_aside();
                self.suspend(cx);
                return Poll::Pending;
            }
        }
    }

    /// Writes everything. Ready when nothing is left, or nothing more can be written.
    pub(crate) fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader.put_aside();
        let _ = self.may_go_on(cx);
        let flushed = self.poll_flush(cx);
        if flushed.is_pending() {
            self.suspend(cx);
        }
        flushed
    }

    /// Writes as much as the socket takes. Ready when nothing is left, or nothing more can be written.
    #[inline]
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.poll_write(cx));
            if !self.writer.finish() {
                return Poll::Ready(());
            }
            // the messages of the backlog
            self.collect_news();
        }
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.writer.has_output() && self.quantum.is_awaited() {
            return Poll::Pending;
        }
        while self.writer.has_output() {
            match self.writer.poll_write(cx, &mut self.socket, self.quantum.most()) {
                Poll::Pending if self.quantum.is_over() => return Poll::Pending,
                Poll::Pending => {
                    if self.writer.on_blocked() {
                        self.timers.check_soon();
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Ok(count)) => self.on_write(count),
                Poll::Ready(Err(error)) => {
                    self.on_write_error(&format!("the connection failed while writing: {error}"))
                }
            }
            if self.quantum.is_over() && self.writer.len() > 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    #[inline]
    fn on_write(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.timers.note_written();
        self.session.tally().note_written(count);
        self.quantum.spend(count);
        if self.writer.has_stall() && self.writer.on_progress(count) {
            // a ping that the peer has yet to answer may be queued behind a large message
            self.timers.note_sent();
            self.timers.postpone_pong(self.session.open_set().base);
        }
    }

    /// Answers a ping.
    pub(super) fn answer_ping(&mut self, data: &[u8]) {
        // a ping may arrive between two parts of a message
        self.note_unfinished();
        self.writer.answer_ping(data);
    }

    /// Applies a change of the session's handlers.
    fn refresh_dynamic_handlers(&mut self) {
        let handlers = match self.session.added_handlers() {
            Some(handlers) => handlers,
            None if self.dynamic_handlers.is_some() => <_>::default(),
            None => return,
        };
        let started = self.reader.started();
        self.dynamic_handlers = DynamicHandlers::replace(self.dynamic_handlers.take(), handlers, started);
    }
}
