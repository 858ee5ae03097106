//! The HTTP connections of a server: each is served in its own task until it ends or is upgraded.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "http2")]
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::{Admission, Header};
#[cfg(feature = "http2")]
use super::http2::{self, Http2};
#[cfg(feature = "http2")]
use super::protocol::{self, Protocol};
use super::proxy_header::{self, Beginning};
use super::when_woken::when_woken;
use crate::config::REQUEST_HEAD_TIMEOUT;
use crate::container::accepted::AcceptedSocket;
use crate::container::{Routed, ServerContainer};
use crate::error::Error;
#[cfg(feature = "tls")]
use crate::handshake::client_certificate::ClientCertificate;
use crate::handshake::head::{HYPER_BUFFER, HeadLimits};
use crate::handshake::request::Transport;
use crate::limits::slots::Slot;
use crate::transport::accepted::{AcceptedStream, Acceptor};
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

/// What is known of all connections of one listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Via {
    /// The local address of each connection; `None` if the listener is bound to every address of the machine.
    pub(super) local_addr: Option<SocketAddr>,
    /// Whether the listener is a TCP address reachable only from this machine. A Unix socket is not: what comes by it is
    /// from a proxy, because no browser can connect to it.
    pub(super) is_local: bool,
}

impl Via {
    pub(super) fn of(acceptor: &Acceptor) -> Self {
        let addr = acceptor.tcp_addr();
        Self {
            local_addr: addr.filter(|addr| !addr.ip().is_unspecified()),
            is_local: addr.is_some_and(|addr| addr.ip().to_canonical().is_loopback()),
        }
    }
}

/// Serves the HTTP connections of a server until they end or are upgraded.
pub(super) struct Http {
    pub(super) admission: Arc<Admission>,
    pub(super) container: ServerContainer,
    pub(super) fallback: Option<Fallback>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsConfig>,
    /// `None` if the server speaks HTTP/1.1 alone.
    #[cfg(feature = "http2")]
    pub(super) http2: Option<Http2>,
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

