//! The container itself: it finds the endpoint of a request, holds all open sessions, and shuts them down.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::drain_state::DrainState;
use super::logged_request::LoggedRequest;
use super::mounted::{Deployment, Table};
use super::registration::{Registration, ServerEndpoint};
use super::response::ResponseFuture;
use super::serving::detached_if;
use crate::cluster::target::Scope;
use crate::config::CLUSTER_LAST_WORDS;
use crate::error::Error;
use crate::handshake::forwarded::Proxies;
use crate::handshake::head::HeadLimits;
use crate::handshake::hosts::Hosts;
use crate::handshake::http2;
use crate::handshake::origins::Origins;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::Transport;
use crate::handshake::router::Lookup;
use crate::observe::counters::ConnectionCounters;
use crate::observe::log_rate::HandshakeLog;
use crate::observe::statuses::HandshakeCounters;
use crate::send_queue::FAR;
use crate::session::audience::{Room, User};
use crate::session::state::State;
use crate::session::{EndpointInfo, Groups, OpenSessions, OpenSet, Session, SessionId};
use endpoint_wire::budget::Budget;
use endpoint_wire::close::{CloseReason, Initiator};

/// The mounted endpoints, their settings and their open sessions; a `tower` service for every request of an HTTP
/// server.
///
/// A clone is the same container. It accepts requests to the path of an endpoint, or refuses them with a status that
/// gives the reason; every other path gets 404, so a container is a good `fallback_service`.
///
/// ```no_run
/// # use endpoint_runtime::{ServerContainer, Error};
/// # fn main() -> Result<(), Error> {
/// let container = ServerContainer::builder().discover().context_path("/websocket").build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ServerContainer(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) ground: Deployment,
    pub(super) table: RwLock<Arc<Table>>,
    pub(super) hosts: Hosts,
    pub(super) origins: Origins,
    pub(super) proxies: Proxies,
    pub(super) head_limits: HeadLimits,
    /// Memory that the connections may hold for compression.
    pub(super) compression_budget: Arc<Budget>,
    /// Maximum time that hooks and a configurator may wait.
    pub(super) handshake_timeout: Duration,
    pub(super) tasks: TaskTracker,
    /// Whether handshakes are refused.
    pub(super) closing: AtomicBool,
    pub(super) drain: DrainState,
    pub(super) log: HandshakeLog,
    pub(crate) connections: ConnectionCounters,
    pub(super) handshakes: HandshakeCounters,
    pub(super) built: Instant,
}

/// Outcome of routing a request.
pub(crate) enum Routed<B> {
    /// The request was for an endpoint, and this is the response.
    Ours(ResponseFuture),
    /// The request was for no endpoint, and is given back.
    Theirs(Request<B>),
}

