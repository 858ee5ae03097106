//! WebSockets that another library accepts, served by one of our endpoints.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

#[cfg(feature = "tungstenite")]
use futures_core::Stream;
#[cfg(feature = "tungstenite")]
use futures_sink::Sink;
use http::StatusCode;
use http::request::Parts;
use tokio::time::timeout;
#[cfg(feature = "tungstenite")]
use tokio_tungstenite::tungstenite;

use super::checked_request::{CheckedRequest, Subprotocol};
use super::endpoint_config::EndpointConfig;
use super::logged_request::LoggedRequest;
use super::mounted::{Mounted, undeployable};
use super::registration::ServerEndpoint;
use super::service::ServerContainer;
use crate::endpoint::programmatic::Endpoint;
use crate::error::Error;
use crate::handshake::path::PathParams;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::Transport;
use crate::transport::message_socket::{MessageSocket, Messages};
#[cfg(feature = "tungstenite")]
use crate::transport::tungstenite::TungsteniteMessages;
use endpoint_wire::close::{CloseCode, CloseReason};

impl ServerContainer {
    /// Prepares the annotated endpoint `E` for WebSockets that another library accepts, such as axum in a handler with
    /// `WebSocketUpgrade`: an application can migrate one handler at a time.
    ///
    /// Nothing is mounted. If `E` is also mounted, both share its constructor, its configurator and its open sessions.
    ///
    /// ```no_run
    /// # use axum::{extract::{Path, WebSocketUpgrade}, routing::any, Router};
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
    /// let route = any(move |Path(room): Path<String>, parts: Parts, upgrade: WebSocketUpgrade| async move {
    ///     chat.request(parts).path_params([("room", room)]).upgrade_axum(upgrade).await
    /// });
    /// let app = Router::new().route("/chat/{room}", route);
    /// # Ok(app) }
    /// ```
    ///
    /// A handler that takes the whole `Request` does not need this: [`upgrade`](Self::upgrade) supports every endpoint,
    /// and learns the peer's address from the socket.
    ///
    /// # Errors
    /// [`Error::is_deployment`] as for a mounted endpoint; also if `E` requires something that such a socket does not
    /// support: a handler that takes messages in parts or as a stream, or `compression = on`. The socket delivers whole
    /// messages, and the library that accepts it negotiates its compression; the container's compression settings have
    /// no effect.
    pub fn adopt<E: ServerEndpoint>(&self) -> Result<ExternalSocket, Error> {
        ExternalSocket::new(self, self.annotated::<E>()?)
    }

    /// Prepares an endpoint without annotations for WebSockets that another library accepts.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    pub fn adopt_config<E: Endpoint>(&self, config: EndpointConfig<E>) -> Result<ExternalSocket, Error> {
        ExternalSocket::new(self, self.with_config(config)?)
    }
}

/// An endpoint for WebSockets that another library accepts; see [`ServerContainer::adopt`]. A clone is the same endpoint.
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

    /// One WebSocket that is opened by the request with this head: the session has its URI and headers. An
    /// [`Identity`](crate::Identity) in its extensions becomes the session's principal.
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

/// One WebSocket that another library accepts, and the data of its session; made by [`ExternalSocket::request`].
///
/// While the request is still at hand, check it before it is answered: `upgrade_axum`, or [`check`](Self::check). Then
/// a refusal is an HTTP response, as for a mounted endpoint. If the WebSocket is already open, `serve_axum` and
/// `serve_tungstenite` do the same checks, and refuse with a close frame.
#[must_use = "upgrade, check or serve it"]
pub struct ExternalRequest {
    endpoint: ExternalSocket,
    pub(super) head: Parts,
    params: PathParams,
    pub(super) subprotocol: Option<String>,
    transport: Transport,
}

impl ExternalRequest {
    /// The path variables that the router matched. They replace those of the annotation. Calls add up.
    pub fn path_params(mut self, params: impl IntoIterator<Item = (impl Into<Box<str>>, impl Into<Box<str>>)>) -> Self {
        let added = params.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.params = self.params.and(added);
        self
    }

    /// The negotiated subprotocol. An axum socket provides it automatically, and [`check`](Self::check) chooses one if
    /// none is set.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// The peer's address. With axum's `into_make_service_with_connect_info::<SocketAddr>()` it is set automatically; a
    /// `ConnectInfo` of any other type is not recognised. Without either it is unknown, because axum does not reveal the
    /// socket that it upgrades; [`ServerContainer::upgrade`] learns it from the socket.
    pub fn peer_addr(mut self, addr: SocketAddr) -> Self {
        self.transport.peer_addr = Some(addr);
        self
    }

