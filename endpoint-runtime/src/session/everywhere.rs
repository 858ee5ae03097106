//! Questions and operations that concern the sessions of all nodes.

use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::broadcast::Broadcast;
use super::id::SessionId;
use super::open_sessions::OpenSessions;
use super::session::{Groups, Session};
use crate::cluster::fields::{Reader, put_block, put_option};
use crate::cluster::membership::Membership;
use crate::cluster::target::{Operation, Question, Scope, Target};
use crate::cluster::{Answers, NodeId};
use crate::codec::shared_value::SharedValue;
use crate::error::{Error, Kind};
use endpoint_wire::close::{CloseCode, CloseReason};

/// The sessions of a room, of a user, of all, or one by its ID, on all nodes of a cluster.
///
/// Each method answers with what came and which nodes are [missing](Answers::missing), as soon as every node has
/// answered or is declared dead, at the latest after the
/// [request timeout](crate::cluster::Cluster::request_timeout). Without a cluster there is one answer, that of this node.
///
/// # Cancel safety
/// A dropped future forgets the answers; an operation goes on.
#[derive(Clone, Debug)]
pub struct Everywhere {
    groups: Arc<Groups>,
    /// The sessions of all endpoints, for scopes that are no group.
    all: Option<AllSessions>,
    target: Target,
}

/// Lists the open sessions of a container.
#[derive(Clone)]
pub(crate) struct AllSessions(pub(crate) Arc<dyn Fn() -> OpenSessions + Send + Sync>);

impl std::fmt::Debug for AllSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AllSessions")
    }
}

/// A session in a room, perhaps of another node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct RoomMember {
    /// The session.
    pub session: SessionId,
    /// The name of its principal, if it has one.
    pub user: Option<Arc<str>>,
}

impl Everywhere {
    pub(crate) fn new(groups: &Arc<Groups>, scope: Scope) -> Self {
        Self { groups: groups.clone(), all: None, target: scope.into() }
    }

    /// For scopes that are no group.
    pub(crate) fn among(self, all: AllSessions) -> Self {
        Self { all: Some(all), ..self }
    }

    /// Who the sessions are.
    pub async fn members(&self) -> Answers<Vec<RoomMember>> {
        let here = self.here().iter().map(RoomMember::of).collect();
        self.ask(Question::Members, here, read_members).await
    }

    /// How many sessions there are; [`sum`](Answers::sum) adds the answers up.
    pub async fn count(&self) -> Answers<usize> {
        let here = self.here().len();
        self.ask(Question::Count, here, read_count).await
    }

    /// Closes the sessions with `reason`, as [`Session::close_with`] does; answers how many were open.
    pub async fn close_all(&self, reason: CloseReason) -> Answers<usize> {
        self.operate(Operation::closing(&reason)).await
    }

    /// Makes the sessions join a room; answers how many are in it now.
    pub async fn join(&self, room: impl Into<String>) -> Answers<usize> {
        self.operate(Operation::Join(room.into())).await
    }

    /// Makes the sessions leave a room; answers how many were in it.
    pub async fn leave(&self, room: impl Into<String>) -> Answers<usize> {
        self.operate(Operation::Leave(room.into())).await
    }

    /// Only the sessions whose shared property of type `T` equals `value`; those of endpoints that do not share it are
    /// left out. Of several filters the last counts.
    ///
    /// ```
    /// use endpoint_runtime::prelude::*;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Team(String);
    ///
    /// #[server_endpoint("/match", shared(Team))]
    /// #[derive(Default)]
    /// struct Match;
    ///
    /// impl Match {
    ///     #[on_message]
    ///     fn choose(&mut self, team: String, session: &Session) {
    ///         session.properties().insert(Team(team));
    ///     }
    /// }
    ///
    /// async fn cheer(container: &ServerContainer) -> Result<(), Error> {
    ///     let reds = container.everyone().everywhere().with_shared(&Team("red".to_owned()))?;
    ///     reds.async_remote().send_text("go!");
    ///     println!("{} reds", reds.count().await.sum());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::is_deployment`]: no endpoint of this container shares `T`. [`Error::is_encode`]: the value cannot be
    /// written.
    pub fn with_shared<T: SharedValue>(&self, value: &T) -> Result<Self, Error> {
        let name = self.shared_name::<T>()?;
        let written = value.write();
        let written = written.ok_or_else(|| Error::encode(format!("the shared property {name} cannot be written")))?;
        let target = Target { shared: Some((name.to_owned(), written)), ..self.target.clone() };
        Ok(Self { target, ..self.clone() })
    }

    /// The shared properties of type `T` of the sessions that have one. A value of another node that is not a `T` is left
    /// out.
    ///
    /// # Errors
    /// [`Error::is_deployment`]: no endpoint of this container shares `T`.
    pub async fn shared<T: SharedValue>(&self) -> Result<Answers<Vec<(SessionId, T)>>, Error> {
        let name = self.shared_name::<T>()?;
        let question = Question::Shared(name.to_owned());
        let here = read_shared(answer(&self.here(), &question)).unwrap_or_default();
        Ok(self.ask(question, here, read_shared).await)
    }

    /// A remote that sends to these sessions on all nodes; it never waits for a peer, nor for the engine.
    pub fn async_remote(&self) -> Broadcast {
        Broadcast::to(self.sessions())
    }

