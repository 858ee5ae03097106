//! Messages of kinds for which handlers were added while the session runs.

use std::sync::Arc;

use super::io::ConnectionIo;
use crate::endpoint::contract::EndpointHandlers;
use crate::endpoint::dispatch::{Dispatch, Invocation};
use crate::session::message_handler::{Entry, Handlers, MessageKind, Payload};
use endpoint_wire::event::Delivery;

/// The handlers that were added, as they were when the connection looked last.
pub(super) struct DynamicHandlers {
    handlers: Handlers,
    /// The message that the decoder is at, if there was a change since it began: its kind, and its handler if it has one.
    held: Option<(MessageKind, Option<Arc<Entry>>)>,
}

impl DynamicHandlers {
    /// What the decoder does with messages of a kind.
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
    /// Takes a change of the handlers over.
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
        // a message that has begun stays with the handler it began with
        match self.decoder.started().map(kind) {
            Some(kind) => held = held.or_else(|| Some((kind, before.of(kind).cloned()))),
            None => held = None,
        }
        if held.is_some() || !handlers.is_empty() {
            self.dynamic_handlers = Some(Box::new(DynamicHandlers { handlers, held }));
        }
    }

    /// Lets go of them: the session ends.
    pub(crate) fn drop_dynamic_handlers(&mut self) {
        self.dynamic_handlers = None;
    }

    /// Makes work of a message that just came out of the decoder, for the inbox. The handler of a part is that of its
    /// message; who gets a whole one is decided when its turn comes.
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

    /// A message that nobody wants came to its end.
    pub(super) fn discarded(&mut self, text: bool) {
        if let Some(added) = &mut self.dynamic_handlers {
            added.held = None;
        }
        self.log_dropped(text);
    }

    /// Calls the handler for such work; `None` if there is none any more.
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
