//! Draining a container: sessions leave in small steps over a given time, so that their clients do not all come back at
//! once.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::drain_state::{Goodbye, reason};
use super::service::{ServerContainer, Shutdown};
use super::serving::detached_if;
use crate::config::{DRAIN_RETRY, DRAIN_SPREAD, DRAIN_STEP, DRAIN_WATCH, SHUTDOWN_TIMEOUT};
use crate::send_queue::FAR;
use crate::session::{Session, WeakSession};
use endpoint_wire::close::{CloseCode, CloseReason};
use endpoint_wire::retry_hint::RetryHint;

/// How the sessions of a server leave before it stops: over which time, in which order, and when their clients should
/// come back.
///
/// Used by [`ServerContainer::drain`] and [`ServerBuilder::drain`](crate::ServerBuilder::drain).
///
/// | Moment | The container |
/// |---|---|
/// | at once | [is draining](ServerContainer::is_draining), so that a readiness check fails; it still accepts handshakes |
/// | after the [`readiness_delay`](Self::readiness_delay) | refuses handshakes with 503 and `Retry-After`; closes the first sessions |
/// | until the time of [`over`](Self::over) has passed | closes the other sessions in even steps, each at most a tenth of a second or one session long |
/// | then | closes sessions that are left, such as those whose handshake had begun before |
/// | [`cut_after`](Self::cut_after) later | aborts the connections that are left |
///
/// It ends as soon as every session has ended. Each session is closed as by [`ServerContainer::shutdown`]: queued
/// messages are sent first, messages received whole are still handled, and `on_close` runs once. The reason of the close
/// frame is a [`RetryHint`], such as `retry=500;spread=1000`, which a client with a [`Reconnect`](crate::Reconnect) policy
/// obeys.
///
/// ```
/// # use std::time::Duration;
/// # use endpoint_runtime::{Drain, DrainOrder};
/// let drain = Drain::over(Duration::from_secs(60)).batch(500).order(DrainOrder::IdleFirst);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Drain {
    over: Duration,
    batch: usize,
    order: DrainOrder,
    code: CloseCode,
    hint: RetryHint,
    readiness_delay: Duration,
    cut_after: Option<Duration>,
}

/// Which sessions leave first in a [`Drain`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DrainOrder {
    /// At random, so that each step takes the same share of every endpoint's sessions and of the work. The default.
    #[default]
    Random,
    /// Sessions to which nothing is sent leave first.
    ///
    /// The container keeps no time of the last message. It watches the sessions during the
    /// [`readiness_delay`](Drain::readiness_delay), or for at most a second, and counts what is sent to each: messages,
    /// replies, broadcasts. Those with the fewest leave first. When a session's turn comes, and something was sent to it
    /// meanwhile, it goes to the end of the line, once. Messages that a session only receives do not count.
    IdleFirst,
}

impl Drain {
    /// Closes all sessions within `time`, evenly: the rate at which clients come back is then that of the sessions
    /// divided by this time. Zero closes all of them at once.
    pub fn over(time: Duration) -> Self {
        Self {
            over: time.min(FAR),
            batch: usize::MAX,
            order: DrainOrder::default(),
            code: CloseCode::GoingAway,
            hint: RetryHint::new(DRAIN_RETRY, DRAIN_SPREAD),
            readiness_delay: Duration::ZERO,
            cut_after: None,
        }
    }

    /// The largest number of sessions that are closed together, at least one. Default: as many as a tenth of a second
    /// needs. With a smaller number the steps are shorter, but at least a millisecond long.
    pub fn batch(mut self, sessions: usize) -> Self {
        self.batch = sessions.max(1);
        self
    }

    /// Which sessions leave first. Default: [`DrainOrder::Random`].
    pub fn order(mut self, order: DrainOrder) -> Self {
        self.order = order;
        self
    }

