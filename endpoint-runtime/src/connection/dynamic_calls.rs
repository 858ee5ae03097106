//! The calls of handlers that were added to the session, and the messages that have none.

use super::io::ConnectionIo;
use crate::endpoint::call::note_unwanted;
use crate::endpoint::contract::EndpointHandlers;
use crate::endpoint::dispatch::Dispatch;
use crate::endpoint::invocation::Invocation;
use crate::session::message_handler::{MessageKind, Payload};

impl ConnectionIo {
    /// Makes an inbox entry of a message for an added handler.
    pub(super) fn dynamic_invocation(&mut self, payload: Payload, last: bool) -> Invocation {
        match &mut self.dynamic_handlers {
            Some(added) => added.invocation(payload, last),
            None => Invocation::Added(Box::new((None, payload, last))),
        }
    }

    /// Calls the added handler for a message, if there still is one. Other invocations pass through.
    pub(super) fn call_dynamic<E: EndpointHandlers>(
        &mut self,
        dispatch: &mut Dispatch<E>,
        invocation: Invocation,
    ) -> Option<Invocation> {
        let Invocation::Added(added) = invocation else { return Some(invocation) };
        let (entry, payload, last) = *added;
        let kind = payload.kind();
        match entry.or_else(|| self.dynamic_handlers.as_ref()?.of(kind).cloned()) {
            Some(entry) => Some(dispatch.added(&entry, payload, last)),
            None => {
                self.log_discarded(kind);
                None
            }
        }
    }

    /// Counts a message that had no handler, and logs the first of each session.
    pub(super) fn log_discarded(&mut self, kind: MessageKind) {
        let is_first = !std::mem::replace(&mut self.logged_discard, true);
        note_unwanted(&self.session, kind, is_first);
    }
}