    /// Replaces certificates whose files change, until the server stops.
    #[cfg(feature = "tls")]
    pub(super) fn watch_certificates(&self) {
        if let Some(watching) = self.tls.as_ref().and_then(TlsConfig::watching) {
            let stop = self.stop.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    () = watching => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    }

    /// Serves one connection in its own task, or refuses it if it is over a limit. Limits are checked here, before there is a
    /// task, so that a flood of refused connections takes little from those that are served.
    pub(super) fn serve(&self, stream: AcceptedStream, peer: Option<SocketAddr>, via: Via) {
        self.container.connection_counters().accepted.add(1);
        if let Err(error) = stream.set_nodelay() {
            return tracing::debug!(%error, ?peer, "the connection was closed before it was served");
        }
        let (admission, ip) = (&self.admission, peer.map(|peer| peer.ip()));
        let header = admission.header_of(ip);
        if header == Header::Untrusted {
            return admission.bad_header(&self.container, ip, &"the peer is not a trusted proxy");
        }
        // behind a header the address is not known yet
        let counted = admission.counted(ip).filter(|_| header == Header::No);
        let address = counted.map(|ip| admission.counts.admit_address(ip)).transpose();
        let admitted = address.and_then(|address| Ok((address.flatten(), admission.counts.admit()?)));
        let (address, (pending, mut guard)) = match admitted {
            Ok(admitted) => admitted,
            Err(exceeded) => {
                if let Some(answering) = admission.refuse(&self.container, ip, exceeded) {
                    self.tasks.spawn(answering.run(stream));
                }
                return;
            }
        };
        guard.set_address(address);
        let local_addr = via.local_addr.or_else(|| stream.local_addr());
        let transport = Transport { peer_addr: peer, local_addr, is_secure: false, is_local: via.is_local };
        let (connection, socket) = (self.connection(transport, pending), AcceptedSocket::new(stream, guard));
        #[cfg(feature = "tls")]
        let tls = self.tls.clone();
        if header != Header::No {
            let admission = admission.clone();
            self.tasks.spawn(async move {
                let behind = Box::pin(connection.read_header(socket, &admission, header == Header::Must)).await;
                let Some((connection, socket)) = behind else { return };
                #[cfg(feature = "tls")]
                if let Some(tls) = tls {
                    return Box::pin(connection.serve_tls(socket, tls)).await;
                }
                Box::pin(connection.serve_plain(socket)).await;
            });
            return;
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = tls {
            self.tasks.spawn(connection.serve_tls(socket, tls));
            return;
        }
        self.tasks.spawn(connection.serve_plain(socket));
    }

    fn connection(&self, transport: Transport, pending: Slot) -> HttpConnection {
        HttpConnection {
            container: self.container.clone(),
            fallback: self.fallback.clone(),
            transport,
            pending,
            _counted: CountedAsHttp::new(&self.container),
            #[cfg(feature = "tls")]
            client_certificate: None,
            #[cfg(feature = "http2")]
            http2: self.http2.clone(),
            #[cfg(feature = "http2")]
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
            cut: self.cut.clone(),
        }
    }
}

/// Counts a connection as one that speaks HTTP, until this is dropped.
struct CountedAsHttp(ServerContainer);

impl CountedAsHttp {
    fn new(container: &ServerContainer) -> Self {
        container.connection_counters().http.add(1);
        Self(container.clone())
    }
}

impl Drop for CountedAsHttp {
    fn drop(&mut self) {
        self.0.connection_counters().http.sub(1);
    }
}

/// One HTTP connection of a server.
struct HttpConnection {
    container: ServerContainer,
    fallback: Option<Fallback>,
    transport: Transport,
    /// Counts the connection as one that is pending, until its first request.
    pending: Slot,
    _counted: CountedAsHttp,
    #[cfg(feature = "tls")]
    client_certificate: Option<ClientCertificate>,
    #[cfg(feature = "http2")]
    http2: Option<Http2>,
    /// A shutdown waits for the tasks of streams, too.
    #[cfg(feature = "http2")]
    tasks: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl HttpConnection {
    /// Reads the header of the PROXY protocol: whose connection it is, and whether that is over a limit of its address.
    /// `None` if the connection is not to be served.
    async fn read_header(
        mut self,
        mut stream: AcceptedSocket,
        admission: &Admission,
        is_required: bool,
    ) -> Option<(Self, AcceptedSocket)> {
        let peer = self.transport.peer_addr.map(|peer| peer.ip());
        let read = tokio::select! {
            read = proxy_header::read(&mut stream) => read,
            () = when_woken(self.stop.cancelled()) => return None,
        };
        let counted = match read {
            Ok(Beginning::Header(header)) => {
                self.transport.is_secure = header.is_secure;
                header.addresses.map(|(from, to)| {
                    self.transport.peer_addr = Some(from);
                    self.transport.local_addr = Some(to);
                    from.ip()
                })
            }
            // closed without a word: somebody asks whether the port is open
            Ok(Beginning::Other(early)) if early.is_empty() => return None,
            Ok(Beginning::Other(early)) if !is_required => {
                stream.unread(early);
                admission.counted(peer)
            }
            Ok(Beginning::Other(_)) => {
                admission.bad_header(&self.container, peer, &"the connection begins with something else");
                return None;
            }
            Err(error) => {
                admission.bad_header(&self.container, peer, &error);
                return None;
            }
        };
        match counted.map(|ip| (ip, admission.counts.admit_address(ip))) {
            None => {}
            Some((_, Ok(None))) => {}
            Some((_, Ok(address))) => stream.guard().set_address(address),
            Some((ip, Err(exceeded))) => {
                let answering = admission.refuse(&self.container, Some(ip), exceeded)?;
                drop(self);
                answering.run(stream).await;
                return None;
            }
        }
        Some((self, stream))
    }

    /// Serves the connection behind TLS.
    #[cfg(feature = "tls")]
    async fn serve_tls(mut self, socket: AcceptedSocket, tls: TlsConfig) {
        self.transport.is_secure = true;
        // in the connection's own task: a slow handshake delays no other connection
        let accepted = tokio::select! {
            accepted = tls.accept(socket) => accepted,
            () = when_woken(self.stop.cancelled()) => return,
        };
        match accepted {
            Ok(stream) => {
                let presented = stream.peer_certificates();
                self.client_certificate = presented.and_then(|it| ClientCertificate::new(it.0, &it.1));
                #[cfg(feature = "http2")]
                if stream.is_http2() {
                    return self.serve_http2(TokioIo::new(stream)).await;
                }
                self.serve(TokioIo::new(stream)).await;
            }
            Err(error) => tracing::debug!(%error, peer = ?self.transport.peer_addr, "a TLS handshake failed"),
        }
    }

    /// Serves a connection without TLS: HTTP/1.1, or HTTP/2 with prior knowledge (RFC 9113 §3.3).
    async fn serve_plain(self, socket: AcceptedSocket) {
        #[cfg(feature = "http2")]
        if self.http2.is_some() {
            return self.serve_any(socket).await;
        }
        self.serve(TokioIo::new(socket)).await;
    }

    /// Serves what the client speaks on a connection without TLS.
    #[cfg(feature = "http2")]
    async fn serve_any(self, mut socket: AcceptedSocket) {
        let spoken = tokio::select! {
            spoken = timeout(REQUEST_HEAD_TIMEOUT, protocol::detect(&mut socket)) => spoken,
            () = when_woken(self.stop.cancelled()) => return,
        };
        let (protocol, early) = match spoken {
            Ok(Ok(spoken)) => spoken,
            Ok(Err(error)) => return tracing::debug!(%error, peer = ?self.transport.peer_addr, "a connection failed"),
            Err(_) => return tracing::debug!(peer = ?self.transport.peer_addr, "a client sent no request in time"),
        };
        socket.unread(early);
        match protocol {
            Protocol::Http1 => self.serve(TokioIo::new(socket)).await,
            Protocol::Http2 => self.serve_http2(TokioIo::new(socket)).await,
        }
    }

    #[cfg(feature = "http2")]
    async fn serve_http2(self, io: impl Read + Write + Unpin + Send + 'static) {
        let (limits, service) = (self.container.head_limits(), self.service());
        let Self { transport, pending, http2, tasks, stop, cut, .. } = self;
        let settings = http2.unwrap_or_default();
        let serving = http2::Serving { settings, limits, peer: transport.peer_addr, tasks, stop, cut };
        // the streams share it
        let pending = Arc::new(Mutex::new(Some(pending)));
        let answer = move |request| {
            drop(pending.lock().unwrap_or_else(PoisonError::into_inner).take());
            service.answer(request)
        };
        // boxed: HTTP/1.1 must not pay for the larger state of HTTP/2
        Box::pin(http2::serve(serving, io, answer)).await;
    }

    /// Serves HTTP/1.1 until the connection ends or is upgraded.
    async fn serve(self, io: impl Read + Write + Unpin + Send + 'static) {
        let (limits, service) = (self.container.head_limits(), self.service());
        let Self { transport, pending, stop, cut, .. } = self;
        let pending = Cell::new(Some(pending));
        let service = service_fn(move |request| {
            drop(pending.take());
            service.answer(request)
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
            let hint =
                if error.is_parse() { "; a client that speaks TLS to a port without it looks like this" } else { "" };
            tracing::debug!(%error, peer = ?transport.peer_addr, "an HTTP connection failed{hint}");
        }
    }

    fn service(&self) -> HttpService {
        HttpService {
            container: self.container.clone(),
            fallback: self.fallback.clone(),
            transport: self.transport,
            #[cfg(feature = "tls")]
            client_certificate: self.client_certificate.clone(),
        }
    }
}

/// What answers the requests of a connection.
#[derive(Clone)]
struct HttpService {
    container: ServerContainer,
    fallback: Option<Fallback>,
    transport: Transport,
    #[cfg(feature = "tls")]
    client_certificate: Option<ClientCertificate>,
}

impl HttpService {
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Error>> + Send + use<> {
        #[cfg(feature = "tls")]
        let request = with_certificate(request, self.client_certificate.as_ref());
        let (container, fallback, transport) = (self.container.clone(), self.fallback.clone(), self.transport);
        let version = Request::version(&request);
        async move {
            let mut answered = match (container.respond(request, transport), fallback) {
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
                (Routed::Theirs(request), None) => Ok(container.refuse_other(&request, transport).map(boxed)),
            };
            if let (Ok(response), true) = (&mut answered, container.is_draining()) {
                close_after(response, version);
            }
            answered
        }
    }
}

/// Adds the client's certificate to a request, where the handshake and the fallback find it.
#[cfg(feature = "tls")]
fn with_certificate(mut request: Request<Incoming>, certificate: Option<&ClientCertificate>) -> Request<Incoming> {
    if let Some(certificate) = certificate {
        request.extensions_mut().insert(certificate.clone());
    }
    request
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

/// Makes this the last response of its connection, so that the client's next request goes to another server.
fn close_after(response: &mut Response<ResponseBody>, version: Version) {
    if version <= Version::HTTP_11 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn boxed(body: Full<Bytes>) -> ResponseBody {
    body.map_err(|never| match never {}).boxed_unsync()
}
