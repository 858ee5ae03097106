//! Sessions that belong together for a while: rooms that the application names, and the sessions of one principal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{OpenSessions, Session, SessionId};
use crate::rare;

/// All groups of one container.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) rooms: Group,
    pub(crate) principals: Group,
}

/// Groups of one kind, by their name. One that is empty is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Group(Mutex<HashMap<Arc<str>, Members>>);

#[derive(Debug, Default)]
struct Members {
    sessions: HashMap<SessionId, Session>,
    /// As it was handed out last, until it changes.
    snapshot: Option<Arc<[Session]>>,
}

impl Group {
    pub(super) fn enter(&self, name: Arc<str>, session: &Session) {
        let mut groups = self.lock();
        let members = groups.entry(name).or_default();
        members.sessions.insert(session.id(), session.clone());
        members.snapshot = None;
    }

    pub(super) fn leave(&self, name: &str, session: &Session) {
        let mut groups = self.lock();
        let Some(members) = groups.get_mut(name) else { return };
        let left = members.sessions.remove(&session.id());
        members.snapshot = None;
        if members.sessions.is_empty() {
            groups.remove(name);
        }
        drop(groups);
        // perhaps its last clone
        drop(left);
    }

    /// Who is in it.
    pub(crate) fn of(&self, name: &str) -> OpenSessions {
        let mut groups = self.lock();
        let sessions = match groups.get_mut(name) {
            None => Arc::default(),
            Some(Members { snapshot: Some(snapshot), .. }) => snapshot.clone(),
            Some(Members { sessions, snapshot }) => snapshot.insert(sessions.values().cloned().collect()).clone(),
        };
        OpenSessions { sessions, except: None }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Members>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rooms.
impl Session {
    /// Enters the room of this name, which begins with its first session and ends with its last. Rooms belong to the
    /// container: sessions of all its endpoints may meet in one. The session leaves all of its rooms when it ends,
    /// before `on_close`.
    ///
    /// Returns whether it is in the room now: `false` only if the session is closed. The number of rooms has no bound
    /// but the names that the application lets in.
    pub fn join(&self, room: impl AsRef<str>) -> bool {
        let room = room.as_ref();
        let mut rooms = rare::of(&self.0.rare).rooms();
        if !rooms.iter().any(|joined| **joined == *room) && self.is_open() {
            let name: Arc<str> = room.into();
            self.0.endpoint.groups.rooms.enter(name.clone(), self);
            rooms.push(name);
        }
        drop(rooms);
        if !self.is_open() {
            // it may have ended meanwhile
            self.leave_all();
            return false;
        }
        true
    }

    /// Leaves the room of this name; returns whether it was there.
    pub fn leave(&self, room: impl AsRef<str>) -> bool {
        let room = room.as_ref();
        let Some(rare) = self.0.rare.get() else { return false };
        let mut rooms = rare.rooms();
        let Some(place) = rooms.iter().position(|joined| **joined == *room) else { return false };
        rooms.swap_remove(place);
        self.0.endpoint.groups.rooms.leave(room, self);
        true
    }

    /// The names of the rooms it is in.
    pub fn rooms(&self) -> Vec<Arc<str>> {
        self.0.rare.get().map(|rare| rare.rooms().clone()).unwrap_or_default()
    }

    /// Who is in the room of this name, this session among them if it is there itself. It need not be.
    pub fn room(&self, room: impl AsRef<str>) -> OpenSessions {
        self.0.endpoint.groups.rooms.of(room.as_ref())
    }

    /// It is no longer open, though its connection has not come to its end.
    pub(crate) fn retire(&self) {
        self.0.endpoint.hide();
        self.leave_all();
    }

    /// Leaves all groups.
    pub(super) fn leave_all(&self) {
        let Some(rare) = self.0.rare.get() else { return };
        let rooms = std::mem::take(&mut *rare.rooms());
        rooms.iter().for_each(|room| self.0.endpoint.groups.rooms.leave(room, self));
        self.leave_as_principal();
    }
}

impl OpenSessions {
    /// Those of them for which `keep` is true.
    #[must_use]
    pub fn filter(self, keep: impl FnMut(&&Session) -> bool) -> Self {
        Self { sessions: self.iter().filter(keep).cloned().collect(), except: None }
    }
}
