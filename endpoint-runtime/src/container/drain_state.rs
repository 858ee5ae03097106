//! What a container knows of its drain: whether it has begun, and what peers hear.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::RETRY_AFTER;
use crate::send_queue::FAR;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::retry_hint::RetryHint;

/// What a container knows of its drain.
#[derive(Debug, Default)]
pub(super) struct DrainState {
    /// The container is about to stop: readiness checks fail.
    has_begun: AtomicBool,
    /// What the peers hear, once sessions are closed.
    pub(super) goodbye: OnceLock<Goodbye>,
}

/// What the peers hear.
#[derive(Debug)]
pub(super) struct Goodbye {
    pub(super) code: CloseCode,
    pub(super) hint: RetryHint,
    /// When the last session is to be closed.
    pub(super) until: Instant,
}

impl DrainState {
    /// Makes readiness checks fail.
    pub(super) fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    /// The reason with which all remaining sessions are closed.
    pub(super) fn last_reason(&self) -> CloseReason {
        let Some(Goodbye { code, hint, until }) = self.goodbye.get() else {
            return CloseReason::truncating(CloseCode::GoingAway, "the server is shutting down");
        };
        let rest = until.saturating_duration_since(Instant::now());
        reason(*code, RetryHint::new(hint.retry(), hint.spread().max(rest)))
    }

    /// `Retry-After` of a refused handshake: random within the hint, because it is in whole seconds and clients add no
    /// range of their own.
    pub(super) fn retry_after(&self) -> Duration {
        let Some(Goodbye { hint, .. }) = self.goodbye.get() else { return RETRY_AFTER };
        let random = hint.spread().mul_f64(rand::random());
        hint.retry().saturating_add(random).clamp(Duration::from_secs(1), FAR)
    }
}

/// The reason of a close frame with a hint.
pub(super) fn reason(code: CloseCode, hint: RetryHint) -> CloseReason {
    CloseReason::truncating(code, &hint.to_string()).by(Initiator::Container)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn early_end_spreads_the_clients_over_the_rest_of_the_time() {
        let state = DrainState::default();
        assert_eq!(state.last_reason().retry_hint(), None);
        assert_eq!(state.retry_after(), RETRY_AFTER);
        let hint = RetryHint::new(SECOND / 2, SECOND);
        let goodbye = Goodbye { code: CloseCode::ServiceRestart, hint, until: Instant::now() + 60 * SECOND };
        state.goodbye.set(goodbye).unwrap();
        let reason = state.last_reason();
        assert_eq!((reason.code(), reason.initiator()), (CloseCode::ServiceRestart, Initiator::Container));
        let early = reason.retry_hint().unwrap();
        assert_eq!(early.retry(), SECOND / 2);
        assert!((50 * SECOND..=60 * SECOND).contains(&early.spread()), "{early:?}");
        assert!((0..100).all(|_| (SECOND..=2 * SECOND).contains(&state.retry_after())));
    }

    #[test]
    fn longest_times_do_not_overflow() {
        let hint = RetryHint::new(Duration::MAX, Duration::MAX);
        let state = DrainState::default();
        let goodbye = Goodbye { code: CloseCode::GoingAway, hint, until: Instant::now() + FAR };
        state.goodbye.set(goodbye).unwrap();
        assert!(state.last_reason().retry_hint().is_some());
        assert!(state.retry_after() <= FAR);
    }
}
