//! The container: which endpoints are mounted where, and the door that every HTTP server calls with its requests.

use std::any::TypeId;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, Uri, header};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade as auto;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::close::{CloseCode, CloseReason, Initiator};
use crate::config::{COMPRESSION_BUDGET, Compression, Limits, Overflow};
use crate::error::{Error, Kind};
use crate::handshake;
use crate::handshake::origins::Origins;
use crate::handshake::refusal::Refusal;
use crate::path::{ContextPath, PathParams, Template};
use crate::registry::{Opening, Prepared, Registration, ServerEndpoint, Upgraded, prepare};
use crate::request::{HandshakeRequest, Transport};
use crate::router::{Lookup, Router, TrailingSlash};
use crate::session::{OpenSessions, OpenSet};
use crate::state::{States, Wanted};
use crate::wire::deflate::{Budget, Deflation};

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
    router: Router<Mounted>,
    origins: Origins,
    /// What the connections may own for compression.
    compression_budget: Arc<Budget>,
    tasks: TaskTracker,
    closing: AtomicBool,
}

/// An endpoint at its path.
struct Mounted {
    registration: &'static Registration,
    prepare: Prepare,
    sessions: Arc<OpenSet>,
}

/// Whose a request is.
pub(crate) enum Routed<B> {
    /// It was for an endpoint, and is answered.
    Ours(Response<Full<Bytes>>),
    /// It was not.
    Theirs(Request<B>),
}

type Prepare = Arc<dyn Fn(&HandshakeRequest) -> Result<Prepared, Refusal> + Send + Sync>;

impl ServerContainer {
    /// Begins an empty container.
    pub fn builder() -> ContainerBuilder {
        ContainerBuilder::default()
    }

    /// Every mounted endpoint: its full path, its type and where it was annotated.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointInfo<'_>> {
        self.0.router.routes().map(|(_, mounted)| EndpointInfo {
            path: &mounted.sessions.path,
            name: mounted.registration.name,
            file: mounted.registration.file,
            line: mounted.registration.line,
        })
    }

    /// The open sessions of every endpoint together.
    pub fn sessions(&self) -> OpenSessions {
        OpenSessions::of(self.0.router.routes().map(|(_, mounted)| &*mounted.sessions))
    }

    /// Ends every session with 1001 and waits for all of them; new handshakes are refused with 503.
    ///
    /// What is queued is sent first, and every `on_close` runs. After `limit` the remaining connections are given up.
    ///
    /// # Cancel safety
    /// If it is dropped the sessions still end, but nobody gives the slow ones up.
    pub async fn shutdown(&self, limit: Duration) -> Shutdown {
        self.0.closing.store(true, Ordering::SeqCst);
        let reason = CloseReason::truncating(CloseCode::GoingAway, "the server is shutting down");
        for (_, mounted) in self.0.router.routes() {
            mounted.sessions.close(reason.clone().by(Initiator::Container));
        }
        self.0.tasks.close();
        let all = self.0.tasks.len();
        if tokio::time::timeout(limit, self.0.tasks.wait()).await.is_ok() {
            return Shutdown { closed: all, cut: 0 };
        }
        let cut = self.0.tasks.len();
        for (_, mounted) in self.0.router.routes() {
            mounted.sessions.cut();
        }
        // they have nothing left to wait for; a handler that blocks its thread cannot be helped
        let _ = tokio::time::timeout(Duration::from_secs(1), self.0.tasks.wait()).await;
        Shutdown { closed: all.saturating_sub(cut), cut }
    }

    /// Answers a request to the path of an endpoint; gives every other back.
    pub(crate) fn respond<B>(&self, request: Request<B>, transport: Transport) -> Routed<B> {
        let (mounted, params) = match self.0.router.find(request.uri().path()) {
            Lookup::Found { value, params } => (value, params),
            Lookup::BadPath if request.headers().contains_key(header::UPGRADE) => {
                return Routed::Ours(refuse(request.uri(), Refusal::bad_path()));
            }
            Lookup::BadPath | Lookup::NotFound => return Routed::Theirs(request),
        };
        let (mut parts, _) = request.into_parts();
        let opened = self.open(mounted, params, &mut parts, transport);
        Routed::Ours(opened.unwrap_or_else(|refusal| refuse(&parts.uri, refusal)))
    }

    /// Takes an opening handshake, or refuses it; the connection then runs in a task of its own.
    fn open(
        &self,
        mounted: &Mounted,
        params: PathParams,
        parts: &mut Parts,
        transport: Transport,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let Mounted { registration, prepare, sessions } = mounted;
        let limits = &sessions.limits;
        let subprotocols = registration.options.subprotocols;
        let mut accepted = handshake::accept(parts, &self.0.origins, subprotocols, &limits.compression)?;
        // taken before the question, so that a shutdown either is seen here or waits for this
        let token = self.0.tasks.token();
        if self.0.closing.load(Ordering::SeqCst) {
            return Err(Refusal::shutting_down(RETRY_AFTER));
        }
        registration.check_path(&params).map_err(|error| Refusal::bad_path_parameter(&error))?;
        let request = HandshakeRequest::new(parts, params, transport);
        registration.check_query(&request).map_err(|error| Refusal::bad_query_parameter(&error))?;
        let prepared = prepare(&request)?;
        let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or_else(Refusal::not_upgradable)?;
        let budget = &self.0.compression_budget;
        let deflation =
            accepted.extension().and_then(|it| Deflation::new(it, &limits.compression, budget)).map(Box::new);
        if deflation.is_none() {
            accepted.decline_extension();
        }

        let path = sessions.clone();
        let upgrade = Box::pin(async move {
            match upgrade.await {
                Ok(upgraded) => Some(take_socket(upgraded)),
                Err(error) => {
                    tracing::debug!(%error, path = &*path.path, "the upgrade was not completed");
                    None
                }
            }
        });
        let (subprotocol, sessions) = (accepted.subprotocol(), sessions.clone());
        prepared(Opening { upgrade, request, subprotocol, deflation, sessions, token });
        Ok(accepted.response())
    }
}

