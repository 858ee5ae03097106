//! The interface between a connection and an endpoint, which `#[server_endpoint]` implements.
//!
//! One instance serves one connection (Jakarta's default). Its methods run one after another, never concurrently, so
//! `&mut self` is always available.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::codec::session_coders::Feed;
use crate::endpoint::coder_selection::List;
use crate::error::Error;
use crate::handshake::path::PathParams;
use crate::handshake::request::HandshakeRequest;
use crate::limits::rate::Rate;
use crate::session::Session;
use crate::session::heard::PresenceChange;
use crate::session::state::StateRequirement;
use crate::session::stream::{BinaryStream, TextStream};
use endpoint_wire::close::CloseReason;
use endpoint_wire::message::{Binary, Message, Pong};
use endpoint_wire::text::Text;

/// Result of a message handler: an optional reply to send, or the error for `on_error`.
pub type Reply = Result<Option<Message>, Error>;

/// How an endpoint handles one kind of event; decided at compile time.
#[derive(Clone, Copy, Debug)]
pub struct Handler {
    /// Whether there is a handler, and whether it may suspend.
    pub mode: Mode,
    /// Whether the handler takes the parts of a message as they arrive (`last: bool`), without reassembly.
    pub parts: bool,
    /// Whether the handler reads a message while it arrives; then `parts` is true, and the mode is [`Mode::Async`].
    pub streams: bool,
    /// The handler's limit for all parts of a message together, in bytes (`#[on_message(max_total = …)]`).
    pub max_total: Option<u64>,
    /// Feeds parts to the endpoint's stream decoder, if that decodes the handler's payload; then `parts` is true.
    pub feed: Option<Feed>,
    /// The handler's own limit for a whole message, in bytes (`#[on_message(max_size = …)]`).
    pub max_size: Option<usize>,
    /// Fails if the handler's typed path parameters do not parse; called before the handshake is accepted.
    pub check_path: fn(&PathParams) -> Result<(), Error>,
    /// Fails if the handler's query parameters are missing or do not parse; called before the handshake is accepted.
    pub check_query: fn(&HandshakeRequest) -> Result<(), Error>,
    /// The `State<T>` values that the handler takes; checked when the endpoint is deployed.
    pub states: &'static [StateRequirement],
    /// The name of the method; empty if there is none.
    pub name: &'static str,
    /// The name of the event that it handles; empty if it is no handler of a listed event.
    pub event: &'static str,
    /// The handler's own rate (`#[on_message(rate = …)]`).
    pub rate: Option<Rate>,
}

/// Whether a handler exists and how it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The endpoint has no such handler.
    Missing,
    /// An ordinary `fn`: runs immediately and may borrow from the receive buffer.
    Sync,
    /// An `async fn`: receives owned payloads, because it may suspend.
    Async,
}

impl Handler {
    /// No handler.
    pub const MISSING: Self = Self {
        mode: Mode::Missing,
        parts: false,
        streams: false,
        max_total: None,
        feed: None,
        max_size: None,
        check_path: |_| Ok(()),
        check_query: |_| Ok(()),
        states: &[],
        name: "",
        event: "",
        rate: None,
    };
    /// An ordinary `fn` for whole messages.
    pub const SYNC: Self = Self { mode: Mode::Sync, ..Self::MISSING };
    /// An `async fn` for whole messages.
    pub const ASYNC: Self = Self { mode: Mode::Async, ..Self::MISSING };

    /// The text handler of an endpoint that lists events. Events have their own handlers; this one takes the rest.
    pub const fn with_events(self, events: &[Self]) -> Self {
        assert!(
            !self.parts,
            "the text handler of an endpoint with events takes whole messages: remove `last`, or the stream decoder"
        );
        let mut mode = match self.mode {
            Mode::Missing => Mode::Sync,
            mode => mode,
        };
        let mut index = 0;
        while index < events.len() {
            if matches!(events[index].mode, Mode::Async) {
                mode = Mode::Async;
            }
            index += 1;
        }
        Self { mode, ..self }
    }

    /// Whether the endpoint has this handler.
    pub const fn exists(&self) -> bool {
        !matches!(self.mode, Mode::Missing)
    }
}

