//! One socket: what is read, what is to be written, the limits in time. Everything here is a poll; nothing runs code
//! of the user but through `dispatch`.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::buffer;
use crate::close::{CloseCode, CloseReason, Initiator};
use crate::config::{INBOX_BYTES, INBOX_MESSAGES, Limits};
use crate::dispatch::Dispatch;
use crate::endpoint::{Endpoint, Handler, Mode, Reply};
use crate::error::Error;
use crate::message::{Binary, Message, Pong};
use crate::outbound::{Frames, SHARE_FROM, Ticket};
use crate::session::Session;
use crate::text::Text;
use crate::wire::decode::{Decoder, Event, Rules, Take};
use crate::wire::frame::OpCode;
use crate::wire::{Violation, encode};

/// So much of a batch's answers is gathered for one write.
const CORK: usize = 64 << 10;

/// How many times within a limit the clock looks at a connection: it acts at most so much of the limit late.
const LOOKS: u32 = 8;

/// A socket and the protocol's state on it.
pub(crate) struct Link<IO> {
    io: IO,
    session: Session,
    decoder: Decoder,
    /// How messages are taken, as of the last read.
    rules: Rules,
    input: Input,
    inbox: VecDeque<Work>,
    inbox_bytes: usize,
    out: Frames,
    /// Everything up to this is in `out` or written.
    ticket: Ticket,
    /// As far as the queue was told.
    reported: Ticket,
    unflushed: bool,
    shut: bool,
    /// What was not written never will be.
    broken: bool,
    reading: bool,
    clock: Clock,
    waker: Option<Waker>,
    close_sent: bool,
    close_received: bool,
    end: Option<CloseReason>,
    warned_unwanted: bool,
}

/// What a connection has to do next, owned, so that a handler may suspend with it.
#[derive(Debug)]
pub(crate) enum Work {
    Text(Text, bool),
    Binary(Binary, bool),
    Pong(Pong),
    /// A handler that is an ordinary function has run.
    Settled(Reply),
    Failed(Violation),
}

/// The batch that is being decoded: in the thread's buffer while the task runs, its rest in one of its own after.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    lent: bool,
}

impl Input {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Gives the thread's buffer back; what is left of the batch is put aside.
    fn put_aside(&mut self) {
        if self.lent {
            let rest = self.buffer[self.start..self.end].to_vec();
            buffer::return_from_reading(std::mem::replace(&mut self.buffer, rest));
            (self.start, self.end, self.lent) = (0, self.buffer.len(), false);
        }
    }

    /// Gives an exhausted buffer away.
    fn release(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if self.lent {
            buffer::return_from_reading(buffer);
        }
        (self.start, self.end, self.lent) = (0, 0, false);
    }
}

