//! Transports: TCP, TLS, and WebSockets accepted by other libraries.

pub(crate) mod accepted;
#[cfg(any(feature = "axum", feature = "tungstenite"))]
mod adapter;
#[cfg(feature = "axum")]
pub(crate) mod axum;
pub(crate) mod bound;
pub(crate) mod buffers;
#[cfg(feature = "tls")]
mod certificates;
#[cfg(feature = "tls")]
pub(crate) mod client_certificates;
#[cfg(feature = "tls")]
mod first_bytes;
#[cfg(feature = "http2")]
pub(crate) mod http2_stream;
pub(crate) mod keepalive;
pub(crate) mod listener;
#[cfg(feature = "adopted")]
// without either feature there is no library's WebSocket to serve
#[cfg_attr(not(any(feature = "axum", feature = "tungstenite")), allow(dead_code))]
pub(crate) mod message_socket;
pub(crate) mod socket;
#[cfg(all(unix, feature = "systemd"))]
mod socket_activation;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(feature = "tls")]
mod tls_stream;
#[cfg(all(feature = "client", feature = "tls"))]
pub(crate) mod trust;
#[cfg(feature = "tungstenite")]
pub(crate) mod tungstenite;
#[cfg(unix)]
mod unix_socket;
