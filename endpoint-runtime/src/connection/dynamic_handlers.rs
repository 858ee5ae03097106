//! Handlers that were added to the session while it runs, as of the connection's last refresh.

use std::sync::Arc;

use crate::endpoint::invocation::Invocation;
use crate::session::message_handler::{Entry, Handlers, MessageKind, Payload};
use endpoint_wire::event::Delivery;

/// The added handlers.
pub(super) struct DynamicHandlers {
    handlers: Handlers,
    /// The message being decoded, if handlers changed since it began: its kind, and its handler, if any.
    held: Option<(MessageKind, Option<Arc<Entry>>)>,
    /// Whether messages without a handler are put together as well, for the gate.
    takes_all: bool,
}

impl DynamicHandlers {
    /// No handlers yet. Messages without a handler are put together.
    pub(super) fn taking_all() -> Box<Self> {
        Box::new(Self { handlers: <_>::default(), held: None, takes_all: true })
    }

    /// Replaces the handlers of `before`. A message of kind `started` is being decoded, and keeps the handler it began
    /// with. `None` if no handler is left.
    pub(super) fn replace(
        before: Option<Box<Self>>,
        handlers: Handlers,
        started: Option<MessageKind>,
    ) -> Option<Box<Self>> {
        let (before, held, takes_all) =
            before.map(|added| (added.handlers, added.held, added.takes_all)).unwrap_or_default();
        let held = started.and_then(|kind| held.or_else(|| Some((kind, before.of(kind).cloned()))));
        (takes_all || held.is_some() || !handlers.is_empty()).then(|| Box::new(Self { handlers, held, takes_all }))
    }

    /// How the decoder delivers messages of a kind.
    pub(super) fn delivery(&self, kind: MessageKind, limit: usize) -> Delivery {
        match self.handlers.of(kind) {
            None if self.takes_all => Delivery::Whole { limit },
            None => Delivery::Discard,
            Some(entry) if entry.parts() => Delivery::Parts,
            Some(_) => Delivery::Whole { limit },
        }
    }

    /// The handler of a kind.
    pub(super) fn of(&self, kind: MessageKind) -> Option<&Arc<Entry>> {
        self.handlers.of(kind)
    }

    /// Forgets the handler of the message being decoded: the message has ended.
    pub(super) fn forget_held(&mut self) {
        self.held = None;
    }

    /// Makes an inbox entry of a message that was just decoded. A part keeps the handler of its message; the handler of
    /// a whole message is chosen when the message is taken from the inbox.
    pub(super) fn invocation(&mut self, payload: Payload, last: bool) -> Invocation {
        let held = self.held.clone().filter(|(kind, _)| *kind == payload.kind());
        if held.is_some() && last {
            self.held = None;
        }
        let entry = held
            .and_then(|(_, entry)| entry)
            .or_else(|| self.handlers.of(payload.kind()).filter(|entry| entry.parts()).cloned());
        Invocation::Added(Box::new((entry, payload, last)))
    }
}
