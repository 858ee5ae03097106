//! The connection's reaction to a time limit that has passed.

use std::task::Context;

use tokio::time::Instant;

use super::io::ConnectionIo;
use super::timers::{Facts, Limit};
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};

impl ConnectionIo {
    /// Checks the limits if a check is due. Returns true if it acted, so that there may be output to write.
    #[inline]
    pub(super) fn poll_limits(&mut self, cx: &mut Context<'_>) -> bool {
        self.timers.take_due() && self.check_and_arm(cx)
    }

    fn check_and_arm(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let before = self.acts();
        let next = self.check_limits(now);
        let has_acted = before != self.acts();
        let Some(next) = next else {
            self.timers.disarm();
            return has_acted;
        };
        if self.session.open_set().wake_at(&self.session, self.timers.entry(), now, next) {
            self.timers.disarm();
            return has_acted;
        }
        self.timers.arm(next, cx) || has_acted
    }

    /// The state that every action of a check changes.
    fn acts(&self) -> (bool, bool, u16, bool) {
        (self.ended().is_some(), self.reader.has_violation(), self.timers.pings(), self.is_paused())
    }

    /// Acts on every limit that has passed. Returns when to check again.
    fn check_limits(&mut self, now: Instant) -> Option<Instant> {
        let (waiter, was_sent) = self.writer.queue().expire(now);
        if was_sent {
            self.timers.note_sent();
            self.timers.note_written();
        }
        let stall = self.check_stall(now);
        let grace = self.limits().close_timeout;
        if let Some(end) = self.ended_mut() {
            return end.check(now, grace);
        }
        let pause = self.check_pause(now);
        let facts = self.facts(now);
        let checked = match self.timers.check(&facts) {
            Ok(checked) => checked,
            Err(limit) => {
                self.on_limit(limit);
                return self.check_limits(now);
            }
        };
        if let Some(ping) = checked.ping {
            self.writer.ping(&ping);
        }
        let unfinished = self.check_unfinished(now);
        [waiter, stall, pause, checked.next, unfinished].into_iter().flatten().min()
    }

    fn facts(&self, now: Instant) -> Facts {
        let limits = self.limits();
        Facts {
            base: self.session.open_set().base,
            now,
            idle_timeout: self.session.idle_timeout(),
            expires_in: self.session.expires_in(),
            ping_interval: limits.ping_interval,
            pong_timeout: limits.pong_timeout,
            is_blocked: self.writer.is_blocked(),
            expects_input: self.expects_input(),
        }
    }

    fn on_limit(&mut self, limit: Limit) {
        let counters = &self.session.open_set().counters;
        match limit {
            Limit::Idle => counters.idle_timeouts.add(1),
            Limit::Pong => counters.ping_timeouts.add(1),
            Limit::Expired => counters.expired.add(1),
        }
        match limit {
            Limit::Idle => self.cut(CloseReason::truncating(CloseCode::GoingAway, "idle timeout")),
            Limit::Pong => self.cut(CloseReason::truncating(CloseCode::GoingAway, "ping timeout")),
            Limit::Expired => {
                let reason = CloseReason::truncating(CloseCode::ViolatedPolicy, "session expired");
                self.close(reason.by(Initiator::Container));
            }
        }
    }

    /// Ends a session whose peer reads nothing, or too little, of its queued output. Returns when to check again.
    fn check_stall(&mut self, now: Instant) -> Option<Instant> {
        let min_rate = self.limits().min_send_rate;
        match self.writer.check_stall(now, min_rate) {
            Ok(next) => next,
            Err(why) => {
                self.on_send_timeout(&why);
                None
            }
        }
    }

    /// Counts the bytes that are kept of an incomplete message. Call this when decoding stops.
    pub(super) fn note_unfinished(&mut self) {
        match self.reader.note_unfinished(&self.session.open_set().budgets.receive) {
            Ok(true) => self.timers.check_soon(),
            Ok(false) => {}
            Err(violation) => self.on_violation(violation),
        }
    }

    /// Ends a session whose peer sends a message too slowly. Returns when to check again.
    fn check_unfinished(&mut self, now: Instant) -> Option<Instant> {
        let (rate, is_read) = (self.limits().min_receive_rate, self.expects_input() && !self.is_behind());
        match self.reader.check_unfinished(now, rate, is_read) {
            Ok(next) => next,
            Err(violation) => {
                self.on_violation(violation);
                None
            }
        }
    }

    /// Whether everything that the peer sends is read. Its silence means nothing while a handler is behind, a violation
    /// is yet to be reported, others are served first, a rate pauses reading, or an outgoing message in parts blocks the
    /// queue.
    fn expects_input(&self) -> bool {
        self.reader.is_open()
            && !self.is_paused()
            && self.inbox_has_space()
            && !self.quantum.is_over()
            && !self.writer.is_backlog_behind()
    }
}
