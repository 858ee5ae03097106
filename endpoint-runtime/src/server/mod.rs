//! The built-in HTTP server: a listener, HTTP/1.1, and a container behind it.

mod when_woken;

use std::fmt;
use std::future::{Future, pending};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use self::when_woken::when_woken;
use crate::config::REQUEST_HEAD_TIMEOUT;
use crate::container::configurator::Configurator;
use crate::container::options::{RequestSettings, SessionSettings, request_setters, session_setters};
use crate::container::registration::ServerEndpoint;
use crate::container::{ContainerBuilder, EndpointConfig, EndpointInfo, Routed, ServerContainer, Shutdown};
use crate::endpoint::programmatic::Endpoint;
use crate::error::{BoxError, Error};
use crate::handshake::head::{HYPER_BUFFER, HeadLimits};
use crate::handshake::refusal::Refusal;
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::observe::log_rate::LogRate;
use crate::transport::keepalive::Keepalive;
#[cfg(feature = "tls")]
use crate::transport::tls::TlsConfig;

/// A [`ServerContainer`] with a listener.
///
/// ```no_run
/// # use endpoint_runtime::{Error, Server};
/// # #[tokio::main] async fn main() -> Result<(), Error> {
/// Server::builder().context_path("/websocket").bind("127.0.0.1:8080").await?.run().await
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    container: ServerContainer,
    listener: TcpListener,
    fallback: Option<Fallback>,
    shutdown_timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
}

/// hyper's default limit of headers, up to which it does not allocate for them.
const HYPER_HEADERS: usize = 100;

type ResponseBody = UnsyncBoxBody<Bytes, Error>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Error>> + Send>>;

/// The service for requests to paths without an endpoint.
#[derive(Clone)]
struct Fallback(Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>);

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fallback")
    }
}

/// Maximum average time between two accepted connections, however long other tasks run in between.
const ACCEPT_INTERVAL: Duration = Duration::from_micros(200);

/// Maximum number of additional connections accepted without a yield.
const ACCEPT_MORE: u128 = 15;

impl Server {
    /// Starts building a server with every annotated endpoint of the program ([`ContainerBuilder::discover`]).
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new(ServerContainer::builder().discover())
    }

    /// Starts building a server with the endpoints and settings of `container`.
    pub fn with(container: ContainerBuilder) -> ServerBuilder {
        ServerBuilder::new(container)
    }

    /// The address of the listener; after a bind to port 0, with the assigned port.
    ///
    /// # Errors
    /// [`Error::is_io`].
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(self.listener.local_addr()?)
    }

    /// The container of this server, which gives access to the sessions from anywhere.
    pub fn container(&self) -> &ServerContainer {
        &self.container
    }

    /// Serves forever.
    ///
    /// # Errors
    /// A connection that cannot be accepted is logged; this is not an error.
    ///
    /// # Cancel safety
    /// If the future is dropped, the listener closes; open sessions continue until they end or
    /// [`ServerContainer::shutdown`] ends them.
    pub async fn run(self) -> Result<(), Error> {
        self.run_until(pending()).await.map(drop)
    }

    /// Serves until `signal` resolves, then shuts down: no further connections are accepted, HTTP requests finish,
    /// every session is closed with 1001. Connections left after the shutdown timeout are aborted.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_until(self, signal: impl Future<Output = ()>) -> Result<Shutdown, Error> {
        let Self { container, listener, fallback, shutdown_timeout, .. } = self;
        let bound = listener.local_addr().ok();
        let http = Http {
            local_addr: bound.filter(|addr| !addr.ip().is_unspecified()),
            is_local: bound.is_some_and(|addr| addr.ip().to_canonical().is_loopback()),
            container: container.clone(),
            fallback,
            #[cfg(feature = "tls")]
            tls: self.tls,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        let accept = async {
            let failures = LogRate::<1>::default();
            let mut more = 0;
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        http.serve(stream, peer);
                        if more > 0 {
                            more -= 1;
                            continue;
                        }
                        // open connections run before a burst of new ones; if they take long, several of the burst are
                        // accepted in the next round
                        let started = Instant::now();
                        yield_now().await;
                        more = (started.elapsed().as_micros() / ACCEPT_INTERVAL.as_micros()).min(ACCEPT_MORE);
                    }
                    // the client closed the connection before it was accepted
                    Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {
                    }
                    Err(error) => {
                        // most likely out of file descriptors: wait until some are closed
                        if let Some(not_logged) = failures.due() {
                            tracing::warn!(%error, not_logged, "cannot accept a connection");
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = signal => {}
        }
        drop(listener);
        http.stop.cancel();
        http.tasks.close();
        let (shutdown, ()) = tokio::join!(container.shutdown(shutdown_timeout), http.shutdown(shutdown_timeout));
        tracing::info!(shutdown.closed, shutdown.cut, "the server has shut down");
        Ok(shutdown)
    }
}

