//! The container: the table of mounted endpoints, and the entry point that every HTTP server calls with its requests.

mod accept;
mod admission;
#[cfg(feature = "adopted")]
#[cfg_attr(not(any(feature = "axum", feature = "tungstenite")), allow(dead_code))]
mod adopt;
pub(crate) mod configurator;
mod deploy;
mod erased_configurator;
pub(crate) mod layer;
pub(crate) mod options;
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
use crate::container::configurator::Configurator;
use crate::container::options::{RequestSettings, SessionSettings, request_setters, session_setters};
use crate::container::registration::{Configured, Registration, ServerEndpoint, prepare_each, prepare_shared};
use crate::endpoint::programmatic::Endpoint;
use crate::error::Error;
use crate::handshake::head::HeadLimits;
use crate::handshake::hosts::Hosts;
use crate::handshake::origins::Origins;
use crate::handshake::path::ContextPath;
use crate::handshake::refusal::{Excerpt, Refusal};
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::handshake::router::Lookup;
use crate::observe::log_rate::HandshakeLog;
use crate::session::{OpenSessions, OpenSet, Session};
use endpoint_wire::budget::{Budget, Budgets};
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};

/// `Retry-After` of a 503: the handshake came during a shutdown, or its configurator timed out.
const RETRY_AFTER: Duration = Duration::from_secs(5);

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
pub struct ServerContainer(Arc<Inner>);

struct Inner {
    ground: Deployment,
    table: RwLock<Arc<Table>>,
    hosts: Hosts,
    origins: Origins,
    head_limits: HeadLimits,
    /// Memory that the connections may hold for compression.
    compression_budget: Arc<Budget>,
    /// Maximum time that a configurator may wait.
    handshake_timeout: Duration,
    tasks: TaskTracker,
    closing: AtomicBool,
    log: HandshakeLog,
}

/// Outcome of routing a request.
pub(crate) enum Routed<B> {
    /// The request was for an endpoint, and this is the response.
    Ours(ResponseFuture),
    /// The request was for no endpoint, and is given back.
    Theirs(Request<B>),
}

impl ServerContainer {
    /// Starts building an empty container.
    pub fn builder() -> ContainerBuilder {
        ContainerBuilder::default()
    }

    /// Every mounted endpoint: its full path, its type and the source location of its annotation.
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

    /// The open sessions of all endpoints together.
    pub fn sessions(&self) -> OpenSessions {
        OpenSessions::of(self.0.table().sets())
    }

    /// Bytes in the send queues of all sessions that wait for slow peers, as counted by the
    /// [`send_budget`](ContainerBuilder::send_budget). Bytes about to be written do not count.
    pub fn queued_bytes(&self) -> usize {
        self.0.ground.budgets.send.used()
    }

    /// Bytes of incomplete messages in all sessions, as counted by the
    /// [`receive_budget`](ContainerBuilder::receive_budget).
    pub fn unfinished_bytes(&self) -> usize {
        self.0.ground.budgets.receive.used()
    }

    /// The open sessions in the room of this name ([`Session::join`]).
    pub fn room(&self, room: impl AsRef<str>) -> OpenSessions {
        self.0.ground.groups.rooms.of(room.as_ref())
    }

    /// The open sessions of the user with this name ([`Principal::name`](crate::Principal::name)).
    pub fn principal(&self, name: impl AsRef<str>) -> OpenSessions {
        self.0.ground.groups.principals.of(name.as_ref())
    }

    /// Ends every session with 1001 and waits for all of them; new handshakes are refused with 503.
    ///
    /// Queued messages are sent first. Messages received whole before the shutdown are still handled, in order and
    /// before `on_close`, within the [close timeout](ContainerBuilder::close_timeout); their replies cannot be sent any
    /// more, because the close frame is already on its way. Messages left after that are dropped, and counted in one
    /// line of the log. Every `on_close` runs. After `limit` the remaining connections are aborted.
    ///
    /// # Cancel safety
    /// If the future is dropped, the sessions still end, but slow ones are not aborted.
    pub async fn shutdown(&self, limit: Duration) -> Shutdown {
        self.0.closing.store(true, Ordering::SeqCst);
        let reason = CloseReason::truncating(CloseCode::GoingAway, "the server is shutting down");
        let table = self.0.table();
        let shutdown = end_all(|| table.sets(), reason, &self.0.tasks, limit).await;
        self.0.ground.groups.flushers.wait().await;
        shutdown
    }

    /// Answers a request to the path of an endpoint; gives every other request back.
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
    /// The container that this session belongs to; `None` once every clone of the container is dropped, or if the
    /// session has no container.
    pub fn container(&self) -> Option<ServerContainer> {
        self.endpoint().container()?.downcast().ok().map(ServerContainer)
    }
}

impl ServerContainer {
    /// The longest send timeout of the container and of the endpoints mounted now.
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

/// Two values are equal if they are clones of the same container.
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
        return Shutdown { closed: all, cut: 0 };
    }
    let cut = tasks.len();
    sets().for_each(|set| set.cut());
    // the tasks have nothing left to wait for; one whose handler blocks its thread cannot be stopped
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
    /// The path or template of the endpoint, below the context path.
    pub path: Cow<'a, str>,
    /// The type, with its module.
    pub name: &'static str,
    /// The source file of the annotation, or of the [`EndpointConfig`].
    pub file: &'static str,
    /// The line in `file`.
    pub line: u32,
}