impl ServerContainer {
    /// Every mounted endpoint: its full path, its type and the source location of its annotation.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointInfo<'static>> {
        let table = self.0.table();
        table.mounted().map(|mounted| mounted.sessions.info().into_owned()).collect::<Vec<_>>().into_iter()
    }

    /// The open sessions of all endpoints together.
    pub fn sessions(&self) -> OpenSessions {
        OpenSessions::of(self.0.table().sets())
    }

    /// Bytes in the send queues of all sessions that wait for slow peers, as counted by the
    /// [`send_budget`](crate::ContainerBuilder::send_budget). Bytes about to be written do not count.
    pub fn queued_bytes(&self) -> usize {
        self.0.ground.budgets.send.used()
    }

    /// Bytes of incomplete messages in all sessions, as counted by the
    /// [`receive_budget`](crate::ContainerBuilder::receive_budget).
    pub fn unfinished_bytes(&self) -> usize {
        self.0.ground.budgets.receive.used()
    }

    /// The value that the application gave the builder ([`ContainerBuilder::state`](crate::ContainerBuilder::state)), for
    /// code outside the handlers; `None` if there is no `T`.
    pub fn state<T: 'static>(&self) -> Option<&State<T>> {
        self.0.ground.states.get()
    }

    /// The open sessions of the annotated endpoint `E`, wherever and however often it is mounted. For an endpoint
    /// without annotations, filter [`sessions`](Self::sessions) by [`Session::endpoint`].
    pub fn sessions_of<E: ServerEndpoint>(&self) -> OpenSessions {
        let Registration { name, file, line, .. } = *const { &E::REGISTRATION };
        let is_of = |set: &Arc<OpenSet>| set.name == name && set.defined_at == (file, line);
        OpenSessions::of(self.0.table().sets().filter(is_of))
    }

    /// The open session with this ID.
    ///
    /// The first call makes an index of all sessions, which the container then maintains; later calls take constant
    /// time.
    pub fn session(&self, id: SessionId) -> Option<Session> {
        self.0.ground.groups.session(id, || self.sessions())
    }

    /// The room of this name ([`Session::join`]).
    pub fn room(&self, name: impl AsRef<str>) -> Room {
        Room::new(&self.0.ground.groups, name.as_ref())
    }

    /// The sessions that are in at least one of these rooms now, each once.
    pub fn rooms(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> OpenSessions {
        let names: Vec<_> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        let groups = &self.0.ground.groups;
        let sessions = groups.sessions_in(&names);
        if names.is_empty() { sessions } else { sessions.and_elsewhere(groups, || Scope::Rooms(names)) }
    }

    /// The user with this name ([`Principal::name`](crate::Principal::name)): all sessions of one principal.
    pub fn user(&self, name: impl AsRef<str>) -> User {
        User::new(&self.0.ground.groups, name.as_ref())
    }

    /// The open sessions of this [`user`](Self::user) now.
    pub fn principal(&self, name: impl AsRef<str>) -> OpenSessions {
        self.user(name).sessions()
    }

    /// Ends every session with 1001 and waits for all of them; new handshakes are refused with 503.
    ///
    /// Queued messages are sent first. Messages received whole before the shutdown are still handled, in order and
    /// before `on_close`, within the [close timeout](crate::ContainerBuilder::close_timeout); their replies cannot be sent any
    /// more, because the close frame is already on its way. Messages left after that are dropped, and counted in one
    /// line of the log. Every `on_close` runs. After `limit` the remaining connections are aborted.
    ///
    /// Called by a handler of this container, it cannot wait for the handler's own session: it then returns at once,
    /// with the number of [`pending`](Shutdown::pending) sessions, and the shutdown goes on in a task of its own.
    ///
    /// A task that [`Session::spawn`] started ends with its session, and would not see the end of a shutdown: call it
    /// from a task of `tokio::spawn`.
    ///
    /// # Cancel safety
    /// If the future is dropped, the sessions still end, but slow ones are not aborted.
    pub async fn shutdown(&self, limit: Duration) -> Shutdown {
        self.0.drain.begin();
        self.0.closing.store(true, Ordering::SeqCst);
        let container = self.clone();
        run_shutdown(self.is_in_handler(), self.0.tasks.len(), async move { container.shut_down(limit).await }).await
    }

    async fn shut_down(&self, limit: Duration) -> Shutdown {
        let (reason, table) = (self.0.drain.last_reason(), self.0.table());
        let end = Instant::now() + limit.min(FAR);
        let shutdown = end_all(|| table.sets(), reason, &self.0.tasks, limit).await;
        wait_for_tasks(&self.0.ground.groups, end).await;
        if let Some(membership) = self.0.ground.groups.cluster.get() {
            membership.leave(end.max(Instant::now() + 2 * CLUSTER_LAST_WORDS)).await;
        }
        shutdown
    }

    /// Answers a request to the path of an endpoint; gives every other request back.
    pub(crate) fn respond<B>(&self, request: Request<B>, transport: Transport) -> Routed<B> {
        let table = self.0.table();
        let (mounted, params) = match table.router.find(request.uri().path()) {
            Lookup::Found { value, params } => (value, params),
            Lookup::BadPath if http2::is_handshake(&request) => {
                let transport = self.0.client_of(&request, transport);
                return Routed::Ours(self.0.refuse(LoggedRequest::of(&request, transport), Refusal::bad_path()).into());
            }
            Lookup::BadPath | Lookup::NotFound => return Routed::Theirs(request),
        };
        let (parts, _) = request.into_parts();
        Routed::Ours(self.0.answer_traced(mounted, params, parts, transport))
    }
}

impl ServerContainer {
    /// Refuses a request to a path without an endpoint, where there is no other service.
    pub(crate) fn refuse_other<B>(&self, request: &Request<B>, transport: Transport) -> Response<Full<Bytes>> {
        let refusal = if http2::is_tunnel(request) { Refusal::no_tunnel() } else { Refusal::unknown_path() };
        if !http2::is_handshake(request) {
            return refusal.into();
        }
        let transport = self.0.client_of(request, transport);
        self.0.refuse(LoggedRequest::of(request, transport), refusal)
    }
}

