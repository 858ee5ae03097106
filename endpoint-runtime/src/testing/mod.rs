//! In-memory test kit: a container without a port, and clients connected to it.
//!
//! The handshake is the real one: hyper on both sides of a duplex, the container's own checks, the client's own checks.

pub(crate) mod client;
pub(crate) mod cluster;
mod connection;
pub(crate) mod frame;
#[cfg(feature = "json")]
mod json;
pub(crate) mod transcript;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Extensions, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::duplex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::client::{TestClient, limit_of};
use crate::client::handshake::exchange;
use crate::config::Compression;
use crate::container::registration::ServerEndpoint;
use crate::container::{Routed, ServerContainer, Shutdown};
use crate::handshake::client::{OURS, Offer};
use crate::handshake::head::HeadLimits;
use crate::handshake::request::Transport;
use crate::observe::metrics::Metrics;
use endpoint_wire::deflate::Deflation;
use endpoint_wire::role::Role;

/// Bytes that may be on their way in each direction: about the kernel's buffer for a connection on one machine.
const ON_ITS_WAY: usize = 64 << 10;

/// Every request has the key of RFC 6455 §1.3: in a test it need not be unpredictable.
const NONCE: [u8; 16] = *b"the sample nonce";

/// A [`ServerContainer`] to test in memory: it binds no port and uses no other resource of the machine.
///
/// Everything else works as in a server: the handshake with its refusals and its configurator, the limits, the frames.
/// So a test may run with a paused clock, and an idle timeout of an hour takes no time.
///
/// ```
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::test::TestServer;
///
/// #[server_endpoint("/echo")]
/// #[derive(Default)]
/// struct Echo;
///
/// impl Echo {
///     #[on_message]
///     fn say(&self, text: String) -> String { text }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = TestServer::of::<Echo>();
/// let mut client = server.connect("/echo").await;
/// client.send_text("hello").await;
/// client.expect_text("hello").await;
/// client.close(1000, "thanks").await;
/// client.expect_close(1000).await;
/// # }
/// ```
///
/// To pause the clock, enable tokio's feature `test-util` and annotate the test with
/// `#[tokio::test(start_paused = true)]`. The clock then stands still while anything can run, and jumps to the next
/// timer when nothing can.
///
/// A session has no peer address unless [`TestRequest::peer_addr`] sets one. Messages to it always go through the send
/// queue, as with TLS.
#[derive(Clone, Debug)]
pub struct TestServer {
    container: ServerContainer,
}

impl TestServer {
    /// Creates a test server for `container`.
    pub fn new(container: ServerContainer) -> Self {
        Self { container }
    }

    /// Creates a test server for `E` alone, with default settings.
    ///
    /// # Panics
    /// The container cannot be built.
    #[track_caller]
    pub fn of<E: ServerEndpoint>() -> Self {
        match ServerContainer::builder().register::<E>().build() {
            Ok(container) => Self::new(container),
            Err(error) => panic!("{error}"),
        }
    }

    /// The container.
    pub fn container(&self) -> &ServerContainer {
        &self.container
    }

    /// The metrics of the container now, to assert by name and labels:
    /// `server.metrics().get("websocket_server_sessions", [("endpoint", "/chat")])`.
    pub fn metrics(&self) -> Metrics {
        self.container.stats().metrics()
    }

    /// Opens a WebSocket at `target`: a path, perhaps with a query, below the context path if there is one.
    ///
    /// # Panics
    /// The handshake is refused, or not answered within the limit.
    #[track_caller]
    pub fn connect(&self, target: &str) -> impl Future<Output = TestClient> + use<> {
        self.request(target).connect()
    }

    /// Starts a handshake with further settings, or one that is expected to be refused.
    ///
    /// # Panics
    /// `target` is not a valid request target.
    #[track_caller]
    pub fn request(&self, target: &str) -> TestRequest {
        let uri = match target.parse() {
            Ok(uri) if target.starts_with('/') => uri,
            _ => panic!("{target:?} is not a request target: write a path, as in \"/chat/1?name=x\""),
        };
        TestRequest {
            container: self.container.clone(),
            uri,
            changes: Vec::new(),
            subprotocols: Vec::new(),
            compression: Compression::OFF,
            transport: Transport::default(),
            extensions: Extensions::new(),
            is_silent: false,
            limit: None,
        }
    }

