//! The container: which endpoints are mounted where, and the door that every HTTP server calls with its requests.

mod accept;
mod admission;
#[cfg(feature = "adopted")]
#[cfg_attr(not(any(feature = "axum", feature = "tungstenite")), allow(dead_code))]
mod adopt;
pub(crate) mod configurator;
mod deploy;
mod erased_configurator;
pub(crate) mod layer;
mod options;
pub(crate) mod registration;
mod upgrade;

use std::any::Any;
use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use tokio_util::task::TaskTracker;
use tower_service::Service;

pub use self::accept::ResponseFuture;
#[cfg(feature = "client")]
pub(crate) use self::accept::take_socket;
#[cfg(feature = "adopted")]
pub use self::adopt::{ExternalRequest, ExternalSocket};
pub use self::deploy::EndpointConfig;
use self::deploy::{Deployment, Mounted, Mounting, Table, undeployable};
use crate::config::{COMPRESSION_BUDGET, HANDSHAKE_TIMEOUT, Limits, RECEIVE_BUDGET, SEND_BUDGET};
use crate::container::configurator::Configurator;
use crate::container::registration::{Configured, Registration, ServerEndpoint, prepare_each, prepare_shared};
use crate::endpoint::programmatic::Endpoint;
use crate::error::Error;
use crate::handshake::head::HeadLimits;
use crate::handshake::hosts::Hosts;
use crate::handshake::origins::Origins;
use crate::handshake::path::ContextPath;
use crate::handshake::refusal::{Excerpt, Refusal};
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::handshake::router::{Lookup, TrailingSlash};
use crate::observe::log_rate::HandshakeLog;
use crate::session::state::States;
use crate::session::{OpenSessions, OpenSet, Session};
use endpoint_wire::budget::{Budget, Budgets};
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};

/// When a client that came during a shutdown may try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is mounted, its settings and its open sessions; a `tower` service for every request of an HTTP server.
///
/// A clone is the same container. Requests to the path of an endpoint are taken, or refused with a status that says
/// why; every other path gets 404, so a container is a good `fallback_service`.
///
/// ```no_run
/// # use endpoint_runtime::{ServerContainer, Error};
/// # fn main() -> Result<(), Error> {
/// let container = ServerContainer::builder().discover().context_path("/websocket").build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ServerContainer(Arc<Inner>);

struct Inner {
    ground: Deployment,
    table: RwLock<Arc<Table>>,
    hosts: Hosts,
    origins: Origins,
    head_limits: HeadLimits,
    /// What the connections may own for compression.
    compression_budget: Arc<Budget>,
    /// How long a configurator may wait.
    handshake_timeout: Duration,
    tasks: TaskTracker,
    closing: AtomicBool,
    log: HandshakeLog,
}

/// Whose a request is.
pub(crate) enum Routed<B> {
    /// It was for an endpoint, and is answered.
    Ours(ResponseFuture),
    /// It was not.
    Theirs(Request<B>),
}

impl ServerContainer {
    /// Begins an empty container.
    pub fn builder() -> ContainerBuilder {
        ContainerBuilder::default()
    }

