//! A map in shards, each with its own lock, so that threads seldom wait for each other.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use crate::send_queue::sync::{Mutex, MutexGuard, PoisonError};

/// Number of shards.
pub(super) const SHARDS: usize = if cfg!(model_check) { 1 } else { 32 };

/// A map whose keys are distributed over the shards by their hashes.
#[derive(Debug)]
pub(super) struct Sharded<K, V> {
    shards: Box<[Shard<K, V>]>,
    hasher: RandomState,
}

/// The entries whose keys hash to the same shard, on separate cache lines to avoid false sharing.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Shard<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard(Mutex::default())).collect(), hasher: RandomState::new() }
    }
}

impl<K, V> Sharded<K, V> {
    /// The shard of this key.
    pub(super) fn shard(&self, key: &(impl Hash + ?Sized)) -> &Shard<K, V> {
        // the remainder is less than the number of shards
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// All keys, in no particular order.
    pub(super) fn keys(&self) -> Vec<K>
    where
        K: Clone,
    {
        self.shards.iter().flat_map(|shard| shard.lock().keys().cloned().collect::<Vec<_>>()).collect()
    }

    /// Whether no shard has an entry.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().is_empty())
    }
}

impl<K, V> Shard<K, V> {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