/// An endpoint's handlers, as the connection calls them.
///
/// Order (Jakarta §2.1 and §5.1): `on_open` runs first and to completion; then messages, one at a time. `on_close` runs
/// exactly once after each `on_open` that was started; only `on_error` may follow, if `on_close` failed. `on_error` may
/// run at any time between.
pub trait EndpointHandlers: Sized + Send + 'static {
    /// The handler of `on_open`.
    const OPEN: Handler = Handler::MISSING;
    /// The handler of text messages.
    const TEXT: Handler = Handler::MISSING;
    /// The handler of binary messages.
    const BINARY: Handler = Handler::MISSING;
    /// The handler of pongs.
    const PONG: Handler = Handler::MISSING;
    /// The handler of `on_close`.
    const CLOSE: Handler = Handler::MISSING;
    /// The handler of `on_error`.
    const ERROR: Handler = Handler::MISSING;
    /// The handler of changes of presence.
    const PRESENCE: Handler = Handler::MISSING;

    /// The handlers of the endpoint's listed events; [`EndpointHandlers::TEXT`] calls them.
    const EVENTS: &'static [Handler] = &[];

    /// Whether the endpoint lists coders.
    const LISTS_CODERS: bool = false;

    /// Creates the endpoint's coders for a session, before `on_open`.
    fn list_coders(session: &Session) {
        let _ = session;
    }

    /// Called when the connection is established; its reply is the greeting.
    fn on_open<'a>(&'a mut self, session: &'a Session) -> impl Future<Output = Reply> + Send + 'a;

    /// Takes a text message or part of one, owned. Called if [`EndpointHandlers::TEXT`] is [`Mode::Async`].
    fn on_text<'a>(
        &'a mut self,
        session: &'a Session,
        text: Text,
        last: bool,
    ) -> impl Future<Output = Reply> + Send + 'a;

    /// Takes a text message or part of one, borrowed. Called if [`EndpointHandlers::TEXT`] is [`Mode::Sync`].
    fn on_text_sync(&mut self, session: &Session, text: &str, last: bool) -> Reply;

    /// Takes a binary message or part of one, owned. Called if [`EndpointHandlers::BINARY`] is [`Mode::Async`].
    fn on_binary<'a>(
        &'a mut self,
        session: &'a Session,
        data: Binary,
        last: bool,
    ) -> impl Future<Output = Reply> + Send + 'a;

    /// Takes a binary message or part of one, borrowed. Called if [`EndpointHandlers::BINARY`] is [`Mode::Sync`].
    fn on_binary_sync(&mut self, session: &Session, data: &[u8], last: bool) -> Reply;

    /// Reads a text message while it arrives. Called if [`EndpointHandlers::TEXT`] streams.
    fn on_text_stream<'a>(
        &'a mut self,
        _session: &'a Session,
        _text: TextStream,
    ) -> impl Future<Output = Reply> + Send + 'a {
        std::future::ready(Ok(None))
    }

    /// Reads a binary message while it arrives. Called if [`EndpointHandlers::BINARY`] streams.
    fn on_binary_stream<'a>(
        &'a mut self,
        _session: &'a Session,
        _data: BinaryStream,
    ) -> impl Future<Output = Reply> + Send + 'a {
        std::future::ready(Ok(None))
    }

    /// Takes a pong.
    fn on_pong<'a>(&'a mut self, session: &'a Session, pong: Pong) -> impl Future<Output = Reply> + Send + 'a;

    /// Takes a change of presence in a room of the session. Called if [`EndpointHandlers::PRESENCE`] exists.
    fn on_presence<'a>(
        &'a mut self,
        _session: &'a Session,
        _change: PresenceChange,
    ) -> impl Future<Output = Reply> + Send + 'a {
        std::future::ready(Ok(None))
    }

    /// Called when the session has ended.
    fn on_close<'a>(
        &'a mut self,
        session: &'a Session,
        reason: CloseReason,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'a;

    /// Takes an error of another handler, or of the connection.
    fn on_error<'a>(
        &'a mut self,
        session: &'a Session,
        error: Error,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'a;
}

pin_project! {
    /// The call of an `async fn` handler. It starts on the first poll, so that its arguments are stored either here or
    /// in the handler's own future, never in both.
    #[allow(missing_debug_implementations)]
    pub struct LazyHandlerFuture<B, F, C> {
        #[pin]
        state: CallState<B, F>,
        convert: C,
    }
}

pin_project! {
    #[project = CallStateProjection]
    enum CallState<B, F> {
        New { begin: Option<B> },
        Begun { #[pin] handler: F },
    }
}

impl<B, F, C, T> LazyHandlerFuture<B, F, C>
where
    B: FnOnce() -> Result<F, Error>,
    F: Future,
    C: Fn(F::Output) -> Result<T, Error>,
{
    /// A call that `begin` starts or rejects; `convert` turns the handler's return value into the result.
    #[inline]
    pub fn new(begin: B, convert: C) -> Self {
        Self { state: CallState::New { begin: Some(begin) }, convert }
    }
}

impl<B, F, C, T> Future for LazyHandlerFuture<B, F, C>
where
    B: FnOnce() -> Result<F, Error>,
    F: Future,
    C: Fn(F::Output) -> Result<T, Error>,
{
    type Output = Result<T, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let CallStateProjection::New { begin } = this.state.as_mut().project() {
            // `None` only if the future is polled again after it has failed
            let Some(begin) = begin.take() else { return Poll::Pending };
            let handler = begin()?;
            this.state.set(CallState::Begun { handler });
        }
        match this.state.project() {
            CallStateProjection::Begun { handler } => handler.poll(cx).map(&*this.convert),
            CallStateProjection::New { .. } => Poll::Pending,
        }
    }
}

