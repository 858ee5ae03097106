//! WebSocket servers in Rust that read like Java's `@ServerEndpoint`.

mod close;
mod codec;
mod config;
mod endpoint;
mod error;
mod handshake;
mod message;
mod path;
mod registry;
mod request;
mod router;
mod session;
mod text;
mod wire;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

pub use bytes::Bytes;
pub use endpoint_macros::{on_close, on_error, on_message, on_open, server_endpoint};

pub use crate::close::{CloseCode, CloseReason, Initiator};
pub use crate::error::{BoxError, Error};
pub use crate::handshake::origins::Origins;
pub use crate::handshake::refusal::Refusal;
pub use crate::message::{Binary, Pong};
pub use crate::path::PathParams;
pub use crate::request::HandshakeRequest;
pub use crate::router::TrailingSlash;
pub use crate::session::Session;
pub use crate::text::Text;

/// What an endpoint's module needs: `use endpoint_runtime::prelude::*;`
pub mod prelude {
    pub use crate::{
        Binary, Bytes, CloseCode, CloseReason, Error, Pong, Session, Text, on_close, on_error, on_message, on_open,
        server_endpoint,
    };
}
