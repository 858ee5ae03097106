//! The connection's side of a send queue: collecting, writing, and reporting what is written.

use std::io;
use std::task::Waker;

use tokio::time::Instant;

use super::item::Ticket;
use super::queue::SendQueue;
use super::state::{Backpressure, News, Phase, QueueState};
use crate::send_queue::sync::{MutexGuard, Ordering};
use crate::send_queue::write_buffer::Frames;
use endpoint_wire::close::CloseReason;

/// While this many bytes are to be written, the backlog waits.
const AHEAD: usize = 64 << 10;

/// The result of [`SendQueue::collect`].
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Everything up to this ticket is now with the connection.
    pub(crate) ticket: Ticket,
    /// The close requested by the application, reported once.
    pub(crate) close: Option<CloseReason>,
    pub(crate) news: News,
    /// Whether the application's pings or pongs were collected.
    pub(crate) control: bool,
    /// Messages wait in the backlog: everything else goes behind them.
    pub(crate) has_backlog: bool,
}

impl SendQueue {
    /// Sets whether the connection holds bytes that are not with the socket.
    #[inline]
    pub(crate) fn set_has_unflushed(&self, has_unflushed: bool) {
        self.has_unflushed.store(has_unflushed, Ordering::Relaxed);
    }

    /// Writes to a plain socket once. Returns the number of bytes written, zero if it would block. `out` must not be
    /// empty.
    pub(crate) fn write(&self, out: &mut Frames, most: usize) -> io::Result<usize> {
        let mut state = self.lock();
        state.prepend_partial(out);
        let Some(socket) = &state.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        match out.try_write(socket, most) {
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

    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.pending.is_raised()
    }

    /// Moves everything queued to the end of `out`, control frames first.
    pub(crate) fn collect(&self, out: &mut Frames) -> Collected {
        self.pending.lower();
        let mut state = self.lock();
        state.mode.take_unwoken();
        state.prepend_partial(out);
        let mut collected = Collected { news: state.news.take(), ticket: state.accepted(), ..<_>::default() };
        if let Some(cold) = state.existing_cold() {
            collected.control = !cold.control.is_empty();
            collected.news.recheck |= !cold.waiters.is_empty();
            collected.close = cold.close.take();
            out.small().extend_from_slice(&std::mem::take(&mut cold.control));
        }
        out.append(&mut state.frames);
        // an idle session keeps at most a small buffer
        state.frames.shrink(512);
        if state.has_backlog() {
            self.collect_backlog(state, out, &mut collected);
        }
        collected
    }

    /// Like [`collect`](Self::collect), for the backlog.
    #[cold]
    fn collect_backlog(&self, mut state: MutexGuard<'_, QueueState>, out: &mut Frames, collected: &mut Collected) {
        // before the end, everything that may leave does
        let most = if state.phase == Phase::Open { AHEAD } else { usize::MAX };
        let (backlog, accepted) = state.backlog();
        let started = backlog.drain(out, most, self.deflation(), accepted);
        (collected.ticket, collected.has_backlog, collected.news.report) =
            (state.accepted(), state.has_backlog(), true);
        if started {
            self.wake_waiters(state);
        }
    }

    /// Reports that everything up to `ticket` is written, and that `left` bytes behind it are not. True if the backlog
    /// has messages that are due.
    pub(crate) fn written(&self, ticket: Ticket, left: usize) -> bool {
        let mut state = self.lock();
        state.advance_written(ticket);
        state.backpressure = Backpressure::default();
        let (bytes, has_backlog) = (state.own_bytes() + left, state.has_backlog());
        let bytes = if has_backlog { bytes + state.backlog_bytes() } else { bytes };
        state.bytes.set(bytes, &self.bounds.budget);
        let is_due = has_backlog && !state.is_open_in_parts();
        if state.has_waiters() {
            self.wake_waiters(state);
        }
        is_due
    }

    /// Reports that the peer currently accepts no bytes, and how many bytes of the connection are not written: those
    /// collected here, replies and pongs.
    pub(crate) fn blocked(&self, left: usize) {
        let mut state = self.lock();
        if !state.has_ended() {
            state.backpressure.blocked = true;
            let bytes = state.own_bytes() + state.backlog_bytes() + left;
            state.bytes.set_staying(bytes, &self.bounds.budget);
        }
    }

    /// Wakes the waiters whose deadline has passed. Returns the next deadline, and whether a broadcast was written
    /// meanwhile.
    pub(crate) fn expire(&self, now: Instant) -> (Option<Instant>, bool) {
        let mut state = self.lock();
        let app_activity = state.broadcasts.take_unreported();
        let Some(cold) = state.existing_cold() else { return (None, app_activity) };
        let (missed, next) = cold.waiters.expire(now);
        drop(state);
        missed.into_iter().for_each(Waker::wake);
        (next, app_activity)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use proptest::prelude::*;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::*;
    use crate::send_queue::broadcast_time::{BroadcastTime, DIRECT_INTERVAL};
    use crate::send_queue::enqueue::Accepted;
    use crate::send_queue::{Admission, Bounds, FAR, FragmentTicket, PartOwner, QueueItem, Refused, Waiting};
    use endpoint_wire::frame::OpCode;
    use endpoint_wire::role::Role;

    /// An action of senders, the peer, the connection or the end on a queue.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Send(usize),
        Reply(usize),
        SendDroppable(usize),
        /// A broadcast, which may be written directly, and is left to a flusher otherwise.
        Broadcast(usize, bool),
        /// The flusher runs.
        Flush,
        Batch(bool),
        /// A part of the session's own message, and whether it is the last.
        Part(usize, bool),
        RequestTicket,
        /// A part by one of those who requested a fragment ticket.
        WriterPart(usize, bool),
        Abandon(usize),
        PeerReads,
        /// The socket accepts none of the connection's bytes.
        Blocked,
        Collect,
        /// The socket accepts this many bytes of the connection.
        Write(usize),
        Close,
        /// The connection has learnt of the end: the peer's close frame, a violation, a limit.
        Finish,
        End(bool),
        Abort,
        Detach,
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = || prop_oneof![6 => 1usize..200, 3 => 1usize..20_000, 1 => Just(100_000)];
        prop_oneof![
            6 => size().prop_map(Step::Send),
            2 => size().prop_map(Step::Reply),
            12 => size().prop_map(Step::SendDroppable),
            6 => (size(), any::<bool>()).prop_map(|(size, droppable)| Step::Broadcast(size, droppable)),
            6 => Just(Step::Flush),
            2 => any::<bool>().prop_map(Step::Batch),
            3 => (size(), any::<bool>()).prop_map(|(size, last)| Step::Part(size, last)),
            3 => Just(Step::RequestTicket),
            4 => (0usize..4, any::<bool>()).prop_map(|(writer, last)| Step::WriterPart(writer, last)),
            3 => (0usize..4).prop_map(Step::Abandon),
            4 => Just(Step::PeerReads),
            2 => Just(Step::Blocked),
            10 => Just(Step::Collect),
            10 => size().prop_map(Step::Write),
            1 => Just(Step::Close),
            1 => Just(Step::Finish),
            1 => any::<bool>().prop_map(Step::End),
            1 => Just(Step::Abort),
            1 => Just(Step::Detach),
        ]
    }

    /// A queue, its connection as far as the queue knows it, and the messages that are outstanding by the definition: a
    /// message is outstanding from its acceptance, or the request of its fragment ticket, until it was reported as
    /// written or dropped.
    struct Given {
        send_queue: SendQueue,
        peer: TcpStream,
        out: Frames,
        /// Bytes that were put into `out` and that were written, and the end of each ticket.
        put: usize,
        wrote: usize,
        marks: VecDeque<(usize, Ticket)>,
        writers: Vec<(FragmentTicket, Ticket, bool)>,
        time: u32,
        outstanding: BTreeSet<Ticket>,
    }

    impl Given {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let socket = TcpSocket::new_v4().unwrap();
            // a small buffer, so that a broadcast is partly written
            socket.set_recv_buffer_size(4 << 10).unwrap();
            let peer = socket.connect(listener.local_addr().unwrap()).await.unwrap();
            let (_, writer) = listener.accept().await.unwrap().0.into_split();
            writer.as_ref().writable().await.unwrap();
            let (messages, bytes) = (20, 256 << 10);
            let (log, budget) = <_>::default();
            let bounds = Bounds { messages, bytes, send_timeout: FAR, overflow: None, log, budget, traffic: None };
            Self {
                send_queue: SendQueue::new(Arc::new(bounds), Role::Server, None, Some(writer)),
                peer,
                out: Frames::default(),
                put: 0,
                wrote: 0,
                marks: VecDeque::new(),
                writers: Vec::new(),
                time: 0,
                outstanding: BTreeSet::new(),
            }
        }

        /// The tickets in the backlog.
        fn backlog(&self) -> BTreeSet<Ticket> {
            self.send_queue.lock().backlog().0.tickets().collect()
        }

        fn last(&self) -> Ticket {
            self.send_queue.lock().last_ticket()
        }

        /// Counts the messages that left the backlog while `enqueue` ran as dropped.
        fn drops<T>(&mut self, enqueue: impl FnOnce(&SendQueue) -> T) -> T {
            let before = self.backlog();
            let result = enqueue(&self.send_queue);
            let after = self.backlog();
            self.outstanding.retain(|ticket| !before.contains(ticket) || after.contains(ticket));
            result
        }

        fn accepted(&mut self, accepted: Result<Accepted, Refused>) {
            if let Ok(Accepted { ticket, .. }) = accepted {
                self.outstands(ticket);
            }
        }

        fn outstands(&mut self, ticket: Ticket) {
            assert!(self.outstanding.insert(ticket), "ticket {ticket} was given away twice");
        }

        fn collect(&mut self) {
            let before = self.out.len();
            let collected = self.send_queue.collect(&mut self.out);
            self.send_queue.set_has_unflushed(!self.out.is_empty());
            self.put += self.out.len() - before;
            self.marks.push_back((self.put, collected.ticket));
        }

        fn write(&mut self, most: usize) {
            if self.send_queue.has_news() {
                // as the connection does before each write, so that the rest of a broadcast goes first
                self.collect();
            }
            let count = most.min(self.out.len());
            self.out.advance(count);
            self.wrote += count;
            self.send_queue.set_has_unflushed(!self.out.is_empty());
            let mut reported = None;
            while self.marks.front().is_some_and(|(position, _)| *position <= self.wrote) {
                reported = self.marks.pop_front().map(|(_, ticket)| ticket);
            }
            let Some(ticket) = reported else { return };
            let more = self.send_queue.written(ticket, self.out.len());
            self.outstanding.retain(|other| *other > ticket);
            if more {
                self.collect();
            }
        }

        fn obey(&mut self, step: Step) {
            let cx = &mut Context::from_waker(Waker::noop());
            match step {
                Step::Send(size) => {
                    let enqueued = self
                        .send_queue
                        .enqueue(QueueItem::Shared(OpCode::Binary, vec![0; size].into()), Admission::Bounded);
                    self.accepted(enqueued);
                }
                Step::Reply(size) => {
                    let enqueued =
                        self.send_queue.enqueue(QueueItem::Borrowed(OpCode::Binary, &vec![0; size]), Admission::Reply);
                    self.accepted(enqueued);
                }
                Step::SendDroppable(size) => {
                    let message = QueueItem::Shared(OpCode::Binary, vec![0; size].into());
                    let enqueued = self.drops(|send_queue| send_queue.enqueue(message, Admission::DropOldest));
                    self.accepted(enqueued);
                }
                Step::Broadcast(size, droppable) => {
                    self.time += DIRECT_INTERVAL;
                    let frame = vec![0; size];
                    match self.send_queue.try_write_direct(&frame, BroadcastTime(self.time)) {
                        Err(_) => {}
                        Ok(true) => {
                            let ticket = self.last();
                            let is_written = self.send_queue.lock().written() == ticket;
                            // the rest of it is queued
                            if !is_written {
                                self.outstands(ticket);
                            }
                        }
                        Ok(false) => {
                            self.send_queue.claim();
                            let message = QueueItem::EncodedBorrowed(&frame);
                            let admission = if droppable { Admission::DropOldest } else { Admission::Bounded };
                            let enqueued = self.drops(|send_queue| send_queue.enqueue(message, admission));
                            self.accepted(enqueued);
                        }
                    }
                }
                Step::Flush => {
                    let before = self.send_queue.lock().written();
                    self.send_queue.flush();
                    let (written, frames) = {
                        let state = self.send_queue.lock();
                        (state.written(), state.frames.len())
                    };
                    if written > before {
                        assert!(frames == 0 && self.out.is_empty(), "something is before it");
                        self.outstanding.retain(|ticket| *ticket > written);
                    }
                }
                Step::Batch(allowed) => self.send_queue.set_batching(allowed),
                Step::Part(size, last) => {
                    let before = self.last();
                    let part = QueueItem::Shared(OpCode::Binary, vec![0; size].into());
                    if self.send_queue.enqueue_part(part, PartOwner::Session, last, false).is_ok()
                        && self.last() > before
                    {
                        self.outstands(self.last());
                    }
                }
                Step::RequestTicket => {
                    let (mut fragments, before) = (FragmentTicket::default(), self.last());
                    let _ =
                        self.send_queue.poll_fragment_ticket(cx, OpCode::Text, &mut fragments, &mut Waiting::default());
                    let ticket = self.last();
                    if ticket > before {
                        self.outstands(ticket);
                        self.writers.push((fragments, ticket, false));
                    }
                }
                Step::WriterPart(which, last) => {
                    let Some((ticket, _, started)) = self.writers.get_mut(which) else { return };
                    let part = QueueItem::Borrowed(OpCode::Text, &[0; 100]);
                    if self.send_queue.enqueue_part(part, PartOwner::Writer(ticket), last, false).is_ok() {
                        *started = true;
                        if last {
                            self.writers.remove(which);
                        }
                    }
                }
                Step::Abandon(which) => {
                    if which >= self.writers.len() {
                        return;
                    }
                    let (mut fragments, ticket, started) = self.writers.remove(which);
                    self.send_queue.abandon_message(&mut fragments, started);
                    // a message that has started cannot be completed, and the session ends
                    if !started {
                        self.outstanding.remove(&ticket);
                    }
                }
                Step::PeerReads => while self.peer.try_read(&mut [0; 64 << 10]).is_ok_and(|count| count > 0) {},
                Step::Blocked => self.send_queue.blocked(self.out.len()),
                Step::Collect => self.collect(),
                Step::Write(most) => self.write(most),
                Step::Close => self.send_queue.close(endpoint_wire::close::CloseCode::NormalClosure.into()),
                Step::Finish => {
                    self.send_queue.stop_accepting();
                    self.collect();
                    let gone = self.backlog();
                    self.send_queue.clear_backlog();
                    self.outstanding.retain(|ticket| !gone.contains(ticket));
                }
                Step::End(timed_out) => {
                    self.send_queue.end(timed_out);
                    self.outstanding.clear();
                    (self.out, self.marks) = (Frames::default(), VecDeque::new());
                    (self.put, self.wrote) = (0, 0);
                }
                Step::Abort => self.send_queue.abort(),
                Step::Detach => {
                    self.send_queue.detach();
                    self.outstanding.clear();
                    (self.out, self.marks) = (Frames::default(), VecDeque::new());
                    (self.put, self.wrote) = (0, 0);
                }
            }
        }
    }