/// Serves the HTTP connections of a server until they end or are upgraded.
struct Http {
    /// The local address of each connection; `None` if the server listens on every address of the machine.
    local_addr: Option<SocketAddr>,
    /// Whether the listener is reachable only from this machine.
    is_local: bool,
    container: ServerContainer,
    fallback: Option<Fallback>,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
    tasks: TaskTracker,
    /// Graceful stop: let in-flight requests finish.
    stop: CancellationToken,
    /// Abort: drop the remaining connections.
    cut: CancellationToken,
}

impl Http {
    /// Waits at most `limit` for the connections to end, then drops the remaining ones.
    async fn shutdown(&self, limit: Duration) {
        if timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "HTTP connections were aborted at the shutdown deadline");
            self.cut.cancel();
            // as for sessions: a service that blocks its thread cannot be stopped
            let _ = timeout(Duration::from_secs(1), self.tasks.wait()).await;
        }
    }

    /// Serves one connection in its own task.
    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // a response is one write: Nagle's algorithm would only delay it
        if let Err(error) = stream.set_nodelay(true) {
            return tracing::debug!(%error, %peer, "the connection was closed before it was served");
        }
        let local_addr = self.local_addr.or_else(|| stream.local_addr().ok());
        let is_local = self.is_local;
        let transport = move |is_secure| Transport { peer_addr: Some(peer), local_addr, is_secure, is_local };
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.clone() {
            let connection = self.connection(transport(true));
            self.tasks.spawn(async move {
                // in the connection's own task: a slow handshake delays no other connection
                let accepted = tokio::select! {
                    accepted = tls.accept(stream) => accepted,
                    () = when_woken(connection.stop.cancelled()) => return,
                };
                match accepted {
                    Ok(stream) => connection.serve(TokioIo::new(stream)).await,
                    Err(error) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
                }
            });
            return;
        }
        self.tasks.spawn(self.connection(transport(false)).serve(TokioIo::new(stream)));
    }

    fn connection(&self, transport: Transport) -> HttpConnection {
        HttpConnection {
            container: self.container.clone(),
            fallback: self.fallback.clone(),
            transport,
            stop: self.stop.clone(),
            cut: self.cut.clone(),
        }
    }
}

/// One HTTP connection of a server.
struct HttpConnection {
    container: ServerContainer,
    fallback: Option<Fallback>,
    transport: Transport,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl HttpConnection {
    /// Serves the connection until it ends or is upgraded.
    async fn serve(self, io: impl Read + Write + Unpin + Send + 'static) {
        let Self { container, fallback, transport, stop, cut } = self;
        let limits = container.head_limits();
        let service = service_fn(move |request| {
            let (container, fallback) = (container.clone(), fallback.clone());
            async move {
                match (container.respond(request, transport), fallback) {
                    (Routed::Ours(responding), _) => match responding.await {
                        Ok(response) => Ok(response.map(boxed)),
                        Err(never) => match never {},
                    },
                    (Routed::Theirs(request), Some(Fallback(fallback))) => {
                        match container.refuse_page(&request, transport) {
                            None => fallback(request).await,
                            Some(refused) => Ok(refused.map(boxed)),
                        }
                    }
                    (Routed::Theirs(_), None) => Ok(Response::<Full<Bytes>>::from(Refusal::unknown_path()).map(boxed)),
                }
            }
        });
        let connection = http_of(&limits).serve_connection(io, service).with_upgrades();
        // boxed, so that the task, which is moved when it starts and when it ends, stays small
        let mut connection = Box::pin(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            // `when_woken`: every poll of a token takes locks that all connections of the server share
            () = when_woken(stop.cancelled()) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = connection => served,
                    () = when_woken(cut.cancelled()) => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, peer = ?transport.peer_addr, "an HTTP connection failed");
        }
    }
}

/// HTTP/1.1 with our limits for a request head.
fn http_of(limits: &HeadLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_HEAD_TIMEOUT);
    http.max_header_size(limits.most_bytes());
    // never below hyper's defaults: fewer headers save nothing, and a smaller buffer slows large bodies down
    if limits.most_headers() > HYPER_HEADERS {
        http.max_headers(limits.most_headers());
    }
    if limits.most_bytes() > HYPER_BUFFER {
        http.max_buf_size(limits.most_bytes());
    }
    http
}

fn boxed(body: Full<Bytes>) -> ResponseBody {
    body.map_err(|never| match never {}).boxed_unsync()
}

/// Builder of a [`Server`]: the settings of its container, and the service for all other requests.
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder {
    container: ContainerBuilder,
    fallback: Option<Fallback>,
    shutdown_timeout: Duration,
    keepalive: Keepalive,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
}