    /// Waits until everything that can run has run: every sent message is handled, as far as its handler needs no
    /// timer, and everything written has arrived.
    ///
    /// With a paused clock this is certain, and takes a millisecond of that clock. With a running clock it cannot be
    /// known, so this waits for 50 milliseconds.
    ///
    /// # Cancel safety
    /// A dropped future loses nothing.
    pub async fn settled(&self) {
        client::settled().await;
    }

    /// Shuts the container down like [`ServerContainer::shutdown`].
    ///
    /// # Cancel safety
    /// As [`ServerContainer::shutdown`].
    pub async fn shutdown(&self, limit: Duration) -> Shutdown {
        self.container.shutdown(limit).await
    }
}

/// An opening handshake of a test.
///
/// ```
/// # use endpoint_runtime::prelude::*;
/// # use endpoint_runtime::test::TestServer;
/// # #[server_endpoint("/chat", subprotocols("chat.v1"))] #[derive(Default)] struct Chat;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = TestServer::of::<Chat>();
/// let client = server.request("/chat").subprotocol("chat.v1").header("cookie", "user=ann").connect().await;
/// assert_eq!(client.subprotocol(), Some("chat.v1"));
///
/// let refusal = server.request("/chat").origin("https://elsewhere.example").expect_refusal(403).await;
/// assert_eq!(refusal.headers()["content-type"], "text/plain; charset=utf-8");
/// # }
/// ```
#[must_use]
pub struct TestRequest {
    container: ServerContainer,
    uri: Uri,
    /// Headers to set, or to omit.
    changes: Vec<(HeaderName, Option<HeaderValue>)>,
    subprotocols: Vec<String>,
    compression: Compression,
    transport: Transport,
    extensions: Extensions,
    is_silent: bool,
    limit: Option<Duration>,
}

