//! One message as interceptors see it, and their result.

use std::fmt;
use std::sync::OnceLock;

use crate::endpoint::contract::{EndpointHandlers, Handler, Mode, Reply};
use crate::endpoint::invocation::{Invocation, Received, Running, Target};
use crate::error::{BoxError, Error, Kind};
use crate::observe::traffic::Shown;
use crate::session::Session;
use crate::session::message_handler::{Answer, MessageKind, Payload};
use crate::session::state::State;
use endpoint_wire::close::CloseReason;
use endpoint_wire::message::Message;

/// One message, or one part of a message, on its way to its handler. [`Next::run`](crate::Next::run) continues with it.
pub struct Call<'a> {
    session: &'a Session,
    /// Boxed, because calls are moved from interceptor to interceptor.
    received: Box<Received>,
}

impl<'a> Call<'a> {
    pub(super) fn new(session: &'a Session, received: Box<Received>) -> Self {
        Self { session, received }
    }

    pub(super) fn into_invocation(self) -> (&'a Session, Invocation) {
        (self.session, self.received.invocation)
    }

    /// The session.
    pub fn session(&self) -> &'a Session {
        self.session
    }

    /// The value that the application shares by [`ContainerBuilder::state`](crate::ContainerBuilder::state).
    pub fn state<T: 'static>(&self) -> Option<&'a State<T>> {
        self.session.state()
    }

    /// Text, binary, or a pong.
    pub fn kind(&self) -> MessageKind {
        self.received.kind
    }

    /// Size of the message or part in bytes, after decompression. Of a stream that of its first part, of a payload that a
    /// stream decoder has decoded that of the whole message.
    pub fn size(&self) -> usize {
        self.received.size
    }

    /// Whether this is a whole message, or the last part of one.
    pub fn is_last(&self) -> bool {
        self.received.last
    }

    /// The text, or part of a text. `None` if the message is not text, or its content is not here: its handler reads it as a
    /// stream, or a stream decoder has decoded it.
    pub fn text(&self) -> Option<&str> {
        match &self.received.invocation {
            Invocation::Text(text, _) if !self.received.is_decoded => Some(text),
            Invocation::Added(added) => match &added.1 {
                Payload::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// The data of a binary message or of a pong, or the text in bytes. `None` if the content is not here, as with
    /// [`text`](Self::text).
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.received.invocation {
            Invocation::Binary(data, _) if !self.received.is_decoded => Some(data),
            Invocation::Pong(pong) => Some(pong.data()),
            Invocation::Added(added) => Some(match &added.1 {
                Payload::Text(text) => text.as_bytes(),
                Payload::Binary(data) => data,
                Payload::Pong(pong) => pong.data(),
            }),
            _ => self.text().map(str::as_bytes),
        }
    }

    /// The name of the event, if the text is an event (`{"event": …, "data": …}`), whether or not the endpoint lists it.
    /// Without the feature `json` none.
    ///
    /// The first call parses the text.
    pub fn event(&self) -> Option<&str> {
        let parse = || event_name(self.session, self.text()?);
        self.received.event.get_or_init(parse).as_deref()
    }

    /// The name of the annotated method that handles the message. `None` if no handler takes it, or one that was added to the
    /// session ([`Session::add_message_handler`]).
    ///
    /// At an endpoint that lists events, the first call parses the text.
    pub fn handler(&self) -> Option<&'static str> {
        self.chosen().map(|handler| handler.name)
    }

    /// Whether a handler takes the message. If not, it is dropped after the interceptors; an endpoint that lists events
    /// reports an unknown one to `on_error`.
    pub fn is_handled(&self) -> bool {
        match &self.received.invocation {
            Invocation::Added(added) => added.0.is_some(),
            _ => self.chosen().is_some(),
        }
    }

    /// Whether a handler gets the message, or the handler of its kind reports that none takes its event.
    pub(super) fn is_for_a_handler(&self) -> bool {
        !matches!(&self.received.invocation, Invocation::Added(added) if added.0.is_none())
    }

    /// The annotated handler of the message.
    pub(super) fn chosen(&self) -> Option<&'static Handler> {
        let Received { handler, events, .. } = &*self.received;
        choose(*handler, events, || self.event())
    }

    /// The message as a log shows it. Only the size of a part is shown: a secret may begin in one part and end in the next.
    pub(super) fn shown(&self) -> Shown<'_> {
        let Received { invocation, kind, size, handler, is_decoded, .. } = &*self.received;
        let in_parts = match invocation {
            Invocation::TextStream(_) => return Shown::Size("text stream", *size),
            Invocation::BinaryStream(_) => return Shown::Size("binary stream", *size),
            Invocation::Added(added) => added.0.as_ref().is_some_and(|entry| entry.parts()),
            // a stream decoder takes parts, and its handler the whole
            _ => !is_decoded && handler.is_some_and(|handler| handler.parts),
        };
        match (kind, self.text()) {
            (MessageKind::Text, Some(text)) if !in_parts => Shown::Text(text),
            (MessageKind::Text, _) => Shown::Size(if in_parts { "text part" } else { "text" }, *size),
            (MessageKind::Binary, _) => Shown::Size("binary", *size),
            (MessageKind::Pong, _) => Shown::Size("pong", *size),
        }
    }

    /// Replaces the content of a message or part by other content of the same kind. Returns false, and changes nothing, for
    /// the other kind, for a pong, and if the content is not here, as with [`text`](Self::text).
    #[must_use = "false means that nothing was replaced"]
    pub fn replace(&mut self, message: impl Into<Message>) -> bool {
        let size = match (&mut self.received.invocation, message.into()) {
            _ if self.received.is_decoded => return false,
            (Invocation::Text(old, _), Message::Text(new)) => {
                *old = new;
                old.len()
            }
            (Invocation::Binary(old, _), Message::Binary(new)) => {
                *old = new;
                old.len()
            }
            (Invocation::Added(added), new) => match (&mut added.1, new) {
                (Payload::Text(old), Message::Text(new)) => {
                    *old = new;
                    old.len()
                }
                (Payload::Binary(old), Message::Binary(new)) => {
                    *old = new;
                    old.len()
                }
                _ => return false,
            },
            _ => return false,
        };
        (self.received.size, self.received.event) = (size, OnceLock::new());
        true
    }
}