impl ServerBuilder {
    fn new(container: ContainerBuilder) -> Self {
        Self {
            container,
            fallback: None,
            shutdown_timeout: Duration::from_secs(10),
            keepalive: Keepalive::default(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sets the service for requests to paths without an endpoint: pages, an API, an `axum::Router`. Without a fallback
    /// they get 404. Requests pass the same checks as for an endpoint: [`max_request_head`](Self::max_request_head),
    /// [`max_request_headers`](Self::max_request_headers), [`allowed_hosts`](Self::allowed_hosts).
    ///
    /// Each request gets a clone of the service. If the service fails, the connection is closed.
    pub fn fallback<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.fallback = Some(Fallback(Arc::new(move |request| {
            let mut service = service.clone();
            Box::pin(async move {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Error::user)?;
                let response = service.call(request).await.map_err(Error::user)?;
                Ok(response.map(|body| body.map_err(Error::user).boxed_unsync()))
            })
        })));
        self
    }

    /// Accepts only TLS: endpoints are at `wss://`, pages at `https://` (cargo feature `tls`). Keep a clone of `config`
    /// to [`reload`](TlsConfig::reload) its certificate.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: TlsConfig) -> Self {
        self.tls = Some(config);
        self
    }

    /// Maximum time of a graceful shutdown; then the remaining connections are aborted. Default: 10 seconds.
    pub fn shutdown_timeout(mut self, limit: Duration) -> Self {
        self.shutdown_timeout = limit;
        self
    }

    /// Time without any sign of life from the peer's machine after which TCP drops the connection, whatever the
    /// sessions do. `None` uses the system's limits: on Linux two hours, or 15 minutes if data is in flight. Default:
    /// two minutes.
    ///
    /// A silent peer is probed after half of `limit`, then after each further eighth (`SO_KEEPALIVE`). On Linux the
    /// same limit applies to unacknowledged data (`TCP_USER_TIMEOUT`), but at least two minutes and four send timeouts,
    /// because there it also ends a connection whose peer is alive but reads nothing at all for that long; above 15
    /// minutes the system's own limit stays. The send timeout is the longest of the endpoints mounted now: if sessions
    /// get a longer one later, set a longer `limit`.
    ///
    /// The options are set on the listener, and connections inherit them, so they cost no system call per connection.
    pub fn tcp_keepalive(mut self, limit: Option<Duration>) -> Self {
        self.keepalive = Keepalive::new(limit);
        self
    }

    /// Checks the endpoints, then binds the port.
    ///
    /// # Errors
    /// [`Error::is_deployment`] before the port is bound, see [`ContainerBuilder::build`]; [`Error::is_io`] if the port
    /// is taken.
    pub async fn bind(self, addr: impl ToSocketAddrs) -> Result<Server, Error> {
        let container = self.container.build()?;
        let listener = TcpListener::bind(addr).await?;
        self.keepalive.apply(&listener, container.longest_send_timeout());
        Ok(Server {
            container,
            listener,
            fallback: self.fallback,
            shutdown_timeout: self.shutdown_timeout,
            #[cfg(feature = "tls")]
            tls: self.tls,
        })
    }
}

session_setters!(ServerBuilder);
request_setters!(ServerBuilder);

/// What the container mounts, under the same names.
impl ServerBuilder {
    fn session_settings(&mut self) -> &mut SessionSettings {
        self.container.session_settings()
    }

    fn request_settings(&mut self) -> &mut RequestSettings {
        self.container.request_settings()
    }

    fn map(mut self, set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        self.container = set(self.container);
        self
    }

    /// See [`ContainerBuilder::register`].
    pub fn register<E: ServerEndpoint>(self) -> Self {
        self.map(ContainerBuilder::register::<E>)
    }

    /// See [`ContainerBuilder::endpoint_with`].
    pub fn endpoint_with<E: ServerEndpoint>(
        self,
        construct: impl Fn(&HandshakeRequest) -> Result<E, Refusal> + Send + Sync + 'static,
    ) -> Self {
        self.map(|container| container.endpoint_with(construct))
    }

    /// See [`ContainerBuilder::add_endpoint`].
    #[track_caller]
    pub fn add_endpoint<E: Endpoint>(
        self,
        path: impl Into<String>,
        construct: impl Fn() -> E + Send + Sync + 'static,
    ) -> Self {
        self.add_endpoint_config(EndpointConfig::new(path, construct))
    }

    /// See [`ContainerBuilder::add_endpoint_config`].
    pub fn add_endpoint_config<E: Endpoint>(self, config: EndpointConfig<E>) -> Self {
        self.map(|container| container.add_endpoint_config(config))
    }

    /// See [`ContainerBuilder::endpoint_shared`].
    pub fn endpoint_shared<E: ServerEndpoint>(self, instance: E) -> Self {
        self.map(|container| container.endpoint_shared(instance))
    }

    /// See [`ContainerBuilder::endpoint_with_configurator`].
    pub fn endpoint_with_configurator<E: ServerEndpoint>(self, configurator: impl Configurator<E>) -> Self {
        self.map(|container| container.endpoint_with_configurator::<E>(configurator))
    }

    /// See [`ContainerBuilder::only`].
    pub fn only(self, keep: impl Fn(&EndpointInfo<'_>) -> bool + 'static) -> Self {
        self.map(|container| container.only(keep))
    }
}