    /// Every mounted endpoint: its full path, its type and where it was annotated.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointInfo<'static>> {
        let table = self.0.table();
        let info = |mounted: &Arc<Mounted>| EndpointInfo {
            path: Cow::Owned(mounted.sessions.path.to_string()),
            name: mounted.about.name,
            file: mounted.about.file,
            line: mounted.about.line,
        };
        table.mounted().map(info).collect::<Vec<_>>().into_iter()
    }

    /// The open sessions of every endpoint together.
    pub fn sessions(&self) -> OpenSessions {
        OpenSessions::of(self.0.table().sets())
    }

    /// Bytes that wait in the outbound queues of all sessions for peers that do not keep up, as the
    /// [`send_budget`](ContainerBuilder::send_budget) counts them. What is about to leave is not among them.
    pub fn queued_bytes(&self) -> usize {
        self.0.ground.budgets.send.used()
    }

    /// Bytes that messages take whose end has not come, in all sessions, as the
    /// [`receive_budget`](ContainerBuilder::receive_budget) counts them.
    pub fn unfinished_bytes(&self) -> usize {
        self.0.ground.budgets.receive.used()
    }

    /// Who is in the room of this name ([`Session::join`]).
    pub fn room(&self, room: impl AsRef<str>) -> OpenSessions {
        self.0.ground.groups.rooms.of(room.as_ref())
    }

    /// The open sessions of the user with this name ([`Principal::name`](crate::Principal::name)).
    pub fn principal(&self, name: impl AsRef<str>) -> OpenSessions {
        self.0.ground.groups.principals.of(name.as_ref())
    }

    /// Ends every session with 1001 and waits for all of them; new handshakes are refused with 503.
    ///
    /// Queued messages are sent first. Messages that were received whole before the shutdown are still handled, in order
    /// and before `on_close`, for as long as the [close timeout](ContainerBuilder::close_timeout) allows; their replies
    /// cannot be sent any more, because the close frame is on its way. What is left then is dropped, and counted in one
    /// line of the log. Every `on_close` runs. After `limit` the remaining connections are given up.
    ///
    /// # Cancel safety
    /// If it is dropped the sessions still end, but nobody gives the slow ones up.
    pub async fn shutdown(&self, limit: Duration) -> Shutdown {
        self.0.closing.store(true, Ordering::SeqCst);
        let reason = CloseReason::truncating(CloseCode::GoingAway, "the server is shutting down");
        let table = self.0.table();
        let shutdown = end_all(|| table.sets(), reason, &self.0.tasks, limit).await;
        self.0.ground.groups.flushers.wait().await;
        shutdown
    }

    /// Answers a request to the path of an endpoint; gives every other back.
    pub(crate) fn respond<B>(&self, request: Request<B>, transport: Transport) -> Routed<B> {
        let table = self.0.table();
        let (mounted, params) = match table.router.find(request.uri().path()) {
            Lookup::Found { value, params } => (value, params),
            Lookup::BadPath if request.headers().contains_key(header::UPGRADE) => {
                return Routed::Ours(self.0.refuse(request.uri(), Refusal::bad_path()).into());
            }
            Lookup::BadPath | Lookup::NotFound => return Routed::Theirs(request),
        };
        let (parts, _) = request.into_parts();
        Routed::Ours(self.0.answer(mounted, params, parts, transport))
    }
}

impl Session {
    /// The container whose endpoint this session is at, the same for all of them; `None` once every clone of it is
    /// gone, or where there is none.
    pub fn container(&self) -> Option<ServerContainer> {
        self.endpoint().container()?.downcast().ok().map(ServerContainer)
    }
}

impl ServerContainer {
    /// The longest time that a message may wait to be sent, at the endpoints that are mounted now.
    pub(crate) fn longest_send_timeout(&self) -> Duration {
        let table = self.0.table();
        let mounted = table.mounted().map(|mounted| mounted.sessions.limits.send_timeout);
        mounted.fold(self.0.ground.limits.send_timeout, Duration::max)
    }

    fn weak(&self) -> Weak<dyn Any + Send + Sync> {
        let weak: Weak<Inner> = Arc::downgrade(&self.0);
        weak
    }
}

/// Whether it is the same container.
impl PartialEq for ServerContainer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ServerContainer {}

impl Inner {
    fn refuse(&self, uri: &Uri, refusal: Refusal) -> Response<Full<Bytes>> {
        self.log_refused(uri, &refusal);
        refusal.into()
    }

    fn log_refused(&self, uri: &Uri, refusal: &Refusal) {
        let status = refusal.status();
        let Some(not_logged) = self.log.of(status.as_u16()).due() else { return };
        let path = &*Excerpt(uri.path()).to_string();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(path, status = status.as_u16(), not_logged, "handshake refused: {}", refusal.reason());
        } else {
            tracing::info!(path, status = status.as_u16(), not_logged, "handshake refused: {}", refusal.reason());
        }
    }
}

/// Ends all sessions of `sets` for a `reason` and waits for their `tasks`; after `limit` those that are left are given up.
pub(crate) async fn end_all<S>(
    sets: impl Fn() -> S,
    reason: CloseReason,
    tasks: &TaskTracker,
    limit: Duration,
) -> Shutdown
where
    S: Iterator<Item = Arc<OpenSet>>,
{
    // before they are told: some are fast
    let all = tasks.len();
    sets().for_each(|set| set.close(reason.clone().by(Initiator::Container)));
    tasks.close();
    if tokio::time::timeout(limit, tasks.wait()).await.is_ok() {
        return Shutdown { closed: all, cut: 0 };
    }
    let cut = tasks.len();
    sets().for_each(|set| set.cut());
    // they have nothing left to wait for; a handler that blocks its thread cannot be helped
    let _ = tokio::time::timeout(Duration::from_secs(1), tasks.wait()).await;
    Shutdown { closed: all.saturating_sub(cut), cut }
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
            Routed::Theirs(request) => self.0.refuse(request.uri(), Refusal::unknown_path()).into(),
        }
    }
}

