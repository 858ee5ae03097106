//! Sessions by their ID. A container that is never asked for an ID keeps no index.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Once, OnceLock};

use super::id::SessionId;
use super::member::Member;
use crate::send_queue::sync::{Mutex, MutexGuard, PoisonError};

/// Number of shards; each has its own lock.
const SHARDS: usize = if cfg!(model_check) { 1 } else { 32 };

/// The index of a container's sessions.
#[derive(Debug)]
pub(crate) struct ById<S> {
    /// Created by the first lookup. From then on sessions enter and leave it.
    index: OnceLock<Index<S>>,
    /// Whether the sessions that were there before the first lookup have been entered.
    filled: Once,
}

#[derive(Debug)]
struct Index<S> {
    shards: Box<[Mutex<HashMap<SessionId, S>>]>,
    hasher: RandomState,
}

impl<S> Default for ById<S> {
    fn default() -> Self {
        Self { index: OnceLock::new(), filled: Once::new() }
    }
}

impl<S: Member> ById<S> {
    /// Adds a session that is in its endpoint's open set already.
    pub(super) fn add(&self, session: &S) {
        if let Some(index) = self.index.get() {
            index.add(session);
        }
    }

    /// Removes a session that has left its endpoint's open set.
    pub(super) fn remove(&self, session: &S) {
        let Some(index) = self.index.get() else { return };
        let removed = index.shard(session.id()).remove(&session.id());
        // outside the lock: it may be the last clone
        drop(removed);
    }

    /// The session with this ID. `all` are the sessions of the open sets, for the first lookup.
    pub(crate) fn find<I: Iterator<Item = S>>(&self, id: SessionId, all: impl FnOnce() -> I) -> Option<S> {
        let index = self.index.get_or_init(Index::default);
        // from here on, every session that enters an open set sees the index: either it adds itself, or `all` has it
        self.filled.call_once(|| all().for_each(|session| index.add(&session)));
        index.shard(id).get(&id).cloned()
    }
}

impl<S> Default for Index<S> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl<S: Member> Index<S> {
    fn add(&self, session: &S) {
        self.shard(session.id()).insert(session.id(), session.clone());
        // it may have left before it was entered
        if !session.is_placed() {
            let removed = self.shard(session.id()).remove(&session.id());
            drop(removed);
        }
    }

    fn shard(&self, id: SessionId) -> MutexGuard<'_, HashMap<SessionId, S>> {
        let index = self.hasher.hash_one(id) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
