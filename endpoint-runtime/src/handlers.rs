//! Message handlers that are added to a session while it runs (Jakarta's `MessageHandler`).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::codec::{DecodeBinary, DecodeText, IntoReply};
use crate::error::Error;
use crate::message::{Binary, Message, Pong};
use crate::text::Text;

/// The kinds of messages a handler may be for; a session has at most one handler of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessageKind {
    /// Text.
    Text,
    /// Binary data.
    Binary,
    /// Pongs.
    Pong,
}

/// A handler for the messages of one kind, to be given to a session:
/// [`Session::add_message_handler`](crate::Session::add_message_handler).
///
/// A handler is a closure, called for one message after another. What it returns is sent back, as by
/// `#[on_message]`: text, bytes, numbers, [`Json`](crate::Json), `()`, `Option`, `Result`. An error goes to `on_error`.
/// The names without `_async` are for ordinary closures, which must not block; those with it are for closures that
/// return a future.
///
/// ```
/// use endpoint_runtime::{Json, MessageHandler, Pong};
///
/// let shout = MessageHandler::text(|line: String| line.to_uppercase());
/// let add = MessageHandler::text(|Json((a, b)): Json<(i64, i64)>| a + b);
/// let store = MessageHandler::binary_async(|data: Vec<u8>| async move {
///     tokio::task::yield_now().await;
///     data.len()
/// });
/// let alive = MessageHandler::pong(|_: Pong| println!("still there"));
/// ```
pub struct MessageHandler(Arc<Entry>);

/// What stands behind it.
pub(crate) struct Entry {
    call: Call,
    parts: bool,
}

enum Call {
    Text(Callback<Text>),
    Binary(Callback<Binary>),
    Pong(Callback<Pong>),
}

type Callback<T> = Box<dyn Fn(T, bool) -> Answer + Send + Sync>;

/// What a call came to.
pub(crate) enum Answer {
    /// It is done.
    Now(Result<Option<Message>, Error>),
    /// It goes on.
    Later(Pending),
}

/// A handler that is waiting for something.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Result<Option<Message>, Error>> + Send>>;

/// A message, or a part of one, on its way to such a handler.
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

impl MessageHandler {
    /// Takes whole text messages as a `T`: `String`, [`Text`], a number, [`Json`](crate::Json), whatever decodes from
    /// text.
    pub fn text<T, R>(handler: impl Fn(T) -> R + Send + Sync + 'static) -> Self
    where
        T: DecodeText,
        R: IntoReply,
    {
        Self::of(Call::Text(Box::new(move |text, _| now(|| handler(T::decode_text(text)?).into_reply()))))
    }

    /// As [`text`](Self::text), for a closure that returns a future.
    pub fn text_async<T, F>(handler: impl Fn(T) -> F + Send + Sync + 'static) -> Self
    where
        T: DecodeText,
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of(Call::Text(Box::new(move |text, _| later(|| Ok(handler(T::decode_text(text)?))))))
    }

    /// Takes whole binary messages as a `T`: `Vec<u8>`, [`Bytes`](crate::Bytes), [`Binary`], whatever decodes from
    /// binary data.
    pub fn binary<T, R>(handler: impl Fn(T) -> R + Send + Sync + 'static) -> Self
    where
        T: DecodeBinary,
        R: IntoReply,
    {
        Self::of(Call::Binary(Box::new(move |data, _| now(|| handler(T::decode_binary(data)?).into_reply()))))
    }

    /// As [`binary`](Self::binary), for a closure that returns a future.
    pub fn binary_async<T, F>(handler: impl Fn(T) -> F + Send + Sync + 'static) -> Self
    where
        T: DecodeBinary,
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of(Call::Binary(Box::new(move |data, _| later(|| Ok(handler(T::decode_binary(data)?))))))
    }

    /// Takes the parts of text messages as they arrive, and whether one is the last. Nothing is put together, so no
    /// limit for whole messages applies.
    pub fn text_parts<R: IntoReply>(handler: impl Fn(Text, bool) -> R + Send + Sync + 'static) -> Self {
        Self::of(Call::Text(Box::new(move |part, last| now(|| handler(part, last).into_reply())))).in_parts()
    }

    /// As [`text_parts`](Self::text_parts), for a closure that returns a future.
    pub fn text_parts_async<F>(handler: impl Fn(Text, bool) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of(Call::Text(Box::new(move |part, last| later(|| Ok(handler(part, last)))))).in_parts()
    }

    /// Takes the parts of binary messages as they arrive, and whether one is the last; see
    /// [`text_parts`](Self::text_parts).
    pub fn binary_parts<R: IntoReply>(handler: impl Fn(Binary, bool) -> R + Send + Sync + 'static) -> Self {
        Self::of(Call::Binary(Box::new(move |part, last| now(|| handler(part, last).into_reply())))).in_parts()
    }

    /// As [`binary_parts`](Self::binary_parts), for a closure that returns a future.
    pub fn binary_parts_async<F>(handler: impl Fn(Binary, bool) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of(Call::Binary(Box::new(move |part, last| later(|| Ok(handler(part, last)))))).in_parts()
    }

    /// Takes pongs.
    pub fn pong<R: IntoReply>(handler: impl Fn(Pong) -> R + Send + Sync + 'static) -> Self {
        Self::of(Call::Pong(Box::new(move |pong, _| now(|| handler(pong).into_reply()))))
    }

    /// As [`pong`](Self::pong), for a closure that returns a future.
    pub fn pong_async<F>(handler: impl Fn(Pong) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of(Call::Pong(Box::new(move |pong, _| later(|| Ok(handler(pong))))))
    }

    fn of(call: Call) -> Self {
        Self(Arc::new(Entry { call, parts: false }))
    }

    fn in_parts(self) -> Self {
        // nobody else has it yet
        Self(Arc::try_unwrap(self.0).map_or_else(|same| same, |entry| Arc::new(Entry { parts: true, ..entry })))
    }

    /// The kind of messages it is for.
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
        match self.call {
            Call::Text(_) => MessageKind::Text,
            Call::Binary(_) => MessageKind::Binary,
            Call::Pong(_) => MessageKind::Pong,
        }
    }

    /// Whether it takes the parts of messages.
    pub(crate) fn parts(&self) -> bool {
        self.parts
    }

    /// Runs the application's code. A payload of another kind is none of its business.
    pub(crate) fn call(&self, payload: Payload, last: bool) -> Answer {
        match (&self.call, payload) {
            (Call::Text(call), Payload::Text(text)) => call(text, last),
            (Call::Binary(call), Payload::Binary(data)) => call(data, last),
            (Call::Pong(call), Payload::Pong(pong)) => call(pong, last),
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

    /// False, and nothing is changed, if there is one of its kind.
    pub(crate) fn add(&mut self, handler: MessageHandler) -> bool {
        let place = &mut self.0[handler.kind() as usize];
        let free = place.is_none();
        if free {
            *place = Some(handler.0);
        }
        free
    }

    pub(crate) fn remove(&mut self, kind: MessageKind) -> Option<MessageHandler> {
        self.0[kind as usize].take().map(MessageHandler)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}
