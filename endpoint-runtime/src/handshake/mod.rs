//! The opening handshake of both sides (RFC 6455 §4): maps an HTTP head to a verdict. Pure: it never reads a socket.

pub(crate) mod accept_key;
pub(crate) mod authority;
#[cfg(feature = "client")]
pub(crate) mod client;
#[cfg(feature = "tls")]
pub(crate) mod client_certificate;
mod cookies;
pub(crate) mod extensions;
pub(crate) mod forwarded;
pub(crate) mod head;
pub(crate) mod hosts;
pub(crate) mod http2;
pub(crate) mod origins;
pub(crate) mod path;
pub(crate) mod proxy_protocol;
pub(crate) mod refusal;
pub(crate) mod request;
pub(crate) mod router;
pub(crate) mod server;
pub(crate) mod trusted_proxies;
