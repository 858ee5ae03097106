//! The time limits of one connection: idle, ping, pong and expiry, checked now and then. A near deadline has its own
//! timer; far deadlines share one timer with the other connections of the endpoint.
//!
//! The timers decide what is due; the connection acts.

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::task::Context;
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::scheduling::coarse_timer::Entry;
use crate::send_queue::FAR;

/// Number of checks within one limit: the connection acts at most this fraction of the limit late.
pub(super) const CHECKS: u32 = 8;

/// The time limits of one connection. Activity is noted without reading the clock; limits are checked now and then.
#[derive(Default)]
pub(super) struct Timers {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Check the limits at the next poll: a nearer deadline may have been set.
    is_due: bool,
    /// Activity since the last check.
    heard: bool,
    sent: bool,
    wrote: bool,
    last_heard: Option<When>,
    last_sent: Option<When>,
    last_wrote: Option<When>,
    /// When the last automatic ping was sent, until its own pong answers it.
    pinged: Option<When>,
    /// Since when the peer owes a sign of life: since that ping, or since the peer last took bytes queued before it.
    owes: Option<When>,
    pings: u16,
    /// Number of latest pings that their own pong has not answered.
    unanswered: u8,
    /// This connection's deadline in the endpoint's coarse timer.
    entry: Entry,
}

/// The inputs of a check, besides the activity.
pub(super) struct Facts {
    /// The base of the stored moments.
    pub(super) base: Instant,
    pub(super) now: Instant,
    pub(super) idle_timeout: Option<Duration>,
    /// The time until the session's principal expires.
    pub(super) expires_in: Option<Duration>,
    pub(super) ping_interval: Option<Duration>,
    pub(super) pong_timeout: Option<Duration>,
    /// The peer accepts no bytes.
    pub(super) is_blocked: bool,
    /// Whether everything that the peer sends is read, so that its silence means something.
    pub(super) expects_input: bool,
}

/// A limit that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Idle,
    Expired,
    Pong,
}

/// The result of a check in which no limit has passed.
pub(super) struct Checked {
    /// The payload of the ping to send.
    pub(super) ping: Option<[u8; 8]>,
    /// When to check again.
    pub(super) next: Option<Instant>,
}

impl Timers {
    /// Timers that check the limits at once, to record when everything began.
    pub(super) fn new() -> Self {
        Self { is_due: true, ..Self::default() }
    }

    /// Asks for a check at the next poll.
    #[inline]
    pub(super) fn check_soon(&mut self) {
        self.is_due = true;
    }

    /// Notes that bytes of the peer arrived, or that its silence proves nothing.
    #[inline]
    pub(super) fn note_heard(&mut self) {
        self.heard = true;
    }

    /// Notes that the application sent something.
    #[inline]
    pub(super) fn note_sent(&mut self) {
        self.sent = true;
    }

    /// Notes that something was written, including pings and pongs.
    #[inline]
    pub(super) fn note_written(&mut self) {
        self.wrote = true;
    }

    /// Number of automatic pings, modulo 2^16.
    pub(super) fn pings(&self) -> u16 {
        self.pings
    }

    /// `Some` if a pong answers an automatic ping; the inner value is when the ping was sent, if it was the last one. A
    /// slow peer may answer each ping, or only the last one (RFC 6455 §5.5.3).
    pub(super) fn take_answer(&mut self, pong: &[u8], base: Instant) -> Option<Option<Instant>> {
        let number = u16::try_from(u64::from_be_bytes(pong.try_into().ok()?)).ok()?;
        let later = u8::try_from(self.pings.wrapping_sub(number)).ok().filter(|later| *later < self.unanswered)?;
        self.unanswered = later;
        Some(self.pinged.take_if(|_| later == 0).map(|pinged| pinged.instant(base)))
    }

