//! Messages in parts: their fragment tickets and their frames.

use std::task::{Context, Poll, Waker};

use super::item::{QueueItem, Ticket};
use super::open_message::{OpenMessage, Owner};
use super::queue::SendQueue;
use super::refused::Refused;
use super::state::{Phase, QueueState};
use super::waiters::Waiting;
use crate::observe::traffic::Shown;
use crate::send_queue::sync::MutexGuard;
#[cfg(feature = "adopted")]
use crate::send_queue::sync::Ordering;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::frame::OpCode;

/// Maximum number of bytes that a writer may be ahead of the socket.
const AHEAD: usize = 256 << 10;

/// A writer's permission to send its message in parts, once it is requested.
#[derive(Debug, Default)]
pub(crate) struct FragmentTicket(Option<Owner>);

/// Whose message a part belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PartOwner<'a> {
    /// The session, whose message any task may start and continue.
    Session,
    /// The writer with this ticket.
    Writer(&'a FragmentTicket),
}

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
    pub(crate) fn poll_fragment_ticket(
        &self,
        cx: &mut Context<'_>,
        opcode: OpCode,
        ticket: &mut FragmentTicket,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        self.takes_parts()?;
        self.poll_until(cx, waiting, |send_queue, state| {
            let owner = match ticket.0 {
                Some(owner) => owner,
                None if send_queue.is_full(state, 1) => return false,
                None => {
                    let (backlog, accepted) = state.backlog();
                    *ticket.0.insert(backlog.request_fragments(opcode, *accepted))
                }
            };
            state.is_open_for(owner)
        })
    }

    /// Waits until a writer may queue a part.
    pub(crate) fn poll_part_capacity(&self, cx: &mut Context<'_>, waiting: &mut Waiting) -> Poll<Result<(), Refused>> {
        let most = AHEAD.min(self.bounds.bytes).max(1);
        self.poll_until(cx, waiting, |_, state| state.bytes.get().saturating_sub(state.backlog_bytes()) < most)
    }

    /// Waits until a part of the session's message may be queued again.
    pub(crate) fn poll_session_part(
        &self,
        cx: &mut Context<'_>,
        part: &QueueItem<'_>,
        waiting: &mut Waiting,
    ) -> Poll<Result<(), Refused>> {
        self.poll_until(cx, waiting, |send_queue, state| send_queue.admits_session_part(state, part))
    }

    /// Queues a part of a message; starts the session's message if there is none. Returns the ticket of the whole
    /// message with its last part.
    pub(crate) fn enqueue_part(
        &self,
        part: QueueItem<'_>,
        owner: PartOwner<'_>,
        last: bool,
        compressed: bool,
    ) -> Result<Option<Ticket>, Refused> {
        self.takes_parts()?;
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Err(Refused::Closed);
        }
        match owner {
            PartOwner::Writer(ticket) if ticket.0.is_some_and(|owner| state.is_open_for(owner)) => {}
            PartOwner::Writer(_) => return Err(Refused::Closed),
            PartOwner::Session if !self.admits_session_part(&mut state, &part) => {
                return Err(if state.has_backlog() { Refused::OtherMessage } else { Refused::Full });
            }
            PartOwner::Session if state.has_backlog() => {}
            PartOwner::Session => {
                let Some((opcode, _)) = part.payload() else { return Err(Refused::Closed) };
                let (backlog, accepted) = state.backlog();
                backlog.start(Owner::Session, opcode, *accepted);
            }
        }
        let size = part.len();
        let ticket = self.push_part(state, part, last, compressed)?;
        self.log_sent(|| Shown::Size("part", size));
        Ok(ticket)
    }

    fn admits_session_part(&self, state: &mut QueueState, part: &QueueItem<'_>) -> bool {
        if !state.has_backlog() {
            return !self.is_full(state, part.len());
        }
        let bytes = state.bytes.get().saturating_sub(state.backlog_bytes());
        let continues = |open: &OpenMessage| {
            open.owner() == Owner::Session && part.payload().is_some_and(|(opcode, _)| opcode == open.opcode())
        };
        state.open_message().is_some_and(|open| continues(open))
            && (bytes == 0 || bytes.saturating_add(part.len()) <= self.bounds.bytes)
    }

    /// Queues the frame of a part of the open message.
    fn push_part(
        &self,
        mut state: MutexGuard<'_, QueueState>,
        part: QueueItem<'_>,
        last: bool,
        compressed: bool,
    ) -> Result<Option<Ticket>, Refused> {
        let mut frames = std::mem::take(&mut state.frames);
        let (before, deflation) = (frames.len(), self.deflation());
        let open = state.open_message();
        let pushed = open.is_none_or(|open| open.push_part(&mut frames, part, last, compressed, deflation));
        let size = frames.len() - before;
        state.frames = frames;
        self.add_bytes(&mut state, size);
        if !pushed {
            drop(state);
            self.close_unfinished();
            return Err(Refused::Closed);
        }
        let (backlog, accepted) = state.backlog();
        let ticket = if last { backlog.finish(accepted) } else { None };
        self.notify_part(state, last);
        Ok(ticket)
    }

    /// Notifies the connection, and wakes the waiters if the message has ended.
    fn notify_part(&self, mut state: MutexGuard<'_, QueueState>, ended: bool) {
        state.news.report = true;
        let wakers = if ended { state.waiter_wakers() } else { Vec::new() };
        self.notify(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Abandons a dropped writer's message. A message that was started cannot be completed: the session ends with 1011,
    /// so that the peer does not wait for the rest.
    pub(crate) fn abandon_message(&self, ticket: &mut FragmentTicket, started: bool) {
        let Some(owner) = ticket.0.take() else { return };
        let mut state = self.lock();
        if started && state.is_open_for(owner) {
            drop(state);
            return self.close_unfinished();
        }
        if state.has_backlog() {
            let (backlog, accepted) = state.backlog();
            backlog.withdraw(owner, accepted);
            self.notify_part(state, true);
        }
    }

    fn close_unfinished(&self) {
        let reason = CloseReason::truncating(CloseCode::UnexpectedCondition, "a message was not finished");
        self.close(reason.by(Initiator::Application));
    }
}
