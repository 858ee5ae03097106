//! The HTTP connections of a server: each is served in its own task until it ends or is upgraded.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::when_woken::when_woken;
use crate::config::REQUEST_HEAD_TIMEOUT;
use crate::container::{Routed, ServerContainer};
use crate::error::Error;
use crate::handshake::head::{HYPER_BUFFER, HeadLimits};
use crate::handshake::refusal::Refusal;
use crate::handshake::request::Transport;
#[cfg(feature = "tls")]
use crate::transport::tls::TlsConfig;

/// hyper's default limit of headers, up to which it does not allocate for them.
const HYPER_HEADERS: usize = 100;

pub(super) type ResponseBody = UnsyncBoxBody<Bytes, Error>;
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Error>> + Send>>;

/// The service for requests to paths without an endpoint.
#[derive(Clone)]
pub(super) struct Fallback(pub(super) Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>);

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fallback")
    }
}

/// Serves the HTTP connections of a server until they end or are upgraded.
pub(super) struct Http {
    /// The local address of each connection; `None` if the server listens on every address of the machine.
    pub(super) local_addr: Option<SocketAddr>,
    /// Whether the listener is reachable only from this machine.
    pub(super) is_local: bool,
    pub(super) container: ServerContainer,
    pub(super) fallback: Option<Fallback>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsConfig>,
    pub(super) tasks: TaskTracker,
    /// Graceful stop: let in-flight requests finish.
    pub(super) stop: CancellationToken,
    /// Abort: drop the remaining connections.
    pub(super) cut: CancellationToken,
}

impl Http {
    /// Waits at most `limit` for the connections to end, then drops the remaining ones.
    pub(super) async fn shutdown(&self, limit: Duration) {
        if timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "HTTP connections were aborted at the shutdown deadline");
            self.cut.cancel();
            // as for sessions: a service that blocks its thread cannot be stopped
            let _ = timeout(Duration::from_secs(1), self.tasks.wait()).await;
        }
    }

    /// Serves one connection in its own task.
    pub(super) fn serve(&self, stream: TcpStream, peer: SocketAddr) {
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