    /// The code of the close frames. Default: [`CloseCode::GoingAway`] (1001). The usual alternative is
    /// [`CloseCode::ServiceRestart`] (1012), by which an application can tell a deployment from other ends.
    ///
    /// With some codes our clients do not come back: see [`Reconnect`](crate::Reconnect). A code that must not be sent
    /// produces an empty close frame, without a hint.
    pub fn close_code(mut self, code: CloseCode) -> Self {
        self.code = code;
        self
    }

    /// When clients should come back: after `min`, plus a random part of `spread`. Default: half a second, and one second.
    ///
    /// The defaults are for several servers behind a load balancer, where clients find another one at once. For a single
    /// server that is restarted in place, `min` is the time until the next process listens.
    ///
    /// If the drain is ended early, by a second signal or a shutdown, all remaining sessions are closed together. Then
    /// `spread` is at least the time that was left, so that clients still come back at the same rate.
    pub fn retry_after(mut self, min: Duration, spread: Duration) -> Self {
        self.hint = RetryHint::new(min, spread);
        self
    }

    /// Time from [`is_draining`](ServerContainer::is_draining) until the first session is closed and handshakes are
    /// refused: as long as load balancers need to notice, a few periods of their health check. Default: zero.
    pub fn readiness_delay(mut self, delay: Duration) -> Self {
        self.readiness_delay = delay.min(FAR);
        self
    }

    /// Time that the last sessions have to end, once all are closed; then the remaining connections are aborted. Default:
    /// 10 seconds, or the [`shutdown_timeout`](crate::ServerBuilder::shutdown_timeout) of a server.
    pub fn cut_after(mut self, limit: Duration) -> Self {
        self.cut_after = Some(limit);
        self
    }

    /// The time that the last sessions have to end.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.cut_after
    }
}

/// Result of a [drain](ServerContainer::drain).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Sessions that ended by themselves before it was their turn.
    pub left: usize,
    /// Sessions that the drain closed, and whose connection ended in time.
    pub closed: usize,
    /// Connections that were aborted at the end.
    pub cut: usize,
    /// Connections that were still ending when the call returned; not zero only if a handler called it.
    pub pending: usize,
}

/// A result without a drain before it.
impl From<Drained> for Shutdown {
    fn from(Drained { left, closed, cut, pending }: Drained) -> Self {
        Self { closed: left + closed, cut, pending }
    }
}

/// The course of one drain. It belongs to the caller, so that it is there when the drain is ended early.
#[derive(Default)]
pub(crate) struct Course(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    /// The sessions whose turn has not come.
    line: Line,
    left: usize,
    closed: usize,
    /// Number of sessions that were closed, in steps or at the end.
    asked: Option<usize>,
}

impl Course {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerContainer {
    /// Closes all sessions over some time, so that their clients do not all come back at once; then
    /// [shuts down](Self::shutdown). [`Drain`] lists what happens when.
    ///
    /// A second call runs beside the first. [`shutdown`](Self::shutdown) ends a drain early: it closes the remaining
    /// sessions at once.
    ///
    /// A handler of this container, or a task of [`Session::spawn`], cannot wait for its own session: for them the same
    /// holds as for `shutdown`.
    ///
    /// # Cancel safety
    /// If the future is dropped, the sessions whose turn has not come stay open, and handshakes are refused from the end
    /// of the readiness delay on. Call `shutdown` to go on.
    pub async fn drain(&self, drain: Drain) -> Drained {
        let container = self.clone();
        let (is_in_handler, connections) = (self.is_in_handler(), self.0.tasks.len());
        let drained = detached_if(is_in_handler, async move {
            let course = Course::default();
            container.leave(&drain, &course).await;
            container.finish(&course, drain.limit().unwrap_or(SHUTDOWN_TIMEOUT)).await
        });
        drained.await.unwrap_or(Drained { pending: connections, ..Drained::default() })
    }

    /// Whether the container is about to stop: true from the begin of a [`drain`](Self::drain) or a
    /// [`shutdown`](Self::shutdown) on. A readiness check should then fail, so that load balancers send new clients
    /// elsewhere.
    pub fn is_draining(&self) -> bool {
        self.0.drain.has_begun()
    }

