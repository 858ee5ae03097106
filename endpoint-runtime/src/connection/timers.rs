//! The time limits of one connection: idle, ping, send and close, checked now and then. A near deadline has its own
//! timer; far deadlines share one timer with the other connections of the endpoint.

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::task::Context;
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::io::ConnectionIo;
use crate::scheduling::coarse_timer::Entry;
use crate::send_queue::FAR;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::frame::OpCode;

/// Number of checks within one limit: the clock acts at most this fraction of the limit late.
pub(super) const LOOKS: u32 = 8;

/// The time limits of one connection. Activity is noted without reading the clock; limits are checked now and then.
#[derive(Default)]
pub(super) struct Clock {
    pub(super) sleep: Option<Pin<Box<Sleep>>>,
    /// Check the limits at the next poll: a nearer deadline may have been set.
    pub(super) look: bool,
    pub(super) heard: bool,
    pub(super) app_activity: bool,
    /// Like `app_activity`, for everything that was written, including pings and pongs.
    pub(super) wrote: bool,
    pub(super) last_heard: Option<When>,
    pub(super) last_spoke: Option<When>,
    last_wrote: Option<When>,
    /// When the last automatic ping was sent, until its own pong answers it.
    pinged: Option<When>,
    /// Since when the peer owes a sign of life: since that ping, or since the peer last took bytes queued before it.
    owes: Option<When>,
    pings: u16,
    /// Number of latest pings that their own pong has not answered.
    unanswered: u8,
    /// This connection's deadline in the endpoint's coarse timer.
    pub(super) entry: Entry,
    /// A handler ran for too long after the end.
    pub(super) abandon: bool,
}

impl Clock {
    /// A clock that checks the limits at once, to record when everything began.
    pub(super) fn new() -> Self {
        Self { look: true, ..Self::default() }
    }

    /// `Some` if a pong answers an automatic ping; the inner value is when the ping was sent, if it was the last one. A
    /// slow peer may answer each ping, or only the last one (RFC 6455 §5.5.3).
    pub(super) fn take_answer(&mut self, pong: &[u8]) -> Option<Option<When>> {
        let number = u16::try_from(u64::from_be_bytes(pong.try_into().ok()?)).ok()?;
        let later = u8::try_from(self.pings.wrapping_sub(number)).ok().filter(|later| *later < self.unanswered)?;
        self.unanswered = later;
        Some(self.pinged.take_if(|_| later == 0))
    }

    /// The peer took more output: its side of TCP is alive, and the ping queued behind moves up.
    #[cold]
    pub(super) fn postpone(&mut self, base: Instant) {
        if self.owes.is_some() {
            self.owes = Some(When::of(base, Instant::now()));
        }
    }
}

impl ConnectionIo {
    /// Checks the limits if a check is due. Returns true if it acted, so that there may be output to write.
    #[inline]
    pub(super) fn poll_clock(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.clock.sleep.as_ref().is_some_and(|sleep| sleep.is_elapsed());
        if !due && !self.clock.look {
            return false;
        }
        self.look_at_clock(cx)
    }

