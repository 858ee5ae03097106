//! Token buckets: of one session, and of each address.
//!
//! A bucket keeps the time at which it would be full again (the generic cell rate algorithm). What is taken is admitted as long
//! as one unit is left, so a message that is larger than the burst passes, and leaves a debt.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::rate::Rate;

/// The most keys of [`Buckets`] that are kept: some 6 MiB. Beyond them, new keys share one bucket.
const MOST_KEYS: usize = 65_536;

/// Minimum time between two searches for full buckets: each looks at all of them, under the lock that every key takes.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How much of a rate is left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// When the bucket is full again; `None` while it is full.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes `amount`, or returns after which time something can be taken again.
    pub(crate) fn take(&mut self, rate: &Rate, amount: u64, now: Instant) -> Result<(), Duration> {
        match self.wait(rate, now) {
            Duration::ZERO => {
                self.spend(rate, amount, now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Takes `amount` even if nothing is left.
    pub(crate) fn spend(&mut self, rate: &Rate, amount: u64, now: Instant) {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(full_at.checked_add(rate.time_of(amount)).unwrap_or(full_at));
    }

    /// The time after which something can be taken; zero if it can be taken now.
    pub(crate) fn wait(&self, rate: &Rate, now: Instant) -> Duration {
        let until_full = self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now));
        // one whole unit has to be left, or a burst would be one more than it says
        until_full.saturating_add(rate.time_of(1)).saturating_sub(rate.time_of_burst())
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= now)
    }
}

/// One bucket for each key, such as an address.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    kept: Mutex<Kept<K>>,
}

#[derive(Debug)]
struct Kept<K> {
    buckets: HashMap<K, Bucket>,
    /// Number of buckets at which the full ones are removed.
    sweep_at: usize,
    /// When they may be removed again: a crowded table is not searched for each key.
    sweep_after: Option<Instant>,
    /// The bucket of all keys for which there is no space.
    others: Bucket,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        let (buckets, sweep_after, others) = <_>::default();
        Self { rate, kept: Mutex::new(Kept { buckets, sweep_at: 1024, sweep_after, others }) }
    }

    /// Takes one from the bucket of `key`, or returns after which time there is one.
    pub(crate) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { buckets, sweep_at, sweep_after, others } = &mut *kept;
        if buckets.len() >= *sweep_at && sweep_after.is_none_or(|after| after <= now) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            *sweep_at = (buckets.len() * 2).clamp(1024, MOST_KEYS);
            *sweep_after = now.checked_add(SWEEP_EVERY);
        }
        if buckets.len() >= MOST_KEYS && !buckets.contains_key(&key) {
            return others.take(&self.rate, 1, now);
        }
        buckets.entry(key).or_default().take(&self.rate, 1, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn burst_and_then_the_rate() {
        let (rate, start, mut bucket) = (Rate::per_second(10).burst(3), Instant::now(), Bucket::default());
        let taken = |bucket: &mut Bucket, at| (0..100).filter(|_| bucket.take(&rate, 1, at).is_ok()).count();
        assert_eq!(taken(&mut bucket, start), 3);
        assert_eq!(taken(&mut bucket, start + SECOND / 10), 1);
        assert_eq!(taken(&mut bucket, start + SECOND / 5), 1);
        assert_eq!(taken(&mut bucket, start + SECOND), 3);
    }

    #[test]
    fn burst_is_no_more_while_time_passes() {
        let (rate, start, mut bucket) = (Rate::per_second(10).burst(3), Instant::now(), Bucket::default());
        let taken = (0..20).filter(|millis| bucket.take(&rate, 1, start + SECOND / 1000 * *millis).is_ok()).count();
        assert_eq!(taken, 3);
    }

    #[test]
    fn wait_is_exact() {
        let (rate, start, mut bucket) = (Rate::per_second(10).burst(3), Instant::now(), Bucket::default());
        for _ in 0..3 {
            bucket.take(&rate, 1, start).unwrap();
        }
        let wait = bucket.take(&rate, 1, start).unwrap_err();
        assert!(bucket.take(&rate, 1, start + wait).is_ok());
    }

    #[test]
    fn large_amount_passes_and_leaves_a_debt() {
        let (rate, start, mut bucket) = (Rate::per_second(1000), Instant::now(), Bucket::default());
        bucket.take(&rate, 5000, start).unwrap();
        assert!(bucket.take(&rate, 1, start + 4 * SECOND).is_err());
        assert!(bucket.take(&rate, 1, start + 4 * SECOND + SECOND / 100).is_ok());
    }

    #[test]
    fn burst_is_exact_for_what_is_counted_in_ones() {
        let (rate, start, mut bucket) = (Rate::per_second(10).burst(3), Instant::now(), Bucket::default());
        for _ in 0..3 {
            assert_eq!(bucket.wait(&rate, start), Duration::ZERO);
            bucket.spend(&rate, 1, start);
        }
        assert_eq!(bucket.wait(&rate, start), SECOND / 10);
        assert_eq!(bucket.wait(&rate, start + SECOND / 10), Duration::ZERO);
    }

    #[test]
    fn keys_are_apart_and_full_buckets_are_forgotten() {
        let (start, buckets) = (Instant::now(), Buckets::new(Rate::per_second(1)));
        for key in 0..5000 {
            buckets.take(key, start).unwrap();
            assert!(buckets.take(key, start).is_err());
        }
        buckets.take(5000, start + 2 * SECOND).unwrap();
        let later = start + 4 * SECOND;
        for key in 6000..12_000 {
            buckets.take(key, later).unwrap();
        }
        assert!(buckets.kept.lock().unwrap().buckets.len() <= 8192);
    }

    #[test]
    fn beyond_the_most_keys_new_ones_share_a_bucket() {
        let (start, buckets) = (Instant::now(), Buckets::new(Rate::per_second(1)));
        for key in 0..MOST_KEYS {
            buckets.take(key, start).unwrap();
        }
        buckets.take(MOST_KEYS, start).unwrap();
        let swept = buckets.kept.lock().unwrap().sweep_after;
        assert!(buckets.take(MOST_KEYS + 1, start).is_err());
        assert_eq!(buckets.kept.lock().unwrap().buckets.len(), MOST_KEYS);
        assert_eq!(buckets.kept.lock().unwrap().sweep_after, swept, "the crowded table was searched again");
    }
}