    /// Closes the sessions step by step, until all are closed or have left.
    pub(crate) async fn leave(&self, drain: &Drain, course: &Course) {
        let inner = &self.0;
        inner.drain.begin();
        let begun = Instant::now();
        let watched = (drain.order == DrainOrder::IdleFirst).then(|| Line::of(self.sessions().iter()));
        sleep_until(begun + drain.readiness_delay).await;
        let start = Instant::now();
        let end = start + drain.over;
        // known before a handshake is refused
        let _ = inner.drain.goodbye.set(Goodbye { code: drain.code, hint: drain.hint, until: end });
        inner.closing.store(true, Ordering::SeqCst);
        inner.tasks.close();
        let mut line = Line::of(self.sessions().iter());
        match watched {
            None => line.shuffle(),
            Some(before) => {
                let watch = DRAIN_WATCH.min(drain.over / 10).saturating_sub(drain.readiness_delay);
                sleep_until(start + watch).await;
                line.sort_by_work_since(&before);
            }
        }
        let (sessions, start) = (line.0.len(), Instant::now());
        course.lock().line = line;
        let over = end.saturating_duration_since(start);
        let steps = steps(sessions, over, drain.batch);
        let goodbye = reason(drain.code, drain.hint);
        for step in 0..steps {
            tokio::select! {
                () = sleep_until(start + over.mul_f64(step as f64 / steps as f64)) => {}
                // nobody is left
                () = inner.tasks.wait() => break,
            }
            let turns = share(sessions, step + 1, steps) - share(sessions, step, steps);
            course.lock().close(turns, &goodbye);
        }
    }

    /// Shuts down, and returns the counts of the whole drain.
    pub(crate) async fn finish(&self, course: &Course, limit: Duration) -> Drained {
        let (left, asked) = {
            let mut counts = course.lock();
            counts.settle(self.sessions().len(), self.0.tasks.len())
        };
        let Shutdown { cut, pending, .. } = self.shutdown(limit).await;
        Drained { left, closed: asked.saturating_sub(cut).saturating_sub(pending), cut, pending }
    }
}

impl Counts {
    /// Gives the next sessions in the line their turn.
    fn close(&mut self, turns: usize, goodbye: &CloseReason) {
        for _ in 0..turns {
            match self.line.next() {
                Some(Turn::Now(session)) => {
                    session.send_queue().close(goodbye.clone());
                    self.closed += 1;
                }
                Some(Turn::Gone) => self.left += 1,
                None => return,
            }
        }
    }

    /// Ends the steps, once: returns how many sessions have left by themselves, and how many were closed or are about to
    /// be, of `connections` of which this many sessions are `open`.
    fn settle(&mut self, open: usize, connections: usize) -> (usize, usize) {
        if self.asked.is_none() {
            let line = std::mem::take(&mut self.line);
            self.left += line.0.iter().filter(|waiting| waiting.session().is_none()).count();
            // those of the steps that are still ending are connections as well
            let ending = connections.saturating_sub(open);
            self.asked = Some(self.closed.saturating_sub(ending) + connections);
        }
        (self.left, self.asked.unwrap_or_default())
    }
}

/// The number of steps of a drain: each is a tenth of a second long, shorter if more than `batch` sessions had to leave
/// together, longer if there are fewer sessions than steps.
fn steps(sessions: usize, over: Duration, batch: usize) -> usize {
    let of = |step: Duration| usize::try_from(over.as_nanos().div_ceil(step.as_nanos())).unwrap_or(usize::MAX).max(1);
    of(DRAIN_STEP).min(sessions).max(sessions.div_ceil(batch)).min(of(Duration::from_millis(1)))
}

/// How many sessions have had their turn after this many steps.
fn share(sessions: usize, step: usize, steps: usize) -> usize {
    let share = sessions as u128 * step as u128 / steps.max(1) as u128;
    usize::try_from(share).unwrap_or(sessions)
}

/// Sessions that wait for their turn. A session that ends meanwhile is not kept in memory.
#[derive(Default)]
struct Line(VecDeque<Waiting>);

struct Waiting {
    session: WeakSession,
    /// Number of messages that were sent when it was last looked at.
    sent: u64,
    /// Whether it goes to the end of the line if it is not idle.
    may_wait: bool,
}

enum Turn {
    Now(Session),
    /// The session has ended by itself.
    Gone,
}

impl Line {
    fn of<'s>(sessions: impl Iterator<Item = &'s Session>) -> Self {
        let waiting = |session: &Session| Waiting {
            session: session.downgrade(),
            sent: session.send_queue().messages_accepted(),
            may_wait: false,
        };
        Self(sessions.map(waiting).collect())
    }

