//! The handlers that a session holds, and what they are called with.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Error;
use crate::observe::destructors;
use endpoint_wire::message::{Binary, Message, Pong};
use endpoint_wire::text::Text;

/// Kind of message that a handler takes; a session has at most one handler of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MessageKind {
    /// Text.
    Text,
    /// Binary data.
    Binary,
    /// Pongs.
    Pong,
}

/// One handler: the closure and the messages that it takes. `S` is the session, which holds its handlers.
pub(crate) struct Entry<S> {
    kind: MessageKind,
    /// `None` only during `Drop`.
    call: Option<Callback<S>>,
    parts: bool,
}

/// Catches a panic in the closure's destructor: the last reference may be dropped in a connection's task, which must
/// not end by it.
impl<S> Drop for Entry<S> {
    fn drop(&mut self) {
        destructors::run("a message handler", self.call.take());
    }
}

/// The application's closure, by the kind of message.
pub(super) enum Callback<S> {
    Text(Closure<S, Text>),
    Binary(Closure<S, Binary>),
    Pong(Closure<S, Pong>),
}

/// Called with the session, a message or a part of one, and whether it is the last part.
type Closure<S, T> = Box<dyn Fn(&S, T, bool) -> Answer + Send + Sync>;

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

impl<S> Entry<S> {
    pub(super) fn new(kind: MessageKind, call: Callback<S>, parts: bool) -> Arc<Self> {
        Arc::new(Self { kind, call: Some(call), parts })
    }

    pub(crate) fn kind(&self) -> MessageKind {
        self.kind
    }

    /// Whether the handler takes messages in parts.
    pub(crate) fn parts(&self) -> bool {
        self.parts
    }

    /// Runs the application's code. Ignores a payload of another kind.
    pub(crate) fn call(&self, session: &S, payload: Payload, last: bool) -> Answer {
        match (&self.call, payload) {
            (Some(Callback::Text(call)), Payload::Text(text)) => call(session, text, last),
            (Some(Callback::Binary(call)), Payload::Binary(data)) => call(session, data, last),
            (Some(Callback::Pong(call)), Payload::Pong(pong)) => call(session, pong, last),
            _ => Answer::Now(Ok(None)),
        }
    }
}

/// The handlers of one session, at most one of each kind.
pub(crate) struct Handlers<S>([Option<Arc<Entry<S>>>; 3]);

impl<S> Clone for Handlers<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Default for Handlers<S> {
    fn default() -> Self {
        Self(<_>::default())
    }
}

impl<S> Handlers<S> {
    pub(crate) fn of(&self, kind: MessageKind) -> Option<&Arc<Entry<S>>> {
        self.0[kind as usize].as_ref()
    }

    /// Adds the handler. Returns it, and changes nothing, if there is one of its kind: the caller holds a lock, under
    /// which the application's destructor must not run.
    pub(super) fn add(&mut self, handler: Arc<Entry<S>>) -> Result<(), Arc<Entry<S>>> {
        let place = &mut self.0[handler.kind as usize];
        if place.is_some() {
            return Err(handler);
        }
        *place = Some(handler);
        Ok(())
    }

    pub(super) fn remove(&mut self, kind: MessageKind) -> Option<Arc<Entry<S>>> {
        self.0[kind as usize].take()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}
