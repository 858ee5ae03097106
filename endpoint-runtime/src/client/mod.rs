//! Connects endpoints to servers: the client container, its builder and its sessions.

mod builder;
mod container;
mod dial;
pub(crate) mod handshake;
mod opening_request;
pub(crate) mod proxy;
pub(crate) mod reconnect;
pub(crate) mod request;
mod retry;
mod uri;

pub use self::builder::ClientBuilder;
pub use self::container::ClientContainer;
