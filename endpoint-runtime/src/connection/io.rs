//! One socket: what is read, what is to be written, the limits in time. Everything here is a poll; nothing runs code
//! of the user but through `dispatch`.

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
    /// The session's, at hand.
    pub(super) send_queue: Arc<SendQueue>,
    pub(super) role: Role,
    pub(super) decoder: Decoder,
    /// The session's limit for a message, as the queue told last.
    pub(super) max_message_size: usize,
    /// There while a message is not complete, and some time after.
    pub(super) unfinished: Option<Box<Unfinished>>,
    pub(super) input: Input,
    /// How large the last message was that an asynchronous handler got, if it was not huge.
    pub(super) expected_bytes: u32,
    /// There once handlers were added to the session.
    pub(super) dynamic_handlers: Option<Box<DynamicHandlers>>,
    /// There once messages came while a handler ran.
    pub(super) inbox: Option<Box<Inbox>>,
    pub(super) out: Frames,
    /// Everything up to this is in `out` or written.
    pub(super) ticket: Ticket,
    /// As far as the queue was told.
    pub(super) reported: Ticket,
    /// There while the peer takes nothing.
    pub(super) stall: Option<Box<Stall>>,
    pub(super) unflushed: bool,
    pub(super) shut: bool,
    /// What was not written never will be.
    pub(super) broken: bool,
    pub(super) reading: bool,
    /// The last read took all there was.
    pub(super) drained: bool,
    pub(super) quantum: Quantum,
    pub(super) clock: Clock,
    /// The queue wakes this task.
    attached: bool,
    /// Messages wait in the queue's line, and replies go behind them.
    pub(super) has_backlog: bool,
    pub(super) close_sent: bool,
    pub(super) close_received: bool,
    pub(super) end: Option<Box<End>>,
    /// What the peer did wrong, until it is reported. Nothing is read after it.
    pub(super) violation: Option<Box<Violation>>,
    pub(super) logged_dropped: bool,
}

/// The end of the session, as the application hears of it.
pub(super) struct End {
    pub(super) reason: CloseReason,
    /// Messages that were received before it are still handled.
    pub(super) delivers_received: bool,
    /// When the clock saw it first.
    pub(super) seen: Option<Instant>,
    /// Number of messages that came whole and that no handler gets.
    pub(super) dropped: u64,
}

/// Messages whose turn has not come.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) messages: VecDeque<Invocation>,
    pub(super) bytes: usize,
    /// The message that a handler reads while it arrives.
    pub(super) feed: Option<Feed>,
    /// The bytes so far of a message in parts that has a limit for all of them.
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

/// A write that waits for the peer to read, or whose end is to be reported in any case.
#[derive(Default)]
pub(super) struct Stall {
    /// Since when it takes nothing at all.
    pub(super) since: Option<Instant>,
    /// When its rate began to be measured, and how many bytes it has taken since.
    pub(super) taken: Option<(Instant, usize)>,
    /// So many bytes until the messages up to a ticket are written.
    pub(super) mark: Option<(usize, Ticket)>,
    /// What the queue knows of the bytes that wait here.
    pub(super) reported_bytes: usize,
    /// The answer to the latest ping, while a write is blocked: that to an earlier one is left out (RFC 6455 §5.5.3).
    pub(super) pong: Option<Binary>,
    /// So many bytes until a pong that was put off, and then added, is written.
    pub(super) pong_left: usize,
    /// The bytes of pongs that were left out. They hold the peer up as if they waited.
    pub(super) left_out: usize,
}

/// The batch that is being decoded: in the thread's buffer while the task runs, its rest in one of its own after.
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

    /// Gives the thread's buffer back; what is left of the batch is put aside.
    pub(super) fn put_aside(&mut self) {
        if self.lent {
            let rest = self.buffer[self.start..self.end].to_vec();
            buffers::return_from_reading(std::mem::replace(&mut self.buffer, rest));
            (self.start, self.end, self.lent) = (0, self.buffer.len(), false);
        }
    }

    /// Gives an exhausted buffer away.
    pub(super) fn release(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if self.lent {
            buffers::return_from_reading(buffer);
        }
        (self.start, self.end, self.lent) = (0, 0, false);
    }
}

