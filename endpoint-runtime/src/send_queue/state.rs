//! The state of a send queue that its lock guards.

use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::tcp::OwnedWriteHalf;

use super::backlog::Backlog;
use super::broadcast_time::Broadcasts;
use super::counted::QueuedBytes;
use super::item::Ticket;
use super::open_message::{OpenMessage, Owner};
use super::waiters::{Waiters, Waiting};
use crate::observe::tally::QueueCounts;
use crate::send_queue::write_buffer::Frames;
use endpoint_wire::close::CloseReason;

/// Whether the queue accepts and writes messages. It only advances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    #[default]
    Open,
    /// Nothing more is accepted; the accepted messages are still written.
    Draining,
    /// Nothing more is written.
    Ended,
    /// Nothing more is written, because a time limit ran out.
    TimedOut,
}

/// When an accepted message wakes the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Immediate,
    /// Once there is enough for an efficient write. `unwoken` if the connection was not woken for the last messages.
    Batching { unwoken: bool },
}

impl Mode {
    #[inline]
    pub(super) fn is_batching(self) -> bool {
        self != Self::Immediate
    }

    /// Whether the connection must still be woken for the last messages; the caller does it.
    #[inline]
    pub(super) fn take_unwoken(&mut self) -> bool {
        let unwoken = *self == Self::Batching { unwoken: true };
        if unwoken {
            *self = Self::Batching { unwoken: false };
        }
        unwoken
    }
}

/// The facts that the connection learns when it collects, besides the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// A sender waits, or a limit was changed: the connection must check the deadlines.
    pub(crate) recheck: bool,
    /// Bytes were queued that no new ticket covers: written bytes must be reported even if the ticket is an old one.
    pub(crate) report: bool,
    /// The connection must be aborted at once; repeated at each collection.
    pub(crate) aborted: bool,
}

impl News {
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self { aborted: self.aborted, ..Self::default() })
    }
}

/// The peer's reading, since everything was last written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backpressure {
    /// The peer currently accepts no bytes.
    pub(super) blocked: bool,
    /// A full queue has been reported.
    pub(super) overflow_reported: bool,
}

#[derive(Default)]
pub(super) struct QueueState {
    /// The writing half of a plain socket. A writer holds the lock, so that frames never mix.
    pub(super) socket: Option<OwnedWriteHalf>,
    pub(super) frames: Frames,
    pub(super) bytes: QueuedBytes,
    /// The last accepted message that is not in the backlog, and the last one written.
    accepted: Ticket,
    written: Ticket,
    /// Accepted messages go to the end of the backlog unless it is empty. It is kept once there was one.
    backlog: Option<Box<Backlog>>,
    pub(super) connection: Option<Waker>,
    pub(super) broadcasts: Broadcasts,
    /// Number of dropped messages.
    pub(super) dropped: u32,
    /// Bytes that were written beside the connection.
    pub(super) direct_bytes: u64,
    pub(super) phase: Phase,
    pub(super) mode: Mode,
    pub(super) news: News,
    pub(super) backpressure: Backpressure,
    cold: Option<Box<ColdState>>,
}

/// State that most sessions do not need most of the time.
#[derive(Default)]
pub(super) struct ColdState {
    /// The rest of a frame that a broadcast has partly written; goes before everything else.
    partial_frame: Vec<u8>,
    pub(super) control: Vec<u8>,
    pub(super) close: Option<CloseReason>,
    /// Wakes a task that continues after the session's end, until it is aborted.
    pub(super) on_abort: Option<Waker>,
    pub(super) waiters: Waiters,
    /// The session's own send timeout.
    pub(super) send_timeout: Option<Option<Duration>>,
    /// The frames of a burst of broadcasts to this session first, and to others.
    pub(super) burst: Option<Bytes>,
}

impl ColdState {
    fn has_output(&self) -> bool {
        !self.partial_frame.is_empty() || !self.control.is_empty() || self.close.is_some()
    }
}

