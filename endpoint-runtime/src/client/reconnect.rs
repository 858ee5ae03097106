//! Reconnects after a lost connection: when, how long to wait, and when to give up.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::container::ClientContainer;
use super::request::ClientRequest;
use super::retry::{hint, is_final, may_pass, retry_after};
use crate::config::{RECONNECT_FIRST, RECONNECT_LEAST, RECONNECT_MOST, RECONNECT_SPREAD_MOST, RECONNECT_STABLE};
use crate::container::registration::ClientEndpoint;
use crate::container::serving::Serving;
use crate::error::Error;
use crate::session::Session;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};

/// Policy for reconnecting after a lost connection.
///
/// Each attempt is preceded by a random delay between a millisecond and a bound. The bound starts at the first delay
/// and doubles with each attempt up to the largest, so that the clients of a restarted server do not all connect at the
/// same moment. If the server answered with `Retry-After`, in seconds or as a date, the client waits for that time as
/// well, up to the largest delay, and for the random delay after it. The attempt count restarts once a session has been
/// open for 10 seconds.
///
/// A server that is about to stop can say when to come back, in the reason of its close frame
/// ([`RetryHint`](crate::RetryHint)). The first attempt then waits for `retry`, up to the largest delay, and for a random
/// part of `spread`, up to five minutes, or of the bound if that is longer.
///
/// | After | the client |
/// |---|---|
/// | a lost connection (1006), also by a panic in its own task, an idle timeout, a send timeout, a protocol error of the server, a failed handler (1011) | connects again |
/// | a close by the server with 1000, 1002, 1003, 1007, 1008, 1009 or 1010: these codes mean that another attempt would fail as well | ends |
/// | a close by the server with any other code, such as 1001, 1011, 1012, 1013 and all from 3000, or without one | connects again |
/// | [`Reconnecting::close`], a close of the session by the application, [`ClientContainer::shutdown`](crate::ClientContainer::shutdown) | ends |
/// | an attempt that could not resolve the name, or could not reach the server or its proxy | connects again |
/// | an attempt that timed out, was broken off at any point, or panicked in the closure that makes instances | connects again |
/// | a response of the server or its proxy with 408, 425, 429 or 5xx | connects again |
/// | any other response: 401, 403, 404, 407 and the like, a redirect, 101 that does not fit the request | ends |
/// | a server without a trusted, valid certificate for its name, or with no TLS settings in common with the client | ends |
/// | a server that speaks neither HTTP nor TLS, whichever is expected | ends |
/// | a request that cannot be sent: its URI, its headers, its proxy, a missing state | ends |
/// | the largest number of attempts, or an `on_reconnect` that returned `false` | ends |
///
/// [`Reconnecting::ended`] reports which of these ended it.
///
/// ```
/// # use std::time::Duration;
/// # use endpoint_runtime::Reconnect;
/// let policy = Reconnect::default().max_attempts(10).on_reconnect(|next| {
///     println!("attempt {} in {:?}", next.attempt(), next.delay());
///     true
/// });
/// ```
#[derive(Clone)]
pub struct Reconnect {
    first: Duration,
    most: Duration,
    attempts: u32,
    ask: Option<Ask>,
}

