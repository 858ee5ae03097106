//! WebSockets that axum accepts.

use axum::extract::ws::{OnFailedUpgrade, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};

use super::adopt::ExternalRequest;
use super::checked_request::CheckedRequest;
use crate::handshake::refusal::Refusal;
use crate::transport::axum::AxumMessages;
use crate::transport::message_socket::MessageSocket;
use endpoint_wire::close::CloseReason;

impl ExternalRequest {
    /// Answers the request: [checks](Self::check) it, and refuses it with the HTTP status of a mounted endpoint, or
    /// accepts it and serves the WebSocket of axum 0.8. Return the response from the handler.
    ///
    /// The response has the subprotocol that the endpoint chooses, or the one of [`subprotocol`](Self::subprotocol); if
    /// there is neither, the choice of `upgrade.protocols([..])` stays. It has the headers of the handshake hooks and
    /// the configurator. Set axum's own options on `upgrade` before: it assembles a whole message, by default of up to
    /// 64 MiB, before the endpoint's limit refuses it, so set `max_message_size` there no higher than needed.
    ///
    /// The session has its own task, which the container's shutdown ends and awaits. axum does not report protocol
    /// violations: the connection ends without a close code, and `on_close` gets 1006. For the peer's address see
    /// [`peer_addr`](Self::peer_addr).
    ///
    /// # Cancel safety
    /// If the future is dropped, no session opens.
    pub async fn upgrade_axum<F: OnFailedUpgrade>(self, upgrade: WebSocketUpgrade<F>) -> Response {
        self.hint_at_address();
        let mut checked = match self.check().await {
            Ok(checked) => checked,
            Err(refusal) => return refusal.into(),
        };
        let upgrade = match checked.init.subprotocol.clone() {
            Some(name) => upgrade.protocols([name]),
            None => upgrade,
        };
        let headers = std::mem::take(&mut checked.headers);
        let mut response = upgrade.on_upgrade(async move |socket| {
            checked.agree_as(&socket);
            checked.start(MessageSocket::new(AxumMessages(socket)), None);
        });
        response.headers_mut().extend(headers);
        response
    }

    /// Serves an open WebSocket of axum 0.8, for code that has only the socket. When the session has ended and
    /// `on_close` has returned, it resolves to the close reason.
    ///
    /// The client was already told that it is connected, so a refusal is a close frame, as by `serve_tungstenite`: a
    /// page of a foreign origin gets 101 and then 1008. Where the `WebSocketUpgrade` is at hand, call
    /// [`upgrade_axum`](Self::upgrade_axum) instead, which refuses with an HTTP status. Set the message limits on
    /// `WebSocketUpgrade`.
    ///
    /// axum does not report protocol violations: with tungstenite a violation ends the session with its close code,
    /// here the connection ends without one, and `on_close` gets 1006. For the peer's address see
    /// [`peer_addr`](Self::peer_addr).
    ///
    /// # Errors
    /// The refusal; its close code was sent to the peer.
    ///
    /// # Cancel safety
    /// If the future is dropped before it first suspends, no session opens; after that the session continues without
    /// it. If it is dropped while a hook or a configurator waits, the socket is dropped.
    pub async fn serve_axum(mut self, socket: WebSocket) -> Result<CloseReason, Refusal> {
        self.hint_at_address();
        if self.subprotocol.is_none() {
            self.subprotocol = protocol_of(&socket);
        }
        self.serve(AxumMessages(socket)).await
    }
}

impl CheckedRequest {
    /// Serves a WebSocket of axum 0.8; set the message limits on `WebSocketUpgrade`. When the session has ended and
    /// `on_close` has returned, it resolves to the close reason.
    ///
    /// The session's subprotocol is that of the socket: name [`subprotocol`](Self::subprotocol) to axum with
    /// `upgrade.protocols([..])`.
    ///
    /// # Cancel safety
    /// If the future is dropped before it first suspends, no session opens; after that the session continues without
    /// it.
    pub async fn serve_axum(mut self, socket: WebSocket) -> CloseReason {
        self.agree_as(&socket);
        self.serve(MessageSocket::new(AxumMessages(socket))).await
    }

    /// Gives the session the subprotocol that axum named to the client.
    fn agree_as(&mut self, socket: &WebSocket) {
        let named = protocol_of(socket);
        if named.as_deref() != self.subprotocol() {
            self.init.subprotocol = named.map(Into::into);
        }
    }
}

fn protocol_of(socket: &WebSocket) -> Option<String> {
    socket.protocol().and_then(|name| name.to_str().ok()).map(str::to_owned)
}

/// The response that refuses, for handlers of axum that return a `Result`.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.into()
    }
}
