//! Message handlers added to a session while it runs (Jakarta's `MessageHandler`).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::codec::{DecodeBinary, DecodeText, IntoReply};
use crate::error::Error;
use crate::observe::destructors;
use crate::session::Session;
use endpoint_wire::message::{Binary, DataKind, Message, Pong};
use endpoint_wire::text::Text;

/// Kind of message that a handler takes; a session has at most one handler of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessageKind {
    /// Text.
    Text,
    /// Binary data.
    Binary,
    /// Pongs.
    Pong,
}

impl MessageKind {
    /// The kind of a data message.
    pub(crate) fn of(kind: DataKind) -> Self {
        match kind {
            DataKind::Text => Self::Text,
            DataKind::Binary => Self::Binary,
        }
    }
}

/// A handler for the messages of one kind, for
/// [`Session::add_message_handler`](crate::Session::add_message_handler).
///
/// A handler is a closure, called with the session and one message after another. Its return value is sent back, as
/// by `#[on_message]`: text, bytes, numbers, [`Json`](crate::Json), `()`, `Option`, `Result`. An error is passed to
/// `on_error`. Constructors without `_async` take ordinary closures, which must not block; those with it take closures
/// that return a future. The future cannot borrow the session: clone it for the future.
///
/// ```
/// use endpoint_runtime::{Error, Json, MessageHandler, Pong, Session};
///
/// let shout = MessageHandler::text(|_, line: String| line.to_uppercase());
/// let add = MessageHandler::text(|_, Json((a, b)): Json<(i64, i64)>| a + b);
/// let tell = MessageHandler::text(|session, line: String| {
///     session.open_sessions().except(session).async_remote().send_text(line);
/// });
/// let store = MessageHandler::binary_async(|session: &Session, data: Vec<u8>| {
///     let session = session.clone();
///     async move {
///         session.basic_remote().send_text(format!("storing {} bytes", data.len())).await?;
///         Ok::<_, Error>(data.len())
///     }
/// });
/// let alive = MessageHandler::pong(|session, _: Pong| println!("{} is still there", session.id()));
/// ```
///
/// The session drops its handlers, with everything they captured, when `on_close` has returned.
pub struct MessageHandler(Arc<Entry>);

/// The shared part of a [`MessageHandler`].
pub(crate) struct Entry {
    kind: MessageKind,
    /// `None` only during `Drop`.
    call: Option<LazyHandlerFuture>,
    parts: bool,
}

/// Catches a panic in the closure's destructor: the last reference may be dropped in a connection's task, which must
/// not end by it.
impl Drop for Entry {
    fn drop(&mut self) {
        destructors::run("a message handler", self.call.take());
    }
}

enum LazyHandlerFuture {
    Text(Callback<Text>),
    Binary(Callback<Binary>),
    Pong(Callback<Pong>),
}

type Callback<T> = Box<dyn Fn(&Session, T, bool) -> Answer + Send + Sync>;

/// Result of a call.
pub(crate) enum Answer {
    /// The handler has returned.
    Now(Result<Option<Message>, Error>),
    /// The handler is waiting.
    Later(Pending),
}

/// Future of a handler that is waiting for something.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Result<Option<Message>, Error>> + Send>>;

/// A message, or a part of one, for a message handler.
pub(crate) enum Payload {
    Text(Text),
    Binary(Binary),
    Pong(Pong),
}

impl Payload {
    pub(crate) fn kind(&self) -> MessageKind {
        match self {
            Self::Text(_) => MessageKind::Text,
            Self::Binary(_) => MessageKind::Binary,
            Self::Pong(_) => MessageKind::Pong,
        }
    }

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
            Self::Pong(pong) => pong.data().len(),
        }
    }
}

impl From<Message> for Payload {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Self::Text(text),
            Message::Binary(data) => Self::Binary(data),
        }
    }
}

