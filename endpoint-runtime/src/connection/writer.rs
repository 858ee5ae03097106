//! The writing half of a connection: gathers frames while a batch is handled, writes them at once, and reports to the
//! send queue what is written.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::stall::Stall;
use crate::error::Error;
use crate::send_queue::write_buffer::Frames;
use crate::send_queue::{Admission, Collected, QueueItem, Refused, SHARE_FROM, SendQueue, Ticket};
use crate::transport::buffers;
use crate::transport::socket::{Io, Socket};
use endpoint_wire::close::CloseReason;
use endpoint_wire::encode;
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::role::Role;

/// Bytes of a batch's replies that are gathered for one write.
const WRITE_BATCH_BYTES: usize = 64 << 10;

/// The connection's end of the session's send queue.
pub(super) struct Writer {
    queue: Arc<SendQueue>,
    frames: Frames,
    state: State,
    /// The transport buffers bytes itself and has not flushed them.
    is_unflushed: bool,
    /// Messages wait in the queue's backlog, and replies queue behind them.
    has_backlog: bool,
    /// Everything up to this ticket is in `frames` or written.
    collected: Ticket,
    /// The last ticket that was reported to the queue as written.
    reported: Ticket,
    /// `Some` while the peer takes nothing.
    stall: Option<Box<Stall>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Open,
    /// Our close frame was gathered: no frame may follow it (RFC 6455 §5.5.1).
    Closed,
    /// Our half of the transport is shut down.
    ShutDown,
    /// Nothing more can be written.
    Broken,
}

impl Writer {
    pub(super) fn new(queue: Arc<SendQueue>) -> Self {
        Self {
            queue,
            frames: Frames::default(),
            state: State::Open,
            is_unflushed: false,
            has_backlog: false,
            collected: 0,
            reported: 0,
            stall: None,
        }
    }

    #[inline]
    pub(super) fn queue(&self) -> &SendQueue {
        &self.queue
    }

    pub(super) fn shared_queue(&self) -> Arc<SendQueue> {
        self.queue.clone()
    }

    #[inline]
    pub(super) fn role(&self) -> Role {
        self.queue.role
    }

