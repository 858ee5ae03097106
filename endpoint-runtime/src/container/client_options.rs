//! Options about clients: who they are behind proxies, and how many sessions they may have. Each with its documentation,
//! for the builders of servers and containers.

use crate::config::IPV6_PREFIX;
use crate::handshake::forwarded::{ForwardedHeaders, Proxies};
use crate::handshake::trusted_proxies::TrustedProxies;
use crate::limits::sessions::SessionCaps;

/// Who a client is, and how many sessions it may have.
#[derive(Debug)]
pub(crate) struct ClientSettings {
    trusted_proxies: Vec<String>,
    forwarded_headers: Option<ForwardedHeaders>,
    pub(crate) ipv6_prefix: u8,
    pub(crate) caps: SessionCaps,
}

impl Default for ClientSettings {
    fn default() -> Self {
        let (trusted_proxies, forwarded_headers, caps) = <_>::default();
        Self { trusted_proxies, forwarded_headers, ipv6_prefix: IPV6_PREFIX, caps }
    }
}

impl ClientSettings {
    pub(crate) fn add_proxies<I: IntoIterator<Item = S>, S: AsRef<str>>(&mut self, proxies: I) {
        self.trusted_proxies.extend(proxies.into_iter().map(|proxy| proxy.as_ref().to_owned()));
    }

    /// # Errors
    /// The headers are set already; they stay.
    pub(crate) fn set_headers(&mut self, headers: ForwardedHeaders) -> Result<(), String> {
        if self.forwarded_headers.is_some() {
            return Err("`forwarded_headers` is set twice: remove one".to_owned());
        }
        self.forwarded_headers = Some(headers);
        Ok(())
    }

    /// The trusted proxies; what is wrong with these settings goes to `mistakes`.
    pub(super) fn proxies(&self, mistakes: &mut Vec<String>) -> Proxies {
        if self.ipv6_prefix > 128 {
            mistakes.push(format!("`ipv6_prefix` is {}, but an IPv6 address has 128 bits", self.ipv6_prefix));
        }
        mistakes.extend(mistakes_of(
            &self.caps,
            ["max_sessions", "max_sessions_per_address", "max_sessions_per_principal"],
        ));
        let trusted = TrustedProxies::list(&self.trusted_proxies).unwrap_or_else(|error| {
            mistakes.push(error.to_string());
            TrustedProxies::default()
        });
        if self.forwarded_headers.is_some() && self.trusted_proxies.is_empty() {
            let alone = "`forwarded_headers` has no effect without `trusted_proxies`: list the proxies, or remove it";
            mistakes.push(alone.to_owned());
        }
        Proxies { trusted, headers: self.forwarded_headers.unwrap_or_default() }
    }
}

