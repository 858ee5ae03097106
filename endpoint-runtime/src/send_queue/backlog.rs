//! The backlog: the one message that is being sent in parts, and everything accepted behind it.
//!
//! A message in the backlog is whole and not encoded, so it can be dropped. The connection takes it over when the
//! messages before it are done and little is left to write. A session that never sends in parts, and drops nothing, has
//! no backlog.

use std::collections::VecDeque;

use super::{QueueItem, SendQueue, State, Ticket};
use crate::send_queue::write_buffer::Frames;
use endpoint_wire::deflate::PartDeflater;
use endpoint_wire::frame::OpCode;

/// While this many bytes are to be written, the backlog waits.
const AHEAD: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<Entry>,
    /// The payloads of `waiting`.
    pub(super) bytes: usize,
    /// The last ticket given out, if the backlog is not empty.
    last: Ticket,
    /// The message that is being sent in parts.
    pub(super) open: Option<OpenMessage>,
    /// Number of fragment tickets requested.
    turns: u64,
    /// Tickets that were passed, each with the number of tickets before it that belong to no message that will be
    /// written.
    gaps: VecDeque<(Ticket, u64)>,
}

struct Entry {
    ticket: Ticket,
    what: What,
}

enum What {
    Message {
        message: QueueItem<'static>,
        /// Whether it is compressed when it leaves the backlog.
        in_order: bool,
        droppable: bool,
    },
    /// The fragment ticket of a message in parts.
    FragmentTicket(u64, OpCode),
}

/// A message that is being sent in parts.
pub(super) struct OpenMessage {
    pub(super) turn: u64,
    ticket: Ticket,
    pub(super) opcode: OpCode,
    /// Whether its first frame has been queued.
    pub(super) started: bool,
    pub(super) deflates: bool,
    pub(super) deflater: Option<PartDeflater>,
}

impl State {
    fn line(&mut self) -> &mut Line {
        let (lined, accepted) = (self.lined, self.accepted);
        let line = &mut **self.rare().line.get_or_insert_default();
        if !lined {
            line.last = accepted;
        }
        line
    }

    /// The message that is being sent in parts.
    pub(super) fn open(&mut self) -> Option<&mut OpenMessage> {
        self.rare.as_mut()?.line.as_mut()?.open.as_mut()
    }

    pub(super) fn is_open_in_parts(&self) -> bool {
        self.rare.as_ref().and_then(|rare| rare.line.as_ref()).is_some_and(|line| line.open.is_some())
    }

    /// Bytes of the messages in the backlog.
    pub(super) fn line_bytes(&self) -> usize {
        self.rare.as_ref().and_then(|rare| rare.line.as_ref()).map_or(0, |line| line.bytes)
    }

    /// Number of messages in the backlog, including the one that is being sent in parts.
    pub(super) fn line_len(&self) -> u64 {
        let line = self.rare.as_ref().and_then(|rare| rare.line.as_ref());
        line.map_or(0, |line| line.waiting.len() as u64 + u64::from(line.open.is_some()))
    }

    /// The ticket of the last accepted message.
    pub(super) fn last_ticket(&self) -> Ticket {
        let line = self.rare.as_ref().and_then(|rare| rare.line.as_ref()).filter(|_| self.lined);
        line.map_or(self.accepted, |line| line.last)
    }

    /// Puts a message at the end of the backlog.
    pub(super) fn line_up(&mut self, message: QueueItem<'_>, in_order: bool, droppable: bool) -> Ticket {
        let (size, line) = (message.len(), self.line());
        line.last += 1;
        let ticket = line.last;
        line.bytes += size;
        line.waiting
            .push_back(Entry { ticket, what: What::Message { message: message.into_owned(), in_order, droppable } });
        self.lined = true;
        self.bytes += size;
        ticket
    }

    /// Requests a fragment ticket for a message in parts; it is granted at once if the backlog is empty.
    pub(super) fn ask_for_turn(&mut self, opcode: OpCode) -> u64 {
        let free = !self.lined;
        let line = self.line();
        line.turns += 1;
        line.last += 1;
        let (turn, ticket) = (line.turns, line.last);
        if free {
            line.open = Some(OpenMessage::new(turn, ticket, opcode));
        } else {
            line.waiting.push_back(Entry { ticket, what: What::FragmentTicket(turn, opcode) });
        }
        self.lined = true;
        turn
    }

    /// Ends the message that is being sent in parts; returns its ticket.
    pub(super) fn end_turn(&mut self) -> Option<Ticket> {
        let ticket = self.line().open.take()?.ticket;
        self.pass_ticket(ticket);
        self.shorten();
        Some(ticket)
    }

    /// Gives back an unused fragment ticket.
    pub(super) fn leave(&mut self, turn: u64) {
        let line = self.line();
        line.waiting.retain(|entry| !matches!(entry.what, What::FragmentTicket(other, _) if other == turn));
        if line.open.as_ref().is_some_and(|open| open.turn == turn) {
            line.open = None;
        }
        self.shorten();
    }

