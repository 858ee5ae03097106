//! Connecting again when a connection is lost: when, how long to wait, and when to give up.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{StatusCode, header};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::ClientRequest;
use crate::close::{CloseCode, CloseReason, Initiator};
use crate::config::{RECONNECT_FIRST, RECONNECT_MOST, RECONNECT_STABLE};
use crate::error::{Error, Kind};
use crate::registry::ClientEndpoint;
use crate::session::Session;

/// How a lost connection is made again.
///
/// Before each attempt it waits for a random time between nothing and a bound; the bound is the first delay, and doubles
/// with each attempt up to the largest. So the clients of a server that comes back do not all come at once. A server that
/// answers with `Retry-After` is given that time, up to the largest delay. The attempts are counted anew once a session
/// has been open for 10 seconds.
///
/// It connects again after a lost connection, also one that was lost by a panic in its own task, an idle timeout, and a close by the server with 1001, 1011 and every other
/// code but these: 1000, 1002, 1003, 1007, 1008, 1009 and 1010 say that it would not help. It does so too after an attempt
/// that found no way to the server, took too long, or was answered with 408, 429 or 5xx; every other answer is final.
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
    /// The bound of the first delay. Default: half a second.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first = delay;
        self
    }

    /// The largest bound. Default: 30 seconds.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.most = delay;
        self
    }

    /// Gives up after so many attempts in a row. Default: never.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Is told of each attempt before its delay begins; `false` gives up. If it panics, that is logged, and the attempt is
    /// made.
    #[must_use]
    pub fn on_reconnect(mut self, ask: impl Fn(&ReconnectAttempt<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.ask = Some(Arc::new(ask));
        self
    }

    /// Whether the application wants another attempt. A panic is no answer, and the default is to go on.
    fn wants(&self, next: &ReconnectAttempt<'_>) -> bool {
        let Some(ask) = &self.ask else { return true };
        catch_unwind(AssertUnwindSafe(|| ask(next))).unwrap_or_else(|panic| {
            let error = Error::panic(&*panic);
            tracing::error!(%error, "on_reconnect panicked: the connection is made again all the same");
            true
        })
    }

    /// The bound of the delay before an attempt, counted from one.
    fn bound(&self, attempt: u32) -> Duration {
        let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.most)
    }

    /// The delay before an attempt: all of it is chance ("full jitter").
    fn delay(&self, attempt: u32, error: Option<&Error>) -> Duration {
        let delay = self.bound(attempt).mul_f64(rand::random::<f64>());
        delay.max(retry_after(error).unwrap_or_default().min(self.most))
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

/// What is known when a connection is about to be made again.
#[derive(Debug)]
pub struct ReconnectAttempt<'a> {
    attempt: u32,
    delay: Duration,
    error: Option<&'a Error>,
    reason: Option<&'a CloseReason>,
}

impl ReconnectAttempt<'_> {
    /// Which one it is, counted from one since a session was open for 10 seconds.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long it waits before.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Why the attempt before this one failed; `None` if a session was opened since.
    pub fn last_error(&self) -> Option<&Error> {
        self.error
    }

    /// How the session ended; `None` if an attempt has failed since.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.reason
    }
}

/// A [`ClientRequest`] whose connection is made again when it is lost.
#[derive(Debug)]
#[must_use]
pub struct ReconnectingRequest {
    request: ClientRequest,
    policy: Reconnect,
}

impl ClientRequest {
    /// Makes the connection again when it is lost, as `policy` says.
    pub fn reconnect(self, policy: Reconnect) -> ReconnectingRequest {
        ReconnectingRequest { request: self, policy }
    }
}

impl ReconnectingRequest {
    /// Connects. Each connection has a session and an instance of its own, as in a server: `make` is called for every
    /// attempt. What instances are to hand on to those after them is kept outside, in an `Arc` or a
    /// [`State`](crate::State). The `on_close` of one has returned before the next is connected. If `make` panics later
    /// than in the first attempt, that is logged, and the attempt has failed like one that found no way to the server
    /// ([`Error::is_panic`]).
    ///
    /// # Errors
    /// Of the first attempt, which is not repeated; as [`ClientRequest::connect`].
    ///
    /// # Cancel safety
    /// As [`ClientRequest::connect`].
    pub async fn connect<E: ClientEndpoint>(
        self,
        mut make: impl FnMut() -> E + Send + 'static,
    ) -> Result<Reconnecting, Error> {
        let Self { request, policy } = self;
        let (first, ended) = request.container.open(make(), &request).await?;
        let (sender, current) = watch::channel(first);
        let stop = request.container.0.closing.child_token();
        let stopped = stop.clone();
        let keepers = request.container.0.keepers.clone();
        keepers.spawn(async move {
            let keep = keep_connected(make, &request, &policy, &sender, ended);
            tokio::select! {
                () = stopped.cancelled() => {}
                () = keep => {}
            }
        });
        Ok(Reconnecting { current, stop })
    }
}

/// A connection that is made again when it is lost. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Reconnecting {
    current: watch::Receiver<Session>,
    stop: CancellationToken,
}

impl Reconnecting {
    /// The session that was opened last. It may have ended, with the next not open yet.
    pub fn session(&self) -> Session {
        self.current.borrow().clone()
    }

    /// Waits for a session that is newer than what this returned last, and at first than the first one; `None` if there
    /// will be none.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next_session(&mut self) -> Option<Session> {
        self.current.changed().await.ok()?;
        Some(self.current.borrow_and_update().clone())
    }

    /// Closes the session with 1000 and connects no more.
    pub fn close(&self) {
        self.stop.cancel();
        self.session().close();
    }

    /// Resolves when no connection will be made any more: it was closed by the application, by the server for good, by a
    /// shutdown, or given up.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ended(&self) {
        let mut current = self.current.clone();
        while current.changed().await.is_ok() {}
    }
}