/// Without the content, which may be confidential.
impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Received { kind, size, last, .. } = &*self.received;
        let session = self.session.id();
        f.debug_struct("Call")
            .field("session", &session)
            .field("kind", kind)
            .field("size", size)
            .field("last", last)
            .finish()
    }
}

/// The handler of a message: that of its event if the endpoint lists it, else that of its kind.
pub(crate) fn choose<'n>(
    handler: Option<&'static Handler>,
    events: &'static [Handler],
    name: impl FnOnce() -> Option<&'n str>,
) -> Option<&'static Handler> {
    if !events.is_empty() {
        if let Some(event) = name() {
            if let Some(listed) = events.iter().find(|listed| listed.event == event) {
                return Some(listed);
            }
        }
    }
    // an endpoint with events always has a handler of text; without a method of its own it has no name
    handler.filter(|handler| handler.exists() && !handler.name.is_empty())
}

/// The name of the event that a text is.
#[cfg(feature = "json")]
pub(crate) fn event_name(session: &Session, text: &str) -> Option<Box<str>> {
    let name = |text| crate::codec::event::Occurrence::of(text).ok().map(|occurrence| occurrence.name().into());
    session.decoding(|| name(text))
}

/// Without JSON no text is an event.
#[cfg(not(feature = "json"))]
pub(crate) fn event_name(_: &Session, _: &str) -> Option<Box<str>> {
    None
}

/// The result of a message: nothing, a reply, or an error for `on_error`.
#[derive(Debug)]
#[must_use = "return it from the interceptor"]
pub struct Outcome(Reply);

