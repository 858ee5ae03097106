//! The builder of a server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::net::{ToSocketAddrs, lookup_host};
use tower_service::Service;

use super::Server;
use super::http::Fallback;
#[cfg(feature = "http2")]
use super::http2::Http2;
use crate::config::SHUTDOWN_TIMEOUT;
use crate::container::client_options::client_setters;
use crate::container::configurator::Configurator;
use crate::container::guard_setters::guard_setters;
use crate::container::observe_options::observe_setters;
use crate::container::options::{RequestSettings, SessionSettings, request_setters, session_setters};
use crate::container::registration::ServerEndpoint;
use crate::container::{ContainerBuilder, Drain, EndpointConfig, ServerContainer, Shutdown};
use crate::endpoint::programmatic::Endpoint;
use crate::error::{BoxError, Error};
use crate::handshake::proxy_protocol::ProxyProtocol;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::HandshakeRequest;
use crate::limits::connections::ConnectionLimits;
use crate::session::EndpointInfo;
use crate::transport::accepted::Acceptor;
use crate::transport::keepalive::Keepalive;
use crate::transport::listener::Listener;
#[cfg(feature = "tls")]
use crate::transport::tls::TlsConfig;

impl Server {
    /// Starts building a server with every annotated endpoint of the program ([`ContainerBuilder::discover`]).
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new(ServerContainer::builder().discover())
    }

    /// Starts building a server with the endpoints and settings of `container`.
    pub fn with(container: ContainerBuilder) -> ServerBuilder {
        ServerBuilder::new(container)
    }
}

/// Builder of a [`Server`]: the settings of its container, and the service for all other requests.
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder {
    container: ContainerBuilder,
    listeners: Vec<Listener>,
    pub(super) connection_limits: ConnectionLimits,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    fallback: Option<Fallback>,
    shutdown_timeout: Duration,
    drain: Option<Drain>,
    keepalive: Keepalive,
    is_quiet: bool,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
    /// Outer `None` until it is set, inner `None` for HTTP/1.1 alone.
    #[cfg(feature = "http2")]
    http2: Option<Option<Http2>>,
}

