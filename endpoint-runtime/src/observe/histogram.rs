//! Durations, counted in fixed classes. Adding one takes a few atomic additions, so it is for events that are rare beside
//! messages, or that the application asks to measure.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The most classes that a histogram has, besides the one for everything longer.
const MOST: usize = 12;

/// Upper ends of the classes, in microseconds.
pub(crate) type Bounds = &'static [u64];

/// Waits of a round trip or of a handshake: 1 ms to 30 s.
pub(crate) const WAITS: Bounds =
    &[1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 30_000_000];

/// Calls of a handler: 10 µs to 10 s.
pub(crate) const CALLS: Bounds =
    &[10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// Lives of a session: 1 s to a week.
pub(crate) const LIVES: Bounds = &[
    1_000_000,
    10_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    14_400_000_000,
    43_200_000_000,
    86_400_000_000,
    604_800_000_000,
];

/// Durations by class.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: Bounds,
    /// The last one in use is for what exceeds all bounds.
    classes: [AtomicU64; MOST + 1],
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: Bounds) -> Self {
        debug_assert!(bounds.len() <= MOST && bounds.is_sorted());
        Self { bounds, classes: <_>::default(), micros: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let class = self.bounds.partition_point(|bound| *bound < micros);
        if let Some(class) = self.classes.get(class) {
            class.fetch_add(1, Relaxed);
        }
        self.micros.fetch_add(micros, Relaxed);
    }

    /// The durations so far.
    pub(crate) fn now(&self) -> Durations {
        let counts: Vec<u64> =
            self.classes.iter().take(self.bounds.len() + 1).map(|class| class.load(Relaxed)).collect();
        Durations {
            bounds: self.bounds.iter().map(|micros| Duration::from_micros(*micros)).collect(),
            count: counts.iter().sum(),
            counts,
            sum: Duration::from_micros(self.micros.load(Relaxed)),
        }
    }
}

/// A histogram of durations: how many fell into each class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durations {
    /// Upper end of each class, included, in ascending order.
    pub bounds: Vec<Duration>,
    /// Number of durations in each class: above the bound before and at most its own. One more than there are bounds:
    /// the last is for everything longer.
    pub counts: Vec<u64>,
    /// Number of all durations.
    pub count: u64,
    /// Sum of all durations.
    pub sum: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_falls_into_the_class_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::new(&[1_000, 5_000]);
        for micros in [0, 1_000, 1_001, 5_000, 5_001, u64::MAX >> 1] {
            histogram.observe(Duration::from_micros(micros));
        }
        let now = histogram.now();
        assert_eq!((now.counts, now.count), (vec![2, 2, 2], 6));
        assert_eq!(now.bounds, [Duration::from_millis(1), Duration::from_millis(5)]);
    }

    #[test]
    fn all_bounds_fit_and_ascend() {
        for bounds in [WAITS, CALLS, LIVES] {
            assert!(bounds.len() <= MOST && bounds.is_sorted() && bounds[0] > 0);
        }
    }
}
