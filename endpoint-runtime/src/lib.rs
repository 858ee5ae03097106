//! WebSocket servers in Rust that read like Java's `@ServerEndpoint`.
//!
//! A type is annotated with its path, its methods with what they handle. The crate does the opening handshake, the
//! framing, the limits and the closing handshake, on tokio.
//!
//! ```no_run
//! use endpoint_runtime::prelude::*;
//!
//! #[server_endpoint("/chat/{room}")]
//! #[derive(Default)]
//! struct Chat;
//!
//! impl Chat {
//!     #[on_open]
//!     async fn enter(&mut self, session: &Session, #[path_param] room: String) -> Result<(), Error> {
//!         session.basic_remote().send_text(format!("welcome to {room}")).await
//!     }
//!
//!     #[on_message]
//!     async fn say(&mut self, line: String, session: &Session) {
//!         session.open_sessions().async_remote().send_text(line);
//!     }
//!
//!     #[on_close]
//!     async fn leave(&mut self, session: &Session, reason: CloseReason) {
//!         println!("{} left: {reason}", session.id());
//!     }
//!
//!     #[on_error]
//!     async fn failed(&mut self, error: &Error) {
//!         eprintln!("{error:?}");
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     Server::builder().context_path("/websocket").bind("127.0.0.1:8080").await?.run().await
//! }
//! ```
//!
//! What the attributes take is told at [`macro@server_endpoint`], [`macro@on_open`], [`macro@on_message`],
//! [`macro@on_close`] and [`macro@on_error`].
//!
//! # The model
//!
//! - Each connection has an instance of the endpoint, made by `Default` or by the closure given to
//!   [`endpoint_with`](ContainerBuilder::endpoint_with), and a task of its own.
//! - The handlers of a connection run one after another, never two at a time, so `&mut self` needs no lock. What all
//!   connections share is given to the builder and taken as a [`State`].
//! - `on_open` comes first, and messages wait until it has returned. Messages come in their order. `on_close` comes
//!   once for each `on_open` that was begun, however the connection ends; after it only an `on_error` may come, if
//!   `on_close` itself failed.
//! - An `async fn` may suspend. Meanwhile the connection goes on: it writes, answers pings, and reads up to 64 messages
//!   or 256 KiB ahead; then TCP slows the peer down.
//! - A `fn` that takes text or binary may be called with the message where it lies in the receive buffer, so `&str`
//!   and `&[u8]` cost nothing. It must not block: its thread serves other connections.
//! - A message of a kind for which there is no handler is dropped; the first of a session is logged.
//!
//! # Sending
//!
//! What an [`macro@on_message`] handler returns is sent back. For everything else there is the [`Session`], a cheap
//! clone that may be kept anywhere and used from any task.
//!
//! | Call | Resolves | When the queue is full |
//! |---|---|---|
//! | [`session.basic_remote()`](Session::basic_remote) | when the message is handed to the socket | waits, up to the send timeout |
//! | [`session.async_remote()`](Session::async_remote) | at once; await the [`Sent`] to learn of the write | fails with [`is_queue_full`](Error::is_queue_full) |
//! | [`session.open_sessions().async_remote()`](OpenSessions::async_remote) | at once, with a [`Report`] | leaves that peer out, and says so |
//!
//! Each sends text, binary data, and objects: [`Json`], numbers, whatever implements [`Encode`].
//!
//! Any number of tasks may send at a time; messages never mix, and those of one task keep their order. What a handler
//! sends on its own session joins the batch of messages that is being handled: the send resolves at once, and is
//! written when the batch is done or the handler waits for something else.
//!
//! # Compression
//!
//! permessage-deflate (RFC 7692) is negotiated where an endpoint, or the container, says so; the default is
//! [`Compression::OFF`], with its reasons there.
//!
//! Messages below the threshold are sent as they are, and so is what [`BasicRemote::uncompressed`],
//! [`AsyncRemote::uncompressed`] or [`Broadcast::uncompressed`] sends. Without context takeover a message is compressed on
//! the thread of whoever sends it, and a broadcast once for all sessions that compress alike. Compressors belong to the
//! threads and are lent for one message, so an idle session owns none. With context takeover each session owns its own,
//! from its first message on, within the [`compression_budget`](ContainerBuilder::compression_budget).
//!
//! Limits are on what a message is, not on its compressed form; one that grows beyond its limit is stopped while it
//! grows.
//!
//! # Errors and closes
//!
//! `on_error` hears of handlers that fail or panic, messages that do not decode, replies that do not encode, and peers
//! that break the protocol.
//! A session whose `on_error` was told of an error of `on_message` stays open. It ends
//!
//! - with 1011 after a panic, after a failed `on_open`, and after any failed `on_message` if there is no `on_error`;
//! - with 1007 instead if there is no `on_error` and the message did not decode;
//! - with 1002, 1007 or 1009 after a violation of the protocol, text that is not UTF-8 or a message that cannot be
//!   decompressed, a message that is too big.
//!
//! Both sides see these codes. When the container ends a session for its own reasons, the idle timeout or a shutdown,
//! the peer is told 1001, but `on_close` gets 1006, as after a lost connection. [`CloseReason::initiator`] says who
//! began. The application closes with [`Session::close`] and [`Session::close_with`]; the first reason wins.
//!
//! A panic is caught by unwinding. In a program that is built with `panic = "abort"` nothing is caught: one panic in a
//! handler ends the process.
//!
//! # Discovery
//!
//! [`Server::builder`] mounts every annotated endpoint that is linked into the program. The linker leaves out a crate
//! that nothing names, and its endpoints with it. Name it once, or name the endpoint:
//!
//! ```ignore
//! use that_crate as _;
//! // or
//! Server::builder().register::<that_crate::Chat>()
//! ```
//!
//! What is mounted, and where it was annotated, is logged through `tracing` when the server starts; so is a warning if
//! nothing is. Two endpoints with equal or equivalent paths are an error before the port is bound.
//!
//! # Mounting
//!
//! [`Server`] brings a listener and HTTP/1.1; requests for no endpoint go to its
//! [`fallback`](ServerBuilder::fallback). A [`ServerContainer`] is the same without the listener: a `tower` service for
//! an HTTP server you have already, as in axum:
//!
//! ```ignore
//! let container = ServerContainer::builder().discover().context_path("/websocket").build()?;
//! let app = axum::Router::new().route("/", get(page)).fallback_service(container.clone());
//! axum::serve(listener, app).with_graceful_shutdown(signal).await?;
//! // HTTP servers do not wait for upgraded connections
//! container.shutdown(Duration::from_secs(10)).await;
//! ```
//!
//! By default a page may only connect to the server it came from; see [`Origins`].
//!
//! # Limits
//!
//! | Setting | Default | Protects against |
//! |---|---|---|
//! | [`max_message_size`](ContainerBuilder::max_message_size) | 1 MiB | a message that fills the memory |
//! | [`idle_timeout`](ContainerBuilder::idle_timeout) | 1 minute | a peer that vanished |
//! | [`ping_interval`](ContainerBuilder::ping_interval) | 30 seconds | taking a silent peer for a vanished one |
//! | [`send_timeout`](ContainerBuilder::send_timeout) | 30 seconds | a peer that does not read |
//! | [`send_queue`](ContainerBuilder::send_queue) | 65,536 messages and 16 MiB | the same, in memory |
//! | [`close_timeout`](ContainerBuilder::close_timeout) | 5 seconds | a peer that does not answer the close frame, a handler that outlives its session |
//! | [`compression_budget`](ContainerBuilder::compression_budget) | 256 MiB | compressors that fill the memory |
//! | [`shutdown_timeout`](ServerBuilder::shutdown_timeout) | 10 seconds | a shutdown that does not end |
//! | [`origins`](ContainerBuilder::origins) | same origin | foreign pages that use a visitor's cookies |
//! | (fixed) request head | 30 seconds | clients that connect to a [`Server`] and say nothing |
//! | (fixed) read ahead of a suspended handler | 64 messages or 256 KiB | a peer that is faster than its handler |
//!
//! The first four may be said in [`macro@server_endpoint`] as well, which then holds for that endpoint. The limits in
//! time are looked at now and then, not to the millisecond: the idle timeout acts at most an eighth of itself late.
//!
//! There is no limit on how long a handler may take while its session is open, nor on `on_close`, except that a
//! shutdown's deadline ends both.
//!
//! # Features
//!
//! | Feature | Brings | With |
//! |---|---|---|
//! | `json`, on by default | [`Json`], [`Event`], [`Negotiated`] | `serde`, `serde_json` |
//! | `msgpack` | `MessagePack` | `serde`, `rmp-serde` |
//! | `cbor` | `Cbor` | `serde`, `ciborium` |
//! | `protobuf` | `Protobuf` | `prost` |
//!
//! # Cancel safety
//!
//! A send that is dropped has queued its whole message or nothing. Handlers are not cancelled while their session is
//! open. Once it has ended, a handler that is still suspended is dropped after the close timeout, and `on_error` is told
//! of it ([`is_timeout`](Error::is_timeout)). If the runtime itself goes down, `on_close` runs up to its first
//! suspension.

