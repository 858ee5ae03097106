//! Groups of sessions: rooms that the application names, and the sessions of one principal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::by_id::ById;
use super::chunks::{Chunks, Replaced, Snapshot};
use super::local_presence::LocalPresence;
use super::member::Member;
use super::sharded::{Shard, Sharded};
use super::shared_properties::SharedProperty;
use crate::cluster::NodeId;
use crate::cluster::membership::Membership;
use crate::scheduling::flushers::Flushers;
use crate::scheduling::session_tasks::SessionTasks;
use crate::send_queue::sync::{Mutex, MutexGuard, PoisonError};

/// All groups of one container.
#[derive(Debug)]
pub(crate) struct Groups<S> {
    pub(crate) rooms: Group<S>,
    pub(crate) principals: Group<S>,
    pub(crate) by_id: ById<S>,
    /// Who is present in the rooms; created by the first session with presence.
    presence: OnceLock<Box<LocalPresence>>,
    /// The application's tasks that end with a session.
    pub(crate) tasks: SessionTasks,
    /// Tasks that write the messages that broadcasts have queued.
    pub(crate) flushers: Flushers,
    /// Properties that endpoints of the container share.
    pub(super) shared: Mutex<Vec<SharedProperty>>,
    /// The container's place in a cluster, if it has one.
    pub(crate) cluster: OnceLock<Membership>,
}

/// Rooms of one kind, by name. Empty rooms are removed. No room waits for another, however large it is: the lock of a
/// shard is held to find a room, never while a room changes.
#[derive(Debug)]
pub(crate) struct Group<S> {
    rooms: Sharded<Arc<str>, Arc<Room<S>>>,
    watch: OnceLock<Box<dyn Watch>>,
}

/// Notices which rooms exist. Called under the lock of a shard: it must not use the group.
pub(crate) trait Watch: fmt::Debug + Send + Sync {
    /// A room of this name was created.
    fn created(&self, name: &str);

    /// The room of this name was removed.
    fn removed(&self, name: &str);
}

/// The sessions of one room.
#[derive(Debug)]
struct Room<S>(Mutex<Members<S>>);

#[derive(Debug)]
struct Members<S> {
    list: Chunks<S>,
    /// Index of each session in the list, by its address. A tree, because a large hash map would stall the whole room
    /// whenever it grows.
    places: BTreeMap<usize, u32>,
    /// The last session has left; the next session with this name gets a new room.
    ended: bool,
}

impl<S> Default for Groups<S> {
    fn default() -> Self {
        let (rooms, principals, by_id, presence, tasks, flushers, shared, cluster) = <_>::default();
        Self { rooms, principals, by_id, presence, tasks, flushers, shared, cluster }
    }
}

impl<S> Groups<S> {
    /// Notes that an endpoint shares these properties.
    pub(crate) fn share(&self, shared: &[SharedProperty]) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(shared);
    }

    /// The name by which endpoints share properties of type `T`.
    pub(super) fn shared_name<T: 'static>(&self) -> Option<&'static str> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.iter().find(|property| property.is::<T>()).map(|property| property.name)
    }

    /// Who is present in the rooms, if a session with presence has opened.
    pub(crate) fn presence(&self) -> Option<&LocalPresence> {
        self.presence.get().map(|presence| &**presence)
    }

    /// Who is present in the rooms.
    pub(crate) fn presence_or_new(&self) -> &LocalPresence {
        // a container that is no node of a cluster knows of no other node
        let node = self.cluster.get().map_or(NodeId::from_bits(0), |membership| membership.0.id);
        self.presence.get_or_init(|| Box::new(LocalPresence::new(node)))
    }
}

impl<S> Default for Group<S> {
    fn default() -> Self {
        Self { rooms: Sharded::default(), watch: OnceLock::new() }
    }
}

impl<S> Default for Room<S> {
    fn default() -> Self {
        Self(Mutex::new(Members { list: Chunks::default(), places: BTreeMap::new(), ended: false }))
    }
}

impl<S: Member> Group<S> {
    /// Adds the session to the room of this name; returns the name as the room stores it. Harmless if it is in already.
    pub(super) fn enter(&self, name: impl AsRef<str> + Into<Arc<str>> + Clone, session: &S) -> Arc<str> {
        let shard = self.rooms.shard(name.as_ref());
        loop {
            let (shared, room) = shard.room(&name, self.watch());
            if room.enter(session) {
                return shared;
            }
            shard.forget(&shared, &room, self.watch());
        }
    }