type Ask = Arc<dyn Fn(&ReconnectAttempt<'_>) -> bool + Send + Sync>;

impl Default for Reconnect {
    fn default() -> Self {
        Self { first: RECONNECT_FIRST, most: RECONNECT_MOST, attempts: u32::MAX, ask: None }
    }
}

impl Reconnect {
    /// The bound of the first delay; at least a millisecond. Default: half a second.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first = delay;
        self
    }

    /// The largest bound, and the longest `Retry-After` or `retry` of a server that is honoured; at least a millisecond. Default: 30 seconds.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.most = delay;
        self
    }

    /// Gives up after this many attempts in a row. Default: never.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Calls `ask` for each attempt before its delay begins; `false` gives up. If it panics, the panic is logged and
    /// the attempt is made.
    #[must_use]
    pub fn on_reconnect(mut self, ask: impl Fn(&ReconnectAttempt<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.ask = Some(Arc::new(ask));
        self
    }

    /// Whether the application wants another attempt; a panic counts as yes.
    fn wants(&self, next: &ReconnectAttempt<'_>) -> bool {
        let Some(ask) = &self.ask else { return true };
        catch_unwind(AssertUnwindSafe(|| ask(next))).unwrap_or_else(|panic| {
            let error = Error::panic(&*panic);
            tracing::error!(%error, "on_reconnect panicked: reconnecting anyway");
            true
        })
    }

    /// The bound of the delay before an attempt, counted from one.
    fn bound(&self, attempt: u32) -> Duration {
        let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.max(RECONNECT_LEAST).saturating_mul(factor).min(self.most.max(RECONNECT_LEAST))
    }

    /// The delay before an attempt: fully random ("full jitter"). It is added to the time that the server asks for,
    /// because that is the same for all clients.
    fn delay(&self, attempt: u32, cause: Result<&CloseReason, &Error>) -> Duration {
        let (asked, spread) = match cause {
            Ok(reason) => hint(reason).map_or_else(<_>::default, |hint| (hint.retry(), hint.spread())),
            Err(error) => (retry_after(error, SystemTime::now()).unwrap_or_default(), Duration::ZERO),
        };
        let bound = self.bound(attempt).max(spread.min(RECONNECT_SPREAD_MOST));
        let delay = bound.mul_f64(rand::random::<f64>()).max(RECONNECT_LEAST);
        asked.min(self.most).saturating_add(delay)
    }
}

impl fmt::Debug for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect")
            .field("first_delay", &self.first)
            .field("max_delay", &self.most)
            .field("max_attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// An upcoming attempt to reconnect, and its cause.
#[derive(Debug)]
pub struct ReconnectAttempt<'a> {
    attempt: u32,
    delay: Duration,
    error: Option<&'a Error>,
    reason: Option<&'a CloseReason>,
}

impl ReconnectAttempt<'_> {
    /// The number of the attempt, counted from one since a session was open for 10 seconds.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The delay before the attempt.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Why the previous attempt failed; `None` if a session was opened since.
    pub fn last_error(&self) -> Option<&Error> {
        self.error
    }

    /// How the session ended; `None` if an attempt has failed since.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.reason
    }
}

/// A [`ClientRequest`] that reconnects when the connection is lost.
#[derive(Debug)]
#[must_use]
pub struct ReconnectingRequest {
    request: ClientRequest,
    policy: Reconnect,
}

impl ClientRequest {
    /// Reconnects according to `policy` when the connection is lost.
    pub fn reconnect(self, policy: Reconnect) -> ReconnectingRequest {
        ReconnectingRequest { request: self, policy }
    }
}

impl ReconnectingRequest {
    /// Connects. Each connection has its own session and its own instance, as in a server: `make` is called for every
    /// attempt. Keep data that instances pass on to later ones outside, in an `Arc` or a [`State`](crate::State). The
    /// `on_close` of one session has returned before the next is connected. If `make` panics later than in the first
    /// attempt, the panic is logged, and the attempt counts as failed, like one that could not reach the server
    /// ([`Error::is_panic`]).
    ///
    /// # Errors
    /// Those of the first attempt, which is not repeated; see [`ClientRequest::connect`].
    ///
    /// # Cancel safety
    /// Same as [`ClientRequest::connect`].
    pub async fn connect<E: ClientEndpoint>(
        self,
        mut make: impl FnMut() -> E + Send + 'static,
    ) -> Result<Reconnecting, Error> {
        let Self { request, policy } = self;
        let stop = request.container.0.closing.child_token();
        let (first, ended) = request.container.open(make(), &request.opening, &stop).await?;
        let (sender, current) = watch::channel(first);
        let end = Arc::new(OnceLock::new());
        let (stopped, outcome) = (stop.clone(), end.clone());
        let keepers = request.container.0.keepers.clone();
        keepers.spawn(async move {
            let end = keep_connected(make, &request, &policy, &sender, &stopped, ended).await;
            end.log();
            // set before the sender is dropped, which wakes the tasks that wait for the end
            let _ = outcome.set(end);
        });
        Ok(Reconnecting { current, stop, end })
    }
}

