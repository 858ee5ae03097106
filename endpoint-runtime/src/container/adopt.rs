//! WebSockets that another library accepted: the opening handshake is over, and one of our endpoints serves them.

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

use super::accept::RETRY_AFTER;
use super::endpoint_config::EndpointConfig;
use super::erased_configurator::Configured;
use super::mounted::{Mounted, undeployable};
use super::registration::ServerEndpoint;
use super::service::ServerContainer;
use super::serving::{PendingConnection, Prepared, Upgraded};
use crate::container::configurator::HandshakeResponse;
use crate::endpoint::programmatic::Endpoint;
use crate::error::Error;
use crate::handshake::path::PathParams;
use crate::handshake::refusal::Refusal;
use crate::handshake::request;
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::session::principal::Identity;
use crate::session::{MaybeRare, SessionInit};
#[cfg(feature = "axum")]
use crate::transport::axum::AxumMessages;
use crate::transport::message_socket::{MessageSocket, Messages};
#[cfg(feature = "tungstenite")]
use crate::transport::tungstenite::TungsteniteMessages;
use endpoint_wire::close::{CloseCode, CloseReason};

impl ServerContainer {
    /// Prepares the annotated endpoint `E` for WebSockets that other code accepted, such as an axum handler: an
    /// application can migrate one handler at a time.
    ///
    /// Nothing is mounted. If `E` is also mounted, both share its constructor, its configurator and its open sessions.
    ///
    /// ```no_run
    /// # use axum::{extract::{Path, WebSocketUpgrade}, routing::get, Router};
    /// # use endpoint_runtime::prelude::*;
    /// # use http::request::Parts;
    /// # #[server_endpoint("/chat/{room}")]
    /// # #[derive(Default)]
    /// # struct Chat;
    /// # impl Chat {
    /// #     #[on_message]
    /// #     fn text(&mut self, text: &str) {}
    /// # }
    /// # #[cfg(feature = "axum")]
    /// # fn f(container: ServerContainer) -> Result<Router, Error> {
    /// let chat = container.adopt::<Chat>()?;
    /// let route = get(move |Path(room): Path<String>, parts: Parts, upgrade: WebSocketUpgrade| async move {
    ///     upgrade.on_upgrade(|socket| async move {
    ///         let _ = chat.request(parts).path_params([("room", room)]).serve_axum(socket).await;
    ///     })
    /// });
    /// let app = Router::new().route("/chat/{room}", route);
    /// # Ok(app) }
    /// ```
    ///
    /// # Errors
    /// [`Error::is_deployment`] as for a mounted endpoint; also if `E` requires something that such a socket does not
    /// support: a handler that takes messages in parts or as a stream, or `compression = on`. The socket delivers whole
    /// messages, and the library that accepted it negotiated its compression; the container's compression settings have
    /// no effect.
    pub fn adopt<E: ServerEndpoint>(&self) -> Result<ExternalSocket, Error> {
        ExternalSocket::new(self, self.annotated::<E>()?)
    }

    /// Prepares an endpoint without annotations for WebSockets that other code accepted.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_config<E: Endpoint>(&self, config: EndpointConfig<E>) -> Result<ExternalSocket, Error> {
        ExternalSocket::new(self, self.with_config(config)?)
    }
}

/// An endpoint for WebSockets that other code accepted; see [`ServerContainer::adopt`]. A clone is the same endpoint.
///
/// Sessions have the usual handlers, send queue, overflow policy, limits, rooms and shutdown. Operations that such a
/// socket does not support fail with [`Error::is_unsupported`]: `send_text_part`, `send_binary_part`, writers, and
/// adding handlers of parts.
#[derive(Clone)]
pub struct ExternalSocket {
    container: ServerContainer,
    mounted: Arc<Mounted>,
}

impl ExternalSocket {
    fn new(container: &ServerContainer, mounted: Arc<Mounted>) -> Result<Self, Error> {
        match mounted.unsupported_option() {
            None => Ok(Self { container: container.clone(), mounted }),
            Some(what) => {
                let about = &mounted.about;
                Err(undeployable(vec![format!("{about} cannot be served on an external socket: {what}")]))
            }
        }
    }

