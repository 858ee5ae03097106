//! The open sessions of an endpoint or a room at one point in time.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::chunks::Snapshot;
use super::excluded::{Excluded, SessionIds, sealed};
use super::id::SessionId;
use super::member::Member;
use super::session::{Groups, OpenSet, Session};
use crate::cluster::node::Node;
use crate::cluster::target::Target;
use endpoint_wire::close::CloseReason;

impl Session {
    /// All sessions that are open at the same endpoint now, including this one if it is open.
    pub fn open_sessions(&self) -> OpenSessions {
        self.0.endpoint.snapshot().into()
    }
}

impl Groups {
    /// The open session with this ID. `all` are the sessions of the container, for the first lookup.
    pub(crate) fn session(&self, id: SessionId, all: impl FnOnce() -> OpenSessions) -> Option<Session> {
        let all = || all().addressed().cloned().collect::<Vec<_>>().into_iter();
        self.by_id.find(id, all).filter(Session::is_open)
    }

    /// The sessions that are in at least one of these rooms, each once.
    pub(crate) fn sessions_in(&self, rooms: impl IntoIterator<Item = impl AsRef<str>>) -> OpenSessions {
        let joined = Snapshot::joined(rooms.into_iter().map(|name| self.rooms.of(name.as_ref())));
        let mut seen = HashSet::new();
        joined.iter().filter(|session| seen.insert(session.address())).cloned().collect::<Snapshot<_>>().into()
    }
}

/// Snapshot of the sessions that are open at an endpoint (Jakarta's `getOpenSessions`), or in a room.
///
/// Taking it costs the same for one session and for 100,000. Sessions that open later are not in it. A session that
/// closes meanwhile is skipped; a [`Broadcast`](crate::Broadcast) counts it ([`Report::closed`](crate::Report::closed)).
///
/// It lists sessions of this node. In a cluster, its [`async_remote`](Self::async_remote) sends to those of other nodes as
/// well if it is what [`Room::except`](crate::Room::except), [`User::except`](crate::User::except) or
/// [`ServerContainer::rooms`](crate::ServerContainer::rooms) returned.
#[derive(Clone)]
pub struct OpenSessions {
    sessions: Snapshot<Session>,
    excluded: Excluded,
    /// The sessions of other nodes that belong to them as well.
    elsewhere: Option<Arc<Elsewhere>>,
}

/// Sessions of other nodes.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) node: Arc<Node>,
    pub(crate) target: Target,
}

impl OpenSessions {
    /// The sessions of several endpoints together.
    pub(crate) fn of(sets: impl Iterator<Item = Arc<OpenSet>>) -> Self {
        Snapshot::joined(sets.map(|set| set.snapshot())).into()
    }

    /// The same, and those of other nodes that `target` names.
    pub(crate) fn and_elsewhere<T: Into<Target>>(self, groups: &Groups, target: impl FnOnce() -> T) -> Self {
        let Some(membership) = groups.cluster.get() else { return self };
        let elsewhere = Elsewhere { node: membership.0.clone(), target: target().into() };
        Self { elsewhere: Some(Arc::new(elsewhere)), ..self }
    }

    /// The sessions of other nodes that belong to them.
    pub(crate) fn elsewhere(&self) -> Option<&Arc<Elsewhere>> {
        self.elsewhere.as_ref()
    }

    pub(super) fn excluded(&self) -> &Excluded {
        &self.excluded
    }

    /// Exactly these sessions.
    pub(crate) fn just(sessions: impl Iterator<Item = Session>) -> Self {
        sessions.collect::<Snapshot<_>>().into()
    }

    /// Excludes one or several sessions: `except(&session)`, `except([&ann, &ben])`. Calls add up.
    #[must_use]
    pub fn except(self, sessions: impl SessionIds) -> Self {
        Self { excluded: self.excluded.and(sessions), ..self }
    }

    /// The sessions of this node for which `keep` returns true. Filters add up. Sessions of other nodes are left out:
    /// `keep` cannot be called there.
    #[must_use]
    pub fn filter(self, keep: impl FnMut(&&Session) -> bool) -> Self {
        self.iter().filter(keep).cloned().collect::<Snapshot<_>>().into()
    }

    /// Iterates over the sessions, skipping those that have closed.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.addressed().filter(|session| session.is_open())
    }

    /// Iterates over the sessions, including those that have closed since.
    pub(crate) fn addressed(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().filter(|session| !self.excluded.contains(session))
    }

    /// Closes all of these sessions that are on this node with `reason`, as [`Session::close_with`] does; returns how many
    /// were open. For sessions of other nodes see [`Room::close_all`](crate::Room::close_all) and
    /// [`Everywhere::close_all`](crate::Everywhere::close_all).
    pub fn close_all(&self, reason: CloseReason) -> usize {
        self.iter().map(|session| session.close_with(reason.clone())).count()
    }

    /// Number of open sessions in the snapshot.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether no session in the snapshot is open.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl sealed::Sealed for OpenSessions {}

impl SessionIds for &OpenSessions {
    fn each(self, id: impl FnMut(SessionId)) {
        self.addressed().map(Session::id).for_each(id);
    }
}

impl SessionIds for OpenSessions {
    fn each(self, id: impl FnMut(SessionId)) {
        (&self).each(id);
    }
}

impl From<Snapshot<Session>> for OpenSessions {
    fn from(sessions: Snapshot<Session>) -> Self {
        Self { sessions, excluded: Excluded::Nobody, elsewhere: None }
    }
}

impl fmt::Debug for OpenSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
