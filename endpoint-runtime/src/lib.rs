//! WebSocket servers in Rust that read like Java's `@ServerEndpoint`.

mod buffer;
mod close;
mod codec;
mod config;
mod connection;
mod dispatch;
mod endpoint;
mod error;
mod handshake;
mod link;
mod message;
mod outbound;
mod path;
mod registry;
mod remote;
mod request;
mod router;
mod server;
mod service;
mod session;
mod text;
mod wire;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

pub use bytes::Bytes;
pub use endpoint_macros::{on_close, on_error, on_message, on_open, server_endpoint};

pub use crate::close::{CloseCode, CloseReason, Initiator, MAX_REASON_BYTES};
pub use crate::error::{BoxError, Error};
pub use crate::handshake::origins::Origins;
pub use crate::handshake::refusal::Refusal;
pub use crate::message::{Binary, Pong};
pub use crate::path::PathParams;
pub use crate::registry::ServerEndpoint;
pub use crate::remote::{AsyncRemote, BasicRemote, Sent, Written};
pub use crate::request::HandshakeRequest;
pub use crate::router::TrailingSlash;
pub use crate::server::{Server, ServerBuilder};
pub use crate::service::{ContainerBuilder, EndpointInfo, ServerContainer, Shutdown};
pub use crate::session::{Broadcast, OpenSessions, Properties, Report, Session, SessionId};
pub use crate::text::Text;

/// What an endpoint's module needs: `use endpoint_runtime::prelude::*;`
pub mod prelude {
    pub use crate::{
        Binary, Bytes, CloseCode, CloseReason, Error, HandshakeRequest, Origins, Pong, Refusal, Server,
        ServerContainer, Session, SessionId, Text, on_close, on_error, on_message, on_open, server_endpoint,
    };
}
