//! Messages for handlers that were added while the session runs.

use std::sync::Arc;

use super::io::ConnectionIo;
use crate::endpoint::contract::EndpointHandlers;
use crate::endpoint::dispatch::{Dispatch, Invocation};
use crate::session::message_handler::{Entry, Handlers, MessageKind, Payload};
use endpoint_wire::event::Delivery;

/// The added handlers, as of the connection's last refresh.
pub(super) struct DynamicHandlers {
    handlers: Handlers,
    /// The message being decoded, if handlers changed since it began: its kind, and its handler, if any.
    held: Option<(MessageKind, Option<Arc<Entry>>)>,
}

impl DynamicHandlers {
    /// How the decoder delivers messages of a kind.
    pub(super) fn take(&self, kind: MessageKind, limit: usize) -> Delivery {
        match self.handlers.of(kind) {
            None => Delivery::Discard,
            Some(entry) if entry.parts() => Delivery::Parts,
            Some(_) => Delivery::Whole { limit },
        }
    }

    pub(super) fn has(&self, kind: MessageKind) -> bool {
        self.handlers.of(kind).is_some()
    }
}

impl ConnectionIo {
    /// Applies a change of the session's handlers.
    pub(super) fn refresh_dynamic_handlers(&mut self) {
        let Some(handlers) =
            self.session.added_handlers().or_else(|| self.dynamic_handlers.is_some().then(Handlers::default))
        else {
            return;
        };
        let (before, mut held) = match self.dynamic_handlers.take() {
            Some(added) => (added.handlers, added.held),
            None => <_>::default(),
        };
        // a message that has begun keeps the handler it began with
        match self.decoder.started().map(kind) {
            Some(kind) => held = held.or_else(|| Some((kind, before.of(kind).cloned()))),
            None => held = None,
        }
        if held.is_some() || !handlers.is_empty() {
            self.dynamic_handlers = Some(Box::new(DynamicHandlers { handlers, held }));
        }
    }

    /// Drops the added handlers: the session has ended.
    pub(crate) fn drop_dynamic_handlers(&mut self) {
        self.dynamic_handlers = None;
    }

    /// Makes an inbox entry of a message that was just decoded. A part keeps the handler of its message; the handler of
    /// a whole message is chosen when the message is taken from the inbox.
    pub(super) fn dynamic_invocation(&mut self, payload: Payload, last: bool) -> Invocation {
        let Some(added) = &mut self.dynamic_handlers else {
            return Invocation::Added(Box::new((None, payload, last)));
        };
        let held = added.held.clone().filter(|(kind, _)| *kind == payload.kind());
        if held.is_some() && last {
            added.held = None;
        }
        let entry = held
            .and_then(|(_, entry)| entry)
            .or_else(|| added.handlers.of(payload.kind()).filter(|entry| entry.parts()).cloned());
        Invocation::Added(Box::new((entry, payload, last)))
    }

    /// A message without a handler was discarded completely.
    pub(super) fn discarded(&mut self, text: bool) {
        if let Some(added) = &mut self.dynamic_handlers {
            added.held = None;
        }
        self.log_dropped(text);
    }

    /// Calls the added handler for a message; `None` if it was removed meanwhile. Other work passes through.
    pub(super) fn call_dynamic<E: EndpointHandlers>(
        &mut self,
        dispatch: &mut Dispatch<E>,
        work: Invocation,
    ) -> Option<Invocation> {
        let Invocation::Added(added) = work else { return Some(work) };
        let (entry, payload, last) = *added;
        let kind = payload.kind();
        match entry.or_else(|| self.dynamic_handlers.as_ref()?.handlers.of(kind).cloned()) {
            Some(entry) => Some(dispatch.added(&entry, payload, last)),
            None => {
                self.log_dropped(kind == MessageKind::Text);
                None
            }
        }
    }
}

fn kind(text: bool) -> MessageKind {
    if text { MessageKind::Text } else { MessageKind::Binary }
}
