//! Handles of all sessions, and of one session that may be on another node.

use std::sync::Arc;

use super::broadcast::Broadcast;
use super::everywhere::{AllSessions, Everywhere};
use super::excluded::SessionIds;
use super::id::SessionId;
use super::open_sessions::OpenSessions;
use super::session::Groups;
use crate::cluster::target::Scope;
use endpoint_wire::close::CloseReason;

/// All sessions of all nodes ([`ServerContainer::everyone`](crate::ServerContainer::everyone)).
#[derive(Clone, Debug)]
pub struct Everyone(Everywhere);

/// One session, on whichever node it is
/// ([`ServerContainer::session_anywhere`](crate::ServerContainer::session_anywhere)). A session that has ended is no
/// error: nothing is sent, and answers are zero.
///
/// ```
/// use endpoint_runtime::{ServerContainer, SessionId};
///
/// async fn tell(container: &ServerContainer, id: SessionId) {
///     let report = container.session_anywhere(id).async_remote().send_text("your report is ready");
///     let report = report.everywhere().await;
///     println!("it is {}", if report.here + report.elsewhere == 1 { "told" } else { "gone" });
/// }
/// ```
#[derive(Clone, Debug)]
pub struct AnySession(Everywhere, SessionId);

impl Everyone {
    pub(crate) fn new(groups: &Arc<Groups>, all: AllSessions) -> Self {
        Self(Everywhere::new(groups, Scope::Everyone).among(all))
    }

    /// A remote that sends to all sessions of all nodes; it never waits for a peer, nor for the engine.
    pub fn async_remote(&self) -> Broadcast {
        self.0.async_remote()
    }

    /// All sessions except one or several. Its [`async_remote`](OpenSessions::async_remote) sends to those of other
    /// nodes as well.
    #[must_use]
    pub fn except(&self, sessions: impl SessionIds) -> OpenSessions {
        self.0.sessions().except(sessions)
    }

    /// Closes all sessions of all nodes with `reason`; returns how many were open on this one.
    pub fn close_all(&self, reason: CloseReason) -> usize {
        self.0.close(&reason)
    }

    /// Questions and operations that all sessions of all nodes answer.
    pub fn everywhere(&self) -> Everywhere {
        self.0.clone()
    }
}

impl AnySession {
    pub(crate) fn new(groups: &Arc<Groups>, all: AllSessions, id: SessionId) -> Self {
        Self(Everywhere::new(groups, Scope::Session(id.to_bits())).among(all), id)
    }

    /// The ID.
    pub fn id(&self) -> SessionId {
        self.1
    }

    /// A remote that sends to the session; it never waits for the peer, nor for the engine.
    pub fn async_remote(&self) -> Broadcast {
        self.0.async_remote()
    }

    /// Closes the session with `reason`; returns whether it was open on this node. To know of another node, use
    /// [`Everywhere::close_all`].
    pub fn close_with(&self, reason: CloseReason) -> bool {
        self.0.close(&reason) > 0
    }

    /// Questions and operations: whether it is open ([`count`](Everywhere::count)), who it is, make it join a room.
    pub fn everywhere(&self) -> Everywhere {
        self.0.clone()
    }
}
