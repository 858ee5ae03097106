//! The application's own values on a session.

use std::any::TypeId;
use std::fmt;

use bytes::Bytes;

use super::rare::{self, TypeMap};
use super::session::{MaybeRare, Session};
use super::shared_properties;
use crate::send_queue::sync::MutexGuard;

impl Session {
    /// Values that the application attaches to this session: one of each type.
    pub fn properties(&self) -> Properties<'_> {
        Properties::of(&self.0.rare)
    }

    /// The property that its endpoint shares by this name, as bytes.
    pub(super) fn shared_property(&self, name: &str) -> Option<Bytes> {
        shared_properties::value(self.0.endpoint.shared, name, self.0.rare.get()?)
    }
}

/// The application's data on a session, by type (Jakarta's user properties). Not visible to other connections.
///
/// The values live as long as the connection: they are dropped when `on_close` has returned, so that a value that
/// holds a session does not leak it. Values inserted after that are dropped at once.
#[derive(Clone, Copy)]
pub struct Properties<'a>(&'a MaybeRare);

impl<'a> Properties<'a> {
    pub(crate) fn of(rare: &'a MaybeRare) -> Self {
        Self(rare)
    }

    /// Sets the value of type `T`; returns the previous one. Once the session's `on_close` has returned, the value is
    /// dropped instead.
    pub fn insert<T: Send + Sync + 'static>(self, value: T) -> Option<T> {
        let rare = rare::of(self.0);
        let mut properties = rare.properties();
        if rare.is_released() {
            // the application's destructor must not run under the lock
            drop(properties);
            return None;
        }
        let before = properties.insert(TypeId::of::<T>(), Box::new(value));
        drop(properties);
        before.and_then(|before| before.downcast().ok()).map(|before| *before)
    }

    /// Returns a clone of the value of type `T`. A lock is held meanwhile: `T::clone` must not use the properties of
    /// the same session.
    pub fn get<T: Clone + Send + Sync + 'static>(self) -> Option<T> {
        self.with(|value: &mut T| value.clone())
    }

    /// Removes the value of type `T` and returns it.
    pub fn remove<T: Send + Sync + 'static>(self) -> Option<T> {
        let value = self.lock()?.remove(&TypeId::of::<T>());
        value.and_then(|value| value.downcast().ok()).map(|value| *value)
    }

    /// Calls `f` with the value of type `T` in place. A lock is held meanwhile: `f` must not use the properties of the
    /// same session, nor drop a value that does.
    pub fn with<T: Send + Sync + 'static, R>(self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.lock()?.get_mut(&TypeId::of::<T>())?.downcast_mut().map(f)
    }

    /// `None` if the session has no rare part.
    fn lock(&self) -> Option<MutexGuard<'a, TypeMap>> {
        self.0.get().map(|rare| rare.properties())
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Properties").field("len", &self.lock().map_or(0, |map| map.len())).finish()
    }
}
