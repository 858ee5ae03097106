//! How many there are of each key: connections of an address, sessions of a principal.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

/// Number of locks; one for all keys would be taken for each session that opens or ends on any thread.
const SHARDS: usize = 16;

/// Counts by key. A key without anything to count takes no memory.
#[derive(Debug)]
pub(crate) struct Counts<K> {
    shards: [Mutex<HashMap<K, usize>>; SHARDS],
    hasher: RandomState,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self { shards: Default::default(), hasher: RandomState::new() }
    }
}

impl<K: Eq + Hash + Clone> Counts<K> {
    /// Counts one more for `key`, until the result is dropped; `None` if there are `most` already.
    pub(crate) fn acquire(self: &Arc<Self>, key: K, most: usize) -> Option<Counted<K>> {
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        let count = shard.get(&key).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        shard.insert(key.clone(), count + 1);
        drop(shard);
        Some(Counted { counts: self.clone(), key })
    }

    /// The count of `key`.
    #[cfg(test)]
    fn of(&self, key: &K) -> usize {
        self.shard(key).lock().unwrap().get(key).copied().unwrap_or(0)
    }

    fn shard(&self, key: &K) -> &Mutex<HashMap<K, usize>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    fn release(&self, key: &K) {
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = shard.entry(key.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// One of a count, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted<K: Eq + Hash + Clone> {
    counts: Arc<Counts<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Drop for Counted<K> {
    fn drop(&mut self) {
        self.counts.release(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_so_many_of_a_key() {
        let counts = Arc::new(Counts::default());
        let held: Vec<_> = (0..5).filter_map(|_| counts.acquire("ann", 3)).collect();
        assert_eq!((held.len(), counts.of(&"ann")), (3, 3));
        assert!(counts.acquire("ben", 3).is_some());
        drop(held);
        assert!(counts.acquire("ann", 3).is_some());
        assert!(counts.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn race_of_threads_never_exceeds_the_limit() {
        let counts = Arc::new(Counts::default());
        let held: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..100).filter_map(|_| counts.acquire(1, 50)).collect::<Vec<_>>()))
                .collect();
            racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(held.len(), 50);
    }
}
