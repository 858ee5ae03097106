//! Medians, spreads and a histogram of latencies. Pure.

use std::time::Duration;

/// The middle of several rounds, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// `None` of nothing.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    Some(Spread { median, min, max })
}

/// Counts nanoseconds in buckets of about 1.5 %, without allocating while it counts.
#[derive(Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    total: u64,
}

/// Buckets per power of two.
const FINE: u64 = 1 << FINE_BITS;
const FINE_BITS: u32 = 6;

impl Histogram {
    pub fn new() -> Self {
        Self { buckets: vec![0; bucket(u64::MAX) + 1], total: 0 }
    }

    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)] += 1;
        self.total += 1;
    }

    /// The latency that this share of all did not exceed, in microseconds; 0 if there are none.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return lower_bound(index) as f64 / 1000.0;
            }
        }
        0.0
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket(value: u64) -> usize {
    if value < FINE {
        return value as usize;
    }
    let power = value.ilog2();
    let fine = (value >> (power - FINE_BITS)) & (FINE - 1);
    (u64::from(power - FINE_BITS + 1) * FINE + fine) as usize
}

fn lower_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < FINE {
        return index;
    }
    (FINE + index % FINE) << (index / FINE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_odd_even_and_no_rounds() {
        assert_eq!(spread([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread([]), None);
    }

    #[test]
    fn buckets_grow_and_lie_within_two_percent() {
        let mut last = 0;
        for value in (0..2000).chain((0..63).map(|power| 1 << power)).chain([u64::MAX]) {
            let low = lower_bound(bucket(value));
            assert!(low <= value && (value - low) as f64 <= value as f64 * 0.02, "{value} {low}");
            assert!(value < 2000 || bucket(value) >= last || value.is_power_of_two());
            last = bucket(value);
        }
    }

    #[test]
    fn quantiles_of_one_to_a_hundred_microseconds() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile_us(0.5), 0.0);
        for microseconds in 1..=100 {
            histogram.record(Duration::from_micros(microseconds));
        }
        assert!((histogram.quantile_us(0.5) - 50.0).abs() < 1.0);
        assert!((histogram.quantile_us(0.99) - 99.0).abs() < 2.0);
        assert!(histogram.quantile_us(1.0) <= 100.0);
    }
}
