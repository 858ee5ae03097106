//! A number of places for all together: connections of a server, connections that are pending.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// At most so many at a time.
#[derive(Debug)]
pub(crate) struct Slots {
    most: usize,
    taken: AtomicUsize,
}

impl Slots {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0) })
    }

    /// Takes a place until the result is dropped; `None` if all are taken.
    pub(crate) fn acquire(self: &Arc<Self>) -> Option<Slot> {
        let one_more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Slot(self.clone()))
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn race_of_threads_never_exceeds_the_limit() {
        let slots = Slots::new(50);
        let held: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| (0..100).filter_map(|_| slots.acquire()).collect::<Vec<_>>())).collect();
            racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(held.len(), 50);
        assert!(slots.acquire().is_none());
        drop(held);
        assert!(slots.acquire().is_some());
    }
}
