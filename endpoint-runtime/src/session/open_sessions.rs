//! The open sessions of an endpoint or a room at one point in time.

use std::fmt;
use std::sync::Arc;

use super::chunks::Snapshot;
use super::session::{OpenSet, Session, SessionId};

impl Session {
    /// All sessions that are open at the same endpoint now, including this one if it is open.
    pub fn open_sessions(&self) -> OpenSessions {
        self.0.endpoint.snapshot().into()
    }
}

/// Snapshot of the sessions that are open at an endpoint (Jakarta's `getOpenSessions`), or in a room.
///
/// Taking it costs the same for one session and for 100,000. Sessions that open later are not in it. A session that
/// closes meanwhile is skipped; a [`Broadcast`](crate::Broadcast) counts it ([`Report::closed`](crate::Report::closed)).
#[derive(Clone)]
pub struct OpenSessions {
    sessions: Snapshot<Session>,
    except: Option<SessionId>,
}

impl OpenSessions {
    /// The sessions of several endpoints together.
    pub(crate) fn of(sets: impl Iterator<Item = Arc<OpenSet>>) -> Self {
        Snapshot::joined(sets.map(|set| set.snapshot())).into()
    }

    /// Exactly these sessions.
    #[cfg(test)]
    pub(crate) fn just(sessions: impl Iterator<Item = Session>) -> Self {
        sessions.collect::<Snapshot<_>>().into()
    }

    /// Excludes one session.
    #[must_use]
    pub fn except(self, session: &Session) -> Self {
        let left_out = session.id();
        match self.except {
            // `except` holds only one session
            Some(other) if other != left_out => Self { except: Some(left_out), ..self.filter(|_| true) },
            _ => Self { except: Some(left_out), ..self },
        }
    }

    /// The sessions for which `keep` returns true.
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
        self.sessions.iter().filter(but(self.except))
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

impl From<Snapshot<Session>> for OpenSessions {
    fn from(sessions: Snapshot<Session>) -> Self {
        Self { sessions, except: None }
    }
}

impl fmt::Debug for OpenSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A filter that excludes one session.
fn but(except: Option<SessionId>) -> impl Fn(&&Session) -> bool {
    move |session| Some(session.id()) != except
}