    /// One WebSocket that was opened by the request with this head: the session has its URI and headers. An
    /// [`Identity`] in its extensions becomes the session's principal.
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
        write!(f, "ExternalSocket({})", self.mounted.about)
    }
}

/// One WebSocket that other code accepted, and the data of its session; made by [`ExternalSocket::request`].
#[must_use = "call serve_axum or serve_tungstenite to serve the socket"]
pub struct ExternalRequest {
    endpoint: ExternalSocket,
    head: Parts,
    params: PathParams,
    subprotocol: Option<String>,
    transport: Transport,
}

impl ExternalRequest {
    /// The path variables that the router matched. They replace those of the annotation.
    pub fn path_params(mut self, params: impl IntoIterator<Item = (impl Into<Box<str>>, impl Into<Box<str>>)>) -> Self {
        self.params = params.into_iter().collect();
        self
    }

    /// The negotiated subprotocol. An axum socket provides it automatically.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// The peer's address. With axum's `into_make_service_with_connect_info::<SocketAddr>()` it is set automatically.
    pub fn peer_addr(mut self, addr: SocketAddr) -> Self {
        self.transport.peer_addr = Some(addr);
        self
    }

    /// The local address.
    pub fn local_addr(mut self, addr: SocketAddr) -> Self {
        self.transport.local_addr = Some(addr);
        self
    }

    /// Whether the connection is encrypted. Default: `false`.
    pub fn secure(mut self, is_secure: bool) -> Self {
        self.transport.is_secure = is_secure;
        self
    }

    /// Serves a `tokio_tungstenite::WebSocketStream`, or a wrapper around one. When the session has ended and
    /// `on_close` has returned, it resolves to the close reason.
    ///
    /// The session has its own task, which the container's shutdown ends and awaits. The handshake is over, so a
    /// refusal closes the socket with a close frame: 1008 for a foreign origin, a missing role, bad parameters or a
    /// refusal by the configurator, 1013 during a shutdown, 1011 if the endpoint cannot be constructed. A configurator
    /// does not choose subprotocol and extensions here, and headers that it adds are ignored.
    ///
    /// tungstenite assembles a whole message before the endpoint's limit refuses it with 1009, so set
    /// `WebSocketConfig::max_message_size` no higher than needed. A small `read_buffer_size` there (its default is 128
    /// KiB for each connection) saves most of an idle connection's memory.
    ///
    /// # Errors
    /// The refusal; its close code was sent to the peer.
    ///
    /// # Cancel safety
    /// If the future is dropped before it first suspends, no session opens; after that the session continues without
    /// it. If it is dropped while a configurator waits, the socket is dropped.
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

    /// Serves a WebSocket of axum 0.8, as [`serve_tungstenite`](Self::serve_tungstenite) does; set the message limits
    /// on `WebSocketUpgrade`.
    ///
    /// axum does not report protocol violations: with tungstenite a violation ends the session with its close code,
    /// here the connection ends without one, and `on_close` gets 1006.
    ///
    /// # Errors
    /// The refusal; its close code was sent to the peer.
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
        // the sender is dropped without a value only when the runtime shuts down
        Ok(ended.await.unwrap_or_else(|_| CloseReason::from(CloseCode::ClosedAbnormally)))
    }

    /// The checks of a handshake that still apply after another library accepted it.
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
            // the code that accepted the request allowed a missing host; but without a host the origin cannot be
            // compared
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
                    crate::session::rare::of(&rare).set_identity(identity);
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
                // checked again: a shutdown may have begun while the configurator waited
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
            init: SessionInit {
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
        f.debug_struct("ExternalRequest").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The close reason for a refusal after the handshake, when an HTTP status can no longer be sent.
fn close_reason(refusal: &Refusal) -> CloseReason {
    let (code, phrase) = match refusal.status() {
        StatusCode::SERVICE_UNAVAILABLE => (CloseCode::TryAgainLater, "try again later"),
        status if status.is_server_error() => (CloseCode::UnexpectedCondition, "internal error"),
        _ => (CloseCode::ViolatedPolicy, "refused"),
    };
    CloseReason::truncating(code, phrase)
}