mod buffer;
#[cfg(feature = "cbor")]
mod cbor;
mod close;
mod codec;
mod coders;
mod config;
mod connection;
mod dispatch;
mod endpoint;
mod error;
#[cfg(feature = "json")]
mod event;
mod extension;
mod frames;
mod handshake;
#[cfg(feature = "json")]
mod json;
mod link;
mod listed;
mod message;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(feature = "json")]
mod negotiated;
mod outbound;
mod path;
#[cfg(feature = "protobuf")]
mod protobuf;
mod registry;
mod remote;
mod request;
mod router;
mod server;
mod service;
mod session;
mod socket;
mod state;
mod text;
mod wire;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(measuring)]
#[doc(hidden)]
pub mod measuring;

pub use bytes::Bytes;
pub use endpoint_macros::{on_close, on_error, on_message, on_open, server_endpoint};

#[cfg(feature = "cbor")]
pub use crate::cbor::Cbor;
pub use crate::close::{CloseCode, CloseReason, Initiator, MAX_REASON_BYTES};
pub use crate::codec::{DecodeBinary, DecodeText, Encode, IntoReply};
pub use crate::coders::{
    BinaryDecoder, BinaryEncoder, BinaryStreamDecoder, BinaryStreamEncoder, TextDecoder, TextEncoder,
    TextStreamDecoder, TextStreamEncoder,
};
pub use crate::config::Compression;
pub use crate::error::{BoxError, Error};
#[cfg(feature = "json")]
pub use crate::event::Event;
pub use crate::extension::Extension;
pub use crate::handshake::origins::Origins;
pub use crate::handshake::refusal::Refusal;
#[cfg(feature = "json")]
pub use crate::json::Json;
pub use crate::listed::Dialect;
pub use crate::message::{Binary, Message, Pong};
#[cfg(feature = "msgpack")]
pub use crate::msgpack::MessagePack;
#[cfg(feature = "json")]
pub use crate::negotiated::Negotiated;
pub use crate::path::PathParams;
#[cfg(feature = "protobuf")]
pub use crate::protobuf::Protobuf;
pub use crate::registry::ServerEndpoint;
pub use crate::remote::{AsyncRemote, BasicRemote, Sent, Written};
pub use crate::request::HandshakeRequest;
pub use crate::router::TrailingSlash;
pub use crate::server::{Server, ServerBuilder};
pub use crate::service::{ContainerBuilder, EndpointInfo, ServerContainer, Shutdown};
pub use crate::session::{Broadcast, OpenSessions, Properties, Report, Session, SessionId};
pub use crate::state::State;
pub use crate::text::Text;

/// What an endpoint's module needs: `use endpoint_runtime::prelude::*;`
pub mod prelude {
    #[cfg(feature = "json")]
    pub use crate::Json;
    pub use crate::{
        Binary, Bytes, CloseCode, CloseReason, Compression, Error, HandshakeRequest, Origins, Pong, Refusal, Server,
        ServerContainer, Session, SessionId, State, Text, on_close, on_error, on_message, on_open, server_endpoint,
    };
}

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