impl Outcome {
    /// The message is done, without a reply.
    pub fn done() -> Self {
        Self(Ok(None))
    }

    /// Sends this message back.
    pub fn reply(message: impl Into<Message>) -> Self {
        Self(Ok(Some(message.into())))
    }

    /// Drops the message. `on_error` receives an error that [`is_refused`](Error::is_refused) with this text; without
    /// `on_error` it is logged, and the session continues. From [`Interceptor::open`](crate::Interceptor::open) the session
    /// ends with 1008.
    pub fn refuse(why: impl Into<String>) -> Self {
        Self(Err(Error::new(Kind::Refused, why.into())))
    }

    /// Closes the session with this reason, as a handler does that returns it as its error. `on_error` is not called.
    pub fn close(reason: impl Into<CloseReason>) -> Self {
        Self(Err(Error::user(reason.into())))
    }

    /// Fails like a handler that returns this error.
    pub fn error(error: impl Into<BoxError>) -> Self {
        Self(Err(Error::user(error)))
    }

    /// The reply if there is one, or the error.
    ///
    /// # Errors
    /// That of the handler or of an interceptor.
    pub fn result(&self) -> Result<Option<&Message>, &Error> {
        self.0.as_ref().map(Option::as_ref)
    }

    /// The reply if there is one, or the error.
    ///
    /// # Errors
    /// That of the handler or of an interceptor.
    pub fn into_result(self) -> Result<Option<Message>, Error> {
        self.0
    }
}

impl From<Result<Option<Message>, Error>> for Outcome {
    fn from(result: Result<Option<Message>, Error>) -> Self {
        Self(result)
    }
}

/// Counts a message that had no handler, and logs the first of its session.
pub(crate) fn note_unwanted(session: &Session, kind: MessageKind, is_first: bool) {
    let set = session.open_set();
    set.counters.unhandled.add(1);
    if let Some(not_logged) = is_first.then(|| set.log.unwanted.due()).flatten() {
        let (kind, endpoint) = (if kind == MessageKind::Text { "text" } else { "binary" }, set.name);
        tracing::warn!(not_logged, endpoint, session = %session.id(), "a {kind} message was dropped: the endpoint has no handler for it");
    }
}

impl<E: EndpointHandlers> Target for E {
    fn call<'a>(&'a mut self, session: &'a Session, invocation: Invocation) -> Running<'a> {
        Running::Later(match invocation {
            Invocation::Text(text, last) if E::TEXT.mode == Mode::Sync => {
                return Running::Settled(self.on_text_sync(session, &text, last));
            }
            Invocation::Binary(data, last) if E::BINARY.mode == Mode::Sync => {
                return Running::Settled(self.on_binary_sync(session, &data, last));
            }
            Invocation::Text(text, last) => Box::pin(self.on_text(session, text, last)),
            Invocation::Binary(data, last) => Box::pin(self.on_binary(session, data, last)),
            Invocation::Pong(pong) => Box::pin(self.on_pong(session, pong)),
            Invocation::TextStream(text) => Box::pin(self.on_text_stream(session, text)),
            Invocation::BinaryStream(data) => Box::pin(self.on_binary_stream(session, data)),
            Invocation::Added(added) => {
                let (entry, payload, last) = *added;
                let Some(entry) = entry else {
                    note_unwanted(session, payload.kind(), true);
                    return Running::Settled(Ok(None));
                };
                match session.decoding(|| entry.call(session, payload, last)) {
                    Answer::Now(reply) => return Running::Settled(reply),
                    Answer::Later(pending) => pending,
                }
            }
            Invocation::Later(pending) => pending,
            Invocation::Settled(reply) => return Running::Settled(reply),
            // no interceptor sees these
            Invocation::Presence(_) | Invocation::Intercepted(_) => return Running::Settled(Ok(None)),
        })
    }
}
