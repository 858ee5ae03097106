//! Message handlers that the application adds to a session while it runs.

use super::Session;
use crate::error::{Error, Kind};
use crate::session::message_handler::{Handlers, MessageHandler, MessageKind};
use crate::session::properties;

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
        let rare = properties::of(&self.0.rare);
        let mut handlers = rare.handlers();
        if rare.is_released() {
            // the application's destructor must not run under the lock
            drop(handlers);
            return Err(Error::closed());
        }
        let added = handlers.add(handler);
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
        removed
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