impl QueueState {
    pub(super) fn new(socket: Option<OwnedWriteHalf>) -> Self {
        Self { socket, ..Self::default() }
    }

    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        self.phase >= Phase::Ended
    }

    /// Whether everything accepted is written.
    pub(super) fn is_empty(&self) -> bool {
        let has_output = || self.cold.as_ref().is_some_and(|cold| cold.has_output());
        !self.has_backlog() && self.outstanding() == 0 && self.frames.is_empty() && !has_output()
    }

    /// Whether there are only frames to write, and nothing before them or to tell the connection.
    pub(super) fn has_only_frames(&self) -> bool {
        let is_quiet = |cold: &ColdState| !cold.has_output() && cold.waiters.is_empty();
        self.news == News::default() && !self.has_backlog() && self.cold.as_deref().is_none_or(is_quiet)
    }

    /// Number of outstanding messages: accepted, and neither reported as written nor dropped. A message in parts counts
    /// from the request of its fragment ticket. After the end nothing is outstanding.
    #[inline]
    pub(super) fn outstanding(&self) -> u64 {
        if self.has_ended() {
            return 0;
        }
        let passed = self.accepted - self.written;
        self.backlog.as_ref().map_or(passed, |backlog| passed - backlog.skipped() + backlog.len())
    }

    /// The ticket of the last accepted message that is not in the backlog.
    #[inline]
    pub(super) fn accepted(&self) -> Ticket {
        self.accepted
    }

    /// The ticket of the last message written.
    #[inline]
    pub(super) fn written(&self) -> Ticket {
        self.written
    }

    /// Accepts a message that is not in the backlog.
    #[inline]
    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.accepted += 1;
        self.accepted
    }

    /// Counts everything up to this ticket as written.
    #[inline]
    pub(super) fn advance_written(&mut self, ticket: Ticket) {
        // a broadcast may have been written directly since, and its ticket is later
        self.written = self.written.max(ticket);
        if let Some(backlog) = &mut self.backlog {
            backlog.forget_gaps(self.written);
        }
    }

    /// The counts for statistics.
    pub(super) fn counts(&self) -> QueueCounts {
        let never_sent = self.backlog.as_ref().map_or(0, |backlog| backlog.forgotten());
        QueueCounts {
            written: self.written - never_sent,
            direct_bytes: self.direct_bytes,
            dropped: self.dropped.into(),
        }
    }

    /// Bytes that are encoded and not with the connection.
    pub(super) fn own_bytes(&self) -> usize {
        self.cold.as_ref().map_or(0, |cold| cold.partial_frame.len()) + self.frames.len()
    }

    pub(super) fn cold(&mut self) -> &mut ColdState {
        self.cold.get_or_insert_default()
    }

    /// The cold state, if there is any.
    #[inline]
    pub(super) fn existing_cold(&mut self) -> Option<&mut ColdState> {
        self.cold.as_deref_mut()
    }

    /// Drops everything that is allocated: the session has ended. The caller drops the result outside the lock.
    pub(super) fn take_allocations(&mut self) -> impl Sized + use<> {
        (self.connection.take(), self.backlog.take(), self.cold.take())
    }

    /// The session's own send timeout, if it has one.
    pub(super) fn send_timeout(&self) -> Option<Option<Duration>> {
        self.cold.as_ref()?.send_timeout
    }

    // ---- a broadcast's partly written frame ----

    pub(super) fn set_partial(&mut self, rest: Vec<u8>) {
        self.cold().partial_frame = rest;
    }

    /// Puts the rest of a partly written broadcast before everything else.
    #[inline]
    pub(super) fn prepend_partial(&mut self, out: &mut Frames) {
        if let Some(cold) = self.cold.as_mut().filter(|cold| !cold.partial_frame.is_empty()) {
            out.prepend(std::mem::take(&mut cold.partial_frame));
        }
    }

    /// Discards everything that is encoded.
    pub(super) fn discard_output(&mut self) {
        self.frames = Frames::default();
        if let Some(cold) = &mut self.cold {
            (cold.control, cold.partial_frame) = (Vec::new(), Vec::new());
        }
    }

    // ---- waiters ----

    pub(super) fn has_waiters(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| !cold.waiters.is_empty())
    }

    /// The wakers of all waiters, to check again. The caller unlocks first, because a waker may do anything.
    pub(super) fn waiter_wakers(&self) -> Vec<Waker> {
        self.cold.as_ref().map_or_else(Vec::new, |cold| cold.waiters.wakers())
    }

    /// Removes a waiter.
    pub(super) fn unregister(&mut self, waiting: &mut Waiting) {
        if waiting.is_registered() {
            self.cold().waiters.unregister(waiting);
        }
    }

    // ---- backlog ----

    /// The backlog and the last ticket before it.
    pub(super) fn backlog(&mut self) -> (&mut Backlog, &mut Ticket) {
        (self.backlog.get_or_insert_default(), &mut self.accepted)
    }

    #[inline]
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.is_empty())
    }

    /// The message that is being sent in parts.
    pub(super) fn open_message(&mut self) -> Option<&mut OpenMessage> {
        self.backlog.as_mut()?.open_message()
    }

    /// Whether this owner may send parts.
    pub(super) fn is_open_for(&mut self, owner: Owner) -> bool {
        self.open_message().is_some_and(|open| open.owner() == owner)
    }

    pub(super) fn is_open_in_parts(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.is_open_in_parts())
    }

    /// Bytes of the messages in the backlog.
    pub(super) fn backlog_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.bytes())
    }

    /// The ticket of the last accepted message.
    pub(super) fn last_ticket(&self) -> Ticket {
        self.backlog.as_ref().and_then(|backlog| backlog.last_ticket()).unwrap_or(self.accepted)
    }

    /// Drops the oldest message of the backlog that may be dropped; false if there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let Some(size) = self.backlog.as_mut().and_then(|backlog| backlog.drop_oldest()) else { return false };
        self.bytes.remove(size);
        self.count_dropped();
        true
    }

    pub(super) fn count_dropped(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    /// Drops the backlog.
    pub(super) fn clear_backlog(&mut self) {
        if let Some(backlog) = &mut self.backlog {
            self.bytes.remove(backlog.clear());
        }
    }
}