/// A connection that reconnects when it is lost. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Reconnecting {
    current: watch::Receiver<Session>,
    stop: CancellationToken,
    end: Arc<OnceLock<ReconnectEnd>>,
}

impl Reconnecting {
    /// The session that was opened last. It may have ended before the next is open.
    pub fn session(&self) -> Session {
        self.current.borrow().clone()
    }

    /// Waits for a session newer than the one returned last, at first for one newer than the first; `None` if there
    /// will be no more.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next_session(&mut self) -> Option<Session> {
        self.current.changed().await.ok()?;
        Some(self.current.borrow_and_update().clone())
    }

    /// Closes the session with 1000 and stops reconnecting. A running attempt is given up; a session that is being
    /// opened, even if its `on_open` has not returned, is closed as well.
    pub fn close(&self) {
        // in this order: a session that becomes current after it was read here sees the cancelled token
        self.stop.cancel();
        self.session().close();
    }

    /// Resolves with the cause when no further connection will be made and the `on_close` of the last session has
    /// returned. The table at [`Reconnect`] lists all causes. Each clone may wait for it; after the end it resolves
    /// immediately.
    ///
    /// ```no_run
    /// # use endpoint_runtime::Reconnecting;
    /// # async fn f(kept: Reconnecting) {
    /// let end = kept.ended().await;
    /// let status = end.last_error().and_then(|error| error.response()).map(|answer| answer.status().as_u16());
    /// match status {
    ///     Some(401) => println!("log in again"),
    ///     _ if end.is_closed() => println!("done"),
    ///     _ => println!("not connected any more: {end}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ended(&self) -> ReconnectEnd {
        let mut current = self.current.clone();
        while current.changed().await.is_ok() {}
        // not set if the task was dropped with its runtime
        self.end.get().cloned().unwrap_or_else(|| ReconnectEnd::new(Cause::Aborted, None, None))
    }
}

/// Why reconnecting ended ([`Reconnecting::ended`]). Its `Display` is a sentence for a log.
///
/// Clones share the same value.
#[derive(Clone, Debug)]
pub struct ReconnectEnd(Arc<End>);

#[derive(Debug)]
struct End {
    cause: Cause,
    reason: Option<CloseReason>,
    error: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Closed by the application or by a shutdown.
    Closed,
    /// Another attempt would not help.
    Final,
    /// The maximum number of attempts is reached.
    Attempts,
    /// `on_reconnect` returned `false`.
    Declined,
    /// The connecting task is gone.
    Aborted,
}

impl ReconnectEnd {
    fn new(cause: Cause, reason: Option<CloseReason>, error: Option<Error>) -> Self {
        Self(Arc::new(End { cause, reason, error }))
    }

    /// The application called [`Reconnecting::close`] or closed the session, or the container was shut down.
    pub fn is_closed(&self) -> bool {
        self.0.cause == Cause::Closed
    }

    /// Another attempt would not help: the server closed the last session permanently
    /// ([`close_reason`](Self::close_reason)), or the last attempt failed permanently
    /// ([`last_error`](Self::last_error)).
    pub fn is_final(&self) -> bool {
        self.0.cause == Cause::Final
    }

    /// The policy's maximum number of attempts is reached, or its `on_reconnect` returned `false`.
    pub fn is_given_up(&self) -> bool {
        matches!(self.0.cause, Cause::Attempts | Cause::Declined)
    }

    /// Why the last attempt failed, with the server's answer in [`Error::response`]; `None` if none has failed since a
    /// session was opened.
    pub fn last_error(&self) -> Option<&Error> {
        self.0.error.as_ref()
    }

    /// How the last session ended. `None` only if the connecting task was dropped with its runtime.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.0.reason.as_ref()
    }

    /// Logs the end for the operator, because the application may not ask for it.
    fn log(&self) {
        if self.is_closed() {
            tracing::debug!("reconnecting ended: {self}");
        } else {
            tracing::warn!("reconnecting ended: {self}");
        }
    }
}

