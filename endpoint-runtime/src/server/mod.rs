//! The built-in HTTP server: listeners, HTTP/1.1, and a container behind it.

mod accept;
mod admission;
mod builder;
mod connection_options;
mod http;
mod proxy_header;
#[cfg(all(unix, feature = "systemd"))]
mod service_manager;
mod startup;
mod when_woken;

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::Admission;
pub use self::builder::ServerBuilder;
use self::http::{Fallback, Http};
use crate::container::{ServerContainer, Shutdown};
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
    is_quiet: bool,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
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
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_until(self, signal: impl Future<Output = ()>) -> Result<Shutdown, Error> {
        let Self { container, listeners, fallback, shutdown_timeout, is_quiet, .. } = self;
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
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        });
        #[cfg(all(unix, feature = "systemd"))]
        let service_manager = service_manager::ServiceManager::of_environment();
        #[cfg(all(unix, feature = "systemd"))]
        let _watchdog = service_manager.ready();
        // dropped when the signal comes: that closes the listeners
        let accept = accept::accept_all(listeners, http.clone());
        };
        #[cfg(feature = "tls")]
        http.watch_certificates();
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
        #[cfg(all(unix, feature = "systemd"))]
        service_manager.stopping();
        http.stop.cancel();
        http.tasks.close();
        let (shutdown, ()) = tokio::join!(container.shutdown(shutdown_timeout), http.shutdown(shutdown_timeout));
        tracing::info!(shutdown.closed, shutdown.cut, "the server has shut down");
        Ok(shutdown)
    }
}
