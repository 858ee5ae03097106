//! The end of a session, as reported to the application, and whether messages received before it are handled.

use std::time::Duration;

use tokio::time::Instant;

use super::timers::after;
use endpoint_wire::close::{CloseReason, Initiator};

/// Why and when the session ended. The first reason wins.
pub(super) struct End {
    reason: CloseReason,
    received: Received,
    /// When the timers first saw the end.
    seen: Option<Instant>,
    /// Number of complete messages that no handler receives.
    dropped: u64,
}

/// Whether messages that were received before the end are handled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Received {
    Handled,
    /// The application closed the session, or a handler failed for good.
    Dropped,
    /// The grace period for closing is over, and a running handler is dropped.
    Abandoned,
}

impl End {
    pub(super) fn new(reason: CloseReason, handles_received: bool) -> Self {
        let received = if handles_received { Received::Handled } else { Received::Dropped };
        Self { reason, received, seen: None, dropped: 0 }
    }

    pub(super) fn reason(&self) -> &CloseReason {
        &self.reason
    }

    /// Whether messages that were received before the end are still handled.
    pub(super) fn handles_received(&self) -> bool {
        self.received == Received::Handled
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.received == Received::Abandoned
    }

    /// Whether the transport failed, or the peer ended it.
    pub(super) fn is_by_transport(&self) -> bool {
        self.reason.initiator() == Initiator::Transport
    }

    pub(super) fn drop_received(&mut self) {
        if self.received == Received::Handled {
            self.received = Received::Dropped;
        }
    }

    /// Ends the grace period.
    pub(super) fn abandon(&mut self) {
        self.received = Received::Abandoned;
    }

    /// Ends the grace period of this length if it has passed. Returns when it does, while it goes on.
    pub(super) fn check(&mut self, now: Instant, grace: Duration) -> Option<Instant> {
        let limit = after(*self.seen.get_or_insert(now), grace);
        if limit <= now {
            self.abandon();
        }
        (!self.is_abandoned()).then_some(limit)
    }

    /// When the grace period began, if the timers have seen the end.
    pub(super) fn seen(&self) -> Option<Instant> {
        self.seen
    }

    /// Counts a complete message that came too late for a handler.
    pub(super) fn count_dropped(&mut self) {
        self.dropped += 1;
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}
