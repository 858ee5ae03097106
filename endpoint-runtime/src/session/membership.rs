//! The sets that a session is in: the open sessions of its endpoint, its rooms, the sessions of its principal.

use std::sync::Arc;

use super::audience::Room;
use super::join::{Join, NotJoined};
use super::rare;
use super::session::Session;

/// Rooms.
impl Session {
    /// Joins the room of this name. A room is created by its first session and ends with its last. Rooms belong to the
    /// container: sessions of all its endpoints may be in one room, and in a cluster sessions of all nodes. A session
    /// that ends leaves all its rooms before `on_close`, where [`rooms`](Self::rooms) still lists them.
    ///
    /// The session is in the room when this returns, so messages that this node sends to the room reach it. Await the
    /// result only to wait until other nodes know: `session.join("42").await?`.
    ///
    /// It is not in the room if it is closed, or in as many other rooms as
    /// [`max_rooms_per_session`](crate::ContainerBuilder::max_rooms_per_session) allows ([`Join::is_member`]). The first
    /// refusal because of this limit is logged as a warning.
    pub fn join(&self, room: impl AsRef<str>) -> Join {
        let room = room.as_ref();
        let outcome = self.enter_room(room);
        let cluster = outcome.as_ref().ok().and(self.0.endpoint.groups.cluster.get());
        Join { outcome, cluster: cluster.map(|membership| (membership.0.clone(), room.into())) }
    }

    fn enter_room(&self, room: &str) -> Result<(), NotJoined> {
        let mut joined = rare::of(&self.0.rare).rooms();
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
                return Err(NotJoined::TooMany(bound));
            }
            let room = self.0.endpoint.groups.rooms.enter(room, self);
            self.enter_presence(&room);
            joined.names.insert(room);
        }
        drop(joined);
        if self.leave_if_ended() { Ok(()) } else { Err(NotJoined::Closed) }
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
            self.leave_presence(room);
        }
        was_there
    }

    /// The names of the rooms that the session is in, in no particular order. In `on_close`, of those that it was in
    /// when it ended, so that the others in them can be told; empty once `on_close` has returned.
    pub fn rooms(&self) -> Vec<Arc<str>> {
        let Some(rare) = self.0.rare.get() else { return Vec::new() };
        let joined = rare.rooms();
        joined.names.iter().chain(&joined.left).cloned().collect()
    }

    /// The room of this name. The session need not be in it.
    pub fn room(&self, name: impl AsRef<str>) -> Room {
        Room::new(&self.0.endpoint.groups, name.as_ref())
    }

    /// Whether the session is in the room of this name.
    pub(super) fn is_in(&self, room: &str) -> bool {
        self.0.rare.get().is_some_and(|rare| rare.rooms().names.contains(room))
    }

    /// Marks the session as no longer open, leaves all groups, and ends the session's tasks, while its connection is
    /// still ending.
    pub(crate) fn unregister(&self) {
        self.0.endpoint.invalidate_snapshot(self);
        self.leave_all();
        if let Some(rare) = self.0.rare.get() {
            rare.reach_end();
        }
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
        if !rooms.is_empty() {
            self.end_presence(rooms.iter());
            let mut joined = rare.rooms();
            if !rare.is_released() {
                // `on_close` may still ask for them
                joined.left.extend(rooms);
            }
        }
        self.leave_as_principal();
    }
}

/// Membership of a session in its endpoint's open set; dropping it removes the session.
pub(crate) struct OpenGuard(Session);

impl OpenGuard {
    pub(crate) fn of(session: &Session) -> Self {
        Self(session.clone())
    }

    /// Adds the session; a shutdown finds it from now on.
    pub(crate) fn take(&self) {
        let Self(session) = self;
        session.open_set().add(session);
        session.groups().by_id.add(session);
        session.enter_as_principal();
        session.groups().flushers.serve_here();
        session.serve_presence();
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.send_queue().detach();
        self.0.leave_all();
        self.0.open_set().remove(&self.0);
        self.0.groups().by_id.remove(&self.0);
        self.0.release_for_good();
    }
}