    proptest! {
        /// Covers every end: backlog cleared, ended, detached, accepting stopped, aborted; in parts, batched, dropped,
        /// written directly.
        #[test]
        fn outstanding_messages_are_those_accepted_and_neither_written_nor_dropped(
            steps in proptest::collection::vec(step(), 1..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut given = Given::new().await;
                let mut ended = false;
                for (position, step) in steps.iter().enumerate() {
                    // nothing is written after the end
                    ended |= matches!(step, Step::End(_) | Step::Detach);
                    if ended && matches!(step, Step::Write(_) | Step::Collect | Step::Blocked | Step::Finish) {
                        continue;
                    }
                    given.obey(*step);
                    let outstanding = given.send_queue.queued_messages();
                    prop_assert_eq!(outstanding, given.outstanding.len(), "after {}, {:?}", position, step);
                    prop_assert!(!ended || given.send_queue.bounds.budget.used() == 0, "it keeps a part of the budget");
                }
                // everything left is written, except messages behind an unfinished one
                while !ended && (!given.out.is_empty() || given.send_queue.has_news()) {
                    given.write(usize::MAX);
                }
                prop_assert_eq!(given.send_queue.queued_messages(), given.outstanding.len());
                if given.outstanding.is_empty() {
                    prop_assert_eq!(given.send_queue.queued_bytes(), 0);
                }
                Ok(())
            })?;
        }
    }
}
