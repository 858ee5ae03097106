//! Everything that is counted and measured about one endpoint.

use super::closes::CloseCounters;
use super::counters::ErrorCounters;
use super::histogram::{CALLS, Histogram, LIVES, WAITS};

/// The parts of an endpoint's statistics that change at the end of a session, with an error, or with a pong.
#[derive(Debug)]
pub(crate) struct EndpointMeasures {
    pub(crate) closes: CloseCounters,
    pub(crate) errors: ErrorCounters,
    /// How long sessions lasted, from their request on.
    pub(crate) lives: Histogram,
    /// Round trips of pings.
    pub(crate) round_trips: Histogram,
    /// Times of messages from the first interceptor to the end of the handler, if they are measured.
    pub(crate) calls: Histogram,
}

impl Default for EndpointMeasures {
    fn default() -> Self {
        let (closes, errors) = <_>::default();
        let [lives, round_trips, calls] = [LIVES, WAITS, CALLS].map(Histogram::new);
        Self { closes, errors, lives, round_trips, calls }
    }
}
