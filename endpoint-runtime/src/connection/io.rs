//! One socket: its input, its output and its time limits. Everything here is a poll; user code runs only through
//! `dispatch`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use crate::config::{INBOX_BYTES, INBOX_MESSAGES, Limits};
use crate::connection::dynamic_handlers::DynamicHandlers;
use crate::connection::streaming::Feed;
use crate::connection::timers::Clock;
use crate::connection::unfinished::Unfinished;
use crate::endpoint::contract::EndpointHandlers;
use crate::endpoint::dispatch::Invocation;
use crate::error::Error;
use crate::scheduling::fairness::Quantum;
use crate::send_queue::write_buffer::Frames;
use crate::send_queue::{SendQueue, Ticket};
use crate::session::Session;
use crate::transport::buffers;
use crate::transport::socket::Socket;
use endpoint_wire::Violation;
use endpoint_wire::close::{CloseReason, Initiator};
use endpoint_wire::decode::Decoder;
use endpoint_wire::deflate::Deflation;
use endpoint_wire::message::Binary;
use endpoint_wire::role::Role;

/// A socket and the protocol's state on it.
pub(crate) struct ConnectionIo {
    pub(super) socket: Socket,
    pub(super) session: Session,
    /// The session's send queue.
    pub(super) send_queue: Arc<SendQueue>,
    pub(super) role: Role,
    pub(super) decoder: Decoder,
    /// The session's message size limit, as of the last collect from the queue.
    pub(super) max_message_size: usize,
    /// `Some` while a message is incomplete, and for some time after.
    pub(super) unfinished: Option<Box<Unfinished>>,
    pub(super) input: Input,
    /// Size in bytes of the last message that was handed on owned; the next one is expected to be as large.
    pub(super) expected_bytes: u32,
    /// `Some` once handlers were added to the session.
    pub(super) dynamic_handlers: Option<Box<DynamicHandlers>>,
    /// `Some` once messages arrived while a handler ran.
    pub(super) inbox: Option<Box<Inbox>>,
    pub(super) out: Frames,
    /// Everything up to this ticket is in `out` or written.
    pub(super) ticket: Ticket,
    /// The last ticket that was reported to the queue as written.
    pub(super) reported: Ticket,
    /// `Some` while the peer takes nothing.
    pub(super) stall: Option<Box<Stall>>,
    pub(super) unflushed: bool,
    pub(super) shut: bool,
    /// Nothing more can be written.
    pub(super) broken: bool,
    pub(super) reading: bool,
    /// The last read emptied the socket.
    pub(super) drained: bool,
    pub(super) quantum: Quantum,
    pub(super) clock: Clock,
    /// The queue wakes this task.
    attached: bool,
    /// Messages wait in the queue's backlog, and replies queue behind them.
    pub(super) has_backlog: bool,
    pub(super) close_sent: bool,
    pub(super) close_received: bool,
    pub(super) end: Option<Box<End>>,
    /// The peer's protocol violation, until it is reported. Nothing is read after it.
    pub(super) violation: Option<Box<Violation>>,
    pub(super) logged_dropped: bool,
}

/// The end of the session, as reported to the application.
pub(super) struct End {
    pub(super) reason: CloseReason,
    /// Messages that were received before the end are still handled.
    pub(super) delivers_received: bool,
    /// When the clock first saw the end.
    pub(super) seen: Option<Instant>,
    /// Number of complete messages that no handler receives.
    pub(super) dropped: u64,
}

/// Messages that wait for a handler.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) messages: VecDeque<Invocation>,
    pub(super) bytes: usize,
    /// The message that a handler reads while it arrives.
    pub(super) feed: Option<Feed>,
    /// Bytes so far of a message in parts whose total is limited.
    pub(super) total: u64,
}

impl Inbox {
    pub(super) fn push(&mut self, work: Invocation) {
        self.bytes += work.size();
        self.messages.push_back(work);
    }

    pub(super) fn pop(&mut self) -> Option<Invocation> {
        let work = self.messages.pop_front()?;
        self.bytes -= work.size();
        Some(work)
    }