/// The limits in time of one connection. Activity is noted without asking for the time; the clock looks now and then.
#[derive(Default)]
struct Clock {
    sleep: Option<Pin<Box<Sleep>>>,
    /// A nearer deadline may have come up.
    look: bool,
    heard: bool,
    spoke: bool,
    last_heard: Option<Instant>,
    last_spoke: Option<Instant>,
    /// The ping that was sent unasked and is not answered.
    ping: Option<[u8; 8]>,
    pings: u64,
    blocked_since: Option<Instant>,
    ended_at: Option<Instant>,
    /// A handler went on for too long after the end.
    abandon: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send> Link<IO> {
    pub(crate) fn new<E: Endpoint>(io: IO, early: Bytes, session: Session) -> Self {
        let input = Input { end: early.len(), buffer: early.into(), start: 0, lent: false };
        Self {
            io,
            rules: rules::<E>(&session),
            session,
            decoder: Decoder::default(),
            input,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            out: Frames::default(),
            ticket: 0,
            reported: 0,
            unflushed: false,
            shut: false,
            broken: false,
            reading: true,
            clock: Clock { look: true, ..Clock::default() },
            waker: None,
            close_sent: false,
            close_received: false,
            end: None,
            warned_unwanted: false,
        }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.session.endpoint().limits
    }

    /// Why the session ends, once it does.
    pub(crate) fn end(&self) -> Option<&CloseReason> {
        self.end.as_ref()
    }

    /// Whether the closing handshake still lacks the peer's half.
    pub(crate) fn awaits_close(&self) -> bool {
        self.reading && self.close_sent && !self.close_received
    }

    /// Whether the closing handshake was begun, so that the socket deserves a proper end.
    pub(crate) fn said_goodbye(&self) -> bool {
        self.close_sent
    }

    // ---- inbound ----

    /// The next piece of work that is here already; `None` if the socket has to be asked.
    ///
    /// A handler that is an ordinary function is called right here, with its message where it lies.
    #[inline]
    pub(crate) fn work<E: Endpoint>(&mut self, dispatch: &mut Dispatch<E>) -> Option<Work> {
        if let Some(work) = self.inbox.pop_front() {
            self.inbox_bytes -= work.size();
            return Some(match work {
                Work::Text(text, last) if E::TEXT.mode == Mode::Sync => Work::Settled(dispatch.text_now(&text, last)),
                Work::Binary(data, last) if E::BINARY.mode == Mode::Sync => {
                    Work::Settled(dispatch.binary_now(&data, last))
                }
                work => work,
            });
        }
        while !self.input.is_empty() && self.listens() {
            let Input { buffer, start, end, .. } = &mut self.input;
            let (used, event) = match self.decoder.next(&self.rules, &mut buffer[*start..*end]) {
                Ok(step) => step,
                Err(violation) => {
                    self.reading = false;
                    return Some(Work::Failed(violation));
                }
            };
            let work = match event {
                Some(Event::Text { text, last }) if E::TEXT.mode == Mode::Sync => {
                    Some(Work::Settled(dispatch.text_now(text.as_str(), last)))
                }
                Some(Event::Binary { data, last }) if E::BINARY.mode == Mode::Sync => {
                    Some(Work::Settled(dispatch.binary_now(data.as_slice(), last)))
                }
                Some(Event::Text { text, last }) => Some(Work::Text(text.into_text(), last)),
                Some(Event::Binary { data, last }) => Some(Work::Binary(data.into_binary(), last)),
                Some(Event::Ping(data)) => {
                    self.answer_ping(&data);
                    None
                }
                Some(Event::Pong(data)) => self.pong::<E>(data),
                Some(Event::Close(reason)) => {
                    self.peer_closes(reason);
                    None
                }
                Some(Event::Unwanted { text }) => {
                    self.unwanted(text);
                    None
                }
                None => None,
            };
            self.input.start += used;
            if work.is_some() {
                return work;
            }
        }
        None
    }

    /// Decodes what is here into the inbox, as far as it has room: a handler is running.
    fn gather<E: Endpoint>(&mut self) {
        while !self.input.is_empty() && self.listens() && self.inbox_has_room() {
            let Input { buffer, start, end, .. } = &mut self.input;
            let (used, event) = match self.decoder.next(&self.rules, &mut buffer[*start..*end]) {
                Ok(step) => step,
                Err(violation) => {
                    self.reading = false;
                    self.inbox.push_back(Work::Failed(violation));
                    return;
                }
            };
            let event = event.map(|event| event.into_owned());
            self.input.start += used;
            if let Some(event) = event {
                self.keep::<E>(event);
            }
        }
        if self.input.is_empty() {
            self.input.release();
        }
    }

    /// Takes an event while its turn has not come: control frames at once, messages to the inbox.
    fn keep<E: Endpoint>(&mut self, event: Event<'static>) {
        let work = match event {
            Event::Text { text, last } => Work::Text(text.into_text(), last),
            Event::Binary { data, last } => Work::Binary(data.into_binary(), last),
            Event::Ping(data) => return self.answer_ping(&data),
            Event::Pong(data) => match self.pong::<E>(data) {
                Some(work) => work,
                None => return,
            },
            Event::Close(reason) => return self.peer_closes(reason),
            Event::Unwanted { text } => return self.unwanted(text),
        };
        self.inbox_bytes += work.size();
        self.inbox.push_back(work);
    }

    /// Whether what comes still matters: neither broken off, nor closed by the peer.
    #[inline]
    fn listens(&self) -> bool {
        self.reading && !self.close_received
    }

    fn inbox_has_room(&self) -> bool {
        self.inbox.len() < INBOX_MESSAGES && self.inbox_bytes < INBOX_BYTES
    }

    fn answer_ping(&mut self, data: &[u8]) {
        if !self.close_sent {
            self.room().push(true, OpCode::Pong, data);
        }
    }

    fn pong<E: Endpoint>(&mut self, data: Binary) -> Option<Work> {
        if self.clock.ping.is_some_and(|ping| ping[..] == data[..]) {
            self.clock.ping = None;
            return None;
        }
        E::PONG.exists().then(|| Work::Pong(Pong::new(data)))
    }

    fn unwanted(&mut self, text: bool) {
        if !std::mem::replace(&mut self.warned_unwanted, true) {
            let kind = if text { "text" } else { "binary" };
            let endpoint = self.session.endpoint().name;
            tracing::warn!(endpoint, session = %self.session.id(), "a {kind} message was dropped: the endpoint has no handler for it");
        }
    }

    /// Waits for something to do: octets, an outbound message, a limit. Flushes first.
    pub(crate) fn poll_input<E: Endpoint>(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.attach(cx);
        loop {
            self.collect();
            let blocked = self.poll_flush(cx).is_pending();
            if self.end.is_some() {
                return Poll::Ready(());
            }
            if !blocked || self.out.len() < self.limits().send_queue_bytes {
                match self.poll_read::<E>(cx) {
                    Poll::Ready(()) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            if !self.poll_clock(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Reads once: into a large message's own place, or into the thread's buffer.
    fn poll_read<E: Endpoint>(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.rules = rules::<E>(&self.session);
        if let Some((place, room)) = self.decoder.direct() {
            let mut place = place.limit(room);
            let read = pin!(self.io.read_buf(&mut place)).poll(cx);
            let Poll::Ready(read) = read else { return Poll::Pending };
            let Some(count) = self.read_result(read) else { return Poll::Ready(()) };
            match self.decoder.filled(count) {
                Ok(Some(event)) => self.keep::<E>(event),
                Ok(None) => {}
                Err(violation) => {
                    self.reading = false;
                    self.inbox.push_back(Work::Failed(violation));
                }
            }
            return Poll::Ready(());
        }
        if !self.input.lent {
            self.input = Input { buffer: buffer::lend_for_reading(), start: 0, end: 0, lent: true };
        }
        let mut into = ReadBuf::new(&mut self.input.buffer);
        let read = Pin::new(&mut self.io).poll_read(cx, &mut into);
        let count = into.filled().len();
        match read {
            Poll::Pending => {
                self.input.release();
                Poll::Pending
            }
            Poll::Ready(read) => {
                let count = self.read_result(read.map(|()| count)).unwrap_or(0);
                (self.input.start, self.input.end) = (0, count);
                if count == 0 {
                    self.input.release();
                }
                Poll::Ready(())
            }
        }
    }

    fn read_result(&mut self, read: io::Result<usize>) -> Option<usize> {
        match read {
            Ok(count @ 1..) => {
                self.clock.heard = true;
                Some(count)
            }
            Ok(_) => {
                self.lost("the peer ended the connection without a close frame");
                None
            }
            Err(error) => {
                self.lost(&format!("the connection failed while reading: {error}"));
                None
            }
        }
    }

    // ---- outbound ----

    /// Where frames of our own go.
    #[inline]
    fn room(&mut self) -> &mut Frames {
        if !self.out.has_room() {
            self.out.lend(buffer::lend_for_writing());
        }
        &mut self.out
    }

    /// Takes over what the session's queue has gathered.
    #[inline]
    pub(crate) fn collect(&mut self) {
        if self.session.outbound().has_news() {
            self.collect_news();
        }
    }

    fn collect_news(&mut self) {
        self.room();
        let collected = self.session.outbound().collect(&mut self.out);
        self.clock.spoke |= collected.control || collected.ticket != self.ticket;
        self.clock.look = true;
        self.ticket = collected.ticket;
        if collected.cut {
            self.lost("the container gave the connection up");
            self.clock.abandon = true;
        }
        match collected.close {
            Some(reason) if reason.initiator() == Initiator::Container => self.cut(reason),
            Some(reason) => self.close(reason),
            None => {}
        }
    }

    /// Sends what a handler returned, behind what it has sent.
    #[inline]
    pub(crate) fn reply(&mut self, message: Message) -> Result<(), Error> {
        self.collect();
        if self.close_sent || self.end.is_some() {
            return Err(Error::closed());
        }
        self.clock.spoke = true;
        let (opcode, data) = match message {
            Message::Text(text) => (OpCode::Text, Binary::from(text)),
            Message::Binary(data) => (OpCode::Binary, data),
        };
        let out = self.room();
        if data.len() < SHARE_FROM {
            out.push(true, opcode, &data)
        } else {
            out.push_shared(true, opcode, data.into())
        }
        Ok(())
    }

    /// Whether enough is gathered for a write.
    #[inline]
    pub(crate) fn is_corked_full(&self) -> bool {
        self.out.len() >= CORK
    }

    /// Writes in the middle of a batch; waits only if the peer has left too much unread.
    pub(crate) fn poll_uncork(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.attach(cx);
        loop {
            if self.poll_flush(cx).is_ready() || self.out.len() < self.limits().send_queue_bytes {
                return Poll::Ready(());
            }
            if !self.poll_clock(cx) {
                self.input.put_aside();
                return Poll::Pending;
            }
        }
    }

    /// Writes all there is, or until the end.
    pub(crate) fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.attach(cx);
        self.input.put_aside();
        self.poll_flush(cx)
    }

    /// Writes what it can. Ready when nothing is left, or nothing can be written any more.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.out.is_empty() {
            let io = Pin::new(&mut self.io);
            let written = match self.out.single() {
                Some(octets) => io.poll_write(cx, octets),
                None => {
                    let mut slices = Frames::slices();
                    let count = self.out.segments(&mut slices);
                    io.poll_write_vectored(cx, &slices[..count])
                }
            };
            match written {
                Poll::Ready(Ok(count @ 1..)) => {
                    self.out.advance(count);
                    self.unflushed = true;
                    self.clock.blocked_since = None;
                }
                Poll::Ready(Ok(_)) => {
                    self.lost("the connection takes no more octets");
                    break;
                }
                Poll::Ready(Err(error)) => {
                    self.lost(&format!("the connection failed while writing: {error}"));
                    break;
                }
                Poll::Pending => return self.is_blocked(),
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Pending => return self.is_blocked(),
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => self.lost(&format!("the connection failed while writing: {error}")),
            }
        }
        if self.out.has_room() {
            buffer::return_from_writing(self.out.give_back());
        }
        if self.ticket != self.reported && !self.broken {
            self.reported = self.ticket;
            self.session.outbound().written(self.ticket);
        }
        Poll::Ready(())
    }

    #[cold]
    fn is_blocked(&mut self) -> Poll<()> {
        if self.clock.blocked_since.is_none() {
            self.clock.blocked_since = Some(Instant::now());
            self.clock.look = true;
            self.session.outbound().blocked();
        }
        Poll::Pending
    }

    // ---- while a handler is suspended ----

    /// Writes, reads into the inbox, answers pings, watches the limits. True if the handler must be given up.
    pub(crate) fn poll_meanwhile<E: Endpoint>(&mut self, cx: &mut Context<'_>) -> bool {
        self.attach(cx);
        self.input.put_aside();
        loop {
            self.collect();
            let _ = self.poll_flush(cx);
            if self.listens() {
                self.gather::<E>();
                while self.input.is_empty()
                    && self.listens()
                    && self.inbox_has_room()
                    // a peer that pings and never reads would have us hoard its pongs
                    && self.out.len() < self.limits().send_queue_bytes
                {
                    if self.poll_read::<E>(cx).is_pending() {
                        break;
                    }
                    self.gather::<E>();
                    // the answers to pings
                    let _ = self.poll_flush(cx);
                }
                self.input.put_aside();
                // what was here already may have had a ping or a close to answer
                let _ = self.poll_flush(cx);
            }
            if !self.poll_clock(cx) {
                return self.clock.abandon;
            }
        }
    }

    // ---- the end ----

    /// The first reason wins. `wire` is what the close frame says, if one can be sent.
    fn finish(&mut self, local: CloseReason, wire: Option<CloseReason>) {
        if self.end.is_some() {
            return;
        }
        self.session.outbound().refuse();
        self.session.endpoint().remove(&self.session);
        self.end = Some(local);
        self.clock.look = true;
        if self.session.outbound().has_news() {
            // what was queued before goes before
            self.collect_news();
        }
        if let Some(wire) = wire {
            if !self.close_sent {
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
    fn cut(&mut self, reason: CloseReason) {
        let local = CloseReason::truncating(CloseCode::ClosedAbnormally, reason.reason()).by(Initiator::Container);
        self.finish(local, Some(reason));
    }

    fn peer_closes(&mut self, reason: CloseReason) {
        self.close_received = true;
        self.finish(reason.clone(), Some(reason));
    }

    #[cold]
    fn lost(&mut self, why: &str) {
        (self.reading, self.broken) = (false, true);
        let _ = std::mem::take(&mut self.out);
        self.session.outbound().end(false);
        let reason = CloseReason::truncating(CloseCode::ClosedAbnormally, why);
        self.finish(reason.by(Initiator::Transport), None);
        let _ = std::mem::take(&mut self.out);
        self.unflushed = false;
    }

    /// Reads on until the peer's close frame; its messages are no longer wanted.
    pub(crate) fn poll_peer_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let rules = Rules { text: Take::Discard, binary: Take::Discard };
        loop {
            while !self.input.is_empty() {
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
                    Ok((used, _)) => self.input.start += used,
                }
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
        if !self.shut {
            match Pin::new(&mut self.io).poll_shutdown(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) => self.shut = true,
            }
        }
        self.input.release();
        loop {
            match self.poll_raw(cx) {
                Poll::Ready(0) => return Poll::Ready(()),
                Poll::Ready(_) => self.input.release(),
                // both close frames have passed: there is nothing to wait for
                Poll::Pending if self.close_received => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads into the thread's buffer whatever comes; zero at the end.
    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.input.release();
        let mut buffer = buffer::lend_for_reading();
        let mut into = ReadBuf::new(&mut buffer);
        let read = Pin::new(&mut self.io).poll_read(cx, &mut into);
        let count = into.filled().len();
        self.input = Input { buffer, start: 0, end: count, lent: true };
        match read {
            Poll::Ready(Ok(())) if count > 0 => Poll::Ready(count),
            Poll::Ready(_) => {
                self.input.release();
                Poll::Ready(0)
            }
            Poll::Pending => {
                self.input.release();
                Poll::Pending
            }
        }
    }

    // ---- time ----

    /// Makes sure that the queue, and the clock, wake this task.
    #[inline]
    fn attach(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
            self.session.outbound().attach(cx.waker());
            self.clock.look = true;
        }
    }

    /// Looks at the limits if it is time. True if something was done, so that there may be something to write.
    #[inline]
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.clock.sleep.as_ref().is_some_and(|sleep| sleep.is_elapsed());
        if !due && !self.clock.look {
            return false;
        }
        self.look_at_clock(cx)
    }

    fn look_at_clock(&mut self, cx: &mut Context<'_>) -> bool {
        self.clock.look = false;
        let now = Instant::now();
        let ended = self.end.is_some();
        let pings = self.clock.pings;
        let Some(next) = self.check_limits(now) else {
            self.clock.sleep = None;
            return self.end.is_some() != ended;
        };
        let sleep = match &mut self.clock.sleep {
            Some(sleep) => {
                if sleep.deadline() > next || sleep.is_elapsed() {
                    sleep.as_mut().reset(next);
                }
                sleep
            }
            none => none.insert(Box::pin(sleep_until(next))),
        };
        // once it must be polled, to be woken by it
        let due = sleep.as_mut().poll(cx).is_ready();
        self.clock.look |= due;
        due || self.end.is_some() != ended || self.clock.pings != pings
    }

    /// Acts on every limit that has passed; the next moment to look.
    fn check_limits(&mut self, now: Instant) -> Option<Instant> {
        let waiter = self.session.outbound().expire(now);
        if let Some(since) = self.clock.blocked_since {
            if since + self.limits().send_timeout <= now {
                self.unsent();
            }
        }
        if self.end.is_some() {
            let ended = *self.clock.ended_at.get_or_insert(now);
            let grace = ended + self.limits().close_timeout;
            self.clock.abandon |= grace <= now;
            return (!self.clock.abandon).then_some(grace);
        }
        let heard = noted(&mut self.clock.heard, &mut self.clock.last_heard, now);
        let spoke = noted(&mut self.clock.spoke, &mut self.clock.last_spoke, now);
        let idle = self.session.idle_timeout();
        if let Some(limit) = idle {
            if heard.max(spoke) + limit <= now {
                self.cut(CloseReason::truncating(CloseCode::GoingAway, "idle timeout"));
                return self.check_limits(now);
            }
        }
        let ping = self.limits().ping_interval.filter(|_| self.clock.ping.is_none());
        if let Some(interval) = ping {
            if heard + interval <= now {
                self.clock.pings += 1;
                let data = self.clock.pings.to_be_bytes();
                self.clock.ping = Some(data);
                self.room().push(true, OpCode::Ping, &data);
            }
        }
        [
            waiter,
            self.clock.blocked_since.map(|since| since + self.limits().send_timeout),
            idle.map(|limit| (heard.max(spoke) + limit).min(now + limit / LOOKS)),
            self.limits().ping_interval.map(|interval| (heard + interval).max(now + interval / LOOKS)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The peer has not read for too long: a message is half-way, so the connection cannot go on.
    fn unsent(&mut self) {
        (self.reading, self.broken) = (false, true);
        let _ = std::mem::take(&mut self.out);
        self.unflushed = false;
        self.clock.blocked_since = None;
        self.session.outbound().end(true);
        let reason = CloseReason::truncating(CloseCode::ClosedAbnormally, "send timeout: the peer does not read");
        self.finish(reason.by(Initiator::Container), None);
        let _ = std::mem::take(&mut self.out);
    }
}

/// When there was activity last; what was only noted happened just now at the latest.
fn noted(flag: &mut bool, last: &mut Option<Instant>, now: Instant) -> Instant {
    if std::mem::take(flag) {
        *last = Some(now);
    }
    *last.get_or_insert(now)
}

/// How the messages of an endpoint are taken.
#[inline]
fn rules<E: Endpoint>(session: &Session) -> Rules {
    let take = |handler: &Handler| match handler {
        Handler { mode: Mode::Missing, .. } => Take::Discard,
        Handler { parts: true, .. } => Take::Parts,
        Handler { max_size, .. } => Take::Whole { limit: max_size.unwrap_or_else(|| session.max_message_size()) },
    };
    Rules { text: take(&E::TEXT), binary: take(&E::BINARY) }
}

impl Work {
    fn size(&self) -> usize {
        match self {
            Self::Text(text, _) => text.len(),
            Self::Binary(data, _) => data.len(),
            Self::Pong(pong) => pong.data().len(),
            Self::Settled(_) | Self::Failed(_) => 0,
        }
    }
}