/// Result of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Connections that ended with a closing handshake, or by themselves.
    pub closed: usize,
    /// Connections that were aborted at the deadline.
    pub cut: usize,
}

/// Builder of a [`ServerContainer`]; [`build`](ContainerBuilder::build) reports all configuration errors together.
#[must_use]
pub struct ContainerBuilder {
    endpoints: Vec<Mounting>,
    only: Box<dyn Fn(&EndpointInfo<'_>) -> bool>,
    sessions: SessionSettings,
    requests: RequestSettings,
}

session_setters!(ContainerBuilder);
request_setters!(ContainerBuilder);

impl Default for ContainerBuilder {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            only: Box::new(|_| true),
            sessions: SessionSettings::default(),
            requests: RequestSettings::default(),
        }
    }
}

impl ContainerBuilder {
    pub(crate) fn session_settings(&mut self) -> &mut SessionSettings {
        &mut self.sessions
    }

    pub(crate) fn request_settings(&mut self) -> &mut RequestSettings {
        &mut self.requests
    }

    /// Mounts every type annotated with `#[server_endpoint]` that is linked into the program.
    ///
    /// Endpoints in a crate that no code references are not linked: write `use that_crate as _;`, or
    /// [`register`](Self::register) them. `build` logs the endpoints found.
    pub fn discover(mut self) -> Self {
        self.endpoints.extend(inventory::iter::<Registration>().map(Mounting::from));
        self
    }

    /// Mounts `E`. Mounting it twice, or in addition to [`discover`](Self::discover), is harmless.
    pub fn register<E: ServerEndpoint>(mut self) -> Self {
        self.endpoints.push((const { &E::REGISTRATION }).into());
        self
    }

    /// Mounts `E` with a custom constructor, which is called for each connection with the opening request, before the
    /// handshake is answered, and may refuse the handshake. A panic in the constructor refuses with 500.
    pub fn endpoint_with<E: ServerEndpoint>(
        mut self,
        construct: impl Fn(&HandshakeRequest) -> Result<E, Refusal> + Send + Sync + 'static,
    ) -> Self {
        let prepare = Some(prepare_each(construct));
        self.endpoints.push(Mounting { prepare, ..(const { &E::REGISTRATION }).into() });
        self
    }

    /// Mounts `E`, annotated with `instance = shared`, with one instance for all connections.
    pub fn endpoint_shared<E: ServerEndpoint>(mut self, instance: E) -> Self {
        let prepare = Some(prepare_shared(instance));
        self.endpoints.push(Mounting { prepare, ..(const { &E::REGISTRATION }).into() });
        self
    }

    /// Mounts an endpoint without annotations at `path`; `construct` is called for each connection.
    #[track_caller]
    pub fn add_endpoint<E: Endpoint>(
        self,
        path: impl Into<String>,
        construct: impl Fn() -> E + Send + Sync + 'static,
    ) -> Self {
        self.add_endpoint_config(EndpointConfig::new(path, construct))
    }

    /// Mounts an endpoint without annotations, with its own settings.
    pub fn add_endpoint_config<E: Endpoint>(mut self, config: EndpointConfig<E>) -> Self {
        self.endpoints.push(config.into());
        self
    }

    /// Mounts `E` with a configurator, which overrides the one that the annotation names.
    pub fn endpoint_with_configurator<E: ServerEndpoint>(mut self, configurator: impl Configurator<E>) -> Self {
        let configured = Some(Configured::new::<E>(configurator));
        self.endpoints.push(Mounting { configured, ..(const { &E::REGISTRATION }).into() });
        self
    }

    /// Mounts only the endpoints for which `keep` returns true; `keep` sees their paths without the context path.
    pub fn only(mut self, keep: impl Fn(&EndpointInfo<'_>) -> bool + 'static) -> Self {
        self.only = Box::new(keep);
        self
    }

    /// Checks the configuration and builds the container; logs the table of endpoints.
    ///
    /// # Errors
    /// [`Error::is_deployment`] with all mistakes in one text: equal or equivalent paths with both source locations,
    /// types that cannot be constructed, a `State<T>` that a handler takes and that is not provided, a malformed
    /// context path, host or origin, a compression level or window out of range. Nothing is mounted in this case
    /// (Jakarta WSC-5.2.1-3).
    pub fn build(self) -> Result<ServerContainer, Error> {
        let Self { endpoints, only, sessions, requests } = self;
        let mut mistakes = Vec::new();
        let context = ContextPath::parse(&requests.context_path).unwrap_or_else(|error| {
            mistakes.push(error.to_string());
            // conflicts between the endpoints do not depend on the context path
            ContextPath::default()
        });
        let hosts = requests.hosts.map_err(|error| mistakes.push(error.to_string())).ok();
        let origins = requests.origins.map_err(|error| mistakes.push(error.to_string())).ok();
        let ground = Deployment {
            context_path: requests.context_path,
            context,
            trailing_slash: requests.trailing_slash,
            limits: sessions.limits,
            states: Arc::new(sessions.states),
            groups: Arc::default(),
            budgets: Arc::new(Budgets::new(sessions.receive_budget, sessions.send_budget)),
        };
        let mut mounted = Vec::new();
        for mounting in Mounting::together(endpoints) {
            if only(&mounting.info()) {
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
            head_limits: requests.head_limits,
            compression_budget: Arc::new(Budget::new(sessions.compression_budget)),
            handshake_timeout: requests.handshake_timeout,
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
                "no endpoint is mounted: the linker drops a crate that nothing refers to; refer to it, or register its \
                 endpoints"
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
