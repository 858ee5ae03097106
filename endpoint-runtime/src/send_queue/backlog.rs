//! The backlog: the one message that is being sent in parts, and everything accepted behind it.
//!
//! A message in the backlog is whole and not encoded, so it can be dropped. The connection takes it over when the
//! messages before it are done and little is left to write. A session that never sends in parts, and drops nothing, has
//! no backlog.

use std::collections::VecDeque;

use super::item::{QueueItem, Ticket};
use super::open_message::{OpenMessage, Owner};
use crate::send_queue::write_buffer::Frames;
use endpoint_wire::deflate::Deflation;
use endpoint_wire::frame::OpCode;

#[derive(Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Entry>,
    /// Bytes of the payloads of `waiting`.
    bytes: usize,
    /// The last ticket given out. `None` without a backlog: then messages need not go through it.
    last: Option<Ticket>,
    open: Option<OpenMessage>,
    /// Number of fragment tickets requested.
    requested: u64,
    gaps: VecDeque<Gap>,
    /// Number of tickets in the gaps.
    skipped: u64,
    /// Number of tickets in gaps that were reported as written.
    forgotten: u64,
}

/// Tickets that belong to no message that will be written, before a ticket that was passed.
struct Gap {
    before: Ticket,
    tickets: u64,
}

struct Entry {
    ticket: Ticket,
    content: Content,
}

enum Content {
    Message {
        item: QueueItem<'static>,
        droppable: bool,
    },
    /// A message in parts that starts when it is due.
    Parts(Owner, OpCode),
}

impl Backlog {
    /// Whether there is no backlog. One whose messages were all dropped stays until the connection has passed it.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Number of messages, including the one that is being sent in parts.
    pub(super) fn len(&self) -> u64 {
        self.waiting.len() as u64 + u64::from(self.open.is_some())
    }

    /// Bytes of the messages that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last ticket given out, if there is a backlog.
    pub(super) fn last_ticket(&self) -> Option<Ticket> {
        self.last
    }

    /// The message that is being sent in parts.
    pub(super) fn open_message(&mut self) -> Option<&mut OpenMessage> {
        self.open.as_mut()
    }

    pub(super) fn is_open_in_parts(&self) -> bool {
        self.open.is_some()
    }

    /// Number of tickets that were passed and not reported as written, and belong to no message.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Number of tickets that were reported as written, and belong to no message.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn next_ticket(&mut self, accepted: Ticket) -> Ticket {
        *self.last.insert(self.last.unwrap_or(accepted) + 1)
    }

    /// Appends a message. `accepted` is the last ticket before the backlog.
    pub(super) fn push(&mut self, item: QueueItem<'_>, droppable: bool, accepted: Ticket) -> Ticket {
        let ticket = self.next_ticket(accepted);
        self.bytes += item.len();
        self.waiting.push_back(Entry { ticket, content: Content::Message { item: item.into_owned(), droppable } });
        ticket
    }

    /// Appends a message in parts of a writer, which may start when it is due: at once if the backlog is empty.
    pub(super) fn request_fragments(&mut self, opcode: OpCode, accepted: Ticket) -> Owner {
        self.requested += 1;
        let owner = Owner::Writer(self.requested);
        if self.is_empty() {
            self.start(owner, opcode, accepted);
        } else {
            let ticket = self.next_ticket(accepted);
            self.waiting.push_back(Entry { ticket, content: Content::Parts(owner, opcode) });
        }
        owner
    }

    /// Starts a message in parts in an empty backlog.
    pub(super) fn start(&mut self, owner: Owner, opcode: OpCode, accepted: Ticket) {
        let ticket = self.next_ticket(accepted);
        self.open = Some(OpenMessage::new(owner, ticket, opcode));
    }

    /// Ends the message that is being sent in parts; returns its ticket.
    pub(super) fn finish(&mut self, accepted: &mut Ticket) -> Option<Ticket> {
        let ticket = self.open.take()?.ticket();
        self.pass(ticket, accepted);
        self.pass_rest(accepted);
        Some(ticket)
    }

    /// Removes the message in parts of a writer that has queued none of it.
    pub(super) fn withdraw(&mut self, owner: Owner, accepted: &mut Ticket) {
        self.waiting.retain(|entry| !matches!(entry.content, Content::Parts(other, _) if other == owner));
        if self.open.as_ref().is_some_and(|open| open.owner() == owner) {
            self.open = None;
        }
        self.pass_rest(accepted);
    }

    /// Drops the oldest droppable message; returns its size.
    pub(super) fn drop_oldest(&mut self) -> Option<usize> {
        let is_droppable = |entry: &Entry| matches!(entry.content, Content::Message { droppable: true, .. });
        let position = self.waiting.iter().position(is_droppable)?;
        let Content::Message { item, .. } = self.waiting.remove(position)?.content else { return None };
        self.bytes -= item.len();
        Some(item.len())
    }

    /// Moves messages to the end of `out` until it has `most` bytes, or a message is being sent in parts. True if such
    /// a message has started.
    pub(super) fn drain(
        &mut self,
        out: &mut Frames,
        most: usize,
        deflation: Option<&Deflation>,
        accepted: &mut Ticket,
    ) -> bool {
        let mut started = false;
        while out.len() < most && self.open.is_none() {
            let Some(Entry { ticket, content }) = self.waiting.pop_front() else { break };
            match content {
                Content::Parts(owner, opcode) => {
                    self.open = Some(OpenMessage::new(owner, ticket, opcode));
                    started = true;
                }
                Content::Message { item, .. } => {
                    self.bytes -= item.len();
                    item.encode(out, deflation);
                    self.pass(ticket, accepted);
                }
            }
        }
        self.pass_rest(accepted);
        started
    }

    /// Marks everything up to this ticket as taken over by the connection, or as never to be written.
    fn pass(&mut self, ticket: Ticket, accepted: &mut Ticket) {
        self.skip(ticket, ticket - *accepted - 1);
        *accepted = ticket;
    }

    /// Ends the backlog if no message is left. Its last tickets may belong to messages that were dropped.
    fn pass_rest(&mut self, accepted: &mut Ticket) {
        if self.open.is_some() || !self.waiting.is_empty() {
            return;
        }
        if let Some(last) = self.last.take() {
            self.skip(last, last - *accepted);
            *accepted = last;
        }
    }

    fn skip(&mut self, before: Ticket, tickets: u64) {
        if tickets > 0 {
            self.skipped += tickets;
            self.gaps.push_back(Gap { before, tickets });
        }
    }

    /// Forgets the gaps before the last ticket written.
    #[inline]
    pub(super) fn forget_gaps(&mut self, written: Ticket) {
        while let Some(gap) = self.gaps.front().filter(|gap| gap.before <= written) {
            self.skipped -= gap.tickets;
            self.forgotten += gap.tickets;
            self.gaps.pop_front();
        }
    }

    /// Drops all messages; returns their size. The gaps stay until the tickets around them are written.
    pub(super) fn clear(&mut self) -> usize {
        let (gaps, skipped) = (std::mem::take(&mut self.gaps), self.skipped);
        std::mem::replace(self, Self { gaps, skipped, ..Self::default() }).bytes
    }

    /// The tickets of all messages.
    #[cfg(test)]
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.waiting.iter().map(|entry| entry.ticket).chain(self.open.as_ref().map(OpenMessage::ticket))
    }
}
