//! Limits for incomplete messages: how long one may take, and how much all of them together may hold. The limits apply
//! only to messages that are taken whole; for a handler that takes parts or a stream nothing is kept.

use std::time::Duration;

use tokio::time::Instant;

use super::io::ConnectionIo;
use super::timers::{LOOKS, after};
use crate::config::RECEIVE_GRACE;
use endpoint_wire::Violation;
use endpoint_wire::budget::Reservation;

/// A message that holds fewer bytes than this is not counted: it may only be cut by the end of a read.
const UNCOUNTED: usize = 4 << 10;

/// State of the incomplete message. It exists until the clock finds that no message is incomplete.
pub(super) struct Unfinished {
    /// The number of the message.
    number: u32,
    /// When the clock first saw the message, or reading resumed, and the bytes received by then.
    since: Option<(Instant, u64)>,
    reserved: Option<Reservation>,
}

impl ConnectionIo {
    /// Counts the bytes that are kept of an incomplete message. Call this when decoding stops.
    pub(super) fn leave_unfinished(&mut self) {
        let Some(message) = self.decoder.unfinished() else { return };
        let unfinished = self.unfinished.get_or_insert_with(|| {
            self.clock.look = true;
            Box::new(Unfinished { number: message.number, since: None, reserved: None })
        });
        if unfinished.number != message.number {
            (unfinished.number, unfinished.since, unfinished.reserved) = (message.number, None, None);
        }
        if message.held < UNCOUNTED {
            return;
        }
        let fits = match &mut unfinished.reserved {
            Some(reserved) => reserved.grow_to(message.held),
            none => {
                *none = self.session.endpoint().budgets.receive.reserve(message.held);
                none.is_some()
            }
        };
        if !fits {
            self.on_violation(Violation::NoRoom);
        }
    }

    /// Releases the reservation of a message that is complete by now.
    #[cold]
    pub(super) fn release_finished(&mut self) {
        let Some(unfinished) = &mut self.unfinished else { return };
        if self.decoder.unfinished().is_none_or(|message| message.number != unfinished.number) {
            unfinished.reserved = None;
        }
    }

    /// Ends a session whose peer sends a message too slowly. Returns when to check again.
    pub(super) fn check_unfinished(&mut self, now: Instant) -> Option<Instant> {
        self.unfinished.as_ref()?;
        let Some(message) = self.decoder.unfinished() else {
            self.unfinished = None;
            return None;
        };
        let rate = self.limits().min_receive_rate;
        if rate == 0 {
            return None;
        }
        // while the peer is not read, its bytes may already wait in the socket
        let is_read = self.expects_input() && !self.is_behind();
        let unfinished = self.unfinished.as_mut()?;
        if unfinished.number != message.number {
            (unfinished.number, unfinished.since, unfinished.reserved) = (message.number, None, None);
        }
        let (since, before) = *unfinished.since.get_or_insert((now, 0));
        if !is_read {
            unfinished.since = Some((now, message.received));
        }
        let grace = Duration::from_secs_f64((message.received - before) as f64 / rate as f64) + RECEIVE_GRACE;
        let limit = after(since, grace);
        if is_read && limit <= now {
            let seconds = now.duration_since(since).as_secs();
            self.on_violation(Violation::TooSlow { received: message.received, seconds });
            return None;
        }
        Some(limit.max(after(now, Duration::ZERO)).min(after(now, RECEIVE_GRACE / LOOKS)))
    }
}
