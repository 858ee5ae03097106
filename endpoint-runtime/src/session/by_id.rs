//! Sessions by their ID. A container that is never asked for an ID keeps no index.

use std::sync::{Once, OnceLock};

use super::id::SessionId;
use super::member::Member;
use super::sharded::Sharded;

/// The index of a container's sessions.
#[derive(Debug)]
pub(crate) struct ById<S> {
    /// Created by the first lookup. From then on sessions enter and leave it.
    index: OnceLock<Sharded<SessionId, S>>,
    /// Whether the sessions that were there before the first lookup have been entered.
    filled: Once,
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
            enter(index, session);
        }
    }

    /// Removes a session that has left its endpoint's open set.
    pub(super) fn remove(&self, session: &S) {
        let Some(index) = self.index.get() else { return };
        leave(index, session);
    }

    /// The session with this ID. `all` are the sessions of the open sets, for the first lookup.
    pub(crate) fn find<I: Iterator<Item = S>>(&self, id: SessionId, all: impl FnOnce() -> I) -> Option<S> {
        let index = self.index.get_or_init(Sharded::default);
        // from here on, every session that enters an open set sees the index: either it adds itself, or `all` has it
        self.filled.call_once(|| all().for_each(|session| enter(index, &session)));
        index.shard(&id).lock().get(&id).cloned()
    }
}

fn enter<S: Member>(index: &Sharded<SessionId, S>, session: &S) {
    let id = session.id();
    index.shard(&id).lock().insert(id, session.clone());
    // it may have left before it was entered
    if !session.is_placed() {
        leave(index, session);
    }
}

fn leave<S: Member>(index: &Sharded<SessionId, S>, session: &S) {
    let id = session.id();
    let removed = index.shard(&id).lock().remove(&id);
    // outside the lock: it may be the last clone
    drop(removed);
}