    fn shuffle(&mut self) {
        self.0.make_contiguous().sort_by_cached_key(|_| rand::random::<u64>());
    }

    /// Puts those first to which the fewest messages were sent since they were in the line `before`; a session that was
    /// not there has just opened, and is last.
    fn sort_by_work_since(&mut self, before: &Self) {
        let id = |waiting: &Waiting| waiting.session.upgrade().map(|session| session.id());
        let sent: std::collections::HashMap<_, _> =
            before.0.iter().filter_map(|waiting| Some((id(waiting)?, waiting.sent))).collect();
        for waiting in &mut self.0 {
            waiting.may_wait = true;
            if let Some(session) = waiting.session.upgrade() {
                waiting.sent = session.send_queue().messages_accepted();
            }
        }
        // random among equals
        self.shuffle();
        self.0.make_contiguous().sort_by_cached_key(|waiting| {
            let before = id(waiting).and_then(|id| sent.get(&id));
            before.map_or(u64::MAX, |before| waiting.sent.saturating_sub(*before))
        });
    }

    fn next(&mut self) -> Option<Turn> {
        // each session is put back at most once
        loop {
            let mut waiting = self.0.pop_front()?;
            let Some(session) = waiting.session() else { return Some(Turn::Gone) };
            let sent = session.send_queue().messages_accepted();
            if !waiting.may_wait || sent == waiting.sent {
                return Some(Turn::Now(session));
            }
            (waiting.sent, waiting.may_wait) = (sent, false);
            self.0.push_back(waiting);
        }
    }
}

impl Waiting {
    /// The session, if it is open.
    fn session(&self) -> Option<Session> {
        self.session.upgrade().filter(Session::is_open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn steps_follow_the_time_the_sessions_and_the_batch() {
        for (sessions, over, batch, expected) in [
            // a tenth of a second each
            (5_000, 60 * SECOND, usize::MAX, 600),
            // more than the batch at once
            (120_000, 60 * SECOND, 100, 1_200),
            // one session each
            (7, 60 * SECOND, usize::MAX, 7),
            // no shorter than a millisecond
            (5_000, SECOND, 1, 1_000),
            (5_000, Duration::ZERO, 1, 1),
            (0, SECOND, 1, 0),
            (usize::MAX, FAR, 1, usize::try_from(FAR.as_millis()).unwrap()),
        ] {
            assert_eq!(steps(sessions, over, batch), expected, "{sessions} sessions over {over:?}, {batch} together");
        }
    }

    proptest! {
        #[test]
        fn every_session_has_a_turn_and_steps_are_even(
            sessions in 0usize..2_000_000,
            millis in 0u64..600_000,
            batch in 1usize..10_000,
        ) {
            let steps = steps(sessions, Duration::from_millis(millis), batch);
            let turns = |step| share(sessions, step + 1, steps) - share(sessions, step, steps);
            prop_assert_eq!(share(sessions, steps, steps), if steps == 0 { 0 } else { sessions });
            prop_assert_eq!(steps == 0, sessions == 0);
            let at_least = sessions.checked_div(steps).unwrap_or_default();
            // all steps of a short drain, some of a long one
            for step in (0..steps).step_by(1 + steps / 1_000) {
                prop_assert!(turns(step) == at_least || turns(step) == at_least + 1);
                let is_limited = sessions.div_ceil(batch) as u64 <= millis;
                prop_assert!(!is_limited || turns(step) <= batch);
            }
        }
    }
}