fn refuse(uri: &Uri, refusal: Refusal) -> Response<Full<Bytes>> {
    tracing::info!(path = uri.path(), status = refusal.status().as_u16(), "handshake refused: {}", refusal.reason());
    refusal.into()
}

/// Takes the plain TCP socket out from under hyper, if that is what it is; with the octets that came early.
fn take_socket(upgraded: hyper::upgrade::Upgraded) -> (Upgraded, Bytes) {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return (Upgraded::Tcp(parts.io.into_inner()), parts.read_buf),
        Err(upgraded) => upgraded,
    };
    match auto::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => (Upgraded::Tcp(parts.io.into_inner()), parts.read_buf),
        // it hands out the early octets by itself
        Err(upgraded) => (Upgraded::Other(Box::new(TokioIo::new(upgraded))), Bytes::new()),
    }
}

impl<B> Service<Request<B>> for ServerContainer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(match self.respond(request, Transport::default()) {
            Routed::Ours(response) => response,
            Routed::Theirs(request) => refuse(request.uri(), Refusal::unknown_path()),
        }))
    }
}

impl fmt::Debug for ServerContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.endpoints()).finish()
    }
}

/// A mounted endpoint.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EndpointInfo<'a> {
    /// The path or template it is mounted at, below the context path.
    pub path: &'a str,
    /// The type, with its module.
    pub name: &'static str,
    /// The source file of its annotation.
    pub file: &'static str,
    /// The line of its annotation.
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
    endpoints: Vec<(&'static Registration, Option<Prepare>)>,
    only: Box<dyn Fn(&EndpointInfo<'_>) -> bool>,
    context_path: String,
    trailing_slash: TrailingSlash,
    origins: Result<Origins, Error>,
    limits: Limits,
    compression_budget: usize,
    states: States,
}

impl Default for ContainerBuilder {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            only: Box::new(|_| true),
            context_path: String::new(),
            trailing_slash: TrailingSlash::default(),
            origins: Ok(Origins::same_origin()),
            limits: Limits::default(),
            compression_budget: COMPRESSION_BUDGET,
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
        self.endpoints.extend(inventory::iter::<Registration>().map(|registration| (registration, None)));
        self
    }

    /// Mounts `E`. Doing so twice, or beside [`discover`](Self::discover), is harmless.
    pub fn register<E: ServerEndpoint>(mut self) -> Self {
        self.endpoints.push((const { &E::REGISTRATION }, None));
        self
    }

    /// Mounts `E` with a constructor of its own: it is called for each connection with the opening request, before
    /// the handshake is answered, and may refuse it. A panic in it refuses with 500.
    pub fn endpoint_with<E: ServerEndpoint>(
        mut self,
        construct: impl Fn(&HandshakeRequest) -> Result<E, Refusal> + Send + Sync + 'static,
    ) -> Self {
        let make: Prepare = Arc::new(move |request| prepare(|| construct(request)));
        self.endpoints.push((const { &E::REGISTRATION }, Some(make)));
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

    /// Admits pages of these origins, as in `https://example.org` or `https://*.example.org`, and no others.
    ///
    /// By default a browser is admitted from the very origin it connects to, which guards against cross-site
    /// WebSocket hijacking; clients that are no browsers send no origin and are always admitted.
    pub fn allowed_origins<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, origins: I) -> Self {
        self.origins = Origins::list(origins);
        self
    }

    /// Decides about origins as `origins` does; [`Origins::any`] admits every page.
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = Ok(origins);
        self
    }

    /// The most bytes of a whole message, unless the endpoint says otherwise. Default: 1 MiB.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.limits.max_message_size = bytes;
        self
    }

    /// Ends a session after this long of silence, as [`Session::set_idle_timeout`](crate::Session::set_idle_timeout) has
    /// it; `None` never. Default: one minute, which a living peer never reaches, since it answers the pings.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.limits.idle_timeout = timeout;
        self
    }

    /// Pings a peer that was silent this long; `None` never. Default: 30 seconds.
    pub fn ping_interval(mut self, interval: Option<Duration>) -> Self {
        self.limits.ping_interval = interval;
        self
    }

    /// How long a message may wait to be sent, and how long a peer may read nothing at all before its session ends.
    /// Default: 30 seconds.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.limits.send_timeout = timeout;
        self
    }

    /// How long the closing handshake may take, and how long a handler may go on after its session has ended.
    /// Default: 5 seconds.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.limits.close_timeout = timeout;
        self
    }

    /// How many messages, and bytes, may wait in one session's outbound queue. Default: 65,536 and 16 MiB.
    pub fn send_queue(mut self, messages: usize, bytes: usize) -> Self {
        (self.limits.send_queue_messages, self.limits.send_queue_bytes) = (messages, bytes);
        self
    }

    /// What is done with a message for which that queue has no room. Default: [`Overflow::Wait`] by the basic remote,
    /// [`Overflow::Error`] by the async one and broadcasts.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.limits.overflow = Some(overflow);
        self
    }

    /// Whether and how messages are compressed (permessage-deflate, RFC 7692), unless the endpoint says otherwise.
    /// Default: [`Compression::OFF`].
    pub fn compression(mut self, compression: Compression) -> Self {
        self.limits.compression = compression;
        self
    }

    /// How many bytes all sessions together may own for compression. Default: 256 MiB.
    ///
    /// A session whose contexts are not taken over owns nothing while no message is under way; a compressed message
    /// whose rest is waited for takes 48 KB. A session with
    /// [`context_takeover`](Compression::context_takeover) is counted from its beginning with what it will come to:
    /// about 380 KB for what it sends and 48 KB for what it receives. Beyond the budget, clients are answered without
    /// the extension, so their sessions open and are not compressed.
    pub fn compression_budget(mut self, bytes: usize) -> Self {
        self.compression_budget = bytes;
        self
    }

    /// Checks everything and builds the container; logs the table of endpoints.
    ///
    /// # Errors
    /// [`Error::is_deploy`] with every mistake in one text: equal or equivalent paths with both places in the source,
    /// types that cannot be constructed, a `State<T>` that a handler takes and nobody provides, a context path or an origin that is malformed, a compression level or window
    /// out of range. Nothing is mounted then
    /// (Jakarta WSC-5.2.1-3).
    pub fn build(self) -> Result<ServerContainer, Error> {
        let mut mistakes = Vec::new();
        let context = ContextPath::parse(&self.context_path).unwrap_or_else(|error| {
            mistakes.push(error.to_string());
            // whether the endpoints get on with each other does not depend on it
            ContextPath::default()
        });
        let origins = self.origins.map_err(|error| mistakes.push(error.to_string())).ok();
        let states = Arc::new(self.states);
        let mut seen: Vec<TypeId> = Vec::new();
        let mut routes = Vec::new();
        // a constructor of one's own goes before the default one, wherever it was given
        let (own, default): (Vec<_>, Vec<_>) = self.endpoints.into_iter().partition(|(_, prepare)| prepare.is_some());
        for (registration, prepare) in own.into_iter().chain(default) {
            let Registration { path, name, file, line, .. } = *registration;
            let id = (registration.type_id)();
            if seen.contains(&id) || !(self.only)(&EndpointInfo { path, name, file, line }) {
                continue;
            }
            seen.push(id);
            let prepare = prepare.or_else(|| registration.prepare.map(|prepare| Arc::new(prepare) as Prepare));
            match (Template::parse(path), prepare) {
                (Ok(template), Some(prepare)) => {
                    let full = format!("{}{path}", self.context_path.trim_end_matches('/'));
                    let limits = self.limits.with(&registration.options);
                    if let Some(mistake) = limits.compression.mistake() {
                        mistakes.push(format!("{name} ({file}:{line}): {mistake}"));
                    }
                    mistakes.extend(registration.missing(&states).map(|Wanted { type_name, method, .. }| {
                        let ty = type_name();
                        format!("{name} ({file}:{line}): `{method}` takes State<{ty}>, provide it with .state(…)")
                    }));
                    let sessions = Arc::new(OpenSet::new(full, name, limits).with(states.clone()));
                    routes.push((template, Mounted { registration, prepare, sessions }));
                }
                (Err(error), _) => mistakes.push(format!("{name} ({file}:{line}): {error}")),
                (_, None) => mistakes.push(format!(
                    "{name} ({file}:{line}) has no Default: write #[derive(Default)], or mount it with endpoint_with"
                )),
            }
        }
        let router = match Router::new(&context, self.trailing_slash, routes) {
            Ok(router) => Some(router),
            Err(conflicts) => {
                mistakes.extend(conflicts.pairs().map(|[(_, a), (_, b)]| {
                    let place = |m: &Mounted| format!("{:?}", m.registration);
                    format!("two endpoints have the same path, or equivalent templates: {} and {}", place(a), place(b))
                }));
                None
            }
        };
        let (Some(router), Some(origins), true) = (router, origins, mistakes.is_empty()) else {
            return Err(Error::new(Kind::Deploy, format!("the endpoints cannot be deployed: {}", mistakes.join("; "))));
        };
        let container = ServerContainer(Arc::new(Inner {
            router,
            origins,
            compression_budget: Arc::new(Budget::new(self.compression_budget)),
            tasks: TaskTracker::new(),
            closing: AtomicBool::new(false),
        }));
        for EndpointInfo { path, name, file, line } in container.endpoints() {
            tracing::info!(path, endpoint = name, "mounted, annotated at {file}:{line}");
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
        let endpoints: Vec<_> = self.endpoints.iter().map(|(registration, _)| registration).collect();
        f.debug_struct("ContainerBuilder").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}
