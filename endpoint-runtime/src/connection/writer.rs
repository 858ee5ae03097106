//! Output: gathered while a batch is handled, then written at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::io::ConnectionIo;
use crate::error::Error;
use crate::send_queue::write_buffer::Frames;
use crate::send_queue::{QueueItem, SHARE_FROM};
use crate::transport::buffers;
use crate::transport::socket::{Io, Socket};
use endpoint_wire::close::Initiator;
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::role::Role;

/// Bytes of a batch's replies that are gathered for one write.
const WRITE_BATCH_BYTES: usize = 64 << 10;

/// Size in bytes of a control frame's header, without a mask.
const CONTROL_HEADER: usize = 2;

impl ConnectionIo {
    /// The buffer for the connection's own frames.
    #[inline]
    pub(super) fn write_buffer(&mut self) -> &mut Frames {
        if !self.out.has_room() {
            self.out.lend(buffers::lend_for_writing());
            self.send_queue.set_has_unflushed(true);
        }
        &mut self.out
    }

    /// Moves everything that the session's queue has gathered into the write buffer.
    #[inline]
    pub(crate) fn collect(&mut self) {
        if self.send_queue.has_news() {
            self.collect_news();
        }
    }

    pub(super) fn collect_news(&mut self) {
        self.write_buffer();
        let collected = self.send_queue.collect(&mut self.out);
        self.clock.app_activity |= collected.control || collected.report || collected.ticket != self.ticket;
        self.clock.look |= collected.look;
        self.max_message_size = self.session.max_message_size();
        if collected.look {
            self.refresh_dynamic_handlers();
        }
        self.ticket = collected.ticket;
        self.has_backlog = collected.lined;
        if collected.report && self.stall.is_none() {
            self.stall = Some(Box::default());
        }
        if self.role == Role::Client {
            self.out.mask();
        }
        self.set_mark();
        if collected.cut {
            self.on_disconnect("the container gave the connection up");
            self.clock.abandon = true;
        }
        match collected.close {
            Some(reason) if reason.initiator() == Initiator::Container => self.cut(reason),
            Some(reason) => self.close(reason),
            None => {}
        }
    }

    /// Sends a handler's reply, after everything that the handler itself has sent.
    #[inline]
    pub(crate) fn reply(&mut self, message: Message) -> Result<(), Error> {
        self.collect();
        if self.close_sent || self.end.is_some() {
            return Err(Error::closed());
        }
        self.clock.app_activity = true;
        let (opcode, data) = match message {
            Message::Text(text) => (OpCode::Text, Binary::from(text)),
            Message::Binary(data) => (OpCode::Binary, data),
        };
        if self.stall.is_some() {
            // a blocked write is not counted yet, but copying the reply to memory costs as much as a write
            self.quantum.spend(data.len());
        }
        if self.has_backlog || self.send_queue.deflation().is_some_and(|deflation| deflation.is_for(data.len())) {
            return self.reply_behind(opcode, data);
        }
        let out = self.write_buffer();
        if let Some((place, len)) = data.inline() {
            out.push_small(opcode, place, len)
        } else if data.len() < SHARE_FROM {
            out.push(true, opcode, &data)
        } else {
            out.push_shared(true, opcode, data.into())
        }
        Ok(())
    }

    /// [`reply`](Self::reply) for a message that is worth compressing, or that queues behind a backlog.
    fn reply_behind(&mut self, opcode: OpCode, data: Binary) -> Result<(), Error> {
        let (send_queue, message) = (&self.send_queue, QueueItem::Shared(opcode, data.into()));
        let (message, in_order) = send_queue.deflate(message);
        if in_order {
            // through the queue, so that no other message is compressed between this one and those before it
            send_queue.enter_handler(|| send_queue.offer_in_order(message, false))?;
        } else if self.has_backlog {
            send_queue.enter_handler(|| send_queue.offer_reply(message))?;
        } else {
            message.push_to(self.write_buffer());
            return Ok(());
        }
        self.collect();
        Ok(())
    }

