//! The data of a request that its log lines show. The address of the peer may come from axum.

use std::net::SocketAddr;

#[cfg(feature = "axum")]
use axum::extract::ConnectInfo;
#[cfg(feature = "axum")]
use axum::extract::connect_info::MockConnectInfo;
use http::request::Parts;
use http::{Extensions, HeaderMap, Request, Uri};

use crate::handshake::request::Transport;

/// What a log line says about a request.
#[derive(Clone, Copy)]
pub(super) struct LoggedRequest<'r> {
    pub(super) uri: &'r Uri,
    pub(super) headers: &'r HeaderMap,
    pub(super) peer: Option<SocketAddr>,
}

impl<'r> LoggedRequest<'r> {
    /// `transport` is that of the client.
    pub(super) fn of_parts(parts: &'r Parts, transport: Transport) -> Self {
        Self { uri: &parts.uri, headers: &parts.headers, peer: transport.peer_addr }
    }

    /// `transport` is that of the client.
    pub(super) fn of<B>(request: &'r Request<B>, transport: Transport) -> Self {
        Self { uri: request.uri(), headers: request.headers(), peer: transport.peer_addr }
    }
}

impl Transport {
    /// Adds the peer's address, if it is not known and `extensions` have axum's `ConnectInfo<SocketAddr>`.
    #[cfg(feature = "axum")]
    pub(super) fn or_connect_info(mut self, extensions: &Extensions) -> Self {
        let known = || extensions.get::<ConnectInfo<SocketAddr>>().map(|known| known.0);
        let mocked = || extensions.get::<MockConnectInfo<SocketAddr>>().map(|known| known.0);
        self.peer_addr = self.peer_addr.or_else(known).or_else(mocked);
        self
    }

    /// Without axum no type of an extension is known to have an address.
    #[cfg(not(feature = "axum"))]
    pub(super) fn or_connect_info(self, _extensions: &Extensions) -> Self {
        self
    }
}
