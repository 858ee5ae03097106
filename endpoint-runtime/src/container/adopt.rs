//! Sockets that somebody else accepted: the opening handshake is over, and the endpoint is ours.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
#[cfg(feature = "tungstenite")]
use futures_core::Stream;
#[cfg(feature = "tungstenite")]
use futures_sink::Sink;
use http::StatusCode;
use http::request::Parts;
use tokio::sync::oneshot;
use tokio::time::timeout;
#[cfg(feature = "tungstenite")]
use tokio_tungstenite::tungstenite;

use super::deploy::{Mounted, undeployable};
use super::{EndpointConfig, RETRY_AFTER, ServerContainer};
use crate::container::configurator::HandshakeResponse;
use crate::container::registration::{Configured, PendingConnection, Prepared, ServerEndpoint, Upgraded};
use crate::endpoint::programmatic::Endpoint;
use crate::error::Error;
use crate::handshake::path::PathParams;
use crate::handshake::refusal::Refusal;
use crate::handshake::request;
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::session::SessionInit;
use crate::session::principal::Identity;
use crate::session::properties::MaybeRare;
#[cfg(feature = "axum")]
use crate::transport::message_socket::AxumMessages;
#[cfg(feature = "tungstenite")]
use crate::transport::message_socket::TungsteniteMessages;
use crate::transport::message_socket::{MessageSocket, Messages};
use endpoint_wire::close::{CloseCode, CloseReason};

impl ServerContainer {
    /// Makes the annotated endpoint `E` ready for WebSockets that others have accepted, such as a handler of axum: an
    /// application moves here one handler at a time.
    ///
    /// Nothing is mounted. Where `E` is mounted, its constructor, its configurator and its open sessions are the same.
    ///
    /// ```ignore
    /// let chat = container.adopt::<Chat>()?;
    /// let route = get(move |Path(room): Path<String>, parts: Parts, upgrade: WebSocketUpgrade| async move {
    ///     upgrade.on_upgrade(|socket| async move {
    ///         let _ = chat.request(parts).path_params([("room", room)]).serve_axum(socket).await;
    ///     })
    /// });
    /// let app = Router::new().route("/chat/{room}", route);
    /// ```
    ///
    /// # Errors
    /// [`Error::is_deployment`] as for an endpoint that is mounted; and if `E` asks for what such a socket cannot give: a
    /// handler that takes messages in parts or as a stream, or `compression = on`. It has whole messages, and its
    /// compression, if any, is that of whoever accepted it; that of the container's settings is not used.
    pub fn adopt<E: ServerEndpoint>(&self) -> Result<ExternalSocket, Error> {
        ExternalSocket::new(self, self.annotated::<E>()?)
    }

    /// The same for an endpoint without annotations.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_config<E: Endpoint>(&self, config: EndpointConfig<E>) -> Result<ExternalSocket, Error> {
        ExternalSocket::new(self, self.with_config(config)?)
    }
}

/// An endpoint for WebSockets that others have accepted; see [`ServerContainer::adopt`]. A clone is the same endpoint.
///
/// Sessions are as everywhere: the same handlers, queue, overflow, limits, rooms and shutdown. What such a socket cannot
/// do fails when it is called, with [`Error::is_unsupported`]: `send_text_part`, `send_binary_part`, writers, and
/// handlers of parts that are added.
#[derive(Clone)]
pub struct ExternalSocket {
    container: ServerContainer,
    mounted: Arc<Mounted>,
}

impl ExternalSocket {
    fn new(container: &ServerContainer, mounted: Arc<Mounted>) -> Result<Self, Error> {
        match mounted.asks_too_much() {
            None => Ok(Self { container: container.clone(), mounted }),
            Some(what) => {
                let about = &mounted.about;
                Err(undeployable(vec![format!("{about} cannot be served on a socket that others accepted: {what}")]))
            }
        }
    }

    /// One WebSocket that was opened by the request with this head: its URI and headers are those of the session. An
    /// [`Identity`] in its extensions is the session's principal.
    pub fn request(&self, head: Parts) -> ExternalRequest {
        ExternalRequest {
            endpoint: self.clone(),
            head,
            params: PathParams::default(),
            subprotocol: None,
            transport: Transport::default(),
        }
    }
}

impl fmt::Debug for ExternalSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Adopted({})", self.mounted.about)
    }
}

