//! Limits for an incomplete message: how long it may take, and how much all of them together may hold. The limits apply
//! only to messages that are taken whole; for a handler that takes parts or a stream nothing is kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::timers::{CHECKS, after};
use crate::config::RECEIVE_GRACE;
use endpoint_wire::Violation;
use endpoint_wire::budget::{Budget, Reservation};
use endpoint_wire::decode;

/// A message that holds fewer bytes than this is not counted: it may only be cut by the end of a read.
const UNCOUNTED: usize = 4 << 10;

/// State of the incomplete message. It exists until the timers find that no message is incomplete.
pub(super) struct Unfinished {
    /// The number of the message.
    number: u32,
    /// When the timers first saw the message, or reading resumed, and the bytes received by then.
    since: Option<(Instant, u64)>,
    reserved: Option<Reservation>,
}

impl Unfinished {
    pub(super) fn new(message: &decode::Unfinished) -> Self {
        Self { number: message.number, since: None, reserved: None }
    }

    /// Starts again if another message is incomplete by now.
    fn follow(&mut self, message: &decode::Unfinished) {
        if self.number != message.number {
            *self = Self::new(message);
        }
    }

    /// Counts the bytes that are kept of the message against the budget.
    pub(super) fn reserve(&mut self, message: &decode::Unfinished, budget: &Arc<Budget>) -> Result<(), Violation> {
        self.follow(message);
        if message.held < UNCOUNTED {
            return Ok(());
        }
        let fits = match &mut self.reserved {
            Some(reserved) => reserved.grow_to(message.held),
            none => {
                *none = budget.reserve(message.held);
                none.is_some()
            }
        };
        if fits { Ok(()) } else { Err(Violation::NoRoom) }
    }

    /// Releases the reservation if the message is complete by now.
    pub(super) fn release_finished(&mut self, message: Option<&decode::Unfinished>) {
        if message.is_none_or(|message| message.number != self.number) {
            self.reserved = None;
        }
    }

    /// Checks that the message arrives at `rate` bytes per second or more. The time counts only while the peer is read:
    /// otherwise its bytes may already wait in the socket. Returns when to check again.
    pub(super) fn check(
        &mut self,
        message: &decode::Unfinished,
        now: Instant,
        rate: usize,
        is_read: bool,
    ) -> Result<Instant, Violation> {
        self.follow(message);
        let (since, before) = *self.since.get_or_insert((now, 0));
        if !is_read {
            self.since = Some((now, message.received));
        }
        let grace = Duration::from_secs_f64((message.received - before) as f64 / rate as f64) + RECEIVE_GRACE;
        let limit = after(since, grace);
        if is_read && limit <= now {
            let seconds = now.duration_since(since).as_secs();
            return Err(Violation::TooSlow { received: message.received, seconds });
        }
        Ok(limit.max(after(now, Duration::ZERO)).min(after(now, RECEIVE_GRACE / CHECKS)))
    }
}
