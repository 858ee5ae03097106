//! A weak reference to a session.

use std::fmt;
use std::sync::{Arc, Weak};

use super::rare;
use super::session::{Inner, Session};

/// A weak reference to a [`Session`], which does not keep it in memory, created by [`Session::downgrade`]. For a struct
/// that lives longer than the session, such as a registry of the application, which would otherwise have to remove the
/// `Session` at its end.
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
    /// The session, as long as its connection lives or another clone exists. It may be closed already: see
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
    /// A reference that does not keep the session in memory once its connection has ended.
    pub fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.0))
    }

    /// Drops the application's handlers, properties and principal; called when `on_close` has returned.
    pub(crate) fn release(&self) {
        if let Some(rare) = self.0.rare.get() {
            rare.release();
        }
    }

    /// Releases the values for good: values added to a session that outlives its connection are not kept. Called for
    /// the connection's last clone.
    pub(super) fn release_for_good(&self) {
        // without another reference nothing can be added, so there is nothing to remember
        if self.0.rare.get().is_some() || Arc::strong_count(&self.0) > 1 || Arc::weak_count(&self.0) > 0 {
            rare::of(&self.0.rare).release();
        }
    }
}
