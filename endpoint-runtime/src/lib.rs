//! Annotated WebSocket endpoints for Rust: a struct, its path, a method per event.
//!
//! The crate takes care of the opening handshake, framing, limits, backpressure and the closing handshake, on tokio and
//! hyper. This is the reference; the guide, in `docs/guide` of the repository, teaches the crate chapter by chapter.
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
//!         session.join(&room);
//!         session.basic_remote().send_text(format!("welcome to {room}")).await
//!     }
//!
//!     #[on_message]
//!     async fn say(&mut self, line: String, session: &Session, #[path_param] room: String) {
//!         session.room(&room).async_remote().send_text(line);
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
//!     Server::builder().bind("127.0.0.1:8080").await?.run().await
//! }
//! ```
//!
//! # Where to look
//!
//! | To | See |
//! |---|---|
//! | annotate an endpoint | [`macro@server_endpoint`] with all options and parameters, [`macro@on_open`], [`macro@on_message`], [`macro@on_close`], [`macro@on_error`] |
//! | send | [`Session`], [`BasicRemote`], [`AsyncRemote`], [`Sent`]; large messages with [`TextWriter`] and [`BinaryWriter`] |
//! | send to many | [`Session::room`], [`Room`], [`User`], [`Session::open_sessions`], [`Broadcast`], [`Report`] |
//! | run a task beside a session | [`Session::spawn`], [`Session::closed`] |
//! | decide what a full queue does | [`Overflow`] |
//! | encode and decode | [`Json`], [`Negotiated`], [`Event`]; [`DecodeText`], [`DecodeBinary`], [`Encode`], [`Object`]; [`TextDecoder`], [`TextEncoder`] |
//! | take a large message while it arrives | [`TextStream`], [`BinaryStream`] |
//! | take part in the handshake | [`Configurator`], for every endpoint [`HandshakeHook`]; [`Refusal`], [`Origins`] |
//! | know the user | [`Principal`], [`Identity`] |
//! | know who is in a room | [`macro@on_presence`], [`Presence`], [`Session::presence`], [`Room::present_here`] |
//! | serve | [`Server`]; in axum or hyper [`ServerContainer`], [`ServerContainer::layer`] |
//! | stop, and deploy | [`Server::run_until`], [`Server::run_draining`], [`ServerContainer::drain`], [`Drain`] |
//! | connect | [`macro@client_endpoint`], [`ClientContainer`], [`Reconnect`] |
//! | do without annotations | [`Endpoint`], [`MessageHandler`] |
//! | handle errors | [`Error`], [`CloseReason`], [`CloseCode`] |
//! | observe | [`ServerContainer::stats`], [`ServerContainer::metrics_service`], [`ServerContainer::readiness_service`], [`TrafficLog`] |
//! | limit | [`ContainerBuilder`]: each method states its default and what it protects against |
//! | compress | [`Compression`] |
//!
//! # The model
//!
//! - Each connection has a task and an instance of the endpoint, made by `Default` or by the closure given to
//!   [`endpoint_with`](ContainerBuilder::endpoint_with). With `instance = shared` all connections share one.
//! - The handlers of a connection never overlap, so `&mut self` needs no lock. Values for all connections are given to
//!   the builder and taken as a [`State`].
//! - `on_open` runs first, and messages wait until it has returned. Messages are handled in order. `on_close` runs exactly
//!   once for each `on_open` that was started, however the connection ends; only an `on_error` may follow, if `on_close`
//!   itself failed.
//! - While an `async fn` waits, the connection goes on: it writes, answers pings, and reads up to 64 messages or 256 KiB
//!   ahead. Then TCP slows the peer down.
//! - A `fn` borrows text and binary data from the receive buffer, so `&str` and `&[u8]` are not copied. It must not block:
//!   its thread serves other connections.
//! - A message of a kind without a handler is dropped. The first one of a session is logged.
//! - A panic is caught by unwinding and ends its session. In a program that is built with `panic = "abort"` it ends the
//!   process.
//!
//! # Discovery
//!
//! [`Server::builder`] mounts every annotated endpoint that is linked into the program. The linker leaves out a crate that
//! nothing names: write `use that_crate as _;`, or mount its endpoints with [`ContainerBuilder::register`]. At start the
//! log, which is `tracing`'s, has a line for each endpoint with its path, type, handlers and place in the source.
//!
//! # Features
//!
//! | Feature | Brings | With |
//! |---|---|---|
//! | `client`, on by default | [`ClientContainer`] and [`macro@client_endpoint`] | the client half of `hyper`, `want`, `try-lock`, `httpdate` |
//! | `json`, on by default | [`Json`], [`Event`], [`Negotiated`] | `serde`, `serde_json` |
//! | `msgpack` | `MessagePack` | `serde`, `rmp-serde` |
//! | `cbor` | `Cbor` | `serde`, `ciborium` |
//! | `protobuf` | `Protobuf` | `prost` |
//! | `tls` | `ServerBuilder::tls`, and `wss://` for clients | `rustls` with `ring`, `webpki-roots` |
//! | `systemd` | `Listener::systemd`; systemd is told that a server is ready, stops and is alive | `listenfd` |
//! | `rustls` | `TlsConfig::from_rustls`, and rustls 0.23 as `endpoint_runtime::rustls` | `tls`, and no other crate |
//! | `http2` | WebSockets over HTTP/2 (RFC 8441), `ServerBuilder::http2` | `h2` |
//! | `dev-certificate` | `TlsConfig::self_signed` | `rcgen` |
//! | `axum`, `tungstenite` | `ServerContainer::adopt`: endpoints on WebSockets that axum 0.8 or tokio-tungstenite 0.30 accepts | `axum`, `futures-sink` |
//! | `metrics` | `ServerContainer::record_metrics`: all metrics for the recorder of the crate `metrics` | `metrics` |
//! | `otel` | handshakes continue the traces of callers, and messages link to them | `opentelemetry`, `tracing-opentelemetry` |
//! | `test` | `endpoint_runtime::test`: endpoints tested in memory | `client`, and no other crate |
//!
//! # Cancel safety
//!
//! A send whose future is dropped has queued its whole message or nothing. Handlers are not cancelled while their session
//! is open. Once it has ended, a handler that still waits is dropped after the close timeout, and `on_error` gets an error
//! with [`is_timeout`](Error::is_timeout). If the runtime itself shuts down, `on_close` runs up to its first suspension.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
mod client;
pub mod cluster;
mod codec;
mod config;
mod connection;
mod container;
mod endpoint;
mod error;
mod handshake;
mod limits;
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
pub use endpoint_macros::{on_close, on_error, on_message, on_open, on_presence, server_endpoint};
/// The crate `http`, whose types are part of this API: status codes, headers, URIs.
pub use http;

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
pub use crate::codec::presence_meta::PresenceMeta;
#[cfg(feature = "protobuf")]
pub use crate::codec::protobuf::Protobuf;
pub use crate::codec::session_coders::EncodeContext;
pub use crate::codec::shared_value::SharedValue;
pub use crate::codec::{DecodeBinary, DecodeText, Encode, IntoReply, Object};
pub use crate::config::{Compression, Overflow};
pub use crate::container::configurator::{Configurator, HandshakeResponse};
pub use crate::container::handshake_hook::HandshakeHook;
pub use crate::container::layer::{ContainerBody, ContainerLayer, ContainerService, LayerFuture};
#[cfg(feature = "client")]
pub use crate::container::registration::ClientEndpoint;
pub use crate::container::registration::ServerEndpoint;
pub use crate::container::stats::{EndpointStats, Pool, Stats};
pub use crate::container::status_service::StatusService;
#[cfg(feature = "adopted")]
pub use crate::container::{CheckedRequest, ExternalRequest, ExternalSocket};
pub use crate::container::{
    ContainerBuilder, Drain, DrainOrder, Drained, EndpointConfig, ResponseFuture, ServerContainer, Shutdown,
};
pub use crate::endpoint::call::{Call, Outcome};
pub use crate::endpoint::coders::{
    BinaryDecoder, BinaryEncoder, BinaryStreamDecoder, BinaryStreamEncoder, TextDecoder, TextEncoder,
    TextStreamDecoder, TextStreamEncoder,
};
pub use crate::endpoint::interceptor::{Interceptor, Next, NextClose, NextOpen};
pub use crate::endpoint::programmatic::Endpoint;
pub use crate::error::{BoxError, Error};
#[cfg(feature = "tls")]
pub use crate::handshake::client_certificate::ClientCertificate;
pub use crate::handshake::extensions::ExtensionOffer;
pub use crate::handshake::forwarded::ForwardedHeaders;
pub use crate::handshake::origins::Origins;
pub use crate::handshake::path::PathParams;
pub use crate::handshake::proxy_protocol::ProxyProtocol;
pub use crate::handshake::refusal::Refusal;
pub use crate::handshake::request::HandshakeRequest;
pub use crate::handshake::router::TrailingSlash;
pub use crate::limits::message_rate::{MessageRate, OverRate};
pub use crate::limits::rate::Rate;
pub use crate::limits::rate_text::InvalidRate;
pub use crate::observe::closes::CloseCount;
pub use crate::observe::counters::{ConnectionCounts, EndpointCounts, ErrorCounts};
pub use crate::observe::histogram::Durations;
pub use crate::observe::metrics::Metrics;
pub use crate::observe::statuses::HandshakeCount;
pub use crate::observe::tally::Traffic;
pub use crate::observe::traffic::TrafficLog;
#[cfg(feature = "http2")]
pub use crate::server::Http2;
pub use crate::server::{Server, ServerBuilder};
pub use crate::session::anywhere::{AnySession, Everyone};
pub use crate::session::audience::{Room, User};
pub use crate::session::broadcast::{Broadcast, Report};
pub use crate::session::completion::Sent;
pub use crate::session::everywhere::{Everywhere, RoomMember};
pub use crate::session::excluded::SessionIds;
pub use crate::session::join::{Join, Joining};
pub use crate::session::message_handler::{MessageHandler, MessageKind};
pub use crate::session::outgoing::{OutboundInterceptor, Outgoing, Verdict};
pub use crate::session::presence::SessionPresence;
pub use crate::session::present::{Presence, Present, PresentHere, PresentUsers};
pub use crate::session::principal::{Identity, Principal};
pub use crate::session::properties::Properties;
pub use crate::session::remote::{AsyncRemote, BasicRemote, SendObject};
pub use crate::session::state::State;
pub use crate::session::stream::{BinaryStream, TextStream};
pub use crate::session::writer::{BinaryWriter, TextWriter};
pub use crate::session::{EndpointInfo, InvalidSessionId, OpenSessions, Session, SessionId, WeakSession};
#[cfg(feature = "tls")]
pub use crate::transport::client_certificates::ClientCertificates;
pub use crate::transport::listener::Listener;
#[cfg(feature = "tls")]
pub use crate::transport::tls::TlsConfig;
#[cfg(all(feature = "client", feature = "tls"))]
pub use crate::transport::trust::Trust;
pub use endpoint_wire::close::{CloseCode, CloseReason, Initiator, MAX_REASON_BYTES, ReasonTooLong};
pub use endpoint_wire::extension::Extension;
pub use endpoint_wire::message::{Binary, Message, Pong};
pub use endpoint_wire::retry_hint::RetryHint;
pub use endpoint_wire::text::Text;
/// rustls 0.23, for [`TlsConfig::from_rustls`] (cargo feature `rustls`).
#[cfg(feature = "rustls")]
pub use tokio_rustls::rustls;

