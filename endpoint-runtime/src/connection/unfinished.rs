//! Messages whose end has not come: how long they may take, and how much all of them together may hold. Only what is
//! taken whole is limited here; a handler that takes parts or a stream keeps nothing back.

use std::time::Duration;

use tokio::time::Instant;

use super::io::ConnectionIo;
use super::timers::{LOOKS, after};
use crate::config::RECEIVE_GRACE;
use endpoint_wire::Violation;
use endpoint_wire::budget::Reservation;

/// A message that is cut by the end of a read keeps less than this, and is not counted.
const UNCOUNTED: usize = 4 << 10;

/// What is known of the message that is not complete. There once one was left, until the clock has seen that none is.
pub(super) struct Unfinished {
    /// Which one it is.
    number: u32,
    /// When the clock saw it first, or the peer was read again; and the bytes that had come by then.
    since: Option<(Instant, u64)>,
    reserved: Option<Reservation>,
}

impl ConnectionIo {
    /// Decoding stopped, perhaps in the middle of a message: what is kept of it is counted.
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

    /// Gives back what was reserved for a message that is complete by now.
    #[cold]
    pub(super) fn release_finished(&mut self) {
        let Some(unfinished) = &mut self.unfinished else { return };
        if self.decoder.unfinished().is_none_or(|message| message.number != unfinished.number) {
            unfinished.reserved = None;
        }
    }

    /// Ends a session whose peer takes too long for a message; when to look again.
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
        // what the peer has sent may be in the socket already
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
