//! The builder of a client container.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::container::{ClientContainer, Inner};
use super::proxy::Proxy;
use crate::config::CONNECT_TIMEOUT;
use crate::container::options::{SessionSettings, session_setters};
use crate::handshake::head::HeadLimits;
use crate::transport::keepalive::Keepalive;
#[cfg(feature = "tls")]
use crate::transport::trust::Trust;
use endpoint_wire::budget::{Budget, Budgets};

impl ClientContainer {
    /// Creates a container with the default settings.
    pub fn new() -> Self {
        Self::with(ClientBuilder::default())
    }

    /// Starts a builder for other settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    fn with(builder: ClientBuilder) -> Self {
        let SessionSettings { limits, compression_budget, receive_budget, send_budget, states, mistakes } =
            builder.sessions;
        Self(Arc::new(Inner {
            limits,
            connect_timeout: builder.connect_timeout,
            head_limits: builder.head_limits,
            keepalive: builder.keepalive,
            compression_budget: Arc::new(Budget::new(compression_budget)),
            states: Arc::new(states),
            mistakes,
            groups: Arc::default(),
            budgets: Arc::new(Budgets::new(receive_budget, send_budget)),
            proxy: builder.proxy.unwrap_or_else(Proxy::from_env),
            #[cfg(feature = "tls")]
            trust: builder.trust.unwrap_or_else(Trust::public),
            sets: Mutex::default(),
            tasks: TaskTracker::new(),
            keepers: TaskTracker::new(),
            closing: CancellationToken::new(),
        }))
    }
}

impl Default for ClientContainer {
    fn default() -> Self {
        Self::new()
    }
}

/// Builder of a [`ClientContainer`]. An endpoint attribute's own options take precedence.
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder {
    sessions: SessionSettings,
    connect_timeout: Duration,
    head_limits: HeadLimits,
    keepalive: Keepalive,
    proxy: Option<Proxy>,
    #[cfg(feature = "tls")]
    trust: Option<Trust>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            sessions: SessionSettings::default(),
            connect_timeout: CONNECT_TIMEOUT,
            head_limits: HeadLimits::RESPONSE,
            keepalive: Keepalive::default(),
            proxy: None,
            #[cfg(feature = "tls")]
            trust: None,
        }
    }
}

session_setters!(ClientBuilder);

impl ClientBuilder {
    fn session_settings(&mut self) -> &mut SessionSettings {
        &mut self.sessions
    }

    /// Builds the container.
    pub fn build(self) -> ClientContainer {
        ClientContainer::with(self)
    }

    /// Time limit for connecting, until the server has answered the handshake. Default: 30 seconds.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long the server's machine, or the proxy's, may show no sign of life before TCP drops the connection; `None`
    /// leaves it to the system. Default: two minutes. See
    /// [`ServerBuilder::tcp_keepalive`](crate::ServerBuilder::tcp_keepalive).
    pub fn tcp_keepalive(mut self, limit: Option<Duration>) -> Self {
        self.keepalive = Keepalive::new(limit);
        self
    }

    /// Maximum size of the head of a server's or proxy's response, in bytes: its status line and all of its headers.
    /// Default: 16 KiB.
    ///
    /// A larger head makes connecting fail ([`Error::is_handshake`](crate::Error::is_handshake)) before more is read.
    /// The session keeps the response ([`Session::handshake_response`](crate::Session::handshake_response)), so this
    /// bounds the memory that a server makes the client hold.
    pub fn max_response_head(mut self, bytes: usize) -> Self {
        self.head_limits.bytes = bytes;
        self
    }

    /// Maximum number of headers in such a response, counting repeated ones each; at most 16,384. Default: 64.
    pub fn max_response_headers(mut self, headers: usize) -> Self {
        self.head_limits.headers = headers.min(HeadLimits::MOST_HEADERS);
        self
    }

    /// The proxy to connect through. Default: [`Proxy::from_env`], read when the container is built.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.sessions.set_once(&mut self.proxy, proxy, "the proxy");
        self
    }

    /// The certificates to trust for a `wss://` URI (cargo feature `tls`). Default: [`Trust::public`].
    #[cfg(feature = "tls")]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.sessions.set_once(&mut self.trust, trust, "the trusted certificates (`trust`)");
        self
    }
}