impl Session {
    /// The container that this session belongs to; `None` once every clone of the container is dropped, or if the
    /// session has no container.
    pub fn container(&self) -> Option<ServerContainer> {
        self.open_set().container()?.downcast().ok().map(ServerContainer)
    }
}

impl ServerContainer {
    /// The longest send timeout of the container and of the endpoints mounted now.
    pub(crate) fn longest_send_timeout(&self) -> Duration {
        let table = self.0.table();
        let mounted = table.mounted().map(|mounted| mounted.sessions.limits.send_timeout);
        mounted.fold(self.0.ground.limits.send_timeout, Duration::max)
    }

    /// Whether a handler of one of the sessions is being polled on this thread.
    pub(super) fn is_in_handler(&self) -> bool {
        self.0.table().sets().any(|set| set.is_in_handler())
    }

    /// The counts of the connections of the server in front.
    pub(crate) fn connection_counters(&self) -> &ConnectionCounters {
        &self.0.connections
    }

    pub(super) fn weak(&self) -> Weak<dyn Any + Send + Sync> {
        let weak: Weak<Inner> = Arc::downgrade(&self.0);
        weak
    }
}

/// Two values are equal if they are clones of the same container.
impl PartialEq for ServerContainer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ServerContainer {}

impl Inner {
    /// The current table of mounted endpoints.
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the table with a changed copy; if `change` fails, the table stays.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Table) -> Result<T, Error>) -> Result<T, Error> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Table::clone(&table);
        let result = change(&mut next)?;
        // a set without owners has no sessions, and never will
        next.others.retain(|set| set.strong_count() > 0);
        let before = std::mem::replace(&mut *table, Arc::new(next));
        // the old table may own values of the application, whose destructors must not run under the lock
        drop(table);
        drop(before);
        Ok(result)
    }
}

/// Runs the shutdown of a container that has this many connections, or begins it if one of its handlers waits for it.
pub(crate) async fn run_shutdown(
    is_in_handler: bool,
    connections: usize,
    shutdown: impl Future<Output = Shutdown> + Send + 'static,
) -> Shutdown {
    let shutdown = detached_if(is_in_handler, shutdown).await;
    shutdown.unwrap_or(Shutdown { closed: 0, cut: 0, pending: connections })
}

/// Waits for what runs beside the connections, which have ended: for the application's tasks until `end`.
pub(crate) async fn wait_for_tasks(groups: &Groups, end: Instant) {
    groups.flushers.wait().await;
    if let Some(presence) = groups.presence() {
        presence.stop().await;
    }
    // each has been told to end; one that blocks its thread cannot be stopped
    let _ = timeout_at(end.max(Instant::now() + Duration::from_secs(1)), groups.tasks.wait()).await;
}

/// Ends all sessions of `sets` for a `reason` and waits for their `tasks`; after `limit` the remaining ones are
/// aborted.
pub(crate) async fn end_all<S>(
    sets: impl Fn() -> S,
    reason: CloseReason,
    tasks: &TaskTracker,
    limit: Duration,
) -> Shutdown
where
    S: Iterator<Item = Arc<OpenSet>>,
{
    // counted before the sessions close: some end at once
    let all = tasks.len();
    sets().for_each(|set| set.close(reason.clone().by(Initiator::Container)));
    tasks.close();
    if tokio::time::timeout(limit, tasks.wait()).await.is_ok() {
        return Shutdown { closed: all, cut: 0, pending: 0 };
    }
    let cut = tasks.len();
    sets().for_each(|set| set.cut());
    // the tasks have nothing left to wait for; one whose handler blocks its thread cannot be stopped
    let _ = tokio::time::timeout(Duration::from_secs(1), tasks.wait()).await;
    Shutdown { closed: all.saturating_sub(cut), cut, pending: 0 }
}

impl<B> Service<Request<B>> for ServerContainer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.respond(request, Transport::default()) {
            Routed::Ours(responding) => responding,
            Routed::Theirs(request) => self.refuse_other(&request, Transport::default()).into(),
        }
    }
}

impl fmt::Debug for ServerContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.endpoints()).finish()
    }
}

/// Result of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Connections that ended with a closing handshake, or by themselves.
    pub closed: usize,
    /// Connections that were aborted at the deadline.
    pub cut: usize,
    /// Connections that were still ending when the call returned; not zero only if a handler called it.
    pub pending: usize,
}