    /// Drops the oldest droppable message; false if there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let Some(line) = self.rare.as_mut().and_then(|rare| rare.line.as_mut()) else { return false };
        let is_droppable = |entry: &Entry| matches!(entry.what, What::Message { droppable: true, .. });
        let Some(entry) = line.waiting.iter().position(is_droppable).and_then(|at| line.waiting.remove(at)) else {
            return false;
        };
        if let What::Message { message, .. } = entry.what {
            line.bytes -= message.len();
            self.bytes = self.bytes.saturating_sub(message.len());
        }
        self.count_dropped();
        true
    }

    /// Marks everything up to this ticket as taken over by the connection, or as never to be written.
    fn pass_ticket(&mut self, ticket: Ticket) {
        let gap = ticket - self.accepted - 1;
        self.accepted = ticket;
        if gap > 0 {
            self.skipped += gap;
            self.line().gaps.push_back((ticket, gap));
        }
    }

    /// Updates whether there is a backlog.
    fn shorten(&mut self) {
        let line = self.line();
        let (empty, last) = (line.open.is_none() && line.waiting.is_empty(), line.last);
        if empty && last > self.accepted {
            // the last ones will never be written
            self.skipped += last - self.accepted;
            let gap = last - self.accepted;
            self.line().gaps.push_back((last, gap));
            self.accepted = last;
        }
        self.lined = !empty;
    }

    /// Forgets the gaps before the last ticket written.
    #[inline]
    pub(super) fn count_gaps(&mut self) {
        if self.skipped == 0 {
            return;
        }
        let Some(line) = self.rare.as_mut().and_then(|rare| rare.line.as_mut()) else { return };
        while let Some((_, gap)) = line.gaps.front().filter(|(ticket, _)| *ticket <= self.written) {
            self.skipped -= gap;
            line.gaps.pop_front();
        }
    }

    /// Drops the backlog. The gaps stay: `skipped` counts them until the tickets around them are written.
    pub(super) fn clear_line(&mut self) {
        self.lined = false;
        let Some(line) = self.rare.as_mut().and_then(|rare| rare.line.as_mut()) else { return };
        let gaps = std::mem::take(&mut line.gaps);
        let cleared = std::mem::replace(&mut **line, Line { gaps, ..Line::default() });
        self.bytes = self.bytes.saturating_sub(cleared.bytes);
    }
}

impl OpenMessage {
    fn new(turn: u64, ticket: Ticket, opcode: OpCode) -> Self {
        Self { turn, ticket, opcode, started: false, deflates: false, deflater: None }
    }
}

impl SendQueue {
    /// Moves due messages from the backlog to the end of `out`. True if a fragment ticket was granted.
    pub(super) fn advance_line(&self, state: &mut State, out: &mut Frames) -> bool {
        // before the end, everything that may leave does
        let most = if self.is_open() { AHEAD } else { usize::MAX };
        let mut granted = false;
        while out.len() < most {
            let line = state.line();
            if line.open.is_some() {
                break;
            }
            let Some(Entry { ticket, what }) = line.waiting.pop_front() else { break };
            match what {
                What::FragmentTicket(turn, opcode) => {
                    line.open = Some(OpenMessage::new(turn, ticket, opcode));
                    granted = true;
                }
                What::Message { message, in_order, .. } => {
                    line.bytes -= message.len();
                    match (&self.deflation, message.payload()) {
                        (Some(deflation), Some((opcode, payload))) if in_order => {
                            deflation.frame_in_order(opcode, payload, out.small());
                        }
                        _ => message.push_to(out),
                    }
                    state.pass_ticket(ticket);
                }
            }
        }
        state.shorten();
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use proptest::prelude::*;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::*;
    use crate::send_queue::direct_write::{GATHER, Millisecond};
    use crate::send_queue::{Bounds, FAR, FragmentTicket, Refused, Waiting};
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
        AskForTurn,
        /// A part by one of those who requested a fragment ticket.
        PartOf(usize, bool),
        GiveUpTurn(usize),
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
        Cut,
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
            3 => Just(Step::AskForTurn),
            4 => (0usize..4, any::<bool>()).prop_map(|(turn, last)| Step::PartOf(turn, last)),
            3 => (0usize..4).prop_map(Step::GiveUpTurn),
            4 => Just(Step::PeerReads),
            2 => Just(Step::Blocked),
            10 => Just(Step::Collect),
            10 => size().prop_map(Step::Write),
            1 => Just(Step::Close),
            1 => Just(Step::Finish),
            1 => any::<bool>().prop_map(Step::End),
            1 => Just(Step::Cut),
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
        turns: Vec<(FragmentTicket, Ticket, bool)>,
        moments: u32,
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
            let bounds = Bounds { messages, bytes, send_timeout: FAR, overflow: None, log, budget };
            Self {
                send_queue: SendQueue::new(Arc::new(bounds), Role::Server, None, Some(writer)),
                peer,
                out: Frames::default(),
                put: 0,
                wrote: 0,
                marks: VecDeque::new(),
                turns: Vec::new(),
                moments: 0,
                outstanding: BTreeSet::new(),
            }
        }

