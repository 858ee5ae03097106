//! WebSocket servers, and clients, in Rust that read like Java's `@ServerEndpoint`.
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
//! - A large message may be taken while it arrives: its parts with `last: bool`, or all of it as a [`TextStream`] or
//!   [`BinaryStream`]. Its size is limited by `max_total`, if the handler says so.
//! - A `fn` that takes text or binary may be called with the message where it lies in the receive buffer, so `&str`
//!   and `&[u8]` cost nothing. It must not block: its thread serves other connections.
//! - A message of a kind for which there is no handler is dropped; the first of a session is logged.
//!
//! - With `instance = shared` there is one instance for all connections instead, and handlers take `&self`.
//! - What few endpoints need can be written by hand: see [`Endpoint`] and [`MessageHandler`], which also adds handlers to
//!   a session of an annotated endpoint.
//!
//! # Who may connect
//!
//! A [`Configurator`] takes part in the handshake: it decides about origin, subprotocol and extensions, and its async
//! `modify_handshake` adds headers to the answer, puts values into the [`Properties`] of the session, names a
//! [`Principal`], or refuses. `roles("admin")` on an endpoint answers those who have no such role with 401 or 403 before
//! the handshake is accepted; on an `on_message` it drops their messages, and `on_error` is told
//! ([`is_forbidden`](Error::is_forbidden)).
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
//! A [`room`](Session::room), which sessions [`join`](Session::join) by name, and the sessions of one
//! [`principal`](ServerContainer::principal) are spoken to like all open sessions.
//!
//! Each sends text, binary data, and objects: [`Json`], numbers, whatever implements [`Encode`].
//!
//! What is done when the queue is full may be said otherwise, for a message, an endpoint or all: see [`Overflow`]. A
//! message has its own limit in time by `timeout`, and [`Session::writable`] waits for room alone.
//!
//! Any number of tasks may send at a time; messages never mix, and those of one task keep their order. What a handler
//! sends on its own session joins the batch of messages that is being handled: the send resolves at once, and is
//! written when the batch is done or the handler waits for something else.
//!
//! A large message may be sent in parts, as it comes about: with a [`TextWriter`] or [`BinaryWriter`], or by
//! [`send_text_part`](BasicRemote::send_text_part). Other messages wait behind the whole of it, pings and pongs pass.
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
//! The order of compressing with context takeover is that of the wire, so it is done under the lock of the session's
//! queue: a message of a megabyte holds up the other senders of that session for some milliseconds. A message in parts is
//! compressed part by part, if its first part reaches the threshold. A compressed message of a kind for which there is no
//! handler is dropped without a look, unless later ones may refer to it.
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
//! - with 1008 when what is known of its [`Principal`] expires;
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
//! ```no_run
//! # mod that_crate {
//! #     #[endpoint_runtime::server_endpoint("/chat")]
//! #     #[derive(Default)]
//! #     pub struct Chat;
//! # }
//! # use endpoint_runtime::Server;
//! use that_crate as _;
//! # fn main() {
//! # let server =
//! // or
//! Server::builder().register::<that_crate::Chat>()
//! # ; }
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
//! ```no_run
//! # use std::time::Duration;
//! # use axum::routing::get;
//! # use endpoint_runtime::ServerContainer;
//! # async fn page() {}
//! # async fn serve(
//! #     listener: tokio::net::TcpListener,
//! #     signal: impl Future<Output = ()> + Send + 'static,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let container = ServerContainer::builder().discover().context_path("/websocket").build()?;
//! let app = axum::Router::new().route("/", get(page)).fallback_service(container.clone());
//! axum::serve(listener, app).with_graceful_shutdown(signal).await?;
//! // HTTP servers do not wait for upgraded connections
//! container.shutdown(Duration::from_secs(10)).await;
//! # Ok(()) }
//! ```
//!
//! [`ServerContainer::layer`] is the same as a `tower` layer: requests for no endpoint pass through to what is inside, so
//! it goes around services that have a fallback of their own.
//!
//! By default a page may only connect to the server it came from; see [`Origins`].
//!
//! # TLS
//!
//! With the cargo feature `tls` a [`Server`] speaks it where it is given a `TlsConfig`, whose certificate can be
//! replaced while it runs, and clients connect to `wss://`, trusting whom `ClientBuilder::trust` says.
//!
//! # Clients
//!
//! A type with [`macro@client_endpoint`] connects to a server instead of being served: the handlers are the same, and a
//! [`ClientContainer`] is what connects it.
//!
//! ```no_run
//! # use endpoint_runtime::prelude::*;
//! # #[client_endpoint] struct Bot;
//! # async fn f() -> Result<(), Error> {
//! let session = ClientContainer::new().connect(Bot, "ws://127.0.0.1:8080/chat/blue").await?;
//! session.basic_remote().send_text("hello").await?;
//! session.close();
//! # Ok(()) }
//! ```
//!
//! [`ClientRequest`] has headers, subprotocols, an origin, and values for path and query, and with
//! [`reconnect`](ClientRequest::reconnect) a connection that is made again when it is lost; [`Reconnect`] has the table of
//! what is tried again and what ends it. A [`Proxy`] is found in the environment or specified.
//!
//! # Limits
//!
//! | Setting | Default | Protects against |
//! |---|---|---|
//! | [`max_message_size`](ContainerBuilder::max_message_size) | 1 MiB | a message that fills the memory |
//! | [`max_nesting`](ContainerBuilder::max_nesting) | 128 levels | a message whose nested data exhausts the stack |
//! | [`idle_timeout`](ContainerBuilder::idle_timeout) | 1 minute | a peer that vanished |
//! | [`ping_interval`](ContainerBuilder::ping_interval) | 30 seconds | taking a silent peer for a vanished one, a proxy that cuts silent connections |
//! | [`pong_timeout`](ContainerBuilder::pong_timeout) | 30 seconds | a peer that vanished while it was spoken to |
//! | [`send_timeout`](ContainerBuilder::send_timeout) | 30 seconds | a peer that does not read |
//! | [`min_receive_rate`](ContainerBuilder::min_receive_rate) | 1 KiB per second, after 30 seconds | a message that never ends |
//! | [`min_send_rate`](ContainerBuilder::min_send_rate) | 1 KiB per second | a peer that reads a byte now and then |
//! | [`receive_budget`](ContainerBuilder::receive_budget) | 256 MiB | many messages that never end |
//! | [`send_budget`](ContainerBuilder::send_budget) | 1 GiB | many peers that do not read |
//! | [`send_queue`](ContainerBuilder::send_queue) | 65,536 messages and 16 MiB | the same, in memory |
//! | [`max_rooms_per_session`](ContainerBuilder::max_rooms_per_session) | 10,000 | a client that names rooms without an end |
//! | [`max_request_head`](ContainerBuilder::max_request_head) | 16 KiB | sessions that hold a large request, and requests that do not end |
//! | [`max_request_headers`](ContainerBuilder::max_request_headers) | 64 | the same |
//! | [`handshake_timeout`](ContainerBuilder::handshake_timeout) | 30 seconds | a configurator that waits for ever |
//! | [`close_timeout`](ContainerBuilder::close_timeout) | 5 seconds | a peer that does not answer the close frame, a handler that outlives its session |
//! | [`compression_budget`](ContainerBuilder::compression_budget) | 256 MiB | compressors that fill the memory |
//! | [`shutdown_timeout`](ServerBuilder::shutdown_timeout) | 10 seconds | a shutdown that does not end |
//! | [`tcp_keepalive`](ServerBuilder::tcp_keepalive) | 2 minutes | a peer whose machine is gone, where pings are off |
//! | [`origins`](ContainerBuilder::origins) | same origin | foreign pages that use a visitor's cookies |
//! | [`allowed_hosts`](ContainerBuilder::allowed_hosts) | on a loopback address IP addresses and `localhost`, else all | foreign names that resolve to the server (DNS rebinding) |
//! | [`max_response_head`](ClientBuilder::max_response_head), [`max_response_headers`](ClientBuilder::max_response_headers) | 16 KiB, 64 | servers that make a client hold a large answer |
//! | [`connect_timeout`](ClientBuilder::connect_timeout) | 30 seconds | servers that do not answer a client |
//! | `TlsConfig::handshake_timeout` | 10 seconds | clients that begin TLS and never end it |
//! | (fixed) request head | 30 seconds | clients that connect to a [`Server`] and say nothing |
//! | (fixed) read ahead of a suspended handler | 64 messages or 256 KiB | a peer that is faster than its handler |
//!
//! The first eight may be said in [`macro@server_endpoint`] as well, which then holds for that endpoint. The limits in
//! time are looked at now and then, not to the millisecond: the idle timeout acts at most an eighth of itself late.
//!
//! There is no limit on how long a handler may take while its session is open, nor on `on_close`, except that a
//! shutdown's deadline ends both.
//!
//! # Features
//!
//! | Feature | Brings | With |
//! |---|---|---|
//! | `client`, on by default | [`ClientContainer`] and [`macro@client_endpoint`] | the client's half of `hyper`, with the small crates `want` and `try-lock` |
//! | `json`, on by default | [`Json`], [`Event`], [`Negotiated`] | `serde`, `serde_json` |
//! | `msgpack` | `MessagePack` | `serde`, `rmp-serde` |
//! | `cbor` | `Cbor` | `serde`, `ciborium` |
//! | `protobuf` | `Protobuf` | `prost` |
//! | `tls` | `ServerBuilder::tls`, and `wss://` for clients | `rustls` with `ring`, `webpki-roots` |
//! | `dev-certificate` | `TlsConfig::self_signed` | `rcgen` |
//! | `axum`, `tungstenite` | `ServerContainer::adopt`: endpoints on WebSockets that axum 0.8 or tokio-tungstenite 0.30 has accepted; their types are named by these features alone | `axum`, `futures-sink` |
//! | `test` | `endpoint_runtime::test`: endpoints tested in memory | `client`, and no other crate |
//!
//! # Cancel safety
//!
//! A send that is dropped has queued its whole message or nothing. Handlers are not cancelled while their session is
//! open. Once it has ended, a handler that is still suspended is dropped after the close timeout, and `on_error` is told
//! of it ([`is_timeout`](Error::is_timeout)). If the runtime itself goes down, `on_close` runs up to its first
//! suspension.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
mod client;
mod codec;
mod config;
mod connection;
mod container;
mod endpoint;
mod error;
mod handshake;
mod observe;
mod scheduling;
mod send_queue;
mod server;
mod session;
#[cfg(feature = "test")]
mod testing;
mod transport;
#[cfg(any(fuzzing, measuring, all(test, model_check)))]
mod verification;
mod wire;

