//! Messages of kinds for which handlers were added while the session runs.

use std::sync::Arc;

use super::io::Link;
use crate::endpoint::contract::Contract;
use crate::endpoint::dispatch::{Dispatch, Work};
use crate::session::message_handler::{Entry, Handlers, MessageKind, Payload};
use endpoint_wire::event::Take;

/// The handlers that were added, as they were when the connection looked last.
pub(super) struct Added {
    handlers: Handlers,
    /// The message that the decoder is at, if there was a change since it began: its kind, and its handler if it has one.
    held: Option<(MessageKind, Option<Arc<Entry>>)>,
}

impl Added {
    /// What the decoder does with messages of a kind.
    pub(super) fn take(&self, kind: MessageKind, limit: usize) -> Take {
        match self.handlers.of(kind) {
            None => Take::Discard,
            Some(entry) if entry.parts() => Take::Parts,
            Some(_) => Take::Whole { limit },
        }
    }

    pub(super) fn has(&self, kind: MessageKind) -> bool {
        self.handlers.of(kind).is_some()
    }
}

impl Link {
    /// Takes a change of the handlers over.
    pub(super) fn look_at_handlers(&mut self) {
        let Some(handlers) = self.session.added_handlers().or_else(|| self.added.is_some().then(Handlers::default))
        else {
            return;
        };
        let (before, mut held) = match self.added.take() {
            Some(added) => (added.handlers, added.held),
            None => <_>::default(),
        };
        // a message that has begun stays with the handler it began with
        match self.decoder.begun().map(kind) {
            Some(kind) => held = held.or_else(|| Some((kind, before.of(kind).cloned()))),
            None => held = None,
        }
        if held.is_some() || !handlers.is_empty() {
            self.added = Some(Box::new(Added { handlers, held }));
        }
    }

    /// Lets go of them: the session ends.
    pub(crate) fn forget_handlers(&mut self) {
        self.added = None;
    }

    /// Makes work of a message that just came out of the decoder, for the inbox. The handler of a part is that of its
    /// message; who gets a whole one is decided when its turn comes.
    pub(super) fn added_work(&mut self, payload: Payload, last: bool) -> Work {
        let Some(added) = &mut self.added else { return Work::Added(Box::new((None, payload, last))) };
        let held = added.held.clone().filter(|(kind, _)| *kind == payload.kind());
        if held.is_some() && last {
            added.held = None;
        }
        let entry = held
            .and_then(|(_, entry)| entry)
            .or_else(|| added.handlers.of(payload.kind()).filter(|entry| entry.parts()).cloned());
        Work::Added(Box::new((entry, payload, last)))
    }

    /// A message that nobody wants came to its end.
    pub(super) fn discarded(&mut self, text: bool) {
        if let Some(added) = &mut self.added {
            added.held = None;
        }
        self.unwanted(text);
    }

    /// Calls the handler for such work; `None` if there is none any more.
    pub(super) fn call_added<E: Contract>(&mut self, dispatch: &mut Dispatch<E>, work: Work) -> Option<Work> {
        let Work::Added(added) = work else { return Some(work) };
        let (entry, payload, last) = *added;
        let kind = payload.kind();
        match entry.or_else(|| self.added.as_ref()?.handlers.of(kind).cloned()) {
            Some(entry) => Some(dispatch.added(&entry, payload, last)),
            None => {
                self.unwanted(kind == MessageKind::Text);
                None
            }
        }
    }
}

fn kind(text: bool) -> MessageKind {
    if text { MessageKind::Text } else { MessageKind::Binary }
}
