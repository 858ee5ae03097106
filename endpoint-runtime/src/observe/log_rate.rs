//! Rate limits for log lines that a peer can cause at will: one a second for each kind, some kinds a few at first, with
//! a count of suppressed lines. Code that logs asks here first.

use std::sync::LazyLock;
#[cfg(feature = "axum")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Minimum time between two lines of one kind, in milliseconds: short enough to see that it continues, long enough that
/// a peer cannot fill a disk.
const APART: u64 = 1000;

/// Maximum number of lines at once for faults with varying text, before the minimum time applies.
const AT_ONCE: u64 = 16;

/// Lines of one kind at one place: at most `BURST` at once, and one a second in the long run.
#[derive(Debug, Default)]
pub(crate) struct LogRate<const BURST: u64 = 1> {
    /// When the next line would be due if all lines so far had been one a second apart; in milliseconds of the process.
    next: AtomicU64,
    left_out: AtomicU64,
}

/// For rare faults whose text varies.
pub(crate) type Burst = LogRate<AT_ONCE>;

impl<const BURST: u64> LogRate<BURST> {
    /// Whether a line is due; if so, how many were suppressed since the last one. A line that is not due is counted.
    pub(crate) fn due(&self) -> Option<u64> {
        static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
        self.due_at(u64::try_from(BEGUN.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn due_at(&self, now: u64) -> Option<u64> {
        let early = (BURST - 1) * APART;
        let due = |next: u64| (next <= now.saturating_add(early)).then(|| next.max(now).saturating_add(APART));
        if self.next.fetch_update(Relaxed, Relaxed, due).is_err() {
            self.left_out.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Relaxed))
    }
}

/// Rate limits of the log lines about the sessions of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct EndpointLog {
    /// Protocol violations, if there is no `on_error`.
    pub(crate) violations: LogRate,
    /// Handlers that failed or panicked, and messages that do not decode, if there is no `on_error`.
    pub(crate) failures: Burst,
    /// Failures of `on_error`.
    pub(crate) on_error: Burst,
    /// Failures of `on_close`, and calls of it that were given up.
    pub(crate) on_close: Burst,
    /// Messages for which a budget of the container had no space.
    pub(crate) no_room: LogRate,
    /// Messages without a handler.
    pub(crate) unwanted: LogRate,
    /// Messages that were received and not handled.
    pub(crate) unheard: Burst,
    /// Sessions that may not join more rooms.
    pub(crate) rooms: Burst,
    /// Broadcasts that left out a peer.
    pub(crate) broadcasts: LogRate,
    /// Metas of presence that cannot be read.
    pub(crate) metas: LogRate,
    /// Panics in destructors and in a connection's own task.
    pub(crate) panics: Burst,
}

/// Rate limits of the log lines about the queues of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct QueueLog {
    /// Messages for which there was no space.
    pub(crate) full: LogRate,
    /// Messages that were begun and not finished.
    pub(crate) unfinished: LogRate,
    /// Callbacks that panicked.
    pub(crate) callbacks: LogRate,
}

/// Rate limits of the log lines about the handshakes of one container, one for each status, so that a crowd at an
/// unknown path does not hide that a configurator fails.
#[derive(Debug, Default)]
pub(crate) struct HandshakeLog {
    listed: [Burst; STATUSES.len()],
    others: Burst,
    /// Manual upgrades that are not possible.
    pub(crate) by_hand: Burst,
    /// Whether a line about peer addresses that axum does not tell was logged, which happens once.
    #[cfg(feature = "axum")]
    pub(crate) no_address: AtomicBool,
}

/// The statuses that the library itself answers with, and 401.
const STATUSES: [u16; 9] = [400, 401, 403, 404, 405, 426, 429, 500, 503];

impl HandshakeLog {
    pub(crate) fn of(&self, status: u16) -> &Burst {
        STATUSES.iter().position(|listed| *listed == status).map_or(&self.others, |place| &self.listed[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_with_a_count_of_the_rest() {
        let rate = LogRate::<1>::default();
        let due: Vec<_> = [0, 0, 1, 999, 1000, 1001, 5000, 5999, 6000].map(|now| rate.due_at(now)).into();
        assert_eq!(due, [Some(0), None, None, None, Some(3), None, Some(1), None, Some(1)]);
    }

    #[test]
    fn burst_is_followed_by_one_line_a_second() {
        let rate = LogRate::<3>::default();
        let due: Vec<_> =
            [0, 0, 0, 0, 999, 1000, 1001, 2000, 9000, 9000, 9000, 9000].map(|now| rate.due_at(now)).into();
        assert_eq!(due[..8], [Some(0), Some(0), Some(0), None, None, Some(2), None, Some(1)]);
        assert_eq!(due[8..], [Some(0), Some(0), Some(0), None]);
    }

    #[test]
    fn each_status_has_its_own_limit() {
        let log = HandshakeLog::default();
        assert!(std::ptr::eq(log.of(404), log.of(404)) && !std::ptr::eq(log.of(404), log.of(500)));
        assert!(std::ptr::eq(log.of(418), log.of(599)));
    }
}
