//! When a session was last broadcast to.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Broadcasts write to a session directly at most once in this many microseconds: later ones are queued, so that a burst
/// does not cost a system call for each message.
pub(super) const DIRECT_INTERVAL: u32 = 1000;

/// The time of a broadcast, in microseconds since an arbitrary start. It wraps after 71 minutes; then one broadcast is
/// queued that might have been written directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BroadcastTime(pub(super) u32);

impl BroadcastTime {
    pub(crate) fn now() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        Self(START.get_or_init(Instant::now).elapsed().as_micros() as u32)
    }

    pub(super) fn after(self, pause: Duration) -> Self {
        Self(self.0.wrapping_add(pause.as_micros() as u32))
    }

    pub(super) fn is_before(self, other: Self) -> bool {
        (other.0.wrapping_sub(self.0) as i32) > 0
    }
}

/// A session's record of its broadcasts.
#[derive(Debug)]
pub(super) struct Broadcasts {
    /// The last broadcast that was written directly.
    direct: BroadcastTime,
    /// Broadcasts before this time are a burst; kept by the first of the sessions that are addressed together.
    pub(super) burst_until: BroadcastTime,
    /// Whether a broadcast was written without the connection's knowledge.
    unreported: bool,
}

impl Default for Broadcasts {
    fn default() -> Self {
        Self {
            direct: BroadcastTime(0u32.wrapping_sub(DIRECT_INTERVAL)),
            burst_until: BroadcastTime(0),
            unreported: false,
        }
    }
}

impl Broadcasts {
    /// Whether a broadcast follows one that was written directly too closely to be written directly itself.
    pub(super) fn is_close(&self, time: BroadcastTime) -> bool {
        time.0.wrapping_sub(self.direct.0) < DIRECT_INTERVAL
    }

    /// Notes the attempt to write a broadcast directly.
    pub(super) fn note_direct(&mut self, time: BroadcastTime) {
        self.direct = time;
    }

    /// Notes that a broadcast was written without the connection's knowledge.
    pub(super) fn note_written(&mut self) {
        self.unreported = true;
    }

    /// Whether a broadcast was written without the connection's knowledge since the last call.
    pub(super) fn take_unreported(&mut self) -> bool {
        std::mem::take(&mut self.unreported)
    }
}
