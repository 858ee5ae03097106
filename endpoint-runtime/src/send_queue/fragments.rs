//! Messages in parts: their fragment tickets and their frames.

use std::task::{Context, Poll, Waker};

use super::{QueueItem, Refused, SHARE_FROM, SendQueue, State, Ticket, Waiting};
use crate::send_queue::sync::MutexGuard;
#[cfg(feature = "adopted")]
use crate::send_queue::sync::Ordering;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::encode;
use endpoint_wire::frame::OpCode;

/// Maximum number of bytes that a writer may be ahead of the socket.
const AHEAD: usize = 256 << 10;

/// The fragment ticket of `send_text_part` and `send_binary_part`, which share one message per session.
const SHARED: u64 = 0;

/// A writer's permission to send its message in parts.
#[derive(Debug, Default)]
pub(crate) struct FragmentTicket(Option<u64>);

impl SendQueue {
    /// Refuses messages in parts from now on: the transport takes only whole messages.
    #[cfg(feature = "adopted")]
    pub(crate) fn takes_whole_messages(&self) {
        self.whole.store(true, Ordering::Relaxed);
    }

    /// Checks that messages may be sent in parts, in either direction.
    pub(crate) fn takes_parts(&self) -> Result<(), Refused> {
        #[cfg(feature = "adopted")]
        if self.whole.load(Ordering::Relaxed) {
            return Err(Refused::InParts);
        }
        Ok(())
    }

    /// Waits for the fragment ticket of a message in parts, behind everything accepted before it was requested.
    pub(crate) fn poll_turn(
        &self,
        cx: &mut Context<'_>,
        opcode: OpCode,
        turn: &mut FragmentTicket,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        self.takes_parts()?;
        self.poll_until(cx, waiting, |send_queue, state| {
            let id = match turn.0 {
                Some(id) => id,
                None if send_queue.is_full(state, 1) => return false,
                None => {
                    let id = state.ask_for_turn(opcode);
                    turn.0 = Some(id);
                    id
                }
            };
            state.open().is_some_and(|open| open.turn == id)
        })
    }

    /// Waits until a writer may queue a part.
    pub(crate) fn poll_part_room(&self, cx: &mut Context<'_>, waiting: &mut Waiting) -> Poll<Result<(), Refused>> {
        let most = AHEAD.min(self.bounds.bytes).max(1);
        self.poll_until(cx, waiting, |_, state| state.bytes.saturating_sub(state.line_bytes()) < most)
    }

    /// Queues a part of the message of a writer that has the fragment ticket. Returns the ticket of the whole message.
    pub(crate) fn offer_part_of(
        &self,
        turn: &FragmentTicket,
        part: QueueItem<'_>,
        last: bool,
        compressed: bool,
    ) -> Result<Option<Ticket>, Refused> {
        let mut state = self.lock();
        if !self.is_open() || state.open().map(|open| open.turn) != turn.0 {
            return Err(Refused::Closed);
        }
        self.push_part(state, part, last, compressed)
    }

    /// Queues a part of the session's own message in parts; begins the message if there is none.
    pub(crate) fn offer_part(
        &self,
        part: QueueItem<'_>,
        last: bool,
        compressed: bool,
    ) -> Result<Option<Ticket>, Refused> {
        self.takes_parts()?;
        let mut state = self.lock();
        if !self.is_open() {
            return Err(Refused::Closed);
        }
        if !self.may_offer_part(&mut state, &part) {
            return Err(if state.lined { Refused::Behind } else { Refused::Full });
        }
        if !state.lined {
            let Some((opcode, _)) = part.payload() else { return Err(Refused::Closed) };
            state.ask_for_turn(opcode);
            if let Some(open) = state.open() {
                open.turn = SHARED;
            }
        }
        self.push_part(state, part, last, compressed)
    }

    /// Waits until [`offer_part`](Self::offer_part) may be tried again.
    pub(crate) fn poll_shared_turn(
        &self,
        cx: &mut Context<'_>,
        part: &QueueItem<'_>,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        self.poll_until(cx, waiting, |send_queue, state| send_queue.may_offer_part(state, part))
    }

    fn may_offer_part(&self, state: &mut State, part: &QueueItem<'_>) -> bool {
        let own = state.bytes.saturating_sub(state.line_bytes());
        let opcode = part.payload().map(|(opcode, _)| opcode);
        if !state.lined {
            return !self.is_full(state, part.len());
        }
        let is_ours = state.open().is_some_and(|open| open.turn == SHARED && Some(open.opcode) == opcode);
        is_ours && (own == 0 || own.saturating_add(part.len()) <= self.bounds.bytes)
    }

    /// Queues the frame of a part. An empty part is skipped, unless it is the last.
    fn push_part(
        &self,
        mut state: MutexGuard<'_, State>,
        part: QueueItem<'_>,
        last: bool,
        compressed: bool,
    ) -> Result<Option<Ticket>, Refused> {
        let (size, deflation) = (part.len(), self.deflation.as_deref());
        let mut frames = std::mem::take(&mut state.frames);
        let before = frames.len();
        let mut done = true;
        if let Some(open) = state.open().filter(|_| last || size > 0) {
            if !open.started {
                open.deflates = compressed && deflation.is_some_and(|deflation| deflation.is_for(size));
            }
            let first = !std::mem::replace(&mut open.started, true);
            let opcode = if first { open.opcode } else { OpCode::Continuation };
            match (deflation.filter(|_| open.deflates), part) {
                (None, QueueItem::Shared(_, payload)) if size >= SHARE_FROM => {
                    frames.push_shared(last, opcode, payload);
                }
                (deflation, part) => {
                    let payload = part.payload().map_or(&[][..], |(_, payload)| payload);
                    match deflation {
                        Some(deflation) => {
                            done = deflation.part(&mut open.deflater, payload, last, |bytes| {
                                encode::part(frames.small(), last, opcode, first, bytes);
                            });
                        }
                        None => frames.push(last, opcode, payload),
                    }
                }
            }
        }
        state.bytes += frames.len() - before;
        self.grew(&mut state);
        state.frames = frames;
        if !done {
            drop(state);
            self.close_unfinished();
            return Err(Refused::Closed);
        }
        let ticket = if last { state.end_turn() } else { None };
        self.settle_part(state, last);
        Ok(ticket)
    }

    /// Notifies the connection, and wakes the waiters if the message is complete.
    fn settle_part(&self, mut state: MutexGuard<'_, State>, ended: bool) {
        state.parts = true;
        let wakers = state.rare.as_ref().filter(|_| ended).map(|rare| rare.waiters.wakers());
        self.notify(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Gives up a dropped writer's message. A message that was begun cannot be completed: the session ends with 1011,
    /// so that the peer does not wait for the rest.
    pub(crate) fn give_up_turn(&self, turn: &mut FragmentTicket, written: bool) {
        let Some(turn) = turn.0.take() else { return };
        let mut state = self.lock();
        let is_ours = state.open().is_some_and(|open| open.turn == turn);
        if !written || !is_ours {
            if state.lined {
                state.leave(turn);
                self.settle_part(state, true);
            }
            return;
        }
        drop(state);
        self.close_unfinished();
    }

    fn close_unfinished(&self) {
        let reason = CloseReason::truncating(CloseCode::UnexpectedCondition, "a message was not finished");
        self.close(reason.by(Initiator::Application));
    }
}
