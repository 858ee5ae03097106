//! A rate: how much in which time, and how much at once.

use std::time::Duration;

/// A rate of messages, bytes or handshakes: so many in a time, and at most [`burst`](Self::burst) at once.
///
/// ```
/// # use std::time::Duration;
/// # use endpoint_runtime::Rate;
/// let messages = Rate::per_second(20).burst(40);
/// let handshakes = Rate::new(100, Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u64,
    per: Duration,
    burst: u64,
}

impl Rate {
    /// `count` in each `per`. All of them may come at once, unless a [`burst`](Self::burst) is set. Zero values count as one
    /// (one nanosecond for `per`).
    pub const fn new(count: u64, per: Duration) -> Self {
        let count = if count == 0 { 1 } else { count };
        let per = if per.is_zero() { Duration::from_nanos(1) } else { per };
        Self { count, per, burst: count }
    }

    /// `count` in each second.
    pub const fn per_second(count: u64) -> Self {
        Self::new(count, Duration::from_secs(1))
    }

    /// Sets how much may come at once after a quiet time. Default: as much as in the time of the rate. Zero counts as one.
    #[must_use]
    pub const fn burst(mut self, burst: u64) -> Self {
        self.burst = if burst == 0 { 1 } else { burst };
        self
    }

    /// The time for which `amount` uses up the rate.
    pub(super) fn time_of(&self, amount: u64) -> Duration {
        let nanos = self.per.as_nanos().saturating_mul(u128::from(amount)) / u128::from(self.count);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The time that a burst uses up.
    pub(super) fn time_of_burst(&self) -> Duration {
        self.time_of(self.burst)
    }
}
