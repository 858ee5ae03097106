//! A reference to a session that does not keep it.

use std::fmt;
use std::sync::{Arc, Weak};

use super::{Inner, Session};

/// A reference to a [`Session`] that does not keep it in memory, made by [`Session::downgrade`]: for a struct that lives
/// longer than the session, such as a registry that the application keeps, where a `Session` would have to be removed at
/// its end.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
///
/// use endpoint_runtime::{Session, SessionId, WeakSession};
///
/// #[derive(Default)]
/// struct Players(Mutex<HashMap<SessionId, WeakSession>>);
///
/// impl Players {
///     fn enter(&self, session: &Session) {
///         self.0.lock().unwrap().insert(session.id(), session.downgrade());
///     }
///
///     /// `None` once the player has gone.
///     fn find(&self, id: SessionId) -> Option<Session> {
///         self.0.lock().unwrap().get(&id)?.upgrade()
///     }
/// }
/// ```
#[derive(Clone)]
pub struct WeakSession(Weak<Inner>);

impl WeakSession {
    /// The session, as long as its connection lives or another clone of it is kept. It may be closed already:
    /// [`Session::is_open`].
    pub fn upgrade(&self) -> Option<Session> {
        self.0.upgrade().map(Session)
    }
}

impl fmt::Debug for WeakSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakSession").field(&self.upgrade()).finish()
    }
}

impl Session {
    /// A reference that does not keep the session in memory once its connection is gone.
    pub fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.0))
    }

    /// Lets go of the handlers, properties and the principal that the application gave: `on_close` has returned.
    pub(crate) fn release(&self) {
        if let Some(rare) = self.0.rare.get() {
            rare.release();
        }
    }

    /// The same for ever: what is added to a session that is kept beyond its end is not kept. For the last clone of the
    /// connection's own.
    pub(super) fn release_for_good(&self) {
        // with nobody to add anything there is nothing to remember
        if self.0.rare.get().is_some() || Arc::strong_count(&self.0) > 1 || Arc::weak_count(&self.0) > 0 {
            crate::session::properties::of(&self.0.rare).release();
        }
    }
}