impl fmt::Debug for ServerContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.endpoints()).finish()
    }
}

/// A mounted endpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointInfo<'a> {
    /// The path or template it is mounted at, below the context path.
    pub path: Cow<'a, str>,
    /// The type, with its module.
    pub name: &'static str,
    /// The source file of its annotation, or of its [`EndpointConfig`].
    pub file: &'static str,
    /// The line of it.
    pub line: u32,
}

/// What a shutdown came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Connections that ended with a closing handshake, or by themselves.
    pub closed: usize,
    /// Connections that were given up at the deadline.
    pub cut: usize,
}

/// Collects what a [`ServerContainer`] is to have; [`build`](ContainerBuilder::build) finds every mistake at once.
#[must_use]
pub struct ContainerBuilder {
    endpoints: Vec<Mounting>,
    only: Box<dyn Fn(&EndpointInfo<'_>) -> bool>,
    context_path: String,
    trailing_slash: TrailingSlash,
    hosts: Result<Hosts, Error>,
    origins: Result<Origins, Error>,
    head_limits: HeadLimits,
    limits: Limits,
    compression_budget: usize,
    receive_budget: usize,
    send_budget: usize,
    handshake_timeout: Duration,
    states: States,
}

impl Default for ContainerBuilder {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            only: Box::new(|_| true),
            context_path: String::new(),
            trailing_slash: TrailingSlash::default(),
            hosts: Ok(Hosts::default()),
            origins: Ok(Origins::same_origin()),
            head_limits: HeadLimits::REQUEST,
            limits: Limits::default(),
            compression_budget: COMPRESSION_BUDGET,
            receive_budget: RECEIVE_BUDGET,
            send_budget: SEND_BUDGET,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            states: States::default(),
        }
    }
}

impl ContainerBuilder {
    /// Mounts every type annotated with `#[server_endpoint]` that is linked into the program.
    ///
    /// Endpoints in a crate that nothing names are not linked: write `use that_crate as _;`, or
    /// [`register`](Self::register) them. What was found is logged when the container is built.
    pub fn discover(mut self) -> Self {
        self.endpoints.extend(inventory::iter::<Registration>().map(Mounting::from));
        self
    }

    /// Mounts `E`. Doing so twice, or beside [`discover`](Self::discover), is harmless.
    pub fn register<E: ServerEndpoint>(mut self) -> Self {
        self.endpoints.push((const { &E::REGISTRATION }).into());
        self
    }

    /// Mounts `E` with a constructor of its own: it is called for each connection with the opening request, before
    /// the handshake is answered, and may refuse it. A panic in it refuses with 500.
    pub fn endpoint_with<E: ServerEndpoint>(
        mut self,
        construct: impl Fn(&HandshakeRequest) -> Result<E, Refusal> + Send + Sync + 'static,
    ) -> Self {
        let prepare = Some(prepare_each(construct));
        self.endpoints.push(Mounting { prepare, ..(const { &E::REGISTRATION }).into() });
        self
    }

    /// Mounts `E`, which is annotated with `instance = shared`, with this one instance for all connections.
    pub fn endpoint_shared<E: ServerEndpoint>(mut self, instance: E) -> Self {
        let prepare = Some(prepare_shared(instance));
        self.endpoints.push(Mounting { prepare, ..(const { &E::REGISTRATION }).into() });
        self
    }

    /// Mounts an endpoint without annotations at `path`, with a constructor that is called for each connection.
    #[track_caller]
    pub fn add_endpoint<E: Endpoint>(
        self,
        path: impl Into<String>,
        construct: impl Fn() -> E + Send + Sync + 'static,
    ) -> Self {
        self.add_endpoint_config(EndpointConfig::new(path, construct))
    }