    /// Whether a frame may still be written.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.state == State::ShutDown
    }

    /// Whether our close frame was gathered, and the transport did not fail since.
    pub(super) fn sent_close_frame(&self) -> bool {
        matches!(self.state, State::Closed | State::ShutDown)
    }

    /// Number of bytes gathered and not yet written.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are bytes to write or to flush.
    #[inline]
    pub(super) fn has_output(&self) -> bool {
        !self.frames.is_empty() || self.is_unflushed
    }

    /// The buffer for the connection's own frames.
    #[inline]
    pub(super) fn buffer(&mut self) -> &mut Frames {
        if !self.frames.has_buffer() {
            self.frames.lend(buffers::lend_for_writing());
            self.queue.set_has_unflushed(true);
        }
        &mut self.frames
    }

    /// Returns the buffer once everything is written.
    #[inline]
    fn return_buffer(&mut self) {
        if self.frames.has_buffer() {
            buffers::return_from_writing(self.frames.give_back());
            self.queue.set_has_unflushed(false);
        }
    }

    /// Moves everything that the queue has gathered into the buffer. Returns what else the queue asks for, and whether
    /// the application has sent something.
    pub(super) fn collect(&mut self) -> (Collected, bool) {
        self.buffer();
        let collected = self.queue.collect(&mut self.frames);
        let is_activity = collected.control || collected.news.report || collected.ticket != self.collected;
        (self.collected, self.has_backlog) = (collected.ticket, collected.has_backlog);
        if collected.news.report {
            self.stall.get_or_insert_default();
        }
        self.mask();
        self.set_mark();
        (collected, is_activity)
    }

    /// Masks what a client has gathered (RFC 6455 §5.3).
    #[inline]
    fn mask(&mut self) {
        if self.role() == Role::Client {
            self.frames.mask();
        }
    }

    /// Whether a reply must go through the queue: behind its backlog, because it is worth compressing, or because
    /// interceptors or the traffic log see it.
    #[inline]
    fn queues_replies(&self, size: usize) -> bool {
        self.has_backlog || self.queue.converts_size(size)
    }

    /// Gathers a handler's reply if it is stored inline, and need not go through the queue. It is copied from its place, because
    /// moving it costs as much. Returns whether it did.
    #[inline]
    pub(super) fn reply_inline(&mut self, message: &Message) -> bool {
        let (opcode, inline) = match message {
            Message::Text(text) => (OpCode::Text, text.inline()),
            Message::Binary(data) => (OpCode::Binary, data.inline()),
        };
        let Some((place, len)) = inline else { return false };
        if self.queues_replies(len) {
            return false;
        }
        self.buffer().push_small(opcode, place, len);
        true
    }

    /// Gathers a handler's reply. Returns whether it went through the queue, which must be collected then.
    #[inline]
    pub(super) fn reply(&mut self, opcode: OpCode, data: Binary) -> Result<bool, Error> {
        if self.queues_replies(data.len()) {
            return self.reply_through_queue(opcode, data);
        }
        let frames = self.buffer();
        if data.len() < SHARE_FROM {
            frames.push(true, opcode, &data)
        } else {
            frames.push_shared(true, opcode, data.into())
        }
        Ok(false)
    }

    #[inline(never)]
    fn reply_through_queue(&mut self, opcode: OpCode, data: Binary) -> Result<bool, Error> {
        let queue = &self.queue;
        let item = match queue.show(QueueItem::Shared(opcode, data.into())) {
            Ok(item) => item,
            // nothing is sent, and so nothing is counted
            Err(Refused::Discarded) => return Ok(true),
            Err(refused) => return Err(refused.into()),
        };
        queue.log_sent(|| item.shown());
        let item = queue.compress(item);
        if self.has_backlog || item.is_in_order() {
            // through the queue, so that no other message is compressed between this one and those before it
            queue.enter_handler(|| queue.enqueue(item, Admission::Reply))?;
            return Ok(true);
        }
        item.push_to(self.buffer());
        Ok(false)
    }

    /// Gathers the close frame, unless nothing may be written any more.
    pub(super) fn close(&mut self, reason: &CloseReason) {
        if self.is_open() {
            encode::close(self.buffer().small(), reason);
            self.state = State::Closed;
        }
    }

    /// Gathers an automatic ping.
    pub(super) fn ping(&mut self, data: &[u8]) {
        self.buffer().push(true, OpCode::Ping, data);
    }

    /// Answers a ping. While the peer does not read, only the latest one is answered (RFC 6455 §5.5.3).
    pub(super) fn answer_ping(&mut self, data: &[u8]) {
        if !self.is_open() {
            return;
        }
        match &mut self.stall {
            Some(stall) if stall.is_blocked() => stall.keep_pong(data),
            _ => self.buffer().push(true, OpCode::Pong, data),
        }
    }

    /// Drops everything that is not written: nothing more can be written.
    pub(super) fn abort(&mut self) {
        (self.state, self.is_unflushed, self.stall) = (State::Broken, false, None);
    }

    /// Releases what is gathered, after [`abort`](Self::abort).
    pub(super) fn release(&mut self) {
        self.frames = Frames::default();
    }

    /// Whether enough bytes are gathered for a write.
    #[inline]
    pub(super) fn is_batch_full(&self) -> bool {
        self.frames.len() >= WRITE_BATCH_BYTES
    }

    /// Whether the peer has left so much unread, or a message in parts delays so much, that reading from it pauses.
    /// `most` bytes may wait.
    #[inline]
    pub(super) fn is_behind(&self, most: usize) -> bool {
        let left_out = self.stall.as_ref().map_or(0, |stall| stall.left_out());
        self.frames.len() + left_out >= most || self.is_backlog_behind() || self.is_out_of_budget()
    }

    /// Whether messages wait behind a message in parts.
    #[inline]
    pub(super) fn has_backlog(&self) -> bool {
        self.has_backlog
    }

    /// Whether messages wait behind a message in parts, and exceed the queue's limit.
    #[inline]
    pub(super) fn is_backlog_behind(&self) -> bool {
        self.has_backlog && self.queue.is_over()
    }

    /// Whether the peer does not read, and the budget for the queues of all sessions is used up.
    #[inline]
    pub(super) fn is_out_of_budget(&self) -> bool {
        self.is_blocked() && self.queue.is_budget_used_up()
    }

    /// Whether the peer currently accepts no bytes.
    #[inline]
    pub(super) fn is_blocked(&self) -> bool {
        self.stall.as_ref().is_some_and(|stall| stall.is_blocked())
    }

    /// Whether a write was blocked, or its completion must be reported in any case.
    #[inline]
    pub(super) fn has_stall(&self) -> bool {
        self.stall.is_some()
    }

    /// Ends a block of gathered frames, so that a growing buffer is not copied repeatedly.
    #[inline]
    pub(super) fn seal_block(&mut self) {
        // a client must still mask its frames one by one
        if self.frames.has_block() && self.role() == Role::Server {
            self.frames.seal_block();
        }
    }

    /// Writes once, at most `most` bytes. Returns the number of bytes written; zero for a flush of the transport.
    #[inline]
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        self.mask();
        match socket {
            Socket::Tcp(tcp) => loop {
                match self.queue.write(&mut self.frames, most)? {
                    0 => ready!(tcp.as_ref().poll_write_ready(cx))?,
                    count => return Poll::Ready(Ok(count)),
                }
            },
            Socket::Other(io) if self.frames.is_empty() => {
                ready!(Pin::new(io).poll_flush(cx))?;
                self.is_unflushed = false;
                Poll::Ready(Ok(0))
            }
            Socket::Other(io) => {
                let count = ready!(poll_write(io, cx, &self.frames, most))?;
                self.frames.advance(count);
                self.is_unflushed = true;
                Poll::Ready(Ok(count))
            }
        }
    }

    /// Notes that the peer took bytes after a write was blocked. Returns whether the write was blocked until now.
    #[cold]
    pub(super) fn on_progress(&mut self, written: usize) -> bool {
        let is_open = self.is_open();
        let Some(stall) = &mut self.stall else { return false };
        let was_blocked = stall.unblock();
        if let Some(ticket) = stall.pass_mark(written, self.frames.is_empty()) {
            self.reported = ticket;
            self.queue.written(ticket, self.frames.len());
            self.set_mark();
        }
        let Some(stall) = &mut self.stall else { return was_blocked };
        // one pong at a time: what is in `frames` cannot be replaced
        if let Some(pong) = stall.take_pong_after(written).filter(|_| is_open) {
            self.buffer().push(true, OpCode::Pong, &pong);
            self.queue.set_has_unflushed(true);
            self.mask();
            let left = self.frames.len();
            self.stall.get_or_insert_default().note_pong(left);
        }
        was_blocked
    }

    /// Reports to the queue that everything is written. Returns whether there is more to write.
    #[inline]
    pub(super) fn finish(&mut self) -> bool {
        self.return_buffer();
        let has_news = (self.collected != self.reported || self.stall.is_some()) && !self.is_broken();
        has_news && self.report()
    }

    fn report(&mut self) -> bool {
        let pong = self.stall.take().and_then(|stall| stall.into_pong());
        self.reported = self.collected;
        let more = self.queue.written(self.collected, 0);
        if let Some(pong) = pong {
            self.answer_ping(&pong);
            return true;
        }
        more
    }

    /// Marks how many bytes remain until everything collected so far is written. One mark at a time is enough; none is
    /// needed while every write succeeds at once.
    fn set_mark(&mut self) {
        if let Some(stall) = &mut self.stall {
            if self.collected != self.reported && !self.frames.is_empty() {
                stall.set_mark(self.frames.len(), self.collected);
            }
        }
    }

    /// Notes that the peer accepts no bytes. Returns whether this has just begun.
    #[cold]
    pub(super) fn on_blocked(&mut self) -> bool {
        let (stall, left) = (self.stall.get_or_insert_default(), self.frames.len());
        let begins = !stall.is_blocked();
        if begins {
            stall.block(Instant::now());
        }
        if stall.report_bytes(left) || begins {
            self.queue.blocked(left);
        }
        self.set_mark();
        begins
    }

    /// Checks that the peer reads: something within the send timeout, and `min_rate` bytes per second on average. Returns
    /// when to check again, or why the session must end.
    pub(super) fn check_stall(&mut self, now: Instant, min_rate: usize) -> Result<Option<Instant>, String> {
        match &mut self.stall {
            Some(stall) => stall.check(now, self.queue.send_timeout(), min_rate),
            None => Ok(None),
        }
    }

    /// Shuts down our half of the transport.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>, socket: &mut Socket, is_closed: bool) -> Poll<()> {
        match socket {
            // both close frames were exchanged, so dropping the socket closes it in both directions
            Socket::Tcp(_) if is_closed => {}
            Socket::Tcp(_) => self.queue.shutdown_write(),
            Socket::Other(io) => {
                let _ = ready!(Pin::new(io).poll_shutdown(cx));
            }
        }
        self.state = State::ShutDown;
        Poll::Ready(())
    }
}

fn poll_write(io: &mut Box<dyn Io>, cx: &mut Context<'_>, frames: &Frames, most: usize) -> Poll<io::Result<usize>> {
    let io = Pin::new(io);
    let written = ready!(match frames.single(most) {
        Some(bytes) => io.poll_write(cx, bytes),
        None => {
            let mut slices = Frames::slices();
            let count = frames.segments(&mut slices, most);
            io.poll_write_vectored(cx, &slices[..count])
        }
    });
    Poll::Ready(written.and_then(|count| if count > 0 { Ok(count) } else { Err(io::ErrorKind::WriteZero.into()) }))
}
