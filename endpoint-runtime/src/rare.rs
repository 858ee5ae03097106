//! What most sessions have not: properties, a principal, rooms, message handlers that were added. One box that is made when the first of them is needed,
//! so that an idle session carries a pointer for all of it.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::handlers::Handlers;
use crate::principal::Identity;

/// The rare part of a session, if it has come to that.
pub(crate) type MaybeRare = OnceLock<Box<Rare>>;

/// The application's own values, by their type.
type TypeMap = HashMap<TypeId, Box<dyn Any + Send + Sync>>;

/// The rare part of a session.
#[derive(Default)]
pub(crate) struct Rare {
    properties: Mutex<TypeMap>,
    identity: Mutex<Option<Identity>>,
    rooms: Mutex<Vec<Arc<str>>>,
    handlers: Mutex<Handlers>,
}

impl Rare {
    /// Who the peer is, as far as that was said.
    pub(crate) fn identity(&self) -> MutexGuard<'_, Option<Identity>> {
        lock(&self.identity)
    }

    /// The message handlers that were added to it.
    pub(crate) fn handlers(&self) -> MutexGuard<'_, Handlers> {
        lock(&self.handlers)
    }

    /// The rooms it has joined.
    pub(crate) fn rooms(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        lock(&self.rooms)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rare part, made if it is not there.
pub(crate) fn of(rare: &MaybeRare) -> &Rare {
    rare.get_or_init(Box::default)
}

/// The application's own data on a session, by type (Jakarta's user properties). Readable until the session's last
/// clone is gone, in `on_close` too; another connection never sees it.
#[derive(Clone, Copy)]
pub struct Properties<'a>(&'a MaybeRare);

impl<'a> Properties<'a> {
    pub(crate) fn of(rare: &'a MaybeRare) -> Self {
        Self(rare)
    }

    /// Sets the value of type `T`; returns the one before it.
    pub fn insert<T: Send + Sync + 'static>(self, value: T) -> Option<T> {
        let before = lock(&of(self.0).properties).insert(TypeId::of::<T>(), Box::new(value));
        before.and_then(|before| before.downcast().ok()).map(|before| *before)
    }

    /// A clone of the value of type `T`.
    pub fn get<T: Clone + Send + Sync + 'static>(self) -> Option<T> {
        self.with(|value: &mut T| value.clone())
    }

    /// Takes the value of type `T` away.
    pub fn remove<T: Send + Sync + 'static>(self) -> Option<T> {
        let value = self.lock()?.remove(&TypeId::of::<T>());
        value.and_then(|value| value.downcast().ok()).map(|value| *value)
    }

    /// Calls `f` with the value of type `T` where it lies. A lock is held meanwhile: `f` must not use the properties
    /// of the same session.
    pub fn with<T: Send + Sync + 'static, R>(self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.lock()?.get_mut(&TypeId::of::<T>())?.downcast_mut().map(f)
    }

    /// None if nothing was ever put there.
    fn lock(&self) -> Option<MutexGuard<'a, TypeMap>> {
        self.0.get().map(|rare| lock(&rare.properties))
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Properties").field("len", &self.lock().map_or(0, |map| map.len())).finish()
    }
}