    /// Whether reading from the peer pauses: the peer left too much unread, or a message in parts delays too much.
    #[inline]
    pub(super) fn is_behind(&self) -> bool {
        let left_out = self.stall.as_ref().map_or(0, |stall| stall.left_out);
        self.out.len() + left_out >= self.limits().send_queue_bytes
            || self.has_backlog && self.send_queue.is_over()
            || self.is_out_of_budget()
    }

    /// Whether the peer does not read, and the budget for the queues of all sessions is used up.
    #[inline]
    fn is_out_of_budget(&self) -> bool {
        self.stall.as_ref().is_some_and(|stall| stall.since.is_some()) && self.send_queue.is_budget_used_up()
    }

    /// Whether enough bytes are gathered for a write.
    #[inline]
    pub(crate) fn is_batch_full(&self) -> bool {
        self.out.len() >= WRITE_BATCH_BYTES
    }

    /// Writes in the middle of a batch; waits only if the peer has left too much unread.
    pub(crate) fn poll_flush_batch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.attach(cx);
        loop {
            self.collect();
            let _ = self.may_go_on(cx);
            let flushed = self.poll_flush(cx).is_ready();
            // a client must still mask its frames one by one
            if self.out.has_block() && self.role == Role::Server {
                self.out.seal_block();
            }
            let has_room = self.out.len() < self.limits().send_queue_bytes && !self.is_out_of_budget();
            if flushed || self.end.is_some() || has_room {
                return Poll::Ready(());
            }
            if !self.poll_clock(cx) {
                self.input.put_aside();
                self.suspend(cx);
                return Poll::Pending;
            }
        }
    }

    /// Writes everything. Ready when nothing is left, or nothing more can be written.
    pub(crate) fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.attach(cx);
        self.input.put_aside();
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
            ready!(self.poll_flush_once(cx));
            if !self.report() {
                return Poll::Ready(());
            }
            // the messages of the backlog
            self.collect_news();
        }
    }

    #[inline]
    fn poll_flush_once(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.out.is_empty() || self.unflushed {
            if self.quantum.is_awaited() {
                return Poll::Pending;
            }
            if self.role == Role::Client {
                self.out.mask();
            }
            match self.poll_write(cx) {
                Poll::Pending if self.quantum.is_over() => return Poll::Pending,
                Poll::Pending => return self.is_blocked(),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.on_write_error(&format!("the connection failed while writing: {error}"))
                }
            }
        }
        if self.out.has_room() {
            buffers::return_from_writing(self.out.give_back());
            self.send_queue.set_has_unflushed(false);
        }
        Poll::Ready(())
    }

    /// Reports to the queue that everything is written. Returns whether there is more to write.
    #[inline]
    fn report(&mut self) -> bool {
        let news = (self.ticket != self.reported || self.stall.is_some()) && !self.broken;
        if !news {
            return false;
        }
        let pong = self.stall.take().and_then(|stall| stall.pong);
        self.reported = self.ticket;
        let more = self.send_queue.written(self.ticket, 0);
        if let Some(pong) = pong {
            self.answer_ping(&pong);
            return true;
        }
        more
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let most = self.quantum.most();
            let count = match &mut self.socket {
                Socket::Tcp(tcp) => match self.send_queue.write(&mut self.out, most)? {
                    0 => {
                        ready!(tcp.as_ref().poll_write_ready(cx))?;
                        continue;
                    }
                    count => count,
                },
                Socket::Other(io) if self.out.is_empty() => {
                    ready!(Pin::new(io).poll_flush(cx))?;
                    self.unflushed = false;
                    return Poll::Ready(Ok(()));
                }
                Socket::Other(io) => {
                    let count = ready!(poll_write(io, cx, &self.out, most))?;
                    self.out.advance(count);
                    self.unflushed = true;
                    count
                }
            };
            self.clock.wrote = true;
            self.quantum.spend(count);
            if self.stall.is_some() {
                self.on_progress(count);
            }
            if self.out.is_empty() && !self.unflushed {
                return Poll::Ready(Ok(()));
            }
            if self.quantum.is_over() && !self.out.is_empty() {
                return Poll::Pending;
            }
        }
    }

    /// Marks how many bytes remain until everything collected so far is written. One mark at a time is enough; none is
    /// needed while every write succeeds at once.
    fn set_mark(&mut self) {
        let Some(stall) = &mut self.stall else { return };
        if stall.mark.is_none() && self.ticket != self.reported && !self.out.is_empty() {
            stall.mark = Some((self.out.len(), self.ticket));
        }
    }

    /// Answers a ping. While the peer does not read, only the latest one is answered.
    pub(super) fn answer_ping(&mut self, data: &[u8]) {
        // a ping may arrive between two parts of a message
        self.leave_unfinished();
        if self.close_sent || self.broken {
            return;
        }
        match &mut self.stall {
            Some(stall) if stall.since.is_some() => {
                let before = stall.pong.replace(data.into());
                stall.left_out += before.map_or(0, |pong| CONTROL_HEADER + pong.len());
            }
            _ => self.write_buffer().push(true, OpCode::Pong, data),
        }
    }

    /// The peer has taken bytes after a write was blocked.
    #[cold]
    fn on_progress(&mut self, written: usize) {
        self.pass_mark(written);
        let Some(stall) = &mut self.stall else { return };
        if let Some((_, taken)) = &mut stall.taken {
            *taken += written;
        }
        stall.left_out = stall.left_out.saturating_sub(written);
        stall.pong_left = stall.pong_left.saturating_sub(written);
        // one at a time: what is in `out` cannot be replaced
        let Some(pong) = stall.pong.take_if(|_| stall.pong_left == 0) else { return };
        if !self.close_sent {
            self.write_buffer().push(true, OpCode::Pong, &pong);
            self.send_queue.set_has_unflushed(true);
            if self.role == Role::Client {
                self.out.mask();
            }
            let left = self.out.len();
            self.stall.get_or_insert_default().pong_left = left;
        }
    }

    /// Reports the marked messages as written, although more is queued behind them.
    fn pass_mark(&mut self, written: usize) {
        let Some(stall) = &mut self.stall else { return };
        if stall.since.take().is_some() {
            // a ping that the peer has yet to answer may be queued behind a large message
            self.clock.app_activity = true;
            self.clock.postpone(self.session.endpoint().base);
        }
        let Some((left, ticket)) = &mut stall.mark else { return };
        *left = left.saturating_sub(written);
        if *left == 0 && !self.out.is_empty() {
            self.reported = *ticket;
            stall.mark = None;
            self.send_queue.written(self.reported, self.out.len());
            self.set_mark();
        }
    }

    #[cold]
    pub(super) fn is_blocked(&mut self) -> Poll<()> {
        let (stall, left) = (self.stall.get_or_insert_default(), self.out.len());
        let begins = stall.since.is_none();
        if begins {
            let now = Instant::now();
            stall.since = Some(now);
            stall.taken.get_or_insert((now, 0));
            self.clock.look = true;
        }
        if std::mem::replace(&mut stall.reported_bytes, left) != left || begins {
            self.send_queue.blocked(left);
        }
        self.set_mark();
        Poll::Pending
    }
}

fn poll_write(io: &mut Box<dyn Io>, cx: &mut Context<'_>, out: &Frames, most: usize) -> Poll<io::Result<usize>> {
    let io = Pin::new(io);
    let written = ready!(match out.single(most) {
        Some(bytes) => io.poll_write(cx, bytes),
        None => {
            let mut slices = Frames::slices();
            let count = out.segments(&mut slices, most);
            io.poll_write_vectored(cx, &slices[..count])
        }
    });
    Poll::Ready(written.and_then(|count| if count > 0 { Ok(count) } else { Err(io::ErrorKind::WriteZero.into()) }))
}
