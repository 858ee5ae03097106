//! A request as the log names it, and the peer's address, as far as another HTTP server tells it with the request.

use std::net::SocketAddr;

#[cfg(feature = "axum")]
use axum::extract::ConnectInfo;
#[cfg(feature = "axum")]
use axum::extract::connect_info::MockConnectInfo;
use http::request::Parts;
use http::{Extensions, HeaderMap, Request, Uri};

use crate::handshake::request::Transport;

/// A request, as the log names it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'r> {
    pub(super) uri: &'r Uri,
    pub(super) headers: &'r HeaderMap,
    pub(super) peer: Option<SocketAddr>,
}

impl<'r> Asked<'r> {
    pub(super) fn by(parts: &'r Parts, transport: Transport) -> Self {
        Self { uri: &parts.uri, headers: &parts.headers, peer: transport.or_of(&parts.extensions).peer_addr }
    }

    pub(super) fn of<B>(request: &'r Request<B>, transport: Transport) -> Self {
        let peer = transport.or_of(request.extensions()).peer_addr;
        Self { uri: request.uri(), headers: request.headers(), peer }
    }
}

impl Transport {
    /// Adds the peer's address, if it is not known and `extensions` have axum's `ConnectInfo<SocketAddr>`.
    #[cfg(feature = "axum")]
    pub(super) fn or_of(mut self, extensions: &Extensions) -> Self {
        let known = || extensions.get::<ConnectInfo<SocketAddr>>().map(|known| known.0);
        let mocked = || extensions.get::<MockConnectInfo<SocketAddr>>().map(|known| known.0);
        self.peer_addr = self.peer_addr.or_else(known).or_else(mocked);
        self
    }

    /// Without axum no type of an extension is known to have an address.
    #[cfg(not(feature = "axum"))]
    pub(super) fn or_of(self, _extensions: &Extensions) -> Self {
        self
    }
}