/// The caps that would admit no session at all, by their names.
pub(super) fn mistakes_of(caps: &SessionCaps, names: [&'static str; 3]) -> impl Iterator<Item = String> {
    let zero = [caps.total, caps.per_address, caps.per_principal].into_iter().zip(names);
    let zero = zero.filter(|(most, _)| *most == Some(0));
    zero.map(|(_, name)| format!("`{name}` is 0, which admits no session: set at least 1, or remove it"))
}

/// The setters of [`ClientSettings`]. The builder has the methods `request_settings` and `session_settings`.
macro_rules! client_setters {
    ($builder:ty) => {
        /// Options about clients: proxies in front of the server, and the number of sessions.
        impl $builder {
            /// Believes what these proxies tell of their clients: addresses such as `127.0.0.1` or `::1`, networks such as
            /// `10.0.0.0/8` or `fd00::/8`, and `unix` for peers without an address, as behind a Unix socket. Calls add up.
            /// Default: none, because without a proxy in front every client could invent its address.
            ///
            /// If the peer of a connection is listed, the [`forwarded_headers`](Self::forwarded_headers) of its requests
            /// tell the client's address, scheme, host and port. From then on
            /// [`peer_addr`](crate::Session::peer_addr), [`is_secure`](crate::Session::is_secure),
            /// [`uri`](crate::Session::uri) and the header `Host` are those of the client, and so are the origin check,
            /// [`allowed_hosts`](Self::allowed_hosts) for endpoints, limits by address and the log. From any other peer
            /// the headers mean nothing.
            ///
            /// The list of addresses is read from its end, as long as the address read last is itself a listed proxy. So
            /// the client is the last address that is not listed, whatever it has sent itself. What cannot be read ends
            /// the list: then the last listed proxy counts as the client. `X-Forwarded-For` has no port, so the port of
            /// [`peer_addr`](crate::Session::peer_addr) is 0 then.
            ///
            /// List only machines that you run, and let the outermost proxy overwrite or remove every header of the family
            /// that a client may have sent. A `Forwarded` element of a proxy that appends to what the client sent can be
            /// made illegible by the client.
            ///
            /// - An HTTP server other than [`Server`](crate::Server) must tell the peer's address: axum by
            ///   `into_make_service_with_connect_info::<SocketAddr>()`. Without it every request has a peer without an
            ///   address, and `unix` would trust them all.
            /// - Requests for the [`fallback`](crate::ServerBuilder::fallback) are judged by their own `Host`: a script of
            ///   a page can send `X-Forwarded-Host`, but not `Host`. A handshake cannot be made by such a script.
            /// - `X-Forwarded-Prefix` is not used: set the [`context_path`](Self::context_path), or let the proxy remove
            ///   the prefix.
            pub fn trusted_proxies<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, proxies: I) -> Self {
                self.request_settings().clients.add_proxies(proxies);
                self
            }

            /// The family of headers in which the [`trusted_proxies`](Self::trusted_proxies) tell the client. Default:
            /// [`XForwarded`](crate::ForwardedHeaders::XForwarded), which nginx, HAProxy and the balancers of clouds set.
            ///
            /// The other family is ignored, even if it is the only one that a request has: a proxy sets one family and
            /// passes on what the client invented in the other.
            pub fn forwarded_headers(mut self, headers: $crate::handshake::forwarded::ForwardedHeaders) -> Self {
                let set = self.request_settings().clients.set_headers(headers);
                self.session_settings().mistakes.extend(set.err());
                self
            }

            /// Maximum number of open sessions of all endpoints together. Default: no limit, because memory and open files
            /// differ from machine to machine: an idle session takes about 1.5 KiB and one file.
            ///
            /// A session counts from the accepted handshake until its connection has ended. Beyond the limit a handshake
            /// is refused with 503 and `Retry-After`, before any hook runs. The option of an endpoint
            /// (`#[server_endpoint("/chat", max_sessions = 10_000)]`) counts its own sessions, in addition to this one.
            /// Sessions that are opened by [`upgrade`](crate::ServerContainer::upgrade) or adopted count as well. In a
            /// cluster each node counts its own.
            pub fn max_sessions(mut self, sessions: usize) -> Self {
                self.request_settings().clients.caps.total = Some(sessions);
                self
            }

            /// Maximum number of open sessions of one address, over all endpoints. Default: no limit, because many people
            /// may share one address. It protects against one machine that takes all sessions.
            ///
            /// The address is that of the client, see [`trusted_proxies`](Self::trusted_proxies); addresses of IPv6 count
            /// by [`ipv6_prefix`](Self::ipv6_prefix). Beyond the limit a handshake is refused with 429 (RFC 6585 §4) and
            /// `Retry-After`, before any hook runs. A session whose peer has no address is not counted: behind a Unix
            /// socket, in the test kit, or behind an HTTP server that does not tell it.
            pub fn max_sessions_per_address(mut self, sessions: usize) -> Self {
                self.request_settings().clients.caps.per_address = Some(sessions);
                self
            }

            /// Maximum number of open sessions of one user, over all endpoints, by
            /// [`Principal::name`](crate::Principal::name). Default: no limit. It protects against one user, or one stolen
            /// token, that takes all sessions.
            ///
            /// The user is the one of the handshake, known once the hooks have run; a later
            /// [`reauthenticate`](crate::Session::reauthenticate) does not change the count. Sessions without a principal
            /// do not count. Beyond the limit a handshake is refused with 429 (RFC 6585 §4) and `Retry-After`.
            pub fn max_sessions_per_principal(mut self, sessions: usize) -> Self {
                self.request_settings().clients.caps.per_principal = Some(sessions);
                self
            }

            /// How many bits of an IPv6 address count as one client in limits by address. Default: 64, because one
            /// customer of a provider has at least the addresses of a /64 to choose from (RFC 6177); many have a /56 or a
            /// /48. IPv4 addresses count one by one.
            pub fn ipv6_prefix(mut self, bits: u8) -> Self {
                self.request_settings().clients.ipv6_prefix = bits;
                self
            }
        }
    };
}
pub(crate) use client_setters;
