//! Message handlers added to a session while it runs (Jakarta's `MessageHandler`).

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use super::handlers::MessageKind;
use super::handlers::{self, Callback};
pub(crate) use super::handlers::{Answer, Payload, Pending};
use super::rare;
use super::session::Session;
use crate::codec::{DecodeBinary, DecodeText, IntoReply};
use crate::error::{Error, Kind};
use endpoint_wire::message::{Binary, DataKind, Message, Pong};
use endpoint_wire::text::Text;

/// The handlers of one session.
pub(crate) type Handlers = handlers::Handlers<Session>;
/// The shared part of a [`MessageHandler`].
pub(crate) type Entry = handlers::Entry<Session>;

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
            Callback::Text(Box::new(move |session, text, _| {
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
            Callback::Text(Box::new(move |session, text, _| later(|| Ok(handler(session, T::decode_text(text)?))))),
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
            Callback::Binary(Box::new(move |session, data, _| {
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
            Callback::Binary(Box::new(move |session, data, _| later(|| Ok(handler(session, T::decode_binary(data)?))))),
        )
    }

    /// Takes the parts of text messages as they arrive, each with a flag for the last part. The message is not
    /// assembled, so the limit for whole messages does not apply.
    pub fn text_parts<R: IntoReply>(handler: impl Fn(&Session, Text, bool) -> R + Send + Sync + 'static) -> Self {
        Self::of_parts(
            MessageKind::Text,
            Callback::Text(Box::new(move |session, part, last| now(|| handler(session, part, last).into_reply()))),
        )
    }

    /// As [`text_parts`](Self::text_parts), for a closure that returns a future.
    pub fn text_parts_async<F>(handler: impl Fn(&Session, Text, bool) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of_parts(
            MessageKind::Text,
            Callback::Text(Box::new(move |session, part, last| later(|| Ok(handler(session, part, last))))),
        )
    }

    /// Takes the parts of binary messages as they arrive, each with a flag for the last part; see
    /// [`text_parts`](Self::text_parts).
    pub fn binary_parts<R: IntoReply>(handler: impl Fn(&Session, Binary, bool) -> R + Send + Sync + 'static) -> Self {
        Self::of_parts(
            MessageKind::Binary,
            Callback::Binary(Box::new(move |session, part, last| now(|| handler(session, part, last).into_reply()))),
        )
    }

    /// As [`binary_parts`](Self::binary_parts), for a closure that returns a future.
    pub fn binary_parts_async<F>(handler: impl Fn(&Session, Binary, bool) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of_parts(
            MessageKind::Binary,
            Callback::Binary(Box::new(move |session, part, last| later(|| Ok(handler(session, part, last))))),
        )
    }

    /// Takes pongs.
    pub fn pong<R: IntoReply>(handler: impl Fn(&Session, Pong) -> R + Send + Sync + 'static) -> Self {
        Self::of(
            MessageKind::Pong,
            Callback::Pong(Box::new(move |session, pong, _| now(|| handler(session, pong).into_reply()))),
        )
    }

    /// As [`pong`](Self::pong), for a closure that returns a future.
    pub fn pong_async<F>(handler: impl Fn(&Session, Pong) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output: IntoReply> + Send + 'static,
    {
        Self::of(
            MessageKind::Pong,
            Callback::Pong(Box::new(move |session, pong, _| later(|| Ok(handler(session, pong))))),
        )
    }

    fn of(kind: MessageKind, call: Callback<Session>) -> Self {
        Self(Entry::new(kind, call, false))
    }

    fn of_parts(kind: MessageKind, call: Callback<Session>) -> Self {
        Self(Entry::new(kind, call, true))
    }

    /// The kind of messages that the handler takes.
    pub fn kind(&self) -> MessageKind {
        self.0.kind()
    }

    pub(crate) fn takes_parts(&self) -> bool {
        self.0.parts()
    }
}

impl fmt::Debug for MessageHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageHandler").field("kind", &self.kind()).field("parts", &self.0.parts()).finish()
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

/// Message handlers.
impl Session {
    /// Adds a handler for a kind of messages that has none yet, at an endpoint with or without annotations. It takes
    /// messages that begin from now on.
    ///
    /// # Errors
    /// [`Error::is_duplicate_handler`] if this kind has a handler, added or annotated; that one keeps working.
    /// A handler for parts also fails on an [adopted](crate::ServerContainer) socket.
    /// [`Error::is_closed`] once `on_close` has returned and the handlers were dropped.
    pub fn add_message_handler(&self, handler: MessageHandler) -> Result<(), Error> {
        let kind = handler.kind();
        if handler.takes_parts() {
            self.0.send_queue.takes_parts()?;
        }
        let taken =
            || Error::new(Kind::DuplicateHandler, format!("the session already has a handler of kind {kind:?}"));
        if self.is_annotated(kind) {
            return Err(taken());
        }
        let rare = rare::of(&self.0.rare);
        let mut handlers = rare.handlers();
        if rare.is_released() {
            // the application's destructor must not run under the lock
            drop(handlers);
            return Err(Error::closed());
        }
        let added = handlers.add(handler.0);
        drop(handlers);
        added.map_err(|_| taken())?;
        self.0.send_queue.wake();
        Ok(())
    }

    /// Removes an added handler and returns it; it may be added again to any session. It still receives the rest of a
    /// message that has begun, and a running call finishes. An annotated handler is not removed.
    pub fn remove_message_handler(&self, kind: MessageKind) -> Option<MessageHandler> {
        let removed = self.0.rare.get()?.handlers().remove(kind);
        self.0.send_queue.wake();
        removed.map(MessageHandler)
    }

    /// The kinds of messages that have a handler, added or annotated.
    pub fn message_handlers(&self) -> Vec<MessageKind> {
        let added = self.added_handlers().unwrap_or_default();
        [MessageKind::Text, MessageKind::Binary, MessageKind::Pong]
            .into_iter()
            .filter(|kind| self.is_annotated(*kind) || added.of(*kind).is_some())
            .collect()
    }

    fn is_annotated(&self, kind: MessageKind) -> bool {
        self.0.endpoint.annotated[kind as usize]
    }

    /// The added handlers; usually `None`.
    pub(crate) fn added_handlers(&self) -> Option<Handlers> {
        let handlers = self.0.rare.get()?.handlers().clone();
        (!handlers.is_empty()).then_some(handlers)
    }
}
