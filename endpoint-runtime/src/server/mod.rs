//! The built-in HTTP server: listeners, HTTP/1.1 and HTTP/2, and a container behind it.

mod accept;
mod admission;
mod builder;
mod connection_options;
mod http;
#[cfg(feature = "http2")]
mod http2;
#[cfg(feature = "http2")]
mod protocol;
mod proxy_header;
#[cfg(all(unix, feature = "systemd"))]
mod service_manager;
mod startup;
mod when_woken;

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::Admission;
pub use self::builder::ServerBuilder;
use self::http::{Fallback, Http};
#[cfg(feature = "http2")]
pub use self::http2::Http2;
use crate::config::SECOND_SIGNAL_TIMEOUT;
use crate::container::drain::Course;
use crate::container::{Drain, Drained, ServerContainer, Shutdown};
use crate::error::{Error, Kind};
use crate::handshake::proxy_protocol::ProxyProtocol;
use crate::limits::connections::{ConnectionCounts, ConnectionLimits};
use crate::transport::accepted::Acceptor;
use crate::transport::bound::Bound;
#[cfg(feature = "tls")]
use crate::transport::tls::TlsConfig;

/// A [`ServerContainer`] with its listeners.
///
/// ```no_run
/// # use endpoint_runtime::{Error, Server};
/// # #[tokio::main] async fn main() -> Result<(), Error> {
/// Server::builder().context_path("/websocket").bind("127.0.0.1:8080").await?.run().await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is served until `run` or `run_until` is awaited"]
pub struct Server {
    container: ServerContainer,
    listeners: Vec<Bound>,
    limits: ConnectionLimits,
    proxy_protocol: ProxyProtocol,
    fallback: Option<Fallback>,
    shutdown_timeout: Duration,
    drain: Option<Drain>,
    is_quiet: bool,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
    #[cfg(feature = "http2")]
    http2: Option<Http2>,
}

impl Server {
    /// The address of the first listener that is a TCP address; after a bind to port 0, with the assigned port. The address
    /// given to [`bind`](ServerBuilder::bind) is the first.
    ///
    /// # Errors
    /// [`Error::is_io`] if no listener has a TCP address.
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        let none = || Error::new(Kind::Io, "no listener has a TCP address: the server listens on Unix sockets alone");
        self.local_addrs().first().copied().ok_or_else(none)
    }

    /// The TCP addresses of all listeners, in their order. Unix sockets have none.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let first = self.listeners.iter().filter_map(|listener| listener.acceptors.first());
        first.filter_map(Acceptor::tcp_addr).collect()
    }

    /// The container of this server, which gives access to the sessions from anywhere.
    pub fn container(&self) -> &ServerContainer {
        &self.container
    }

    /// Serves forever.
    ///
    /// Logs the URLs of the endpoints. Without a subscriber of `tracing`, it prints this line and the warnings about the
    /// deployment to the standard error stream instead, unless the server is [quiet](ServerBuilder::quiet).
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
    /// With a [`drain`](ServerBuilder::drain), sessions leave over its time first. Meanwhile the listener stays open:
    /// handshakes get 503 with `Retry-After`, and other requests are answered, with `Connection: close`.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_until(self, signal: impl Future<Output = ()>) -> Result<Shutdown, Error> {
        self.run_draining(signal, pending()).await.map(Shutdown::from)
    }

    /// Serves until `first` resolves, then drains and shuts down as [`run_until`](Self::run_until) does. When `second`
    /// resolves, at any time, it hurries: all remaining sessions are closed together, and one second later the remaining
    /// connections are aborted.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use endpoint_runtime::{Drain, Error, Server};
    /// # async fn f() -> Result<(), Error> {
    /// use tokio::signal::ctrl_c;
    ///
    /// let first = async { ctrl_c().await.unwrap_or_default() };
    /// let second = async { (ctrl_c().await, ctrl_c().await); };
    /// let server = Server::builder().drain(Drain::over(Duration::from_secs(60))).bind("127.0.0.1:8080").await?;
    /// let drained = server.run_draining(first, second).await?;
    /// println!("{} left, {} closed, {} cut", drained.left, drained.closed, drained.cut);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_draining(
        self,
        first: impl Future<Output = ()>,
        second: impl Future<Output = ()>,
    ) -> Result<Drained, Error> {
        let Self { container, listeners, fallback, shutdown_timeout, drain, is_quiet, .. } = self;
        #[cfg(feature = "tls")]
        let is_secure = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let is_secure = false;
        startup::report(&container, &listeners, is_secure, is_quiet);
        let proxies = container.trusted_proxies().clone();
        let counts = ConnectionCounts::new(&self.limits, container.ipv6_prefix());
        let http = Arc::new(Http {
            admission: Arc::new(Admission::new(counts, self.proxy_protocol, proxies, is_secure)),
            container: container.clone(),
            fallback,
            #[cfg(feature = "tls")]
            tls: self.tls,
            #[cfg(feature = "http2")]
            http2: self.http2,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        });
        #[cfg(all(unix, feature = "systemd"))]
        let service_manager = service_manager::ServiceManager::of_environment();
        #[cfg(all(unix, feature = "systemd"))]
        let _watchdog = service_manager.ready();
        #[cfg(feature = "tls")]
        http.watch_certificates();
        let (course, mut second) = (Course::default(), pin!(second));
        let leaving = async {
            first.await;
            #[cfg(all(unix, feature = "systemd"))]
            service_manager.stopping();
            if let Some(drain) = &drain {
                container.leave(drain, &course).await;
            }
        };
        // its end closes the listeners
        let is_early = tokio::select! {
            () = accept::accept_all(listeners, http.clone()) => false,
            () = leaving => false,
            () = &mut second => true,
        };
        http.stop.cancel();
        http.tasks.close();
        let limit = drain.as_ref().and_then(Drain::limit).unwrap_or(shutdown_timeout);
        let end = async |limit| tokio::join!(container.finish(&course, limit), http.shutdown(limit)).0;
        let drained = tokio::select! {
            drained = end(limit), if !is_early => Some(drained),
            () = &mut second, if !is_early => None,
            else => None,
        };
        let drained = match drained {
            Some(drained) => drained,
            None => end(limit.min(SECOND_SIGNAL_TIMEOUT)).await,
        };
        tracing::info!(drained.left, drained.closed, drained.cut, "the server has shut down");
        Ok(drained)
    }
}
