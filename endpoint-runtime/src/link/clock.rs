//! The limits in time of one connection: idle, ping, send, close, looked at now and then. What is near has a timer of
//! its own; what is far is waited for together with all others of the endpoint.

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::task::Context;
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Link;
use crate::close::{CloseCode, CloseReason, Initiator};
use crate::deadlines::Entry;
use crate::outbound::FAR;
use crate::wire::frame::OpCode;

/// How many times within a limit the clock looks at a connection: it acts at most so much of the limit late.
const LOOKS: u32 = 8;

/// The limits in time of one connection. Activity is noted without asking for the time; the clock looks now and then.
#[derive(Default)]
pub(super) struct Clock {
    pub(super) sleep: Option<Pin<Box<Sleep>>>,
    /// A nearer deadline may have come up.
    pub(super) look: bool,
    pub(super) heard: bool,
    pub(super) spoke: bool,
    pub(super) last_heard: Option<When>,
    pub(super) last_spoke: Option<When>,
    /// When a ping was sent unasked, until it is answered.
    pub(super) pinged: Option<When>,
    pub(super) pings: u32,
    /// What waits in the row of the endpoint.
    pub(super) entry: Entry,
    /// A handler went on for too long after the end.
    pub(super) abandon: bool,
}

impl Clock {
    /// What the last ping that was sent unasked carried.
    pub(super) fn ping_data(&self) -> [u8; 8] {
        u64::from(self.pings).to_be_bytes()
    }
}

impl Link {
    /// Looks at the limits if it is time. True if something was done, so that there may be something to write.
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
        let ended = self.end.is_some();
        let pings = self.clock.pings;
        let Some(next) = self.check_limits(now) else {
            self.clock.sleep = None;
            return self.end.is_some() != ended;
        };
        if self.session.endpoint().wake_at(&self.session, &mut self.clock.entry, now, next) {
            self.clock.sleep = None;
            return self.end.is_some() != ended || self.clock.pings != pings;
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
        // once it must be polled, to be woken by it
        // (without tokio's budget: a timer that is told to wait its turn registers nobody)
        let due = pin!(unconstrained(sleep.as_mut())).poll(cx).is_ready();
        self.clock.look |= due;
        due || self.end.is_some() != ended || self.clock.pings != pings
    }

    /// Acts on every limit that has passed; the next moment to look.
    pub(super) fn check_limits(&mut self, now: Instant) -> Option<Instant> {
        let (waiter, spoke) = self.outbound.expire(now);
        self.clock.spoke |= spoke;
        let blocked = self.stall.as_ref().and_then(|stall| stall.since);
        let blocked = blocked.and_then(|since| Some(after(since, self.outbound.send_timeout()?)));
        if blocked.is_some_and(|limit| limit <= now) {
            self.unsent();
        }
        let close_timeout = self.limits().close_timeout;
        if let Some(end) = &mut self.end {
            let grace = after(*end.seen.get_or_insert(now), close_timeout);
            self.clock.abandon |= grace <= now;
            return (!self.clock.abandon).then_some(grace);
        }
        let base = self.session.endpoint().base;
        let heard = noted(&mut self.clock.heard, &mut self.clock.last_heard, base, now);
        let spoke = noted(&mut self.clock.spoke, &mut self.clock.last_spoke, base, now);
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
        let ping = self.limits().ping_interval.filter(|_| self.clock.pinged.is_none());
        if let Some(interval) = ping {
            if after(heard, interval) <= now {
                self.clock.pings = self.clock.pings.wrapping_add(1);
                self.clock.pinged = Some(When::of(base, now));
                let data = self.clock.ping_data();
                self.room().push(true, OpCode::Ping, &data);
            }
        }
        [
            waiter,
            expires.map(|left| after(now, left)),
            blocked,
            idle.map(|limit| after(heard.max(spoke), limit).min(after(now, limit / LOOKS))),
            self.limits().ping_interval.map(|interval| after(heard, interval).max(after(now, interval / LOOKS))),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// So much later: a millisecond at least, which is what timers count in, and at most what the clock can say.
fn after(time: Instant, limit: Duration) -> Instant {
    time.checked_add(limit.max(Duration::from_millis(1))).unwrap_or_else(|| time + FAR)
}

/// A moment in microseconds after another, which takes half the room of an `Instant`.
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

/// When there was activity last; what was only noted happened just now at the latest.
fn noted(flag: &mut bool, last: &mut Option<When>, base: Instant, now: Instant) -> Instant {
    if std::mem::take(flag) {
        *last = None;
    }
    last.get_or_insert_with(|| When::of(base, now)).instant(base)
}