/// Endpoints tested in memory, without a port and, if the clock is paused, without a wait.
///
/// It has the cargo feature `test`, for the `dev-dependencies` of those who write endpoints.
#[cfg(feature = "test")]
pub mod test {
    pub use crate::testing::client::TestClient;
    pub use crate::testing::cluster::TestCluster;
    pub use crate::testing::frame::TestFrame;
    pub use crate::testing::transcript::{Direction, Entry, Traffic, Transcript};
    pub use crate::testing::{TestRequest, TestServer};
}

/// What the modules of an application need: `use endpoint_runtime::prelude::*;`
///
/// It has everything that the guide uses. A name of your own takes precedence over one from here.
pub mod prelude {
    #[cfg(feature = "cbor")]
    pub use crate::Cbor;
    #[cfg(feature = "http2")]
    pub use crate::Http2;
    #[cfg(feature = "msgpack")]
    pub use crate::MessagePack;
    #[cfg(feature = "protobuf")]
    pub use crate::Protobuf;
    #[cfg(all(feature = "client", feature = "tls"))]
    pub use crate::Trust;
    pub use crate::{
        AsyncRemote, BasicRemote, Binary, BinaryDecoder, BinaryEncoder, BinaryStream, BinaryStreamDecoder,
        BinaryStreamEncoder, BinaryWriter, BoxError, Broadcast, Bytes, Call, CloseCode, CloseReason, Compression,
        Configurator, ContainerBuilder, DecodeBinary, DecodeText, Drain, Drained, Encode, EncodeContext, Endpoint,
        EndpointConfig, EndpointInfo, Error, HandshakeHook, HandshakeRequest, HandshakeResponse, Identity, Initiator,
        Interceptor, Listener, Message, MessageHandler, MessageKind, MessageRate, Next, OpenSessions, Origins, Outcome,
        OverRate, Overflow, PathParams, Pong, Presence, Present, Principal, ProxyProtocol, Rate, Refusal, Report, Room,
        Sent, Server, ServerBuilder, ServerContainer, Session, SessionId, Shutdown, State, Text, TextDecoder,
        TextEncoder, TextStream, TextStreamDecoder, TextStreamEncoder, TextWriter, TrailingSlash, User, WeakSession,
        on_close, on_error, on_message, on_open, on_presence, server_endpoint,
    };
    #[cfg(feature = "tls")]
    pub use crate::{ClientCertificate, ClientCertificates, TlsConfig};
    #[cfg(feature = "client")]
    pub use crate::{ClientContainer, ClientRequest, Proxy, Reconnect, client_endpoint};
    #[cfg(feature = "json")]
    pub use crate::{Event, Json, Negotiated};
}

/// The program of this crate's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