impl fmt::Display for ReconnectEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.cause {
            Cause::Closed => "the application or a shutdown closed the connection",
            Cause::Final => "another attempt would fail as well",
            Cause::Attempts => "the policy allows no more attempts",
            Cause::Declined => "`on_reconnect` returned false",
            Cause::Aborted => "the reconnecting task was dropped",
        })?;
        match (&self.0.error, &self.0.reason) {
            _ if self.is_closed() => Ok(()),
            (Some(error), _) => write!(f, ": {error}"),
            (None, Some(reason)) => write!(f, ": the session ended with {reason}"),
            (None, None) => Ok(()),
        }
    }
}

/// Runs one session after another until the end.
async fn keep_connected<E: ClientEndpoint>(
    mut make: impl FnMut() -> E + Send,
    request: &ClientRequest,
    policy: &Reconnect,
    current: &watch::Sender<Session>,
    stop: &CancellationToken,
    mut ended: oneshot::Receiver<CloseReason>,
) -> ReconnectEnd {
    let container = &request.container;
    let mut attempt = 0;
    loop {
        let opened = Instant::now();
        let reason = tokio::select! {
            biased;
            // a `close` that did not see this session
            () = stop.cancelled() => {
                let session = current.borrow().clone();
                return closed(container, &session, ended).await;
            }
            reason = &mut ended => end_of(reason).await,
        };
        if is_final(&reason) {
            let cause = if reason.initiator() == Initiator::Application { Cause::Closed } else { Cause::Final };
            return ReconnectEnd::new(cause, Some(reason), None);
        }
        if opened.elapsed() >= RECONNECT_STABLE {
            attempt = 0;
        }
        let mut error = None;
        ended = loop {
            if attempt == policy.attempts {
                return ReconnectEnd::new(Cause::Attempts, Some(reason), error);
            }
            attempt += 1;
            let delay = policy.delay(attempt, error.as_ref().map_or(Ok(&reason), Err));
            let last = error.is_none().then_some(&reason);
            let next = ReconnectAttempt { attempt, delay, error: error.as_ref(), reason: last };
            if !policy.wants(&next) {
                return ReconnectEnd::new(Cause::Declined, Some(reason), error);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return ReconnectEnd::new(Cause::Closed, Some(reason), error),
                () = sleep(delay) => {}
            }
            // a panic, in `make` or in the drop of its instance, counts as a failed attempt
            match caught(async { container.establish(make(), &request.opening, stop).await }).await {
                Ok(Serving { session, opened, ended }) => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return closed(container, &session, ended).await,
                        // fails if the connection's task is gone, which `ended` reports as well
                        _ = opened => {}
                    }
                    current.send_replace(session);
                    break ended;
                }
                Err(_) if stop.is_cancelled() => return ReconnectEnd::new(Cause::Closed, Some(reason), error),
                Err(failed) if may_pass(&failed) => error = Some(failed),
                Err(failed) => return ReconnectEnd::new(Cause::Final, Some(reason), Some(failed)),
            }
        };
    }
}

/// Converts a panic of an attempt, in any poll, into its error.
async fn caught<T>(attempt: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut attempt = pin!(attempt);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(cx))).unwrap_or_else(|panic| {
            let error = Error::panic(&*panic);
            tracing::error!(%error, "a reconnect attempt panicked");
            Poll::Ready(Err(error))
        })
    })
    .await
}

/// Ends `session` after a stop, and waits for its end.
async fn closed(container: &ClientContainer, session: &Session, ended: oneshot::Receiver<CloseReason>) -> ReconnectEnd {
    container.end(session);
    ReconnectEnd::new(Cause::Closed, Some(end_of(ended.await).await), None)
}