#[doc(hidden)]
#[path = "macro_support.rs"]
pub mod __private;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use crate::verification::fuzzing;
#[cfg(measuring)]
#[doc(hidden)]
pub use crate::verification::measuring;

pub use bytes::Bytes;
#[cfg(feature = "client")]
pub use endpoint_macros::client_endpoint;
pub use endpoint_macros::{on_close, on_error, on_message, on_open, server_endpoint};

#[cfg(feature = "client")]
pub use crate::client::proxy::Proxy;
#[cfg(feature = "client")]
pub use crate::client::reconnect::{Reconnect, ReconnectAttempt, ReconnectEnd, Reconnecting, ReconnectingRequest};
#[cfg(feature = "client")]
pub use crate::client::request::ClientRequest;
#[cfg(feature = "client")]
pub use crate::client::{ClientBuilder, ClientContainer};
#[cfg(feature = "cbor")]
pub use crate::codec::cbor::Cbor;
#[cfg(feature = "json")]
pub use crate::codec::event::Event;
#[cfg(feature = "json")]
pub use crate::codec::json::Json;
#[cfg(feature = "msgpack")]
pub use crate::codec::msgpack::MessagePack;
#[cfg(feature = "json")]
pub use crate::codec::negotiated::Negotiated;
#[cfg(feature = "protobuf")]
pub use crate::codec::protobuf::Protobuf;
pub use crate::codec::session_coders::Dialect;
pub use crate::codec::{DecodeBinary, DecodeText, Encode, IntoReply};
pub use crate::config::{Compression, Overflow};
pub use crate::container::configurator::{Configurator, HandshakeResponse};
pub use crate::container::layer::{ContainerBody, ContainerLayer, ContainerService, Passing};
#[cfg(feature = "client")]
pub use crate::container::registration::ClientEndpoint;
pub use crate::container::registration::ServerEndpoint;
#[cfg(feature = "adopted")]
pub use crate::container::{Adopted, AdoptedRequest};
pub use crate::container::{ContainerBuilder, EndpointConfig, EndpointInfo, Responding, ServerContainer, Shutdown};
pub use crate::endpoint::coders::{
    BinaryDecoder, BinaryEncoder, BinaryStreamDecoder, BinaryStreamEncoder, TextDecoder, TextEncoder,
    TextStreamDecoder, TextStreamEncoder,
};
pub use crate::endpoint::programmatic::Endpoint;
pub use crate::error::{BoxError, Error};
pub use crate::handshake::extensions::ExtensionOffer;
pub use crate::handshake::origins::Origins;
pub use crate::handshake::path::PathParams;
pub use crate::handshake::refusal::Refusal;
pub use crate::handshake::request::HandshakeRequest;
pub use crate::handshake::router::TrailingSlash;
pub use crate::server::{Server, ServerBuilder};
pub use crate::session::broadcast::{Broadcast, Report};
pub use crate::session::completion::{Sent, Written};
pub use crate::session::message_handler::{MessageHandler, MessageKind};
pub use crate::session::principal::{Identity, Principal};
pub use crate::session::properties::Properties;
pub use crate::session::remote::{AsyncRemote, BasicRemote};
pub use crate::session::state::State;
pub use crate::session::stream::{BinaryStream, TextStream};
pub use crate::session::writer::{BinaryWriter, TextWriter};
pub use crate::session::{OpenSessions, Session, SessionId, WeakSession};
#[cfg(feature = "tls")]
pub use crate::transport::tls::TlsConfig;
#[cfg(all(feature = "client", feature = "tls"))]
pub use crate::transport::trust::Trust;
pub use crate::wire::close::{CloseCode, CloseReason, Initiator, MAX_REASON_BYTES, ReasonTooLong};
pub use crate::wire::extension::Extension;
pub use crate::wire::message::{Binary, Message, Pong};
pub use crate::wire::text::Text;

/// Endpoints tested in memory, without a port and, if the clock is paused, without a wait.
///
/// It has the cargo feature `test`, for the `dev-dependencies` of those who write endpoints.
#[cfg(feature = "test")]
pub mod test {
    pub use crate::testing::client::TestClient;
    pub use crate::testing::frame::TestFrame;
    pub use crate::testing::transcript::{Direction, Entry, Traffic, Transcript};
    pub use crate::testing::{TestRequest, TestServer};
}

/// What an endpoint's module needs: `use endpoint_runtime::prelude::*;`
pub mod prelude {
    #[cfg(feature = "json")]
    pub use crate::Json;
    pub use crate::{
        Binary, BinaryStream, Bytes, CloseCode, CloseReason, Compression, Error, HandshakeRequest, Origins, Overflow,
        Pong, Refusal, Server, ServerContainer, Session, SessionId, State, Text, TextStream, on_close, on_error,
        on_message, on_open, server_endpoint,
    };
    #[cfg(feature = "client")]
    pub use crate::{ClientContainer, client_endpoint};
}

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The program of this crate's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