    /// Mounts an endpoint without annotations, with settings of its own.
    pub fn add_endpoint_config<E: Endpoint>(mut self, config: EndpointConfig<E>) -> Self {
        self.endpoints.push(config.into());
        self
    }

    /// Mounts `E` with a configurator, which goes before one that its annotation names.
    pub fn endpoint_with_configurator<E: ServerEndpoint>(mut self, configurator: impl Configurator<E>) -> Self {
        let configured = Some(Configured::new::<E>(configurator));
        self.endpoints.push(Mounting { configured, ..(const { &E::REGISTRATION }).into() });
        self
    }

    /// Provides a value for handlers that take a [`State<T>`](crate::State), and for
    /// [`Session::state`](crate::Session::state). One value of each type: a later one takes the place of an earlier.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.insert(value);
        self
    }

    /// Mounts only those for which `keep` is true; their paths are without the context path here.
    pub fn only(mut self, keep: impl Fn(&EndpointInfo<'_>) -> bool + 'static) -> Self {
        self.only = Box::new(keep);
        self
    }

    /// Puts every endpoint below this path, as in `/websocket`. Default: none.
    pub fn context_path(mut self, path: impl Into<String>) -> Self {
        self.context_path = path.into();
        self
    }

    /// Whether a slash at the end of a path counts. Default: it does.
    pub fn trailing_slash(mut self, policy: TrailingSlash) -> Self {
        self.trailing_slash = policy;
        self
    }

    /// How long a configurator may take for its
    /// [`modify_handshake`](Configurator::modify_handshake); then the handshake is refused with 503. Default: 30
    /// seconds.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Checks everything and builds the container; logs the table of endpoints.
    ///
    /// # Errors
    /// [`Error::is_deployment`] with every mistake in one text: equal or equivalent paths with both places in the source,
    /// types that cannot be constructed, a `State<T>` that a handler takes and nobody provides, a context path, a host or an origin that is malformed, a compression level or window
    /// out of range. Nothing is mounted then
    /// (Jakarta WSC-5.2.1-3).
    pub fn build(self) -> Result<ServerContainer, Error> {
        let mut mistakes = Vec::new();
        let context = ContextPath::parse(&self.context_path).unwrap_or_else(|error| {
            mistakes.push(error.to_string());
            // whether the endpoints get on with each other does not depend on it
            ContextPath::default()
        });
        let hosts = self.hosts.map_err(|error| mistakes.push(error.to_string())).ok();
        let origins = self.origins.map_err(|error| mistakes.push(error.to_string())).ok();
        let ground = Deployment {
            context_path: self.context_path,
            context,
            trailing_slash: self.trailing_slash,
            limits: self.limits,
            states: Arc::new(self.states),
            groups: Arc::default(),
            budgets: Arc::new(Budgets::new(self.receive_budget, self.send_budget)),
        };
        let mut mounted = Vec::new();
        for mounting in Mounting::together(self.endpoints) {
            if (self.only)(&mounting.info()) {
                mounted.extend(ground.mount(mounting, &mut mistakes).map(Arc::new));
            }
        }
        let router = ground.router(mounted).map_err(|conflicts| mistakes.extend(conflicts)).ok();
        let (Some(router), Some(hosts), Some(origins), true) = (router, hosts, origins, mistakes.is_empty()) else {
            return Err(undeployable(mistakes));
        };
        let table = Table { router: Arc::new(router), by_hand: Vec::new(), others: Vec::new() };
        let container = ServerContainer(Arc::new(Inner {
            ground,
            table: RwLock::new(Arc::new(table)),
            hosts,
            origins,
            head_limits: self.head_limits,
            compression_budget: Arc::new(Budget::new(self.compression_budget)),
            handshake_timeout: self.handshake_timeout,
            tasks: TaskTracker::new(),
            closing: AtomicBool::new(false),
            log: HandshakeLog::default(),
        }));
        for mounted in container.0.table().mounted() {
            mounted.sessions.belongs_to(container.weak());
            crate::container::deploy::log(mounted);
        }
        if container.endpoints().next().is_none() {
            tracing::warn!(
                "no endpoint is mounted: those of a crate that nothing names are not linked; name it, or register them"
            );
        }
        Ok(container)
    }
}

impl fmt::Debug for ContainerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Vec<_> = self.endpoints.iter().map(Mounting::info).collect();
        f.debug_struct("ContainerBuilder").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}
