//! Handles of a room and of a user: who belongs to them is looked up when they are used.

use std::fmt;
use std::sync::Arc;

use super::broadcast::Broadcast;
use super::everywhere::{Everywhere, RoomMember};
use super::excluded::SessionIds;
use super::open_sessions::OpenSessions;
use super::present::{PresentHere, PresentUsers};
use super::session::{Groups, Session};
use crate::cluster::Answers;
use crate::cluster::target::Scope;
use crate::codec::presence_meta::PresenceMeta;
use endpoint_wire::close::CloseReason;
use endpoint_wire::text::Text;

/// A room: a name under which sessions gather ([`Session::join`]).
///
/// It is a handle and not a list: it may be kept, and each call looks up who is in the room at that moment. A room
/// without sessions is empty, not an error.
///
/// ```
/// use endpoint_runtime::prelude::*;
///
/// fn announce(container: &ServerContainer, number: u32) {
///     let room = container.room(number.to_string());
///     let report = room.async_remote().send_text("the match begins");
///     println!("{} of {} players were told", report.sent, room.len());
/// }
/// ```
#[derive(Clone)]
pub struct Room {
    groups: Arc<Groups>,
    /// A text, so that a short name needs no memory.
    name: Text,
}

/// All sessions of one user: those whose principal has this name ([`Principal::name`](crate::Principal::name)).
///
/// It is a handle like [`Room`]: each call looks up the sessions that are open at that moment.
///
/// ```
/// use endpoint_runtime::prelude::*;
///
/// fn log_out(container: &ServerContainer, name: &str) -> usize {
///     container.user(name).close_all(CloseReason::truncating(CloseCode::ViolatedPolicy, "logged out"))
/// }
/// ```
#[derive(Clone)]
pub struct User {
    groups: Arc<Groups>,
    name: Text,
}

macro_rules! handle {
    ($handle:ident, $group:ident, $scope:expr) => {
        impl $handle {
            pub(crate) fn new(groups: &Arc<Groups>, name: &str) -> Self {
                Self { groups: groups.clone(), name: name.into() }
            }

            /// The name.
            pub fn name(&self) -> &str {
                &self.name
            }

            /// The open sessions of this node at this moment.
            pub fn sessions(&self) -> OpenSessions {
                self.groups.$group.of(&self.name).into()
            }

            /// Number of open sessions of this node.
            pub fn len(&self) -> usize {
                self.sessions().len()
            }

            /// Whether there is no open session on this node.
            pub fn is_empty(&self) -> bool {
                self.sessions().is_empty()
            }

            /// A remote that sends to all sessions, in a cluster those of all nodes; it never waits for a peer, nor for
            /// the engine of the cluster. The sessions of this node are looked up by this call.
            pub fn async_remote(&self) -> Broadcast {
                Broadcast::to(self.all())
            }

            /// The sessions except one or several: `except(&session)`, `except([&ann, &ben])`. Its
            /// [`async_remote`](OpenSessions::async_remote) sends to those of other nodes as well.
            #[must_use]
            pub fn except(&self, sessions: impl SessionIds) -> OpenSessions {
                self.all().except(sessions)
            }

            /// The sessions of this node, with the way to those of other nodes.
            fn all(&self) -> OpenSessions {
                self.sessions().and_elsewhere(&self.groups, || self.scope())
            }

            fn scope(&self) -> Scope {
                $scope(self.name.to_string())
            }

            /// Questions and operations that the sessions of all nodes answer.
            pub fn everywhere(&self) -> Everywhere {
                Everywhere::new(&self.groups, self.scope())
            }

            /// The sessions of this node for which `keep` returns true.
            #[must_use]
            pub fn filter(&self, keep: impl FnMut(&&Session) -> bool) -> OpenSessions {
                self.sessions().filter(keep)
            }

            /// Closes all sessions with `reason`, as [`Session::close_with`] does, in a cluster those of all nodes;
            /// returns how many were open on this node. To know of the others, use
            /// [`Everywhere::close_all`].
            pub fn close_all(&self, reason: CloseReason) -> usize {
                self.everywhere().close(&reason)
            }
        }

        impl fmt::Debug for $handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($handle)).field(&self.name).finish()
            }
        }
    };
}
handle!(Room, rooms, |name| Scope::Rooms(vec![name]));
handle!(User, principals, Scope::User);

impl Room {
    /// The sessions in the room on all nodes: who they are, and which nodes did not answer.
    ///
    /// ```
    /// use endpoint_runtime::ServerContainer;
    ///
    /// async fn list(container: &ServerContainer) {
    ///     let who = container.room("42").members().await;
    ///     for (node, missing) in who.missing.iter().enumerate() {
    ///         eprintln!("{node}: {missing} did not answer");
    ///     }
    ///     println!("{} members", who.into_items().len());
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn members(&self) -> Answers<Vec<RoomMember>> {
        self.everywhere().members().await
    }
}

impl Room {
    /// Whether the session, of this node, is in the room.
    pub fn contains(&self, session: &Session) -> bool {
        session.is_in(&self.name)
    }

    /// The users who are present in the room on all nodes of a cluster, and the nodes that did not answer. Without a
    /// cluster it resolves at once, to those of this container.
    ///
    /// ```
    /// use endpoint_runtime::prelude::*;
    ///
    /// async fn names(container: &ServerContainer) -> Vec<String> {
    ///     let present = container.room("42").present::<()>().await;
    ///     if !present.missing.is_empty() {
    ///         eprintln!("{} nodes did not answer", present.missing.len());
    ///     }
    ///     present.users.iter().map(|user| user.name.to_string()).collect()
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn present<M: PresenceMeta>(&self) -> PresentUsers<M> {
        PresentUsers::in_room(&self.groups, &self.name).await
    }

    /// The users who are present in the room as this node knows it, also those of a node that has just ended, without
    /// asking others: with constant-time counts and
    /// pages for large rooms. In a cluster, a node that has a session in the room hears of all others; one without
    /// knows nothing of it, and should ask with [`present`](Self::present).
    ///
    /// These are the users with a session in it whose endpoint has the option `presence`.
    ///
    /// ```
    /// use endpoint_runtime::prelude::*;
    ///
    /// fn log_names(container: &ServerContainer, number: u32) {
    ///     let present = container.room(number.to_string()).present_here();
    ///     println!("{} users are present", present.count());
    ///     let first: Vec<Present> = present.page(None, 100);
    ///     for user in first {
    ///         println!("{} with {} devices", user.name, user.devices.len());
    ///     }
    /// }
    /// ```
    pub fn present_here(&self) -> PresentHere {
        PresentHere::new(&self.groups, &self.name)
    }

    /// Makes the session leave the room, and keeps it open; returns whether it was in.
    pub fn kick(&self, session: &Session) -> bool {
        session.leave(&*self.name)
    }
}
