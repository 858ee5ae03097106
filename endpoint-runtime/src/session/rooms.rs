//! Groups of sessions: rooms that the application names, and the sessions of one principal.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::chunks::{Chunks, Replaced, Snapshot};
use super::{OpenSessions, Session};
use crate::scheduling::flushers::Flushers;
use crate::send_queue::sync::{Mutex, MutexGuard, PoisonError};
use crate::session::properties;

/// All groups of one container.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) rooms: Group,
    pub(crate) principals: Group,
    /// Tasks that write the messages that broadcasts have queued.
    pub(crate) flushers: Flushers,
}

/// Number of shards of a [`Group`]. Each has its own lock, which is held to find a room, never while a room changes.
const SHARDS: usize = if cfg!(model_check) { 1 } else { 32 };

/// Rooms of one kind, by name. Empty rooms are removed. No room waits for another, however large it is.
#[derive(Debug)]
pub(crate) struct Group {
    shards: Box<[Shard]>,
    hasher: RandomState,
}

/// The rooms whose names hash to the same shard, on separate cache lines to avoid false sharing.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<HashMap<Arc<str>, Arc<Room>>>);

/// The sessions of one room.
#[derive(Debug, Default)]
struct Room(Mutex<Members>);

#[derive(Debug, Default)]
struct Members {
    list: Chunks<Session>,
    /// Index of each session in the list, by its address. A tree, because a large hash map would stall the whole room
    /// whenever it grows.
    places: BTreeMap<usize, u32>,
    /// The last session has left; the next session with this name gets a new room.
    ended: bool,
}

impl Default for Group {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect(), hasher: RandomState::new() }
    }
}

impl Group {
    /// Adds the session to the room of this name; returns the name as the room stores it. Harmless if it is in already.
    pub(super) fn enter(&self, name: impl AsRef<str> + Into<Arc<str>> + Clone, session: &Session) -> Arc<str> {
        let shard = self.shard(name.as_ref());
        loop {
            let (shared, room) = shard.room(&name);
            if room.enter(session) {
                return shared;
            }
            shard.forget(&shared, &room);
        }
    }

    /// Removes the session from the room of this name. Harmless if it is not in.
    pub(super) fn leave(&self, name: &str, session: &Session) {
        let shard = self.shard(name);
        let room = shard.lock().get(name).cloned();
        if let Some(room) = room.filter(|room| room.leave(session)) {
            shard.forget(name, &room);
        }
    }

    /// The sessions in the room of this name.
    pub(crate) fn of(&self, name: &str) -> OpenSessions {
        let room = self.shard(name).lock().get(name).cloned();
        room.map_or_else(Snapshot::default, |room| room.lock().list.snapshot()).into()
    }

    /// Whether no room is left.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().is_empty())
    }

    fn shard(&self, name: &str) -> &Shard {
        // the remainder is less than the number of shards
        &self.shards[self.hasher.hash_one(name) as usize % SHARDS]
    }
}

impl Shard {
    /// The room of this name, created if necessary.
    fn room(&self, name: &(impl AsRef<str> + Into<Arc<str>> + Clone)) -> (Arc<str>, Arc<Room>) {
        let mut rooms = self.lock();
        if let Some((name, room)) = rooms.get_key_value(name.as_ref()) {
            return (name.clone(), room.clone());
        }
        let created = (name.clone().into(), Arc::<Room>::default());
        rooms.insert(created.0.clone(), created.1.clone());
        created
    }