    pub(super) fn has_room(&self) -> bool {
        let pipe = self.feed.as_ref().and_then(|feed| feed.pipe.as_ref());
        self.messages.len() < INBOX_MESSAGES && self.bytes < INBOX_BYTES && pipe.is_none_or(|pipe| pipe.has_room())
    }
}

/// A write that waits for the peer to read, or whose completion must be reported in any case.
#[derive(Default)]
pub(super) struct Stall {
    /// When the peer stopped reading entirely.
    pub(super) since: Option<Instant>,
    /// When the current rate measurement began, and the bytes that the peer has taken since.
    pub(super) taken: Option<(Instant, usize)>,
    /// The bytes left until the messages up to the ticket are written.
    pub(super) mark: Option<(usize, Ticket)>,
    /// The number of waiting bytes that was last reported to the queue.
    pub(super) reported_bytes: usize,
    /// The answer to the latest ping while a write is blocked; earlier pings go unanswered (RFC 6455 §5.5.3).
    pub(super) pong: Option<Binary>,
    /// The bytes left until a delayed pong, since added to the output, is written.
    pub(super) pong_left: usize,
    /// The bytes of pongs that were left out. They throttle the peer as if they were queued.
    pub(super) left_out: usize,
}

/// The batch that is being decoded: in the thread's buffer while the task runs, then its rest in the connection's own.
#[derive(Default)]
pub(super) struct Input {
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) lent: bool,
}

impl Input {
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns the thread's buffer, and copies the rest of the batch aside.
    pub(super) fn put_aside(&mut self) {
        if self.lent {
            let rest = self.buffer[self.start..self.end].to_vec();
            buffers::return_from_reading(std::mem::replace(&mut self.buffer, rest));
            (self.start, self.end, self.lent) = (0, self.buffer.len(), false);
        }
    }

    /// Releases an exhausted buffer.
    pub(super) fn release(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if self.lent {
            buffers::return_from_reading(buffer);
        }
        (self.start, self.end, self.lent) = (0, 0, false);
    }
}

/// Closes the socket, though the application may keep the session for long.
impl Drop for ConnectionIo {
    fn drop(&mut self) {
        self.send_queue.release_socket();
        self.break_stream(Error::closed);
    }
}

impl ConnectionIo {
    pub(crate) fn new(socket: Socket, early: Bytes, session: Session) -> Self {
        let input = Input { end: early.len(), buffer: early.into(), start: 0, lent: false };
        Self {
            socket,
            max_message_size: session.max_message_size(),
            send_queue: session.send_queue().clone(),
            role: session.send_queue().role,
            decoder: Decoder::new(session.send_queue().role, session.send_queue().deflation().map(Deflation::inbound)),
            session,
            unfinished: None,
            input,
            expected_bytes: 0,
            dynamic_handlers: None,
            inbox: None,
            out: Frames::default(),
            ticket: 0,
            reported: 0,
            stall: None,
            unflushed: false,
            shut: false,
            broken: false,
            reading: true,
            drained: false,
            quantum: Quantum::new(),
            clock: Clock::new(),
            attached: false,
            has_backlog: false,
            close_sent: false,
            close_received: false,
            end: None,
            violation: None,
            logged_dropped: false,
        }
    }

    pub(crate) fn send_queue(&self) -> &SendQueue {
        &self.send_queue
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.session.endpoint().limits
    }

    /// Why the session ends, once it does.
    pub(crate) fn end(&self) -> Option<&CloseReason> {
        self.end.as_deref().map(|end| &end.reason)
    }

    /// Takes the peer's violation, once; everything before it has been handled.
    pub(crate) fn take_violation(&mut self) -> Option<Box<Violation>> {
        self.violation.take()
    }

    /// Whether messages may still be handled: the session is open, or messages that were received before its end wait
    /// and the grace period for closing is not over.
    #[inline]
    pub(crate) fn delivers_received(&self) -> bool {
        self.end.as_ref().is_none_or(|end| end.delivers_received && !self.clock.abandon)
    }

    /// Drops the remaining messages of a session that has ended: a handler failed for good.
    pub(crate) fn drop_received(&mut self) {
        if let Some(end) = &mut self.end {
            end.delivers_received = false;
        }
    }

    /// Whether messages may remain after the end: in bytes that are not decoded yet, or in the kernel's buffer.
    pub(crate) fn has_unhandled(&self) -> bool {
        self.delivers_received() && (self.is_reading() && !self.input.is_empty() || self.drains())
    }

