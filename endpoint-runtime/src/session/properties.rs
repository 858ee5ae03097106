//! The parts that most sessions do not have: properties, a principal, rooms, added message handlers. One box holds
//! them, allocated when the first of them is needed, so that an idle session carries only a pointer.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::observe::destructors;
use crate::send_queue::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use crate::session::message_handler::Handlers;
use crate::session::principal::Identity;

/// The rare part of a session, if it was needed.
pub(crate) type MaybeRare = OnceLock<Box<Rare>>;

/// The application's own values, by their type.
type TypeMap = HashMap<TypeId, Box<dyn Any + Send + Sync>>;

/// The rare part of a session.
#[derive(Default)]
pub(crate) struct Rare {
    properties: Mutex<TypeMap>,
    principal: Mutex<Known>,
    rooms: Mutex<Joined>,
    handlers: Mutex<Handlers>,
    /// The connection has ended: no value of the application is kept any more. Set before the values are taken, and
    /// read under the lock of the collection to add to, so that nothing is added afterwards.
    released: AtomicBool,
}

/// The rooms of a session.
#[derive(Default)]
pub(crate) struct Joined {
    /// Names of the rooms, shared with the rooms themselves.
    pub(crate) names: HashSet<Arc<str>>,
    /// Whether a refused join over the limit was already logged.
    pub(crate) warned: bool,
}

/// The identity of the peer.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) identity: Option<Identity>,
    /// The name by which the session can be found now. A task that changes the group holds the lock on this.
    pub(crate) entered: Option<Arc<str>>,
}

impl Rare {
    /// The identity of the peer, if set.
    pub(crate) fn principal(&self) -> MutexGuard<'_, Known> {
        lock(&self.principal)
    }

    /// A clone of the identity: its methods are application code, which must not run under the lock.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.principal().identity.clone()
    }

    /// Sets the identity of the peer, before there is a session.
    pub(crate) fn set_identity(&self, identity: Identity) {
        // dropped after the lock is released
        let _before = self.principal().identity.replace(identity);
    }

    /// The message handlers that were added to the session.
    pub(crate) fn handlers(&self) -> MutexGuard<'_, Handlers> {
        lock(&self.handlers)
    }

    /// The rooms that the session has joined.
    pub(crate) fn rooms(&self) -> MutexGuard<'_, Joined> {
        lock(&self.rooms)
    }

    /// Whether the connection has ended. Call it under the lock of the collection to add to.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }

    /// Drops the application's values: a value that holds the session, as a handler's closure may, would leak both.
    /// Their destructors run outside every lock, and may panic.
    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
        let handlers = std::mem::take(&mut *self.handlers());
        let properties = std::mem::take(&mut *lock(&self.properties));
        let identity = self.principal().identity.take();
        // a handler catches panics of its own destructor
        drop(handlers);
        properties.into_values().for_each(|value| destructors::run("a property", value));
        destructors::run("a principal", identity);
    }
}

/// Covers sessions that never opened, which may hold values too.
impl Drop for Rare {
    fn drop(&mut self) {
        self.release();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rare part, allocated if necessary.
pub(crate) fn of(rare: &MaybeRare) -> &Rare {
    rare.get_or_init(Box::default)
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
        let rare = of(self.0);
        let mut properties = lock(&rare.properties);
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
        self.0.get().map(|rare| lock(&rare.properties))
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Properties").field("len", &self.lock().map_or(0, |map| map.len())).finish()
    }
}