impl TestRequest {
    /// Adds a header. It replaces a header that the handshake sets, such as `Host` or `Sec-WebSocket-Version`.
    ///
    /// # Panics
    /// `name` and `value` are not a valid header.
    #[track_caller]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => self.changes.push((name, Some(value))),
            (Ok(name), Err(_)) => panic!("the value of the header {name} contains an invalid character"),
            (Err(_), _) => panic!("a header name contains an invalid character"),
        }
        self
    }

    /// Omits a header of the handshake, such as `Sec-WebSocket-Key`.
    ///
    /// # Panics
    /// `name` is not a valid header name.
    #[track_caller]
    pub fn without_header(mut self, name: impl TryInto<HeaderName>) -> Self {
        match name.try_into() {
            Ok(name) => self.changes.push((name, None)),
            Err(_) => panic!("a header name contains an invalid character"),
        }
        self
    }

    /// Offers a subprotocol, after those offered before.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// Connects like a browser from a page of this origin. The request is for the host `localhost`, so
    /// `http://localhost` is the same origin; after [`secure`](Self::secure) it is `https://localhost`. Default: no
    /// origin, as with programs other than browsers.
    ///
    /// # Panics
    /// `origin` contains an illegal character.
    #[track_caller]
    pub fn origin(self, origin: &str) -> Self {
        self.header(header::ORIGIN, origin)
    }

    /// Offers compression. The client then reads compressed messages; it compresses none itself. Default: no
    /// compression.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets [`Session::peer_addr`](crate::Session::peer_addr). Default: `None`.
    pub fn peer_addr(mut self, addr: SocketAddr) -> Self {
        self.transport.peer_addr = Some(addr);
        self
    }

    /// Adds a value to the request's extensions, as a `tower` layer in front does: an [`Identity`](crate::Identity), or
    /// what a hook reads from [`HandshakeRequest::extensions`](crate::HandshakeRequest::extensions). It replaces a value
    /// of the same type.
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Sets [`Session::is_secure`](crate::Session::is_secure), as with TLS. Nothing is encrypted.
    pub fn secure(mut self) -> Self {
        self.transport.is_secure = true;
        self
    }

    /// Makes the client silent from the start ([`TestClient::set_silent`]).
    pub fn silent(mut self) -> Self {
        self.is_silent = true;
        self
    }

    /// Limit of the handshake, and then of each wait of the client ([`TestClient::set_limit`]).
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Opens the WebSocket.
    ///
    /// # Panics
    /// The handshake is refused, in which case the message contains the refusal; or it is not answered within the
    /// limit, or wrongly.
    #[track_caller]
    pub fn connect(self) -> impl Future<Output = TestClient> + use<> {
        let place = Location::caller();
        async move {
            let target = self.uri.clone();
            match self.open(place).await {
                Ok(client) => client,
                Err(refusal) => panic!("{place}: {target} was refused: {}", describe(&refusal)),
            }
        }
    }

    /// Opens the WebSocket, or returns the refusal: status, headers and body.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// There is no response within the limit, or a wrong one.
    #[track_caller]
    pub fn try_connect(self) -> impl Future<Output = Result<TestClient, Response<Bytes>>> + use<> {
        self.open(Location::caller())
    }

    /// The handshake must be refused with this status; returns the whole refusal.
    ///
    /// # Panics
    /// It is accepted, or refused with another status.
    #[track_caller]
    pub fn expect_refusal(self, status: u16) -> impl Future<Output = Response<Bytes>> + use<> {
        let place = Location::caller();
        async move {
            let target = self.uri.clone();
            match self.open(place).await {
                Err(refusal) if refusal.status().as_u16() == status => refusal,
                Err(refusal) => panic!("{place}: expected a refusal with {status}, got {}", describe(&refusal)),
                Ok(_) => panic!("{place}: expected a refusal with {status}, but {target} was accepted"),
            }
        }
    }

    async fn open(self, place: &'static Location<'static>) -> Result<TestClient, Response<Bytes>> {
        let offer = Offer::new(NONCE, self.subprotocols.clone(), self.compression);
        let request = self.head(&offer);
        let Self { container, compression, transport, extensions, is_silent, limit, .. } = self;

        let (ours, theirs) = duplex(ON_ITS_WAY);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().extend(extensions.clone());
            let routed = container.respond(request, transport);
            let container = container.clone();
            async move {
                match routed {
                    Routed::Ours(responding) => responding.await,
                    Routed::Theirs(request) => Ok(container.refuse_other(&request, transport)),
                }
            }
        });
        // the tasks end with the client, as a server's do when it goes away
        let mut tasks = JoinSet::new();
        let http = http1::Builder::new().serve_connection(TokioIo::new(theirs), service).with_upgrades();
        tasks.spawn(async move {
            if let Err(error) = http.await {
                tracing::debug!(%error, "an HTTP connection failed");
            }
        });

        let deadline = Instant::now() + limit_of(limit);
        let agreed = match exchange(TokioIo::new(ours), request, &offer, HeadLimits::RESPONSE, deadline).await {
            Ok(agreed) => agreed,
            Err(error) => match error.response() {
                Some(response) if response.status() != StatusCode::SWITCHING_PROTOCOLS => return Err(response.clone()),
                _ => panic!("{place}: the handshake failed: {error}"),
            },
        };
        let budget = Arc::default();
        let inbound = agreed.extension.and_then(|extension| {
            Deflation::new(extension, Role::Client, &compression, &budget).map(|deflation| deflation.inbound())
        });
        let mut client = TestClient::open(agreed, inbound, is_silent, tasks);
        if let Some(limit) = limit {
            client.set_limit(limit);
        }
        Ok(client)
    }

    fn head(&self, offer: &Offer) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        request.uri_mut().clone_from(&self.uri);
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        offer.write(headers);
        for (name, value) in &self.changes {
            match value {
                Some(value) if OURS.contains(name) || name == header::HOST => drop(headers.insert(name, value.clone())),
                Some(value) => drop(headers.append(name, value.clone())),
                None => drop(headers.remove(name)),
            }
        }
        request
    }
}

impl fmt::Debug for TestRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRequest").field("uri", &self.uri).finish_non_exhaustive()
    }
}

fn describe(refusal: &Response<Bytes>) -> String {
    format!("{} {:?}", refusal.status(), String::from_utf8_lossy(refusal.body()))
}
