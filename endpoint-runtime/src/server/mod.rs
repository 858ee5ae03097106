//! The built-in HTTP server: a listener, HTTP/1.1, and a container behind it.

mod builder;
mod http;
mod startup;
mod when_woken;

use std::future::{Future, pending};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::builder::ServerBuilder;
use self::http::{Fallback, Http};
use crate::container::{ServerContainer, Shutdown};
use crate::error::Error;
use crate::observe::log_rate::LogRate;
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
#[must_use = "nothing is served until `run` or `run_until` is awaited"]
pub struct Server {
    container: ServerContainer,
    listener: TcpListener,
    fallback: Option<Fallback>,
    shutdown_timeout: Duration,
    is_quiet: bool,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
}

/// Maximum average time between two accepted connections, however long other tasks run in between.
const ACCEPT_INTERVAL: Duration = Duration::from_micros(200);

/// Maximum number of additional connections accepted without a yield.
const ACCEPT_MORE: u128 = 15;

impl Server {
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
        let Self { container, listener, fallback, shutdown_timeout, is_quiet, .. } = self;
        let bound = listener.local_addr().ok();
        #[cfg(feature = "tls")]
        let is_secure = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let is_secure = false;
        startup::report(&container, bound, is_secure, is_quiet);
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
