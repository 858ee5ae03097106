//! What waits its turn: the one message that is being sent in parts, and everything that was accepted behind it.
//!
//! A message in the line is whole and not encoded, so one may be dropped from it. The connection takes it over when
//! its turn has come and there is little left to write. A session that never sends in parts, and drops nothing, has no
//! line.

use std::collections::VecDeque;

use super::{Outbound, Outgoing, State, Ticket};
use crate::frames::Frames;
use crate::wire::deflate::PartDeflater;
use crate::wire::frame::OpCode;

/// While so much is to be written the line waits.
const AHEAD: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<Entry>,
    /// The payloads of `waiting`.
    pub(super) bytes: usize,
    /// The last ticket that was given away, if anything is in the line.
    last: Ticket,
    /// The message that is being sent in parts.
    pub(super) open: Option<Open>,
    /// How many turns were asked for.
    turns: u64,
    /// Tickets that were passed, each with how many before it belong to nothing that will be written.
    gaps: VecDeque<(Ticket, u64)>,
}

struct Entry {
    ticket: Ticket,
    what: What,
}

enum What {
    Message {
        message: Outgoing<'static>,
        /// It is compressed when its turn comes.
        in_order: bool,
        droppable: bool,
    },
    /// The turn of a message in parts.
    Turn(u64, OpCode),
}

/// A message that is being sent in parts.
pub(super) struct Open {
    pub(super) turn: u64,
    ticket: Ticket,
    pub(super) opcode: OpCode,
    /// Its first frame has been queued.
    pub(super) begun: bool,
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
    pub(super) fn open(&mut self) -> Option<&mut Open> {
        self.rare.as_mut()?.line.as_mut()?.open.as_mut()
    }

    pub(super) fn is_open_in_parts(&self) -> bool {
        self.rare.as_ref().and_then(|rare| rare.line.as_ref()).is_some_and(|line| line.open.is_some())
    }

    /// The octets of messages in the line.
    pub(super) fn line_bytes(&self) -> usize {
        self.rare.as_ref().and_then(|rare| rare.line.as_ref()).map_or(0, |line| line.bytes)
    }

    /// How many are in the line, the one that is being sent in parts among them.
    pub(super) fn line_len(&self) -> u64 {
        let line = self.rare.as_ref().and_then(|rare| rare.line.as_ref());
        line.map_or(0, |line| line.waiting.len() as u64 + u64::from(line.open.is_some()))
    }

    /// The ticket of the last message that was accepted.
    pub(super) fn last_ticket(&self) -> Ticket {
        let line = self.rare.as_ref().and_then(|rare| rare.line.as_ref()).filter(|_| self.lined);
        line.map_or(self.accepted, |line| line.last)
    }

    /// Puts a message at the end of the line.
    pub(super) fn line_up(&mut self, message: Outgoing<'_>, in_order: bool, droppable: bool) -> Ticket {
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

    /// Asks for the turn of a message in parts: it has come at once if nothing is in the line.
    pub(super) fn ask_for_turn(&mut self, opcode: OpCode) -> u64 {
        let free = !self.lined;
        let line = self.line();
        line.turns += 1;
        line.last += 1;
        let (turn, ticket) = (line.turns, line.last);
        if free {
            line.open = Some(Open::new(turn, ticket, opcode));
        } else {
            line.waiting.push_back(Entry { ticket, what: What::Turn(turn, opcode) });
        }
        self.lined = true;
        turn
    }

    /// Ends the message that is being sent in parts; its ticket.
    pub(super) fn end_turn(&mut self) -> Option<Ticket> {
        let ticket = self.line().open.take()?.ticket;
        self.pass_ticket(ticket);
        self.shorten();
        Some(ticket)
    }

    /// Gives a turn back that was not used.
    pub(super) fn leave(&mut self, turn: u64) {
        let line = self.line();
        line.waiting.retain(|entry| !matches!(entry.what, What::Turn(other, _) if other == turn));
        if line.open.as_ref().is_some_and(|open| open.turn == turn) {
            line.open = None;
        }
        self.shorten();
    }

    /// Drops the oldest message that may be dropped; false if there is none.
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

    /// Everything up to this ticket is with the connection, or will never be.
    fn pass_ticket(&mut self, ticket: Ticket) {
        let gap = ticket - self.accepted - 1;
        self.accepted = ticket;
        if gap > 0 {
            self.skipped += gap;
            self.line().gaps.push_back((ticket, gap));
        }
    }

    /// Notes whether there still is a line.
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

    /// Forgets the tickets before the last one written that belonged to nothing.
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

    /// Forgets the line: nothing of it will be written.
    pub(super) fn clear_line(&mut self) {
        self.lined = false;
        if let Some(rare) = &mut self.rare {
            rare.line = None;
        }
    }
}

impl Open {
    fn new(turn: u64, ticket: Ticket, opcode: OpCode) -> Self {
        Self { turn, ticket, opcode, begun: false, deflates: false, deflater: None }
    }
}

impl Outbound {
    /// Moves what is due from the line to the end of `out`. True if somebody's turn has come.
    pub(super) fn advance_line(&self, state: &mut State, out: &mut Frames) -> bool {
        // before the end all of it goes that may
        let most = if self.is_open() { AHEAD } else { usize::MAX };
        let mut granted = false;
        while out.len() < most {
            let line = state.line();
            if line.open.is_some() {
                break;
            }
            let Some(Entry { ticket, what }) = line.waiting.pop_front() else { break };
            match what {
                What::Turn(turn, opcode) => {
                    line.open = Some(Open::new(turn, ticket, opcode));
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