    /// The sessions of this node, with the way to those of other nodes.
    pub(super) fn sessions(&self) -> OpenSessions {
        self.here().and_elsewhere(&self.groups, || self.target.clone())
    }

    fn shared_name<T: 'static>(&self) -> Result<&'static str, Error> {
        self.groups.shared_name::<T>().ok_or_else(|| {
            let name = std::any::type_name::<T>();
            let text = format!("no endpoint shares properties of type {name}: add `shared({name})` to its annotation");
            Error::new(Kind::Deploy, text)
        })
    }

    async fn operate(&self, operation: Operation) -> Answers<usize> {
        let here = operate(&self.here(), &operation);
        self.ask(Question::Operate(operation), here, read_count).await
    }

    /// Closes the sessions of all nodes, without the answers of the others; returns how many were open on this one.
    pub(super) fn close(&self, reason: &CloseReason) -> usize {
        let closed = self.here().close_all(reason.clone());
        self.publish(Operation::closing(reason));
        closed
    }

    /// Does the operation to the sessions of other nodes, without an answer.
    fn publish(&self, operation: Operation) {
        if let Some(Membership(node)) = self.groups.cluster.get() {
            if node.is_wanted(&self.target.scope) {
                node.operate(self.target.clone(), operation);
            }
        }
    }

    async fn ask<T>(&self, question: Question, here: T, read: impl Fn(Bytes) -> Option<T>) -> Answers<T> {
        match self.groups.cluster.get() {
            Some(Membership(node)) => node.answers(self.target.clone(), question, here, read).await,
            None => Answers::here(NodeId::from_bits(0), here),
        }
    }

    /// The sessions of this node.
    fn here(&self) -> OpenSessions {
        let all = || self.all.as_ref().map_or_else(|| OpenSessions::of(std::iter::empty()), |all| (all.0)());
        sessions_of(&self.groups, &self.target, all)
    }
}

impl RoomMember {
    fn of(session: &Session) -> Self {
        Self { session: session.id(), user: session.user_name() }
    }
}

impl Operation {
    pub(crate) fn closing(reason: &CloseReason) -> Self {
        Self::Close { code: reason.code().into(), reason: reason.reason().to_owned() }
    }
}

/// The open sessions of this node that belong to a target. `all` are those of the container.
pub(crate) fn sessions_of(groups: &Groups, target: &Target, all: impl FnOnce() -> OpenSessions) -> OpenSessions {
    let sessions = match &target.scope {
        Scope::Everyone => all(),
        Scope::Rooms(names) => match &names[..] {
            [name] => groups.rooms.of(name).into(),
            names => groups.sessions_in(names),
        },
        Scope::User(name) => groups.principals.of(name).into(),
        Scope::Session(id) => OpenSessions::just(groups.session(SessionId::from_bits(*id), all).into_iter()),
    };
    match &target.shared {
        Some((name, value)) => sessions.filter(|session| session.shared_property(name).as_ref() == Some(value)),
        None => sessions,
    }
}

/// Does an operation to sessions of this node; returns to how many.
pub(crate) fn operate(sessions: &OpenSessions, operation: &Operation) -> usize {
    match operation {
        Operation::Close { code, reason } => {
            sessions.close_all(CloseReason::truncating(CloseCode::from(*code), reason.as_str()))
        }
        Operation::Join(room) => sessions.iter().filter(|session| session.join(room).is_member()).count(),
        Operation::Leave(room) => sessions.iter().filter(|session| session.leave(room)).count(),
    }
}

/// The answer about sessions of this node.
pub(crate) fn answer(sessions: &OpenSessions, question: &Question) -> Bytes {
    let mut out = Vec::new();
    match question {
        Question::Members => {
            for RoomMember { session, user } in sessions.iter().map(RoomMember::of) {
                out.put_u128(session.to_bits());
                put_option(&mut out, user.as_deref());
            }
        }
        Question::Count => put_count(&mut out, sessions.len()),
        Question::Operate(operation) => put_count(&mut out, operate(sessions, operation)),
        Question::Shared(name) => {
            for session in sessions.iter() {
                if let Some(value) = session.shared_property(name) {
                    out.put_u128(session.id().to_bits());
                    put_block(&mut out, &value);
                }
            }
        }
        Question::Present | Question::PresenceOf(_) => {}
    }
    out.into()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

fn read_count(body: Bytes) -> Option<usize> {
    usize::try_from(Reader(body).u32()?).ok()
}

fn read_shared<T: SharedValue>(body: Bytes) -> Option<Vec<(SessionId, T)>> {
    let (mut reader, mut values) = (Reader(body), Vec::new());
    while !reader.0.is_empty() {
        let session = SessionId::from_bits(reader.u128()?);
        // another build of the application may have another form of the type
        values.extend(T::read(&reader.block()?).map(|value| (session, value)));
    }
    Some(values)
}

fn read_members(body: Bytes) -> Option<Vec<RoomMember>> {
    let (mut reader, mut members) = (Reader(body), Vec::new());
    while !reader.0.is_empty() {
        let session = SessionId::from_bits(reader.u128()?);
        members.push(RoomMember { session, user: reader.option()?.map(Into::into) });
    }
    Some(members)
}
