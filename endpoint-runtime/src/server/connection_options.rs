//! The options of a server's connections: their limits, and the PROXY protocol.

use super::builder::ServerBuilder;
use crate::handshake::proxy_protocol::ProxyProtocol;
use crate::limits::rate::Rate;

/// Options of connections, before a request is read.
///
/// A connection over a limit is closed before anything is read from it. Over plain HTTP it first gets an answer with
/// `Retry-After`: 503 if the limit is that of all connections, 429 if it is that of an address. Behind TLS there is none, because
/// an answer would take a handshake. [`ConnectionCounts::refused`](crate::ConnectionCounts::refused) counts them, and the log has
/// a line a second at most.
///
/// The address is that of the peer, or with the [PROXY protocol](Self::proxy_protocol) that of the client. Peers of Unix sockets
/// have none, and are not counted by address.
impl ServerBuilder {
    /// Maximum number of connections at a time, over all listeners. Each counts until its socket is closed, also after its
    /// upgrade to a WebSocket. Default: no limit but that of the system's files.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.connection_limits.connections = Some(connections);
        self
    }

    /// Maximum number of connections at a time of which no request has been read yet: they are in the TLS handshake, or have
    /// not sent a whole request head, for which they have 30 seconds. Default: 8,192, a protection against clients that connect
    /// and say nothing.
    pub fn max_pending_handshakes(mut self, connections: usize) -> Self {
        self.connection_limits.pending = connections;
        self
    }

    /// Maximum number of connections at a time of one address. An IPv6 network counts as one address
    /// ([`ipv6_prefix`](Self::ipv6_prefix)). Default: no limit, because many users may share the address of a company or of a
    /// mobile network.
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.connection_limits.per_address = Some(connections);
        self
    }

    /// Maximum rate of new connections, each of which is a handshake, of all addresses together. Default: no limit.
    ///
    /// ```
    /// # use endpoint_runtime::{Rate, Server};
    /// let server = Server::builder().handshake_rate(Rate::per_second(500).burst(2000));
    /// ```
    pub fn handshake_rate(mut self, rate: Rate) -> Self {
        self.connection_limits.rate = Some(rate);
        self
    }

    /// Maximum rate of new connections of one address. Default: no limit. The rates of 65,536 addresses are kept; beyond
    /// that, addresses without one share a rate.
    pub fn handshake_rate_per_address(mut self, rate: Rate) -> Self {
        self.connection_limits.rate_per_address = Some(rate);
        self
    }

    /// Whether connections begin with a header of the PROXY protocol, version 1 or 2, by which a proxy such as HAProxy or a
    /// load balancer tells the address of its client. Default: off.
    ///
    /// [`Session::peer_addr`](crate::Session::peer_addr), `local_addr`, limits and the log then have the client's address, and
    /// [`Session::is_secure`](crate::Session::is_secure) is true if the header tells that the client uses TLS. The header
    /// comes before TLS. A header without an IP address (`UNKNOWN`, `LOCAL`, a Unix socket) leaves the addresses of the
    /// connection.
    ///
    /// With [`trusted_proxies`](Self::trusted_proxies), a header is believed from those alone. Without, it is believed from
    /// every peer, so nobody but the proxy may reach the server. A connection whose header is missing, invalid, longer than 4 KiB or not there within 30 seconds is closed,
    /// and counted ([`ConnectionCounts::bad_proxy_headers`](crate::ConnectionCounts::bad_proxy_headers)). The checksum of
    /// version 2 is not verified.
    pub fn proxy_protocol(mut self, mode: ProxyProtocol) -> Self {
        let mut option = self.proxy_protocol;
        self.session_settings().set_once(&mut option, mode, "`proxy_protocol`");
        self.proxy_protocol = option;
        self
    }

    /// Limits that admit no connection.
    pub(super) fn connection_mistakes(&self) -> Vec<String> {
        let limits = &self.connection_limits;
        let limits = [
            ("max_connections", limits.connections),
            ("max_pending_handshakes", Some(limits.pending)),
            ("max_connections_per_address", limits.per_address),
        ];
        let zero = limits.into_iter().filter(|(_, most)| *most == Some(0));
        zero.map(|(name, _)| format!("`{name}` must be at least 1")).collect()
    }
}