/// The socket goes with it, though the session may be kept for long.
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

    /// What the peer did wrong, once; everything before it has been handled.
    pub(crate) fn take_violation(&mut self) -> Option<Box<Violation>> {
        self.violation.take()
    }

    /// Whether messages may still be handled: the session is open, or messages that were received before its end wait,
    /// and the grace for closing is not over.
    #[inline]
    pub(crate) fn delivers_received(&self) -> bool {
        self.end.as_ref().is_none_or(|end| end.delivers_received && !self.clock.abandon)
    }

    /// Handles no further message of a session that has ended: a handler failed for good.
    pub(crate) fn drop_received(&mut self) {
        if let Some(end) = &mut self.end {
            end.delivers_received = false;
        }
    }

    /// Whether there may be more to handle after the end: bytes that are not decoded yet, or bytes that the kernel has.
    pub(crate) fn has_unhandled(&self) -> bool {
        self.delivers_received() && (self.is_reading() && !self.input.is_empty() || self.drains())
    }

    /// Whether the socket is read although the session has ended: nothing can be written any more, but the peer may have
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

    /// Number of messages that came whole and that no handler got.
    pub(crate) fn dropped_messages(&self) -> u64 {
        let waiting = self.inbox.as_ref().map_or(0, |inbox| inbox.messages.len() as u64);
        waiting + self.end.as_ref().map_or(0, |end| end.dropped)
    }

    /// Whether the closing handshake still lacks the peer's half.
    pub(crate) fn awaits_close(&self) -> bool {
        self.reading && self.close_sent && !self.close_received
    }

    /// Whether our close frame was written, so that the socket deserves a proper end.
    pub(crate) fn sent_close_frame(&self) -> bool {
        self.close_sent && !self.broken
    }

    /// Writes, reads into the inbox, answers pings, watches the limits. True if the handler must be given up.
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
                    // a peer that pings and never reads would have us hoard its pongs
                    && !self.is_behind()
                {
                    if self.poll_read::<E>(cx).is_pending() {
                        break;
                    }
                    self.decode_into_inbox::<E>();
                    // the answers to pings
                    let _ = self.poll_flush(cx);
                }
                self.input.put_aside();
                // what was here already may have had a ping or a close to answer
                let _ = self.poll_flush(cx);
                // it is we who do not listen: the peer's silence says nothing about it
                self.clock.heard |= !self.inbox_has_room();
            }
            if self.end.is_some() && !self.has_unhandled() {
                // the message that a handler reads will not come to its end
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

    /// Whether something may be taken from the peer: others have been served.
    #[inline]
    pub(super) fn may_go_on(&mut self, cx: &mut Context<'_>) -> bool {
        self.quantum.goes_on(&self.session.endpoint().round, cx)
    }

    /// A handler was called, and has returned.
    #[inline]
    pub(crate) fn handler_returned(&mut self) {
        self.quantum.called();
    }

    /// Whether others come first before the next of the messages that came while a handler ran.
    #[inline]
    pub(crate) fn must_yield(&self) -> bool {
        self.quantum.is_over() && self.inbox.as_ref().is_some_and(|inbox| !inbox.messages.is_empty())
    }

    /// Waits until others have been served. Writes meanwhile, and looks at the limits.
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

    /// The task is to be suspended. If it is because others are to be served first, it is woken after that.
    #[inline]
    pub(super) fn suspend(&mut self, cx: &mut Context<'_>) {
        self.quantum.suspend(&self.session.endpoint().round, cx);
    }

    /// Makes sure that the queue, and the clock, wake this task. It is a task of its own, whose waker never changes.
    #[inline]
    pub(super) fn attach(&mut self, cx: &Context<'_>) {
        if !self.attached {
            self.attached = true;
            self.send_queue.attach(cx.waker());
            self.clock.look = true;
        }
    }
}