    pub(super) fn look_at_clock(&mut self, cx: &mut Context<'_>) -> bool {
        self.clock.look = false;
        let now = Instant::now();
        let before = (self.end.is_some(), self.violation.is_some(), self.clock.pings);
        let next = self.check_limits(now);
        let acted = before != (self.end.is_some(), self.violation.is_some(), self.clock.pings);
        let Some(next) = next else {
            self.clock.sleep = None;
            return acted;
        };
        if self.session.endpoint().wake_at(&self.session, &mut self.clock.entry, now, next) {
            self.clock.sleep = None;
            return acted;
        }
        let sleep = match &mut self.clock.sleep {
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
        let due = pin!(unconstrained(sleep.as_mut())).poll(cx).is_ready();
        self.clock.look |= due;
        due || acted
    }

    /// Acts on every limit that has passed. Returns when to check again.
    pub(super) fn check_limits(&mut self, now: Instant) -> Option<Instant> {
        let (waiter, spoke) = self.send_queue.expire(now);
        self.clock.app_activity |= spoke;
        self.clock.wrote |= spoke;
        let blocked = self.check_stall(now);
        let close_timeout = self.limits().close_timeout;
        if let Some(end) = &mut self.end {
            let grace = after(*end.seen.get_or_insert(now), close_timeout);
            self.clock.abandon |= grace <= now;
            return (!self.clock.abandon).then_some(grace);
        }
        let base = self.session.endpoint().base;
        if self.clock.heard {
            // any byte is a sign of life
            self.clock.owes = None;
        }
        let heard = noted(&mut self.clock.heard, &mut self.clock.last_heard, base, now);
        let spoke = noted(&mut self.clock.app_activity, &mut self.clock.last_spoke, base, now);
        let wrote = noted(&mut self.clock.wrote, &mut self.clock.last_wrote, base, now);
        let idle = self.session.idle_timeout();
        if let Some(limit) = idle {
            if after(heard.max(spoke), limit) <= now {
                self.cut(CloseReason::truncating(CloseCode::GoingAway, "idle timeout"));
                return self.check_limits(now);
            }
        }
        let expires = self.session.expires_in();
        if expires == Some(Duration::ZERO) {
            self.close(CloseReason::truncating(CloseCode::ViolatedPolicy, "session expired").by(Initiator::Container));
            return self.check_limits(now);
        }
        let (interval, pong_timeout) = (self.limits().ping_interval, self.limits().pong_timeout);
        let is_blocked = self.stall.as_ref().is_some_and(|stall| stall.since.is_some());
        if self.clock.owes.is_some() && (is_blocked || !self.expects_input()) {
            // the ping is not written yet, which the send timeout limits; or its answer may already be here, unread
            self.clock.owes = Some(When::of(base, now));
        }
        let owes = self.clock.owes.map(|since| since.instant(base));
        let overdue = owes.zip(pong_timeout).map(|(since, limit)| after(since, limit));
        if overdue.is_some_and(|limit| limit <= now) {
            self.cut(CloseReason::truncating(CloseCode::GoingAway, "ping timeout"));
            return self.check_limits(now);
        }
        // a peer that owes an answer is not pinged again, except without a pong timeout: then pings only serve proxies
        let silent = if owes.is_some() { wrote } else { heard.min(wrote) };
        let mut ping = interval.map(|interval| after(silent, interval).max(after(now, interval / LOOKS)));
        if let Some(interval) = interval {
            let may_ping = !is_blocked && (owes.is_none() || pong_timeout.is_none());
            if may_ping && after(silent, interval) <= now {
                self.ping(base, now);
                ping = Some(after(now, interval / LOOKS));
            }
        }
        let overdue = self.clock.owes.zip(pong_timeout).map(|(since, limit)| after(since.instant(base), limit));
        let unfinished = self.check_unfinished(now);
        [
            waiter,
            unfinished,
            expires.map(|left| after(now, left)),
            blocked,
            idle.map(|limit| after(heard.max(spoke), limit).min(after(now, limit / LOOKS))),
            ping,
            overdue,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends a session whose peer reads nothing, or too little, of its queued output. Returns when to check again.
    fn check_stall(&mut self, now: Instant) -> Option<Instant> {
        let stall = self.stall.as_deref_mut()?;
        let (since, timeout) = (stall.since?, self.send_queue.send_timeout()?);
        let limit = after(since, timeout);
        if limit <= now {
            self.on_send_timeout("the peer does not read");
            return None;
        }
        let rate = self.session.endpoint().limits.min_send_rate;
        let (began, taken) = stall.taken.as_mut().filter(|_| rate > 0)?;
        let measured = after(*began, timeout);
        if measured <= now {
            // the peer took something, or the limit above would have passed
            if (*taken as u128) < (rate as u128).saturating_mul(timeout.as_millis()) / 1000 {
                self.on_send_timeout(&format!("the peer reads less than {rate} bytes per second"));
                return None;
            }
            (*began, *taken) = (now, 0);
        }
        Some(limit.min(after(*began, timeout)))
    }

    /// Sends an automatic ping.
    fn ping(&mut self, base: Instant, now: Instant) {
        let (clock, moment) = (&mut self.clock, Some(When::of(base, now)));
        clock.pings = clock.pings.wrapping_add(1);
        clock.unanswered = clock.unanswered.saturating_add(1);
        (clock.pinged, clock.owes, clock.last_wrote) = (moment, moment, moment);
        let data = u64::from(clock.pings).to_be_bytes();
        self.write_buffer().push(true, OpCode::Ping, &data);
    }

    /// Whether everything that the peer sends is read. Its silence means nothing while a handler is behind, a violation
    /// is yet to be reported, others are served first, or an outgoing message in parts blocks the queue.
    pub(super) fn expects_input(&self) -> bool {
        self.is_reading()
            && self.inbox_has_room()
            && !self.quantum.is_over()
            && !(self.has_backlog && self.send_queue.is_over())
    }
}

/// `time` plus `limit`: at least a millisecond, the resolution of timers, and at most what the clock can represent.
pub(super) fn after(time: Instant, limit: Duration) -> Instant {
    time.checked_add(limit.max(Duration::from_millis(1))).unwrap_or_else(|| time + FAR)
}

/// A moment in microseconds after a base, in half the size of an `Instant`.
#[derive(Clone, Copy)]
pub(super) struct When(NonZeroU64);

impl When {
    fn of(base: Instant, moment: Instant) -> Self {
        let micros = u64::try_from(moment.saturating_duration_since(base).as_micros()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(micros))
    }

    pub(super) fn instant(self, base: Instant) -> Instant {
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
