//! The sets that a session is in: the open sessions of its endpoint, its rooms, the sessions of its principal.

use std::sync::Arc;

use super::open_sessions::OpenSessions;
use super::rare;
use super::session::Session;

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
        self.0.endpoint.groups.rooms.of(room.as_ref()).into()
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

/// Membership of a session in its endpoint's open set; dropping it removes the session.
pub(crate) struct OpenGuard(Session);

impl OpenGuard {
    pub(crate) fn of(session: &Session) -> Self {
        Self(session.clone())
    }

    /// Adds the session; a shutdown finds it from now on.
    pub(crate) fn take(&self) {
        let Self(session) = self;
        session.endpoint().add(session);
        session.enter_as_principal();
        session.groups().flushers.serve_here();
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.send_queue().detach();
        self.0.leave_all();
        self.0.endpoint().remove(&self.0);
        self.0.release_for_good();
    }
}