    /// Whether the socket is read although the session has ended: nothing more can be written, but the peer may have
    /// sent messages before it went away, and the kernel has acknowledged them.
    fn drains(&self) -> bool {
        let lost = |end: &End| end.reason.initiator() == Initiator::Transport;
        self.broken && self.is_reading() && !self.clock.abandon && self.end.as_deref().is_some_and(lost)
    }

    /// Whether the socket is read: before the end, and after it only for what the peer sent before it went away.
    #[inline]
    fn reads(&self) -> bool {
        self.end.is_none() || self.drains()
    }

    /// Number of complete messages that no handler received.
    pub(crate) fn dropped_messages(&self) -> u64 {
        let waiting = self.inbox.as_ref().map_or(0, |inbox| inbox.messages.len() as u64);
        waiting + self.end.as_ref().map_or(0, |end| end.dropped)
    }

    /// Whether the closing handshake still lacks the peer's half.
    pub(crate) fn awaits_close(&self) -> bool {
        self.reading && self.close_sent && !self.close_received
    }

    /// Whether our close frame was written, so that the socket must be closed in order.
    pub(crate) fn sent_close_frame(&self) -> bool {
        self.close_sent && !self.broken
    }

    /// Writes, reads into the inbox, answers pings, checks the limits. Returns true if the handler must be dropped.
    pub(crate) fn poll_io<E: EndpointHandlers>(&mut self, cx: &mut Context<'_>) -> bool {
        self.attach(cx);
        self.input.put_aside();
        loop {
            self.collect();
            let may_go_on = self.may_go_on(cx);
            let _ = self.poll_flush(cx);
            if may_go_on && self.is_reading() {
                self.decode_into_inbox::<E>();
                while self.input.is_empty()
                    && self.is_reading()
                    && self.reads()
                    && self.inbox_has_room()
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
                self.input.put_aside();
                // the decoded input may have held a ping or a close to answer
                let _ = self.poll_flush(cx);
                // the inbox is full, so we do not read: the peer's silence proves nothing
                self.clock.heard |= !self.inbox_has_room();
            }
            if self.end.is_some() && !self.has_unhandled() {
                // the message that a handler is reading will not be completed
                self.break_stream(Error::closed);
            }
            if self.unfinished.is_some() {
                self.release_finished();
            }
            if !self.poll_clock(cx) {
                self.suspend(cx);
                return self.clock.abandon;
            }
        }
    }

    /// Whether this peer may be served: its quantum goes on, or the next one begins.
    #[inline]
    pub(super) fn may_go_on(&mut self, cx: &mut Context<'_>) -> bool {
        self.quantum.goes_on(&self.session.endpoint().round, cx)
    }

    /// Notes that a handler was called and has returned.
    #[inline]
    pub(crate) fn handler_returned(&mut self) {
        self.quantum.called();
    }

    /// Whether other connections come before the next message of the inbox.
    #[inline]
    pub(crate) fn must_yield(&self) -> bool {
        self.quantum.is_over() && self.inbox.as_ref().is_some_and(|inbox| !inbox.messages.is_empty())
    }

    /// Waits until other connections have been served. Meanwhile it writes and checks the limits.
    pub(crate) fn poll_next_quantum(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.attach(cx);
        loop {
            self.collect();
            if self.may_go_on(cx) {
                return Poll::Ready(());
            }
            let _ = self.poll_flush(cx);
            if !self.poll_clock(cx) {
                self.input.put_aside();
                self.suspend(cx);
                return Poll::Pending;
            }
        }
    }

    /// Notes that the task is about to suspend. If its quantum is over, the task is woken for the next one.
    #[inline]
    pub(super) fn suspend(&mut self, cx: &mut Context<'_>) {
        self.quantum.suspend(&self.session.endpoint().round, cx);
    }

    /// Makes sure that the queue and the clock wake this task. The connection owns its task, whose waker never changes.
    #[inline]
    pub(super) fn attach(&mut self, cx: &Context<'_>) {
        if !self.attached {
            self.attached = true;
            self.send_queue.attach(cx.waker());
            self.clock.look = true;
        }
    }
}