        /// The tickets in the backlog.
        fn line(&self) -> BTreeSet<Ticket> {
            let state = self.send_queue.lock();
            let line = state.rare.as_ref().and_then(|rare| rare.line.as_ref());
            let waiting = line.into_iter().flat_map(|line| line.waiting.iter().map(|entry| entry.ticket));
            waiting.chain(line.and_then(|line| line.open.as_ref()).map(|open| open.ticket)).collect()
        }

        fn last(&self) -> Ticket {
            self.send_queue.lock().last_ticket()
        }

        /// Counts the messages that left the backlog while `offer` ran as dropped.
        fn drops<T>(&mut self, offer: impl FnOnce(&SendQueue) -> T) -> T {
            let before = self.line();
            let result = offer(&self.send_queue);
            let after = self.line();
            self.outstanding.retain(|ticket| !before.contains(ticket) || after.contains(ticket));
            result
        }

        fn accepted(&mut self, offered: Result<Ticket, Refused>) {
            if let Ok(ticket) = offered {
                assert!(self.outstanding.insert(ticket), "ticket {ticket} was given away twice");
            }
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
            while self.marks.front().is_some_and(|(place, _)| *place <= self.wrote) {
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
                    let offered = self.send_queue.offer(QueueItem::Shared(OpCode::Binary, vec![0; size].into()));
                    self.accepted(offered);
                }
                Step::Reply(size) => {
                    let offered = self.send_queue.offer_reply(QueueItem::Borrowed(OpCode::Binary, &vec![0; size]));
                    self.accepted(offered);
                }
                Step::SendDroppable(size) => {
                    let message = QueueItem::Shared(OpCode::Binary, vec![0; size].into());
                    let offered = self.drops(|send_queue| send_queue.offer_droppable(message, false));
                    self.accepted(offered.map(|(ticket, _)| ticket));
                }
                Step::Broadcast(size, droppable) => {
                    self.moments += GATHER;
                    let frame = vec![0; size];
                    match self.send_queue.try_write_direct(&frame, Millisecond(self.moments)) {
                        Err(_) => {}
                        Ok(true) => {
                            let ticket = self.last();
                            let is_written = self.send_queue.lock().written == ticket;
                            // the rest of it is queued
                            if !is_written {
                                self.accepted(Ok(ticket));
                            }
                        }
                        Ok(false) => {
                            self.send_queue.claim();
                            let message = QueueItem::EncodedBorrowed(&frame);
                            let offered = self.drops(|send_queue| {
                                if !droppable {
                                    return send_queue.offer(message);
                                }
                                send_queue.offer_droppable(message, false).map(|(ticket, _)| ticket)
                            });
                            self.accepted(offered);
                        }
                    }
                }
                Step::Flush => {
                    let before = self.send_queue.lock().written;
                    self.send_queue.flush();
                    let (written, frames) = {
                        let state = self.send_queue.lock();
                        (state.written, state.frames.len())
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
                    if self.send_queue.offer_part(part, last, false).is_ok() && self.last() > before {
                        self.accepted(Ok(self.last()));
                    }
                }
                Step::AskForTurn => {
                    let (mut turn, before) = (FragmentTicket::default(), self.last());
                    let _ = self.send_queue.poll_turn(cx, OpCode::Text, &mut turn, &mut Waiting::default());
                    let ticket = self.last();
                    if ticket > before {
                        self.accepted(Ok(ticket));
                        self.turns.push((turn, ticket, false));
                    }
                }
                Step::PartOf(which, last) => {
                    let Some((turn, _, begun)) = self.turns.get_mut(which) else { return };
                    let part = QueueItem::Borrowed(OpCode::Text, &[0; 100]);
                    if self.send_queue.offer_part_of(turn, part, last, false).is_ok() {
                        *begun = true;
                        if last {
                            self.turns.remove(which);
                        }
                    }
                }
                Step::GiveUpTurn(which) => {
                    if which >= self.turns.len() {
                        return;
                    }
                    let (mut turn, ticket, begun) = self.turns.remove(which);
                    self.send_queue.give_up_turn(&mut turn, begun);
                    // a message that has begun cannot be completed, and the session ends
                    if !begun {
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
                    let gone = self.line();
                    self.send_queue.clear_backlog();
                    self.outstanding.retain(|ticket| !gone.contains(ticket));
                }
                Step::End(timed_out) => {
                    self.send_queue.end(timed_out);
                    self.outstanding.clear();
                    (self.out, self.marks) = (Frames::default(), VecDeque::new());
                    (self.put, self.wrote) = (0, 0);
                }
                Step::Cut => self.send_queue.abort(),
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
                for (place, step) in steps.iter().enumerate() {
                    // nothing is written after the end
                    ended |= matches!(step, Step::End(_) | Step::Detach);
                    if ended && matches!(step, Step::Write(_) | Step::Collect | Step::Blocked | Step::Finish) {
                        continue;
                    }
                    given.obey(*step);
                    let outstanding = given.send_queue.queued_messages();
                    prop_assert_eq!(outstanding, given.outstanding.len(), "after {}, {:?}", place, step);
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
