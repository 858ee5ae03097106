//! The peer's address, as far as another HTTP server tells it with the request.

#[cfg(feature = "axum")]
use std::net::SocketAddr;

#[cfg(feature = "axum")]
use axum::extract::ConnectInfo;
#[cfg(feature = "axum")]
use axum::extract::connect_info::MockConnectInfo;
use http::Extensions;

use crate::handshake::request::Transport;

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