/// One WebSocket that others have accepted, and what its session is to know; made by [`ExternalSocket::request`].
#[must_use = "nothing is served before serve_axum or serve_tungstenite"]
pub struct ExternalRequest {
    endpoint: ExternalSocket,
    head: Parts,
    params: PathParams,
    subprotocol: Option<String>,
    transport: Transport,
}

impl ExternalRequest {
    /// The variables of the path, as the router has found them: they take the place of those of the annotation.
    pub fn path_params(mut self, params: impl IntoIterator<Item = (impl Into<Box<str>>, impl Into<Box<str>>)>) -> Self {
        self.params = params.into_iter().collect();
        self
    }

    /// The subprotocol that was agreed on. An axum socket knows it by itself.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// The peer's address. Where axum serves with `into_make_service_with_connect_info::<SocketAddr>()`, it is known by
    /// itself.
    pub fn peer_addr(mut self, addr: SocketAddr) -> Self {
        self.transport.peer_addr = Some(addr);
        self
    }

    /// Our own address.
    pub fn local_addr(mut self, addr: SocketAddr) -> Self {
        self.transport.local_addr = Some(addr);
        self
    }

    /// Whether the connection is encrypted. Default: it is not.
    pub fn secure(mut self, is_secure: bool) -> Self {
        self.transport.is_secure = is_secure;
        self
    }

    /// Serves a `tokio_tungstenite::WebSocketStream`, or whatever wraps one; resolves when the session has ended and
    /// `on_close` has returned, to the reason of that.
    ///
    /// The session has a task of its own, which the container's shutdown ends and awaits. The handshake is over, so what
    /// would refuse it otherwise ends the socket with a close frame: 1008 for a foreign origin, a role, parameters or a
    /// word of the configurator's, 1013 during a shutdown, 1011 if the endpoint cannot be made. A configurator is not
    /// asked about subprotocol and extensions, and headers that it adds are nobody's.
    ///
    /// A message is put together by tungstenite before the endpoint's limit refuses it with 1009: set
    /// `WebSocketConfig::max_message_size` no higher than needed. A small `read_buffer_size` there (its default is 128 KiB
    /// for each connection) saves most of an idle connection's memory.
    ///
    /// # Errors
    /// The refusal; the peer was told the code for it.
    ///
    /// # Cancel safety
    /// If it is dropped before its first suspension there is no session; after it the session goes on without it. With a
    /// configurator that waits, dropping it meanwhile drops the socket.
    #[cfg(feature = "tungstenite")]
    pub async fn serve_tungstenite<S>(self, socket: S) -> Result<CloseReason, Refusal>
    where
        S: Stream<Item = Result<tungstenite::Message, tungstenite::Error>>
            + Sink<tungstenite::Message, Error = tungstenite::Error>
            + Unpin
            + Send
            + 'static,
    {
        self.serve(TungsteniteMessages(socket)).await
    }

    /// Serves a WebSocket of axum 0.8; everything that is said of
    /// [`serve_tungstenite`](Self::serve_tungstenite) holds, with the limits that `WebSocketUpgrade` has.
    ///
    /// axum does not say what was wrong with a frame: where tungstenite's violations end a session with their code, here
    /// the connection just ends, and `on_close` gets 1006.
    ///
    /// # Errors
    /// The refusal; the peer was told the code for it.
    ///
    /// # Cancel safety
    /// As [`serve_tungstenite`](Self::serve_tungstenite).
    #[cfg(feature = "axum")]
    pub async fn serve_axum(mut self, socket: axum::extract::ws::WebSocket) -> Result<CloseReason, Refusal> {
        use axum::extract::ConnectInfo;

        if self.subprotocol.is_none() {
            self.subprotocol = socket.protocol().and_then(|name| name.to_str().ok()).map(str::to_owned);
        }
        if self.transport.peer_addr.is_none() {
            let known = self.head.extensions.get::<ConnectInfo<SocketAddr>>();
            self.transport.peer_addr = known.map(|ConnectInfo(addr)| *addr);
        }
        self.serve(AxumMessages(socket)).await
    }