    /// Removes the room, if the name still belongs to it.
    fn forget(&self, name: &str, ended: &Arc<Room>) {
        let mut rooms = self.lock();
        if rooms.get(name).is_some_and(|room| Arc::ptr_eq(room, ended)) {
            rooms.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Room>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Adds the session; false if the room has ended.
    fn enter(&self, session: &Session) -> bool {
        let mut replaced = Replaced::default();
        let mut members = self.lock();
        let Members { list, places, ended } = &mut *members;
        if *ended || places.contains_key(&session.address()) {
            return !*ended;
        }
        // no memory holds more than `u32::MAX` sessions
        places.insert(session.address(), u32::try_from(list.len()).unwrap_or(u32::MAX));
        list.push(session.clone(), &mut replaced);
        drop(members);
        drop(replaced);
        true
    }

    /// Removes the session; true if the room has ended.
    fn leave(&self, session: &Session) -> bool {
        let mut replaced = Replaced::default();
        let mut members = self.lock();
        let Members { list, places, ended } = &mut *members;
        let Some(place) = places.remove(&session.address()) else { return *ended };
        let left = list.swap_remove(place as usize, &mut replaced);
        if let Some(moved) = list.get(place as usize) {
            places.insert(moved.address(), place);
        }
        *ended = places.is_empty();
        let ended = *ended;
        drop(members);
        // outside the lock: these may be the last clones of some sessions
        drop((left, replaced));
        ended
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rooms.
impl Session {
    /// Joins the room of this name. A room is created by its first session and ends with its last. Rooms belong to the
    /// container: sessions of all its endpoints may be in one room. A session that ends leaves all its rooms before
    /// `on_close`.
    ///
    /// Returns whether the session is in the room now: `false` if it is closed, or in as many other rooms as
    /// [`max_rooms_per_session`](crate::ContainerBuilder::max_rooms_per_session) allows. The first refusal because of
    /// this limit is logged as a warning.
    pub fn join(&self, room: impl AsRef<str>) -> bool {
        let room = room.as_ref();
        let mut joined = properties::of(&self.0.rare).rooms();
        if !joined.names.contains(room) && self.is_open() {
            let bound = self.0.endpoint.limits.max_rooms_per_session;
            if joined.names.len() >= bound {
                let warned = std::mem::replace(&mut joined.warned, true);
                drop(joined);
                if !warned {
                    if let Some(not_logged) = self.0.endpoint.log.rooms.due() {
                        let (session, endpoint) = (self.id(), self.0.endpoint.name);
                        tracing::warn!(%session, endpoint, bound, not_logged, "a session cannot join more rooms (max_rooms_per_session)");
                    }
                }
                return false;
            }
            joined.names.insert(self.0.endpoint.groups.rooms.enter(room, self));
        }
        drop(joined);
        self.leave_if_ended()
    }

    /// Leaves the room of this name; returns whether the session was in it.
    pub fn leave(&self, room: impl AsRef<str>) -> bool {
        let room = room.as_ref();
        let Some(rare) = self.0.rare.get() else { return false };
        let mut joined = rare.rooms();
        let was_there = joined.names.remove(room);
        if was_there {
            // under the lock, so that a subsequent join is not undone
            self.0.endpoint.groups.rooms.leave(room, self);
        }
        was_there
    }

    /// The names of the rooms that the session is in, in no particular order.
    pub fn rooms(&self) -> Vec<Arc<str>> {
        self.0.rare.get().map(|rare| rare.rooms().names.iter().cloned().collect()).unwrap_or_default()
    }

    /// The sessions in the room of this name, including this one if it is in. It need not be.
    pub fn room(&self, room: impl AsRef<str>) -> OpenSessions {
        self.0.endpoint.groups.rooms.of(room.as_ref())
    }

    /// Marks the session as no longer open and leaves all groups, while its connection is still ending.
    pub(crate) fn unregister(&self) {
        self.0.endpoint.invalidate_snapshot(self);
        self.leave_all();
    }

    /// Leaves all groups if the session ended while it entered one; returns whether it is open.
    pub(super) fn leave_if_ended(&self) -> bool {
        let is_open = self.0.send_queue.is_still_open();
        if !is_open {
            self.leave_all();
        }
        is_open
    }

    /// Leaves all groups.
    pub(super) fn leave_all(&self) {
        let Some(rare) = self.0.rare.get() else { return };
        let rooms = std::mem::take(&mut rare.rooms().names);
        rooms.iter().for_each(|room| self.0.endpoint.groups.rooms.leave(room, self));
        self.leave_as_principal();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::session::OpenSet;
    use crate::session::tests::session_of;

    fn endpoint() -> Arc<OpenSet> {
        Arc::new(OpenSet::new("/", "Endpoint", Limits::default()))
    }

    #[test]
    fn rooms_do_not_block_each_other() {
        let endpoint = endpoint();
        let (session, other) = (session_of(&endpoint), session_of(&endpoint));
        assert!(session.join("large"));
        let rooms = &endpoint.groups.rooms;
        let large = rooms.shard("large").lock().get("large").cloned().unwrap();
        let held = large.lock();
        // in the shard of the held room and in the others
        for number in 0..10 * SHARDS {
            let name = number.to_string();
            assert!(other.join(&name));
            assert_eq!(other.room(&name).len(), 1);
            assert!(other.leave(&name));
        }
        drop(held);
        assert_eq!(session.room("large").len(), 1);
    }

    #[test]
    fn room_that_ends_during_a_join_is_created_again() {
        let endpoint = endpoint();
        let (session, other) = (session_of(&endpoint), session_of(&endpoint));
        let rooms = &endpoint.groups.rooms;
        let name = rooms.enter("room", &session);
        let ended = rooms.shard("room").lock().get("room").cloned().unwrap();
        // the room has ended, and its name is not free yet
        assert!(ended.leave(&session));
        assert!(!ended.enter(&other));
        let again = rooms.enter("room", &other);
        assert!(!Arc::ptr_eq(&name, &again));
        assert_eq!(rooms.of("room").len(), 1);
        // a late removal frees only the name of its own room
        rooms.shard("room").forget("room", &ended);
        assert_eq!(rooms.of("room").len(), 1);
        rooms.leave("room", &other);
        assert!(rooms.is_empty());
    }

    #[test]
    fn moved_sessions_are_found_at_their_new_index() {
        let endpoint = endpoint();
        let sessions: Vec<_> = (0..200).map(|_| session_of(&endpoint)).collect();
        let rooms = &endpoint.groups.rooms;
        for session in &sessions {
            rooms.enter("room", session);
            // entering twice has no further effect
            rooms.enter("room", session);
        }
        assert_eq!(rooms.of("room").len(), 200);
        for (left, session) in (1..).zip(&sessions) {
            rooms.leave("room", session);
            rooms.leave("room", session);
            let others = rooms.of("room");
            assert_eq!(others.len(), 200 - left);
            assert!(sessions[left..].iter().all(|session| others.iter().any(|other| other == session)));
        }
    }
}
