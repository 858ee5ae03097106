//! A call of a handler with its payload, before it is made.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use crate::endpoint::contract::{Handler, Reply};
use crate::session::Session;
use crate::session::heard::PresenceChange;
use crate::session::message_handler::{Entry, MessageKind, Payload, Pending};
use crate::session::stream::{BinaryStream, TextStream};
use endpoint_wire::message::{Binary, Pong};
use endpoint_wire::text::Text;

/// The next handler call of a connection. It owns its payload, so that the handler may suspend.
pub(crate) enum Invocation {
    Text(Text, bool),
    Binary(Binary, bool),
    Pong(Pong),
    /// A message for a handler that was added to the session, with the handler if it is already chosen.
    Added(Box<(Option<Arc<Entry>>, Payload, bool)>),
    TextStream(TextStream),
    BinaryStream(BinaryStream),
    Presence(PresenceChange),
    /// A handler that is an ordinary `fn` has run.
    Settled(Reply),
    /// An added handler has begun.
    Later(Pending),
    /// A message that interceptors see first.
    Intercepted(Box<Received>),
}

impl Invocation {
    /// Size of the message in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text, _) => text.len(),
            Self::Binary(data, _) => data.len(),
            Self::Pong(pong) => pong.data().len(),
            Self::Added(added) => added.1.size(),
            Self::TextStream(_) | Self::BinaryStream(_) | Self::Presence(_) => 0,
            Self::Settled(_) | Self::Later(_) | Self::Intercepted(_) => 0,
        }
    }

    /// Whether a message ends with it; a pong is none.
    pub(crate) fn ends_message(&self) -> bool {
        match self {
            Self::Text(_, last) | Self::Binary(_, last) => *last,
            Self::Added(added) => added.1.kind() != MessageKind::Pong && added.2,
            _ => false,
        }
    }
}

/// The handlers of an endpoint, without its type.
pub(crate) trait Target: Send {
    fn call<'a>(&'a mut self, session: &'a Session, invocation: Invocation) -> Running<'a>;
}

/// A call of a handler.
pub(crate) enum Running<'a> {
    Settled(Reply),
    Later(BoxFuture<'a, Reply>),
}

/// A message with its facts, for the interceptors.
pub(crate) struct Received {
    pub(crate) invocation: Invocation,
    pub(crate) kind: MessageKind,
    /// Size in bytes.
    pub(crate) size: usize,
    /// Whether this is the whole message, or its last part.
    pub(crate) last: bool,
    /// Whether a stream decoder has taken the content.
    pub(crate) is_decoded: bool,
    /// The annotated handler of the kind, if it exists.
    pub(crate) handler: Option<&'static Handler>,
    /// The handlers of the endpoint's listed events, if this is text.
    pub(crate) events: &'static [Handler],
    /// The name of the event, once it was asked for.
    pub(crate) event: OnceLock<Option<Box<str>>>,
}

/// A future without its type.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