    async fn serve<M: Messages>(self, messages: M) -> Result<CloseReason, Refusal> {
        let (socket, uri) = (MessageSocket::new(messages), self.head.uri.clone());
        let limit = self.endpoint.mounted.sessions.limits.close_timeout;
        let container = self.endpoint.container.clone();
        let (prepared, mut opening, ended) = match self.accept().await {
            Ok(accepted) => accepted,
            Err(refusal) => {
                container.0.log_refused(&uri, &refusal);
                let reason = close_reason(&refusal);
                let mut socket = socket;
                let _ = timeout(limit, poll_fn(|cx| socket.poll_refuse(cx, &reason))).await;
                return Err(refusal);
            }
        };
        let upgraded = Upgraded::Whole(Box::new(socket));
        opening.upgrade = Box::pin(std::future::ready(Some((upgraded, Bytes::new()))));
        prepared(opening);
        // gone without a word only with its runtime
        Ok(ended.await.unwrap_or_else(|_| CloseReason::from(CloseCode::ClosedAbnormally)))
    }

    /// What the door does with a request, as far as it is left to be done.
    async fn accept(mut self) -> Result<(Prepared, PendingConnection, oneshot::Receiver<CloseReason>), Refusal> {
        let ExternalSocket { container, mounted } = &self.endpoint;
        let (container, Mounted { options, prepare, sessions, .. }) = (&*container.0, &**mounted);
        container.takes_sessions()?;
        container.head_limits.check(self.head.method.as_str(), &self.head.uri, &self.head.headers)?;
        let host = request::authority(&self.head.uri, &self.head.headers).ok_or_else(Refusal::missing_host);
        let policy = match host {
            Ok(host) => {
                container.hosts.check(host, self.transport)?;
                container.origins.check(&self.head.headers, host, self.transport.is_secure)
            }
            // whoever accepted it did not mind; without it nobody can say which origin is the same
            Err(refusal) if self.head.headers.contains_key(http::header::ORIGIN) => Err(refusal),
            Err(_) => Ok(()),
        };
        let identity = self.head.extensions.remove::<Identity>();
        let request = HandshakeRequest::new(&self.head, self.params, self.transport);
        let parameters = || {
            mounted.check_path(request.path_params()).map_err(|error| Refusal::bad_path_parameter(&error))?;
            mounted.check_query(&request).map_err(|error| Refusal::bad_query_parameter(&error))
        };
        let (prepared, rare, token);
        match &mounted.configured {
            None => {
                policy?;
                parameters()?;
                Configured::admit(options.roles, identity.as_ref())?;
                token = container.tasks.token();
                container.takes_sessions()?;
                prepared = prepare(&request)?;
                rare = MaybeRare::new();
                if let Some(identity) = identity {
                    crate::session::properties::of(&rare).set_identity(identity);
                }
            }
            Some(configured) => {
                configured.check_origin(&request, policy)?;
                parameters()?;
                let mut response = HandshakeResponse::new(self.subprotocol.as_deref(), None, identity);
                let word = configured.modify_handshake(&request, &mut response);
                let in_time = timeout(container.handshake_timeout, word).await;
                in_time.map_err(|_| Refusal::timed_out(RETRY_AFTER))??;
                Configured::admit(options.roles, response.identity().as_ref())?;
                // it may have taken its time
                token = container.tasks.token();
                container.takes_sessions()?;
                prepared = configured.prepare(&request, prepare)?;
                rare = response.into_parts().1;
            }
        }
        let subprotocol = self.subprotocol.map(|name| {
            let annotated = options.subprotocols.iter().find(|annotated| **annotated == name);
            annotated.map_or_else(|| Cow::Owned(name), |annotated| Cow::Borrowed(*annotated))
        });
        let (ends, ended) = oneshot::channel();
        let opening = PendingConnection {
            upgrade: Box::pin(std::future::ready(None)),
            terms: SessionInit {
                request,
                response: None,
                subprotocol,
                deflation: None,
                endpoint: sessions.clone(),
                rare,
            },
            token,
            ends: Some(ends),
        };
        Ok((prepared, opening, ended))
    }
}

impl fmt::Debug for ExternalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdoptedRequest").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// What the peer is told of a refusal that comes too late for HTTP.
fn close_reason(refusal: &Refusal) -> CloseReason {
    let (code, phrase) = match refusal.status() {
        StatusCode::SERVICE_UNAVAILABLE => (CloseCode::TryAgainLater, "not at the moment"),
        status if status.is_server_error() => (CloseCode::UnexpectedCondition, "internal error"),
        _ => (CloseCode::ViolatedPolicy, "refused"),
    };
    CloseReason::truncating(code, phrase)
}