    /// The peer took more output: its side of TCP is alive, and the ping queued behind moves up.
    #[cold]
    pub(super) fn postpone_pong(&mut self, base: Instant) {
        if self.owes.is_some() {
            self.owes = Some(When::of(base, Instant::now()));
        }
    }

    /// Whether a check is due.
    #[inline]
    pub(super) fn take_due(&mut self) -> bool {
        let is_due = self.is_due || self.sleep.as_ref().is_some_and(|sleep| sleep.is_elapsed());
        self.is_due = false;
        is_due
    }

    /// Checks the limits. Returns the first that has passed, or what to do and when to check again.
    pub(super) fn check(&mut self, facts: &Facts) -> Result<Checked, Limit> {
        let &Facts { base, now, .. } = facts;
        if self.heard {
            // any byte is a sign of life
            self.owes = None;
        }
        let heard = noted(&mut self.heard, &mut self.last_heard, base, now);
        let sent = noted(&mut self.sent, &mut self.last_sent, base, now);
        let wrote = noted(&mut self.wrote, &mut self.last_wrote, base, now);
        let active = heard.max(sent);
        if facts.idle_timeout.is_some_and(|limit| after(active, limit) <= now) {
            return Err(Limit::Idle);
        }
        if facts.expires_in == Some(Duration::ZERO) {
            return Err(Limit::Expired);
        }
        if self.owes.is_some() && (facts.is_blocked || !facts.expects_input) {
            // the ping is not written yet, which the send timeout limits; or its answer may already be here, unread
            self.owes = Some(When::of(base, now));
        }
        if self.overdue(facts).is_some_and(|limit| limit <= now) {
            return Err(Limit::Pong);
        }
        let (ping, next_ping) = self.check_ping(facts, heard, wrote);
        let next = [
            facts.expires_in.map(|left| after(now, left)),
            facts.idle_timeout.map(|limit| after(active, limit).min(after(now, limit / CHECKS))),
            next_ping,
            self.overdue(facts),
        ];
        Ok(Checked { ping, next: next.into_iter().flatten().min() })
    }

    /// When the peer must have given a sign of life.
    fn overdue(&self, facts: &Facts) -> Option<Instant> {
        self.owes.zip(facts.pong_timeout).map(|(since, limit)| after(since.instant(facts.base), limit))
    }

    /// The payload of a ping that is due, and when to check for the next one.
    fn check_ping(&mut self, facts: &Facts, heard: Instant, wrote: Instant) -> (Option<[u8; 8]>, Option<Instant>) {
        let &Facts { base, now, .. } = facts;
        let Some(interval) = facts.ping_interval else { return (None, None) };
        // a peer that owes an answer is not pinged again, except without a pong timeout: then pings only serve proxies
        let owes = self.owes.is_some();
        let silent = if owes { wrote } else { heard.min(wrote) };
        let (due, soonest) = (after(silent, interval), after(now, interval / CHECKS));
        let may_ping = !facts.is_blocked && (!owes || facts.pong_timeout.is_none());
        if !may_ping || due > now {
            return (None, Some(due.max(soonest)));
        }
        self.pings = self.pings.wrapping_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        let moment = Some(When::of(base, now));
        (self.pinged, self.owes, self.last_wrote) = (moment, moment, moment);
        (Some(u64::from(self.pings).to_be_bytes()), Some(soonest))
    }

    /// This connection's deadline in the endpoint's coarse timer.
    pub(super) fn entry(&mut self) -> &mut Entry {
        &mut self.entry
    }

    /// Drops the connection's own timer.
    pub(super) fn disarm(&mut self) {
        self.sleep = None;
    }

    /// Has the task woken at `next`. Returns true if that is now.
    pub(super) fn arm(&mut self, next: Instant, cx: &mut Context<'_>) -> bool {
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if sleep.deadline() > next || sleep.is_elapsed() {
                    sleep.as_mut().reset(next);
                }
                sleep
            }
            none => none.insert(Box::pin(sleep_until(next))),
        };
        // a timer must be polled once before it wakes the task
        // (without tokio's budget: a timer that is out of budget registers no waker)
        let is_due = pin!(unconstrained(sleep.as_mut())).poll(cx).is_ready();
        self.is_due |= is_due;
        is_due
    }
}