    /// Removes the session from the room of this name. Harmless if it is not in.
    pub(super) fn leave(&self, name: &str, session: &S) {
        let shard = self.rooms.shard(name);
        let room = shard.lock().get(name).cloned();
        if let Some(room) = room.filter(|room| room.leave(session)) {
            shard.forget(name, &room, self.watch());
        }
    }

    /// The sessions in the room of this name.
    pub(crate) fn of(&self, name: &str) -> Snapshot<S> {
        let room = self.rooms.shard(name).lock().get(name).cloned();
        room.map_or_else(Snapshot::default, |room| room.lock().list.snapshot())
    }

    /// Sets who notices which rooms exist, once, before there are any.
    pub(crate) fn watched_by(&self, watch: impl Watch + 'static) {
        let _ = self.watch.set(Box::new(watch));
    }

    fn watch(&self) -> Option<&dyn Watch> {
        self.watch.get().map(|watch| &**watch)
    }

    /// The names of all rooms.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.rooms.keys()
    }

    /// Whether no room is left.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}

impl<S: Member> Shard<Arc<str>, Arc<Room<S>>> {
    /// The room of this name, created if necessary.
    fn room(
        &self,
        name: &(impl AsRef<str> + Into<Arc<str>> + Clone),
        watch: Option<&dyn Watch>,
    ) -> (Arc<str>, Arc<Room<S>>) {
        let mut rooms = self.lock();
        if let Some((name, room)) = rooms.get_key_value(name.as_ref()) {
            return (name.clone(), room.clone());
        }
        let started = (name.clone().into(), Arc::<Room<S>>::default());
        rooms.insert(started.0.clone(), started.1.clone());
        if let Some(watch) = watch {
            watch.created(&started.0);
        }
        started
    }

    /// Removes the room, if the name still belongs to it.
    fn forget(&self, name: &str, ended: &Arc<Room<S>>, watch: Option<&dyn Watch>) {
        let mut rooms = self.lock();
        if rooms.get(name).is_some_and(|room| Arc::ptr_eq(room, ended)) {
            rooms.remove(name);
            if let Some(watch) = watch {
                watch.removed(name);
            }
        }
    }
}

impl<S: Member> Room<S> {
    /// Adds the session; false if the room has ended.
    fn enter(&self, session: &S) -> bool {
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
    fn leave(&self, session: &S) -> bool {
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

    fn lock(&self) -> MutexGuard<'_, Members<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::session::OpenSet;
    use crate::session::sharded::SHARDS;
    use crate::session::tests::session_of;

    fn endpoint() -> Arc<OpenSet> {
        Arc::new(OpenSet::new("/", "Endpoint", Limits::default()))
    }

    #[test]
    fn rooms_do_not_block_each_other() {
        let endpoint = endpoint();
        let (session, other) = (session_of(&endpoint), session_of(&endpoint));
        assert!(session.join("large").is_member());
        let rooms = &endpoint.groups.rooms;
        let large = rooms.rooms.shard("large").lock().get("large").cloned().unwrap();
        let held = large.lock();
        // in the shard of the held room and in the others
        for number in 0..10 * SHARDS {
            let name = number.to_string();
            assert!(other.join(&name).is_member());
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
        let ended = rooms.rooms.shard("room").lock().get("room").cloned().unwrap();
        // the room has ended, and its name is not free yet
        assert!(ended.leave(&session));
        assert!(!ended.enter(&other));
        let again = rooms.enter("room", &other);
        assert!(!Arc::ptr_eq(&name, &again));
        assert_eq!(rooms.of("room").iter().count(), 1);
        // a late removal frees only the name of its own room
        rooms.rooms.shard("room").forget("room", &ended, None);
        assert_eq!(rooms.of("room").iter().count(), 1);
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
        assert_eq!(rooms.of("room").iter().count(), 200);
        for (left, session) in (1..).zip(&sessions) {
            rooms.leave("room", session);
            rooms.leave("room", session);
            let others = rooms.of("room");
            assert_eq!(others.iter().count(), 200 - left);
            assert!(sessions[left..].iter().all(|session| others.iter().any(|other| other == session)));
        }
    }
}