/// The reason a session ended with; a lost task counts as closed abnormally.
async fn end_of(reason: Result<CloseReason, oneshot::error::RecvError>) -> CloseReason {
    match reason {
        Ok(reason) => reason,
        Err(_) => {
            // the session's task panicked, or the runtime shuts down, which ends this task here
            tokio::task::yield_now().await;
            CloseReason::truncating(CloseCode::ClosedAbnormally, "the connection's task panicked or was dropped")
                .by(Initiator::Container)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> CloseReason {
        CloseReason::from(CloseCode::ClosedAbnormally).by(Initiator::Transport)
    }

    #[test]
    fn hint_of_a_server_is_respected_within_limits() {
        let policy = Reconnect::default().first_delay(Duration::from_millis(100)).max_delay(Duration::from_secs(30));
        for (phrase, least, most) in [
            ("retry=3200;spread=20000", 3200, 23_200),
            ("retry=0;spread=20000", 0, 20_000),
            // never less random than without a hint
            ("retry=3200", 3200, 3300),
            ("retry=3200;spread=1", 3200, 3300),
            ("retry=99999999999999999999;spread=99999999999999999999", 30_000, 330_000),
            ("the server is shutting down", 0, 100),
        ] {
            let reason = CloseReason::truncating(CloseCode::GoingAway, phrase);
            let delays =
                |by| (0..100).map(|_| policy.delay(1, Ok(&reason.clone().by(by))).as_millis()).collect::<Vec<_>>();
            let mut asked = delays(Initiator::Peer);
            assert!(asked.iter().all(|delay| (least..=most).contains(delay)), "{phrase}: {asked:?}");
            asked.sort_unstable();
            // the chance that none of 100 is in the upper half is 1 in 10^30
            assert!(asked[99] > least.midpoint(most), "{phrase}: all clients would reconnect early");
            // no server said so
            assert!(delays(Initiator::Container).iter().all(|delay| *delay <= 100), "{phrase}");
        }
    }

    #[test]
    fn the_bound_doubles_up_to_the_largest_and_never_overflows() {
        let policy = Reconnect::default().first_delay(Duration::from_millis(100)).max_delay(Duration::from_secs(1));
        let bounds: Vec<_> = (1..=6).map(|attempt| policy.bound(attempt).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1000, 1000]);
        for attempt in [32, 33, 64, u32::MAX] {
            assert_eq!(policy.bound(attempt), Duration::from_secs(1));
        }
        let longest = Reconnect::default().first_delay(Duration::MAX).max_delay(Duration::MAX);
        assert!(longest.delay(u32::MAX, Ok(&lost())) <= Duration::MAX);
    }

    #[test]
    fn whole_delay_is_random() {
        let policy = Reconnect::default().first_delay(Duration::from_secs(1000)).max_delay(Duration::from_secs(1000));
        let delays: Vec<_> = (0..200).map(|_| policy.delay(1, Ok(&lost())).as_secs()).collect();
        assert!(delays.iter().all(|delay| *delay <= 1000));
        // the chance of missing one of the four quarters is 1 in 10^24
        for quarter in 0..4 {
            assert!(delays.iter().any(|delay| delay / 251 == quarter), "{delays:?}");
        }
    }

    #[test]
    fn retry_after_is_respected_plus_a_random_delay() {
        let answer = |asked: &str| {
            let response = http::Response::builder().status(503).header("retry-after", asked);
            Error::answered("refused", response.body(bytes::Bytes::new()).unwrap())
        };
        let policy = Reconnect::default().first_delay(Duration::from_secs(1)).max_delay(Duration::from_secs(10));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(86_400));
        for (asked, granted) in [("3", 3), ("86400", 10), (date.as_str(), 10), ("tomorrow", 0), ("0", 0)] {
            let (granted, answer) = (Duration::from_secs(granted), answer(asked));
            let mut delays: Vec<_> = (0..100).map(|_| policy.delay(1, Err(&answer))).collect();
            assert!(delays.iter().all(|d| (granted..=granted + Duration::from_secs(1)).contains(d)), "{asked}");
            delays.sort_unstable();
            delays.dedup();
            assert!(delays.len() > 50, "{asked}: all clients would reconnect at the same time");
        }
        let longest = policy.first_delay(Duration::MAX).max_delay(Duration::MAX);
        assert!(longest.delay(9, Err(&answer("99999999999999999999"))) <= Duration::MAX);
    }

    #[test]
    fn no_attempt_comes_without_a_delay() {
        let policy = Reconnect::default().first_delay(Duration::ZERO);
        assert!((1..100).all(|attempt| policy.delay(attempt, Ok(&lost())) >= RECONNECT_LEAST));
        assert_eq!(policy.bound(11), RECONNECT_LEAST * 1024);
        assert!(policy.max_delay(Duration::ZERO).delay(9, Ok(&lost())) >= RECONNECT_LEAST);
    }
}
