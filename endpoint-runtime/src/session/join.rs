//! The result of joining a room.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use crate::cluster::node::Node;
use crate::error::{Error, Kind};

/// Result of [`Session::join`](crate::Session::join), which has joined already when it returns this.
///
/// Awaited, it resolves once every live node of a cluster knows that this node has members of the room: from then on a
/// message that another node sends to the room reaches this session. Without a cluster it resolves at once. Nothing has
/// to be awaited for messages of this node.
///
/// # Errors
/// The session is closed ([`Error::is_closed`]), is in too many rooms ([`Error::is_limit`]), or not every node has
/// confirmed in time ([`Error::is_cluster`]); in the last case the session is in the room, and the nodes that can be
/// reached will know.
///
/// # Cancel safety
/// Dropping the future, or not awaiting it, only ends the wait.
#[derive(Debug)]
pub struct Join {
    pub(super) outcome: Result<(), NotJoined>,
    /// The node, and the name of the room.
    pub(super) cluster: Option<(Arc<Node>, Arc<str>)>,
}

/// Why a session is not in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotJoined {
    Closed,
    /// It is in as many rooms as it may be.
    TooMany(usize),
}

impl Join {
    /// Whether the session is in the room.
    pub fn is_member(&self) -> bool {
        self.outcome.is_ok()
    }
}

impl IntoFuture for Join {
    type Output = Result<(), Error>;
    type IntoFuture = Joining;

    fn into_future(self) -> Joining {
        let Self { outcome, cluster } = self;
        Joining(Box::pin(async move {
            match outcome {
                Err(NotJoined::Closed) => Err(Error::new(Kind::Closed, "cannot join a room: the session is closed")),
                Err(NotJoined::TooMany(bound)) => {
                    let text = format!("cannot join more than {bound} rooms (max_rooms_per_session)");
                    Err(Error::new(Kind::Limit, text))
                }
                Ok(()) => match cluster {
                    Some((node, room)) => node.room_known(&room).await,
                    None => Ok(()),
                },
            }
        }))
    }
}

/// Future of [`Join`].
#[must_use = "futures do nothing unless awaited"]
pub struct Joining(Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>);

impl Future for Joining {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Joining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joining")
    }
}