    /// The local address. It is never set automatically.
    pub fn local_addr(mut self, addr: SocketAddr) -> Self {
        self.transport.local_addr = Some(addr);
        self
    }

    /// Whether the connection is encrypted. Default: `false`.
    pub fn secure(mut self, is_secure: bool) -> Self {
        self.transport.is_secure = is_secure;
        self
    }

    /// Checks the request before it is answered: size of the head, host, origin, path and query parameters, roles,
    /// whether the container shuts down. The container's [handshake hooks](crate::ContainerBuilder::handshake) and the
    /// endpoint's configurator run, and the instance is made. The other library checks the headers of the handshake
    /// itself: key, version, method.
    ///
    /// Answer with the [subprotocol](CheckedRequest::subprotocol) and the [headers](CheckedRequest::headers) of the
    /// result, then serve the socket with it. With axum, `upgrade_axum` does all of this. With tungstenite's
    /// `accept_hdr_async`, check in its callback, which cannot wait: poll the future once, for example with
    /// `now_or_never` of the crate `futures-util`. It is ready at once, unless a hook or a configurator waits.
    ///
    /// # Errors
    /// The refusal, which converts into an `http::Response`, and with the feature `axum` into a response of axum. It is
    /// logged.
    ///
    /// # Cancel safety
    /// If the future is dropped, no session opens.
    pub async fn check(self) -> Result<CheckedRequest, Refusal> {
        let chosen = self.subprotocol.clone();
        self.check_with(chosen.map_or(Subprotocol::Open, |name| Subprotocol::Agreed(Some(name)))).await
    }

    /// Serves a `tokio_tungstenite::WebSocketStream`, or a wrapper around one. When the session has ended and
    /// `on_close` has returned, it resolves to the close reason.
    ///
    /// The session has its own task, which the container's shutdown ends and awaits. The handshake is over, so a
    /// refusal closes the socket with a close frame: 1008 for a foreign origin, a missing role, bad parameters or a
    /// refusal by a hook or the configurator, 1013 during a shutdown or beyond a cap of sessions, 1011 if the endpoint cannot be constructed. Hooks
    /// and configurator do not choose subprotocol and extensions here, and headers that they add are ignored. To refuse
    /// with an HTTP status, call [`check`](Self::check) before the library answers.
    ///
    /// The peer's address is unknown unless [`peer_addr`](Self::peer_addr) sets it.
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
    /// it. If it is dropped while a hook or a configurator waits, the socket is dropped.
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

    /// Serves a WebSocket that is already open.
    pub(super) async fn serve<M: Messages>(self, messages: M) -> Result<CloseReason, Refusal> {
        let (mut socket, limit) = (MessageSocket::new(messages), self.endpoint.mounted.sessions.limits.close_timeout);
        let agreed = Subprotocol::Agreed(self.subprotocol.clone());
        match self.check_with(agreed).await {
            Ok(checked) => Ok(checked.serve(socket).await),
            Err(refusal) => {
                let reason = close_reason(&refusal);
                let _ = timeout(limit, poll_fn(|cx| socket.poll_refuse(cx, &reason))).await;
                Err(refusal)
            }
        }
    }

    async fn check_with(self, subprotocol: Subprotocol) -> Result<CheckedRequest, Refusal> {
        let Self { endpoint: ExternalSocket { container, mounted }, mut head, params, transport, .. } = self;
        let transport = container.0.client(&mut head, transport);
        let checked = CheckedRequest::new(&container.0, &mounted, &mut head, params, subprotocol, transport).await;
        checked.inspect_err(|refusal| container.0.log_refused(LoggedRequest::of_parts(&head, transport), refusal))
    }

    /// Logs, once for a container, how axum tells the peer's address, if it has not.
    #[cfg(feature = "axum")]
    pub(super) fn hint_at_address(&self) {
        let log = &self.endpoint.container.0.log;
        let is_known = self.transport.or_connect_info(&self.head.extensions).peer_addr.is_some();
        if !is_known && !log.no_address.swap(true, std::sync::atomic::Ordering::Relaxed) {
            tracing::info!(
                endpoint = self.endpoint.mounted.about.name,
                "sessions behind axum have no peer address: serve the router with \
                 into_make_service_with_connect_info::<SocketAddr>(), or answer with ServerContainer::upgrade"
            );
        }
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
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            (CloseCode::TryAgainLater, "try again later")
        }
        status if status.is_server_error() => (CloseCode::UnexpectedCondition, "internal error"),
        _ => (CloseCode::ViolatedPolicy, "refused"),
    };
    CloseReason::truncating(code, phrase)
}