/// One session after the other, until it is over.
async fn keep_connected<E: ClientEndpoint>(
    mut make: impl FnMut() -> E + Send,
    request: &ClientRequest,
    policy: &Reconnect,
    current: &watch::Sender<Session>,
    mut ended: oneshot::Receiver<CloseReason>,
) {
    let mut attempt = 0;
    loop {
        let opened = Instant::now();
        let reason = match ended.await {
            Ok(reason) => reason,
            Err(_) => {
                // its task ended by a panic, or the runtime goes down, which ends this task here
                tokio::task::yield_now().await;
                CloseReason::truncating(CloseCode::ClosedAbnormally, "the connection's task failed")
                    .by(Initiator::Container)
            }
        };
        if is_final(&reason) {
            return;
        }
        if opened.elapsed() >= RECONNECT_STABLE {
            attempt = 0;
        }
        let mut error = None;
        ended = loop {
            if attempt == policy.attempts {
                return gave_up(error.as_ref(), "there were as many attempts as there may be");
            }
            attempt += 1;
            let delay = policy.delay(attempt, error.as_ref());
            let reason = error.is_none().then_some(&reason);
            let next = ReconnectAttempt { attempt, delay, error: error.as_ref(), reason };
            if !policy.wants(&next) {
                return gave_up(error.as_ref(), "the application wants no more");
            }
            sleep(delay).await;
            // an attempt that panics, in `make` or where its instance is dropped, is one that failed
            match caught(async { request.container.open(make(), request).await }).await {
                Ok((session, ended)) => {
                    current.send_replace(session);
                    break ended;
                }
                Err(failed) if helps(&failed) => error = Some(failed),
                Err(failed) => return gave_up(Some(&failed), "another attempt would not help"),
            }
        };
    }
}

/// Makes a panic of an attempt its error, in whatever poll it comes.
async fn caught<T>(attempt: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut attempt = pin!(attempt);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(cx))).unwrap_or_else(|panic| {
            let error = Error::panic(&*panic);
            tracing::error!(%error, "an attempt to connect again panicked");
            Poll::Ready(Err(error))
        })
    })
    .await
}

fn gave_up(error: Option<&Error>, why: &str) {
    tracing::warn!(error = error.map(tracing::field::display), "a connection is not made again: {why}");
}

/// Whether a session has ended for good.
fn is_final(reason: &CloseReason) -> bool {
    match reason.initiator() {
        Initiator::Application => true,
        Initiator::Peer => matches!(
            reason.code(),
            CloseCode::NormalClosure
                | CloseCode::ProtocolError
                | CloseCode::CannotAccept
                | CloseCode::NotConsistent
                | CloseCode::ViolatedPolicy
                | CloseCode::TooBig
                | CloseCode::NoExtension
        ),
        _ => false,
    }
}

/// Whether another attempt may fare better.
fn helps(error: &Error) -> bool {
    match error.response().map(http::Response::status) {
        Some(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => true,
        Some(status) => status.is_server_error(),
        // without an answer: broken off, if it was ever begun
        None => {
            error.is_io() || error.is_timeout() || error.is_tls() || error.is_panic() || error.kind() == Kind::Handshake
        }
    }
}

/// RFC 9110 §10.2.3, where it is a number of seconds.
fn retry_after(error: Option<&Error>) -> Option<Duration> {
    let value = error?.response()?.headers().get(header::RETRY_AFTER)?;
    Some(Duration::from_secs(value.to_str().ok()?.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_largest_and_never_overflows() {
        let policy = Reconnect::default().first_delay(Duration::from_millis(100)).max_delay(Duration::from_secs(1));
        let bounds: Vec<_> = (1..=6).map(|attempt| policy.bound(attempt).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1000, 1000]);
        for attempt in [32, 33, 64, u32::MAX] {
            assert_eq!(policy.bound(attempt), Duration::from_secs(1));
        }
        let longest = Reconnect::default().first_delay(Duration::MAX).max_delay(Duration::MAX);
        assert!(longest.delay(u32::MAX, None) <= Duration::MAX);
    }

    #[test]
    fn the_whole_delay_is_chance() {
        let policy = Reconnect::default().first_delay(Duration::from_secs(1000)).max_delay(Duration::from_secs(1000));
        let delays: Vec<_> = (0..200).map(|_| policy.delay(1, None).as_secs()).collect();
        assert!(delays.iter().all(|delay| *delay <= 1000));
        // each of the four quarters is left out by chance once in 10^24 times
        for quarter in 0..4 {
            assert!(delays.iter().any(|delay| delay / 251 == quarter), "{delays:?}");
        }
    }

    #[test]
    fn a_server_that_says_when_is_given_the_time() {
        let answer = |seconds: &str| {
            let response = http::Response::builder().status(503).header("retry-after", seconds);
            Error::answered("refused", response.body(bytes::Bytes::new()).unwrap())
        };
        let policy = Reconnect::default().first_delay(Duration::from_millis(1)).max_delay(Duration::from_secs(10));
        assert_eq!(policy.delay(1, Some(&answer("3"))), Duration::from_secs(3));
        assert_eq!(policy.delay(1, Some(&answer("86400"))), Duration::from_secs(10));
        assert!(policy.delay(1, Some(&answer("tomorrow"))) <= Duration::from_millis(1));
    }
}