/// Gives a handler its `&mut self`: only a connection with its own instance can.
#[diagnostic::on_unimplemented(
    message = "a handler of `{E}` takes `&mut self`, but all connections share one instance",
    label = "with `instance = shared`, handlers take `&self`",
    note = "write `&self` and keep mutable state in a lock or in atomics, or remove `instance = shared` to give each connection its own instance"
)]
pub trait AsMutReceiver<'a, E>: Send + Sized {
    /// The endpoint's instance.
    fn reach(self) -> &'a mut E;
}

impl<'a, E: Send> AsMutReceiver<'a, E> for &'a mut E {
    #[inline]
    fn reach(self) -> &'a mut E {
        self
    }
}

/// Properties of a type that `#[server_endpoint]` or `#[client_endpoint]` specifies, apart from its handlers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has handlers but is not an endpoint",
    label = "this type is not annotated with `#[server_endpoint(\"/path\")]`",
    note = "write `#[server_endpoint(\"/path\")]` above the definition of `{Self}`, or `#[client_endpoint]` if it connects to a server"
)]
pub trait Annotated {
    /// The path or template; empty for a client endpoint.
    const PATH: &'static str;

    /// How a connection holds the instance: exclusively, or shared with the other connections.
    type Receiver<'a>
    where
        Self: 'a;
}

/// Default for every handler that the user did not write. `#[on_…]` emits inherent items of the same names; those win.
#[allow(missing_docs)]
pub trait Fallback: Sized {
    const __ENDPOINT_DECODERS: List<()> = List::NEW;
    const __ENDPOINT_ENCODERS: List<()> = List::NEW;
    const __ENDPOINT_EVENTS: &'static [&'static str] = &[];

    const __AN_ENDPOINT_HAS_ONE_ON_OPEN: Handler = Handler::MISSING;
    const __AN_ENDPOINT_HAS_ONE_HANDLER_FOR_TEXT: Handler = Handler::MISSING;
    const __AN_ENDPOINT_HAS_ONE_HANDLER_FOR_BINARY: Handler = Handler::MISSING;
    const __AN_ENDPOINT_HAS_ONE_HANDLER_FOR_PONG: Handler = Handler::MISSING;
    const __AN_ENDPOINT_HAS_ONE_ON_CLOSE: Handler = Handler::MISSING;
    const __AN_ENDPOINT_HAS_ONE_ON_ERROR: Handler = Handler::MISSING;
    const __AN_ENDPOINT_HAS_ONE_ON_PRESENCE: Handler = Handler::MISSING;
    const __ENDPOINT_HAS_PRESENCE: bool = false;

    fn __an_endpoint_has_one_on_open<R>(_: R, _: &Session) -> std::future::Ready<Reply> {
        std::future::ready(Ok(None))
    }
    fn __an_endpoint_has_one_handler_for_text<R>(_: R, _: &Session, _: Text, _: bool) -> std::future::Ready<Reply> {
        std::future::ready(Ok(None))
    }
    fn __an_endpoint_has_one_handler_for_text_sync<R>(_: R, _: &Session, _: &str, _: bool) -> Reply {
        Ok(None)
    }
    fn __an_endpoint_has_one_handler_for_binary<R>(_: R, _: &Session, _: Binary, _: bool) -> std::future::Ready<Reply> {
        std::future::ready(Ok(None))
    }
    fn __an_endpoint_has_one_handler_for_binary_sync<R>(_: R, _: &Session, _: &[u8], _: bool) -> Reply {
        Ok(None)
    }
    fn __an_endpoint_has_one_handler_for_text_stream<R>(_: R, _: &Session, _: TextStream) -> std::future::Ready<Reply> {
        std::future::ready(Ok(None))
    }
    fn __an_endpoint_has_one_handler_for_binary_stream<R>(
        _: R,
        _: &Session,
        _: BinaryStream,
    ) -> std::future::Ready<Reply> {
        std::future::ready(Ok(None))
    }
    fn __an_endpoint_has_one_handler_for_pong<R>(_: R, _: &Session, _: Pong) -> std::future::Ready<Reply> {
        std::future::ready(Ok(None))
    }
    fn __an_endpoint_has_one_on_presence<R>(_: R, _: &Session, _: PresenceChange) -> std::future::Ready<Reply> {
        std::future::ready(Ok(None))
    }
    fn __an_endpoint_has_one_on_close<R>(_: R, _: &Session, _: CloseReason) -> std::future::Ready<Result<(), Error>> {
        std::future::ready(Ok(()))
    }
    fn __an_endpoint_has_one_on_error<R>(_: R, _: &Session, _: Error) -> std::future::Ready<Result<(), Error>> {
        std::future::ready(Ok(()))
    }
}

impl<T> Fallback for T {}
