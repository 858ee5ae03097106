//! A request for a WebSocket that another library accepts, after every check.

use std::fmt;
use std::future::ready;

use bytes::Bytes;
#[cfg(feature = "tungstenite")]
use futures_core::Stream;
#[cfg(feature = "tungstenite")]
use futures_sink::Sink;
use http::HeaderMap;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;
#[cfg(feature = "tungstenite")]
use tokio_tungstenite::tungstenite;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::erased_configurator::{Configured, subprotocol_name};
use super::guards::Guards;
use super::mounted::Mounted;
use super::service::Inner;
use super::serving::{PendingConnection, Prepared, Upgraded};
use crate::container::configurator::HandshakeResponse;
use crate::handshake::http2;
use crate::handshake::path::PathParams;
use crate::handshake::refusal::Refusal;
use crate::handshake::request;
use crate::handshake::request::{HandshakeRequest, Transport};
use crate::handshake::server::offered_subprotocols;
use crate::limits::sessions::Places;
use crate::observe::destructors;
use crate::session::SessionInit;
use crate::session::principal::Identity;
use crate::transport::message_socket::{MessageSocket, Messages};
#[cfg(feature = "tungstenite")]
use crate::transport::tungstenite::TungsteniteMessages;
use endpoint_wire::close::{CloseCode, CloseReason};

/// A request that passed every check before it is answered, with the endpoint instance that waits for its socket; made
/// by [`ExternalRequest::check`](crate::ExternalRequest::check).
///
/// The container's shutdown waits for it, so serve it soon, or drop it.
#[must_use = "serve the socket with it"]
pub struct CheckedRequest {
    prepared: Prepared,
    pub(super) init: SessionInit,
    guards: Guards,
    pub(super) headers: HeaderMap,
    token: TaskTrackerToken,
    places: Places,
}

/// The subprotocol of a WebSocket that another library accepts.
pub(super) enum Subprotocol {
    /// The application or the library has chosen, possibly none.
    Agreed(Option<String>),
    /// The endpoint chooses from what the client offers.
    Open,
}

impl CheckedRequest {
    /// The checks of a handshake, without those that every library does itself.
    pub(super) async fn new(
        container: &Inner,
        mounted: &Mounted,
        head: &mut Parts,
        params: PathParams,
        subprotocol: Subprotocol,
        transport: Transport,
    ) -> Result<Self, Refusal> {
        let Mounted { options, sessions, .. } = mounted;
        // the library upgrades
        head.extensions.remove::<OnUpgrade>();
        let (identity, extensions) = (head.extensions.get::<Identity>().cloned(), container.extensions(head));
        container.takes_sessions()?;
        container.head_limits.check(head.method.as_str(), &head.uri, &head.headers)?;
        http2::unify(head)?;
        let host = request::authority(&head.uri, &head.headers).ok_or_else(Refusal::missing_host);
        let policy = match host {
            Ok(host) => {
                container.hosts.check(host, transport)?;
                container.origins.check(&head.headers, host, transport.is_secure)
            }
            // the library allows a missing host; but without a host the origin cannot be compared
            Err(refusal) if head.headers.contains_key(http::header::ORIGIN) => Err(refusal),
            Err(_) => Ok(()),
        };
        let mut request = HandshakeRequest::new(head, params, transport).with_extensions(extensions);
        let defaults;
        let configured = match &mounted.configured {
            Some(configured) => configured,
            None => {
                defaults = Configured::defaults();
                &defaults
            }
        };
        configured.check_origin(&request, policy)?;
        let mut places = container.enter(mounted, transport.peer_addr)?;
        mounted.check_params(&request)?;
        let subprotocol = match subprotocol {
            Subprotocol::Agreed(name) => name.map(|name| subprotocol_name(options.subprotocols, name)),
            Subprotocol::Open => {
                let offered: Vec<&str> = offered_subprotocols(&head.headers).collect();
                configured.select_subprotocol(options.subprotocols, &offered)?
            }
        };
        let mut response = HandshakeResponse::new(subprotocol.as_deref(), None, identity);
        let (prepared, token) = container.admit(mounted, configured, &request, &mut response, &mut places).await?;
        let (headers, rare) = response.into_parts();
        destructors::run("a request's extensions", request.take_extensions());
        #[cfg(feature = "otel")]
        crate::session::rare::remember_span(&rare);
        // the library answers it
        container.handshakes.add(http::StatusCode::SWITCHING_PROTOCOLS.as_u16());
        let endpoint = sessions.clone();
        let init = SessionInit { request, response: None, subprotocol, deflation: None, endpoint, rare };
        Ok(Self { prepared, init, guards: mounted.guards.clone(), headers, token, places })
    }

    /// The subprotocol of the session, to be named in the response: the one that was set on the request, else the
    /// choice of the endpoint.
    pub fn subprotocol(&self) -> Option<&str> {
        self.init.subprotocol.as_deref()
    }

    /// The headers that handshake hooks and the configurator add to the response.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Serves a `tokio_tungstenite::WebSocketStream`, or a wrapper around one. When the session has ended and
    /// `on_close` has returned, it resolves to the close reason. For the limits see
    /// [`ExternalRequest::serve_tungstenite`](crate::ExternalRequest::serve_tungstenite).
    ///
    /// # Cancel safety
    /// If the future is dropped before it first suspends, no session opens; after that the session continues without
    /// it.
    #[cfg(feature = "tungstenite")]
    pub async fn serve_tungstenite<S>(self, socket: S) -> CloseReason
    where
        S: Stream<Item = Result<tungstenite::Message, tungstenite::Error>>
            + Sink<tungstenite::Message, Error = tungstenite::Error>
            + Unpin
            + Send
            + 'static,
    {
        self.serve(MessageSocket::new(TungsteniteMessages(socket))).await
    }

    /// Serves the socket, and waits for the end.
    pub(super) async fn serve<M: Messages>(self, socket: MessageSocket<M>) -> CloseReason {
        let (ends, ended) = oneshot::channel();
        self.start(socket, Some(ends));
        // the sender is dropped without a value only when the runtime shuts down
        ended.await.unwrap_or_else(|_| CloseReason::from(CloseCode::ClosedAbnormally))
    }

    /// Serves the socket in the session's own task.
    pub(super) fn start<M: Messages>(self, socket: MessageSocket<M>, ends: Option<oneshot::Sender<CloseReason>>) {
        let Self { prepared, init, guards, token, places, .. } = self;
        let upgraded = Upgraded::Whole(Box::new(socket));
        let upgrade = Box::pin(ready(Some((upgraded, Bytes::new()))));
        prepared(PendingConnection { upgrade, init, guards, token, places, ends });
    }
}

impl fmt::Debug for CheckedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedRequest").field("request", &self.init.request).finish_non_exhaustive()
    }
}