impl ServerBuilder {
    fn new(container: ContainerBuilder) -> Self {
        Self {
            container,
            listeners: Vec::new(),
            connection_limits: ConnectionLimits::default(),
            proxy_protocol: None,
            fallback: None,
            shutdown_timeout: SHUTDOWN_TIMEOUT,
            drain: None,
            keepalive: Keepalive::default(),
            is_quiet: false,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "http2")]
            http2: None,
        }
    }

    /// Sets the service for requests to paths without an endpoint: pages, an API, an `axum::Router`. Without a fallback
    /// they get 404. Requests pass the same checks as for an endpoint: [`max_request_head`](Self::max_request_head),
    /// [`max_request_headers`](Self::max_request_headers), [`allowed_hosts`](Self::allowed_hosts).
    ///
    /// There is one fallback: to combine services, use a router such as axum's. Each request gets a clone of the service.
    /// If it fails, the connection is closed.
    pub fn fallback<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let fallback = Fallback(Arc::new(move |request| {
            let mut service = service.clone();
            Box::pin(async move {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Error::user)?;
                let response = service.call(request).await.map_err(Error::user)?;
                Ok(response.map(|body| body.map_err(Error::user).boxed_unsync()))
            })
        }));
        self.container.session_settings().set_once(&mut self.fallback, fallback, "the fallback");
        self
    }

    /// Accepts only TLS: endpoints are at `wss://`, pages at `https://` (cargo feature `tls`). Keep a clone of `config`
    /// to [`reload`](TlsConfig::reload) its certificate.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: TlsConfig) -> Self {
        self.container.session_settings().set_once(&mut self.tls, config, "the TLS configuration (`tls`)");
        self
    }

    /// Sets the limits of HTTP/2 connections; `None` serves HTTP/1.1 alone (cargo feature `http2`). By default the server
    /// speaks both on its port, with the limits of [`Http2::new`].
    ///
    /// Over TLS the client chooses by ALPN. Without TLS it begins with HTTP/2 if it knows that the server speaks it
    /// (RFC 9113 §3.3): proxies do, browsers do not. A WebSocket is opened by an extended CONNECT (RFC 8441), with the same
    /// endpoints and options as over HTTP/1.1.
    #[cfg(feature = "http2")]
    pub fn http2(mut self, http2: impl Into<Option<Http2>>) -> Self {
        let http2 = http2.into();
        let settings = self.container.session_settings();
        settings.mistakes.extend(http2.iter().flat_map(Http2::mistakes));
        settings.set_once(&mut self.http2, http2, "HTTP/2 (`http2`)");
        self
    }

    /// Maximum time of a graceful shutdown; then the remaining connections are aborted. Default: 10 seconds.
    pub fn shutdown_timeout(mut self, limit: Duration) -> Self {
        self.shutdown_timeout = limit;
        self
    }

    /// Lets the sessions leave over some time before the shutdown, so that their clients do not all come back at once.
    /// Default: all sessions are closed at once.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use endpoint_runtime::{Drain, Error, Server, Shutdown};
    /// # async fn f(terminate: impl Future<Output = ()>) -> Result<Shutdown, Error> {
    /// let drain = Drain::over(Duration::from_secs(60)).readiness_delay(Duration::from_secs(5));
    /// Server::builder().drain(drain).bind("127.0.0.1:8080").await?.run_until(terminate).await
    /// # }
    /// ```
    pub fn drain(mut self, drain: Drain) -> Self {
        self.container.session_settings().set_once(&mut self.drain, drain, "the drain");
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

    /// Prints nothing. By default [`run`](Server::run) prints one line with the URLs of the endpoints, and warnings about
    /// the deployment, to the standard error stream, if the program has no subscriber of `tracing`. Call this in tests, and
    /// in a program that gets the events of `tracing` through the crate `log`.
    pub fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Adds a listener: a [`Listener`], or a socket that is bound already. A server may have any number, TCP and Unix sockets,
    /// and serves the same on all of them. They are bound when the server is built.
    ///
    /// ```no_run
    /// # use endpoint_runtime::{Error, Server};
    /// # async fn f() -> Result<(), Error> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
    /// Server::builder().listen(listener).run().await
    /// # }
    /// ```
    pub fn listen(mut self, listener: impl Into<Listener>) -> Self {
        self.listeners.push(listener.into());
        self
    }

    /// Checks the endpoints, then binds the port and the further [listeners](Self::listen), and logs what is mounted. If the
    /// name of `addr` has several addresses, the first that can be bound is taken.
    ///
    /// # Errors
    /// [`Error::is_deployment`] before the port is bound, see [`ContainerBuilder::build`]; [`Error::is_io`] if the port
    /// is taken or the address is not one of this machine. The text names the address, and the cause is in `source`.
    pub async fn bind(mut self, addr: impl ToSocketAddrs + fmt::Debug) -> Result<Server, Error> {
        let name = format!("{addr:?}");
        let addresses = lookup_host(addr).await.map(Iterator::collect);
        self.listeners.insert(0, Listener::addresses(name, addresses));
        self.build().await
    }

    /// Checks the endpoints, then binds the [listeners](Self::listen), and logs what is mounted: [`bind`](Self::bind) without
    /// a further address.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); [`Error::is_deployment`] if there is no listener.
    pub async fn build(mut self) -> Result<Server, Error> {
        let mut mistakes: Vec<_> = self.listeners.iter().flat_map(Listener::mistakes).collect();
        if self.listeners.is_empty() {
            mistakes.push("the server has no listener: call `bind` with an address, or `listen`".to_owned());
        }
        mistakes.extend(self.connection_mistakes());
        self.session_settings().mistakes.extend(mistakes);
        let container = self.container.assemble()?;
        let mut listeners = Vec::new();
        for listener in self.listeners {
            listeners.extend(listener.bind().await?);
        }
        container.log_deployment();
        for acceptor in listeners.iter().flat_map(|bound| &bound.acceptors) {
            if let Acceptor::Tcp(listener) = acceptor {
                self.keepalive.apply(listener, container.longest_send_timeout());
            }
        }
        #[cfg(feature = "http2")]
        let http2 = self.http2.unwrap_or_else(|| Some(Http2::new()));
        #[cfg(feature = "tls")]
        let tls = self.tls;
        #[cfg(all(feature = "http2", feature = "tls"))]
        let tls = if http2.is_some() { tls.map(TlsConfig::with_http2) } else { tls };
        Ok(Server {
            container,
            listeners,
            limits: self.connection_limits,
            proxy_protocol: self.proxy_protocol.unwrap_or_default(),
            fallback: self.fallback,
            shutdown_timeout: self.shutdown_timeout,
            drain: self.drain,
            is_quiet: self.is_quiet,
            #[cfg(feature = "tls")]
            tls,
            #[cfg(feature = "http2")]
            http2,
        })
    }

    /// [`build`](Self::build), then [`Server::run`].
    ///
    /// # Errors
    /// As `build`.
    pub async fn run(self) -> Result<(), Error> {
        self.build().await?.run().await
    }

    /// [`build`](Self::build), then [`Server::run_until`].
    ///
    /// # Errors
    /// As `build`.
    pub async fn run_until(self, signal: impl Future<Output = ()>) -> Result<Shutdown, Error> {
        self.build().await?.run_until(signal).await
    }
}

session_setters!(ServerBuilder);
request_setters!(ServerBuilder);
client_setters!(ServerBuilder);
observe_setters!(ServerBuilder);
guard_setters!(ServerBuilder);

/// The container's methods that mount endpoints, under the same names.
impl ServerBuilder {
    pub(super) fn session_settings(&mut self) -> &mut SessionSettings {
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