/// `time` plus `limit`: at least a millisecond, the resolution of timers, and at most what the clock can represent.
pub(super) fn after(time: Instant, limit: Duration) -> Instant {
    time.checked_add(limit.max(Duration::from_millis(1))).unwrap_or_else(|| time + FAR)
}

/// A moment in microseconds after a base, in half the size of an `Instant`.
#[derive(Clone, Copy)]
struct When(NonZeroU64);

impl When {
    fn of(base: Instant, moment: Instant) -> Self {
        let micros = u64::try_from(moment.saturating_duration_since(base).as_micros()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(micros))
    }

    fn instant(self, base: Instant) -> Instant {
        base + Duration::from_micros(self.0.get() - 1)
    }
}

/// The time of the last activity; activity that was only flagged counts as happening now.
fn noted(flag: &mut bool, last: &mut Option<When>, base: Instant, now: Instant) -> Instant {
    if std::mem::take(flag) {
        *last = None;
    }
    last.get_or_insert_with(|| When::of(base, now)).instant(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn facts(base: Instant, after: Duration) -> Facts {
        Facts {
            base,
            now: base + after,
            idle_timeout: Some(60 * SECOND),
            expires_in: None,
            ping_interval: Some(30 * SECOND),
            pong_timeout: Some(20 * SECOND),
            is_blocked: false,
            expects_input: true,
        }
    }

    #[test]
    fn silent_peer_is_pinged_then_ended_by_the_pong_timeout() {
        let (base, mut timers) = (Instant::now(), Timers::new());
        let check = |timers: &mut Timers, at: Duration| timers.check(&facts(base, at)).map(|checked| checked.ping);
        assert_eq!(check(&mut timers, Duration::ZERO), Ok(None));
        assert_eq!(check(&mut timers, 29 * SECOND), Ok(None));
        assert_eq!(check(&mut timers, 30 * SECOND), Ok(Some(1u64.to_be_bytes())));
        assert_eq!(check(&mut timers, 49 * SECOND), Ok(None));
        assert_eq!(check(&mut timers, 50 * SECOND), Err(Limit::Pong));
    }

    #[test]
    fn byte_of_the_peer_clears_what_it_owes() {
        let (base, mut timers) = (Instant::now(), Timers::new());
        for (at, heard) in [(0, false), (30, false), (45, true), (74, false)] {
            if heard {
                timers.note_heard();
            }
            assert!(timers.check(&facts(base, at * SECOND)).is_ok(), "after {at} s");
        }
    }

    #[test]
    fn time_in_which_the_peer_is_not_read_does_not_count_for_the_pong_timeout() {
        let (base, mut timers) = (Instant::now(), Timers::new());
        for at in [0, 30] {
            assert!(timers.check(&facts(base, at * SECOND)).is_ok());
        }
        let unread = |at: u32| Facts { expects_input: false, ..facts(base, at * SECOND) };
        assert!(timers.check(&unread(49)).is_ok());
        assert!(timers.check(&facts(base, 59 * SECOND)).is_ok());
        let without_idle = Facts { idle_timeout: None, ..facts(base, 69 * SECOND) };
        assert_eq!(timers.check(&without_idle).map(|_| ()), Err(Limit::Pong));
    }

    #[test]
    fn next_check_is_within_an_eighth_of_the_idle_timeout() {
        let (base, mut timers) = (Instant::now(), Timers::new());
        let checked = timers.check(&facts(base, Duration::ZERO)).ok().and_then(|checked| checked.next);
        assert_eq!(checked, Some(base + 60 * SECOND / CHECKS));
    }
}