impl MessageHandler {
    /// Takes whole text messages as a `T`: `String`, [`Text`], a number, [`Json`](crate::Json) or any other type that
    /// decodes from text.
    pub fn text<T, R>(handler: impl Fn(&Session, T) -> R + Send + Sync + 'static) -> Self
    where
        T: DecodeText,
        R: IntoReply,
    {
        Self::of(
            MessageKind::Text,
            LazyHandlerFuture::Text(Box::new(move |session, text, _| {
                now(|| handler(session, T::decode_text(text)?).into_reply())
            })),
        )
    }

    /// As [`text`](Self::text), for a closure that returns a future.
    pub fn text_async<T, F>(handler: impl Fn(&Session, T) -> F + Send + Sync + 'static) -> Self
    where
        T: DecodeText,
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of(
            MessageKind::Text,
            LazyHandlerFuture::Text(Box::new(move |session, text, _| {
                later(|| Ok(handler(session, T::decode_text(text)?)))
            })),
        )
    }

    /// Takes whole binary messages as a `T`: `Vec<u8>`, [`Bytes`](crate::Bytes), [`Binary`] or any other type that
    /// decodes from binary data.
    pub fn binary<T, R>(handler: impl Fn(&Session, T) -> R + Send + Sync + 'static) -> Self
    where
        T: DecodeBinary,
        R: IntoReply,
    {
        Self::of(
            MessageKind::Binary,
            LazyHandlerFuture::Binary(Box::new(move |session, data, _| {
                now(|| handler(session, T::decode_binary(data)?).into_reply())
            })),
        )
    }

    /// As [`binary`](Self::binary), for a closure that returns a future.
    pub fn binary_async<T, F>(handler: impl Fn(&Session, T) -> F + Send + Sync + 'static) -> Self
    where
        T: DecodeBinary,
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of(
            MessageKind::Binary,
            LazyHandlerFuture::Binary(Box::new(move |session, data, _| {
                later(|| Ok(handler(session, T::decode_binary(data)?)))
            })),
        )
    }

    /// Takes the parts of text messages as they arrive, each with a flag for the last part. The message is not
    /// assembled, so the limit for whole messages does not apply.
    pub fn text_parts<R: IntoReply>(handler: impl Fn(&Session, Text, bool) -> R + Send + Sync + 'static) -> Self {
        Self::of_parts(
            MessageKind::Text,
            LazyHandlerFuture::Text(Box::new(move |session, part, last| {
                now(|| handler(session, part, last).into_reply())
            })),
        )
    }

    /// As [`text_parts`](Self::text_parts), for a closure that returns a future.
    pub fn text_parts_async<F>(handler: impl Fn(&Session, Text, bool) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of_parts(
            MessageKind::Text,
            LazyHandlerFuture::Text(Box::new(move |session, part, last| later(|| Ok(handler(session, part, last))))),
        )
    }

    /// Takes the parts of binary messages as they arrive, each with a flag for the last part; see
    /// [`text_parts`](Self::text_parts).
    pub fn binary_parts<R: IntoReply>(handler: impl Fn(&Session, Binary, bool) -> R + Send + Sync + 'static) -> Self {
        Self::of_parts(
            MessageKind::Binary,
            LazyHandlerFuture::Binary(Box::new(move |session, part, last| {
                now(|| handler(session, part, last).into_reply())
            })),
        )
    }

    /// As [`binary_parts`](Self::binary_parts), for a closure that returns a future.
    pub fn binary_parts_async<F>(handler: impl Fn(&Session, Binary, bool) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of_parts(
            MessageKind::Binary,
            LazyHandlerFuture::Binary(Box::new(move |session, part, last| later(|| Ok(handler(session, part, last))))),
        )
    }

    /// Takes pongs.
    pub fn pong<R: IntoReply>(handler: impl Fn(&Session, Pong) -> R + Send + Sync + 'static) -> Self {
        Self::of(
            MessageKind::Pong,
            LazyHandlerFuture::Pong(Box::new(move |session, pong, _| now(|| handler(session, pong).into_reply()))),
        )
    }

    /// As [`pong`](Self::pong), for a closure that returns a future.
    pub fn pong_async<F>(handler: impl Fn(&Session, Pong) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of(
            MessageKind::Pong,
            LazyHandlerFuture::Pong(Box::new(move |session, pong, _| later(|| Ok(handler(session, pong))))),
        )
    }

    fn of(kind: MessageKind, call: LazyHandlerFuture) -> Self {
        Self(Arc::new(Entry { kind, call: Some(call), parts: false }))
    }

    fn of_parts(kind: MessageKind, call: LazyHandlerFuture) -> Self {
        Self(Arc::new(Entry { kind, call: Some(call), parts: true }))
    }

    /// The kind of messages that the handler takes.
    pub fn kind(&self) -> MessageKind {
        self.0.kind()
    }

    pub(crate) fn takes_parts(&self) -> bool {
        self.0.parts
    }
}

impl fmt::Debug for MessageHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageHandler").field("kind", &self.kind()).field("parts", &self.0.parts).finish()
    }
}

fn now(call: impl FnOnce() -> Result<Option<Message>, Error>) -> Answer {
    Answer::Now(call())
}

fn later<F>(call: impl FnOnce() -> Result<F, Error>) -> Answer
where
    F: Future<Output: IntoReply> + Send + 'static,
{
    match call() {
        Ok(handler) => Answer::Later(Box::pin(async { handler.await.into_reply() })),
        Err(error) => Answer::Now(Err(error)),
    }
}

impl Entry {
    pub(crate) fn kind(&self) -> MessageKind {
        self.kind
    }

    /// Whether the handler takes messages in parts.
    pub(crate) fn parts(&self) -> bool {
        self.parts
    }

    /// Runs the application's code. Ignores a payload of another kind.
    pub(crate) fn call(&self, session: &Session, payload: Payload, last: bool) -> Answer {
        match (&self.call, payload) {
            (Some(LazyHandlerFuture::Text(call)), Payload::Text(text)) => call(session, text, last),
            (Some(LazyHandlerFuture::Binary(call)), Payload::Binary(data)) => call(session, data, last),
            (Some(LazyHandlerFuture::Pong(call)), Payload::Pong(pong)) => call(session, pong, last),
            _ => Answer::Now(Ok(None)),
        }
    }
}

/// The handlers of one session, at most one of each kind.
#[derive(Clone, Default)]
pub(crate) struct Handlers([Option<Arc<Entry>>; 3]);

impl Handlers {
    pub(crate) fn of(&self, kind: MessageKind) -> Option<&Arc<Entry>> {
        self.0[kind as usize].as_ref()
    }

    /// Adds the handler. Returns it, and changes nothing, if there is one of its kind: the caller holds a lock, under
    /// which the application's destructor must not run.
    pub(crate) fn add(&mut self, handler: MessageHandler) -> Result<(), MessageHandler> {
        let place = &mut self.0[handler.kind() as usize];
        if place.is_some() {
            return Err(handler);
        }
        *place = Some(handler.0);
        Ok(())
    }

    pub(crate) fn remove(&mut self, kind: MessageKind) -> Option<MessageHandler> {
        self.0[kind as usize].take().map(MessageHandler)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}
