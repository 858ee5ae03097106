//! Handles of a room and of a user: who belongs to them is looked up when they are used.

use std::fmt;
use std::sync::Arc;

use super::broadcast::Broadcast;
use super::excluded::SessionIds;
use super::open_sessions::OpenSessions;
use super::session::{Groups, Session};
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
    ($handle:ident, $group:ident) => {
        impl $handle {
            pub(crate) fn new(groups: &Arc<Groups>, name: &str) -> Self {
                Self { groups: groups.clone(), name: name.into() }
            }

            /// The name.
            pub fn name(&self) -> &str {
                &self.name
            }

            /// The open sessions at this moment.
            pub fn sessions(&self) -> OpenSessions {
                self.groups.$group.of(&self.name).into()
            }

            /// Number of open sessions.
            pub fn len(&self) -> usize {
                self.sessions().len()
            }

            /// Whether there is no open session.
            pub fn is_empty(&self) -> bool {
                self.sessions().is_empty()
            }

            /// A remote that sends to all sessions; it never waits for a peer. The sessions are looked up by this call.
            pub fn async_remote(&self) -> Broadcast {
                Broadcast::to(self.sessions())
            }

            /// The sessions except one or several: `except(&session)`, `except([&ann, &ben])`.
            #[must_use]
            pub fn except(&self, sessions: impl SessionIds) -> OpenSessions {
                self.sessions().except(sessions)
            }

            /// The sessions for which `keep` returns true.
            #[must_use]
            pub fn filter(&self, keep: impl FnMut(&&Session) -> bool) -> OpenSessions {
                self.sessions().filter(keep)
            }

            /// Closes all sessions with `reason`, as [`Session::close_with`] does; returns how many were open.
            pub fn close_all(&self, reason: CloseReason) -> usize {
                self.sessions().close_all(reason)
            }
        }

        impl fmt::Debug for $handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($handle)).field(&self.name).finish()
            }
        }
    };
}
handle!(Room, rooms);
handle!(User, principals);

impl Room {
    /// Whether the session is in the room.
    pub fn contains(&self, session: &Session) -> bool {
        session.is_in(&self.name)
    }

    /// Makes the session leave the room, and keeps it open; returns whether it was in.
    pub fn kick(&self, session: &Session) -> bool {
        session.leave(&*self.name)
    }
}
