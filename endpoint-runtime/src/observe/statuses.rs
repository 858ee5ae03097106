//! Answers to opening handshakes, counted by status. Statuses are a closed set, so a hook of the application cannot
//! create classes without end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::histogram::{Histogram, WAITS};

/// The statuses that are counted apart: those that the library itself answers with, and 401. All others are counted
/// together.
const STATUSES: [u16; 15] = [101, 400, 401, 403, 404, 405, 421, 426, 429, 431, 500, 503, 200, 501, 505];

/// The answers of a container to opening handshakes.
#[derive(Debug)]
pub(crate) struct HandshakeCounters {
    by_status: [AtomicU64; STATUSES.len() + 1],
    /// Time from the request to its answer.
    pub(crate) durations: Histogram,
}

impl Default for HandshakeCounters {
    fn default() -> Self {
        Self { by_status: <_>::default(), durations: Histogram::new(WAITS) }
    }
}

impl HandshakeCounters {
    pub(crate) fn add(&self, status: u16) {
        let place = STATUSES.iter().position(|listed| *listed == status).unwrap_or(STATUSES.len());
        self.by_status[place].fetch_add(1, Relaxed);
    }

    /// The counts that are not zero.
    pub(crate) fn now(&self) -> Vec<HandshakeCount> {
        let statuses = STATUSES.iter().copied().map(Some).chain([None]);
        let counts = self.by_status.iter().map(|count| count.load(Relaxed));
        let counts = statuses.zip(counts).map(|(status, count)| HandshakeCount { status, count });
        counts.filter(|counted| counted.count > 0).collect()
    }
}

/// How many opening handshakes were answered with one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeCount {
    /// The HTTP status; 101, and 200 over HTTP/2, accepted the handshake. `None` for all statuses together that only
    /// applications answer with.
    pub status: Option<u16>,
    /// Number of handshakes.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_statuses_are_counted_together() {
        let counters = HandshakeCounters::default();
        [101, 101, 403, 418, 499].into_iter().for_each(|status| counters.add(status));
        let counts: Vec<_> = counters.now().iter().map(|it| (it.status, it.count)).collect();
        assert_eq!(counts, [(Some(101), 2), (Some(403), 1), (None, 2)]);
    }
}
