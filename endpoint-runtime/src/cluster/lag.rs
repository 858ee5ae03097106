//! How long the engine takes to deliver: the time from when a node queues its own sign of life to when that comes back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The last measurement, and the one that is under way; in microseconds of the node, zero if there is none.
#[derive(Debug, Default)]
pub(super) struct Lag {
    sent: AtomicU64,
    last: AtomicU64,
}

impl Lag {
    /// Begins a measurement, unless one is under way.
    pub(super) fn note_sent(&self, now: Duration) {
        let _ = self.sent.compare_exchange(0, micros(now), Relaxed, Relaxed);
    }

    /// Ends the measurement that is under way.
    pub(super) fn note_return(&self, now: Duration) {
        let sent = self.sent.swap(0, Relaxed);
        if sent > 0 {
            self.last.store(micros(now).saturating_sub(sent).max(1), Relaxed);
        }
    }

    /// Forgets everything: there is a new link.
    pub(super) fn forget(&self) {
        self.sent.store(0, Relaxed);
        self.last.store(0, Relaxed);
    }

    /// The last measurement, or the one that is under way if it takes longer already; `None` before the first.
    pub(super) fn now(&self, now: Duration) -> Option<Duration> {
        let (sent, last) = (self.sent.load(Relaxed), self.last.load(Relaxed));
        let waits = if sent > 0 { micros(now).saturating_sub(sent) } else { 0 };
        (last > 0).then(|| Duration::from_micros(last.max(waits)))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_last_measurement_or_a_longer_one_under_way() {
        let (lag, at) = (Lag::default(), Duration::from_millis);
        lag.note_return(at(1));
        lag.note_sent(at(10));
        assert_eq!(lag.now(at(11)), None);
        lag.note_return(at(14));
        assert_eq!(lag.now(at(99)), Some(at(4)));
        lag.note_sent(at(100));
        lag.note_sent(at(101));
        assert_eq!(lag.now(at(102)), Some(at(4)));
        assert_eq!(lag.now(at(160)), Some(at(60)));
        lag.forget();
        assert_eq!(lag.now(at(200)), None);
    }
}
