//! What most sessions have not: properties, a principal, rooms, message handlers that were added. One box that is made when the first of them is needed,
//! so that an idle session carries a pointer for all of it.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::observe::destructors;
use crate::send_queue::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use crate::session::message_handler::Handlers;
use crate::session::principal::Identity;

/// The rare part of a session, if it has come to that.
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
    /// The connection is gone: nothing of the application's is kept any more. Set before what was kept is taken away, and
    /// read under the lock of what is to be added to, so that nothing comes in behind.
    released: AtomicBool,
}

/// The rooms of a session.
#[derive(Default)]
pub(crate) struct Joined {
    /// As the rooms themselves keep them.
    pub(crate) names: HashSet<Arc<str>>,
    /// One more than it may have was refused, and logged.
    pub(crate) warned: bool,
}

/// Who the peer is.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) identity: Option<Identity>,
    /// The name by which the session can be found now. Whoever changes the group holds the lock on this.
    pub(crate) entered: Option<Arc<str>>,
}

impl Rare {
    /// Who the peer is, as far as that was said.
    pub(crate) fn principal(&self) -> MutexGuard<'_, Known> {
        lock(&self.principal)
    }

    /// A clone, since what is asked of it is the application's code.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.principal().identity.clone()
    }

    /// Says who the peer is, before there is a session.
    pub(crate) fn set_identity(&self, identity: Identity) {
        // dropped when the lock is free again
        let _before = self.principal().identity.replace(identity);
    }

    /// The message handlers that were added to it.
    pub(crate) fn handlers(&self) -> MutexGuard<'_, Handlers> {
        lock(&self.handlers)
    }

    /// The rooms it has joined.
    pub(crate) fn rooms(&self) -> MutexGuard<'_, Joined> {
        lock(&self.rooms)
    }

    /// Whether the connection is gone. To be asked under the lock of what is to be added to.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }

    /// Lets go of the application's values: one that holds the session, as a handler's closure may, would keep both for
    /// ever. Their destructors run outside of every lock, and may panic.
    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
        let handlers = std::mem::take(&mut *self.handlers());
        let properties = std::mem::take(&mut *lock(&self.properties));
        let identity = self.principal().identity.take();
        // a handler sees to its own
        drop(handlers);
        properties.into_values().for_each(|value| destructors::run("a property", value));
        destructors::run("a principal", identity);
    }
}

/// A session that never opened has some as well.
impl Drop for Rare {
    fn drop(&mut self) {
        self.release();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rare part, made if it is not there.
pub(crate) fn of(rare: &MaybeRare) -> &Rare {
    rare.get_or_init(Box::default)
}

/// The application's own data on a session, by type (Jakarta's user properties). Another connection never sees it.
///
/// The values live as long as the connection: they are dropped when `on_close` has returned, so that one that holds a
/// session does not keep it for ever. What is put there after that is dropped at once.
#[derive(Clone, Copy)]
pub struct Properties<'a>(&'a MaybeRare);

impl<'a> Properties<'a> {
    pub(crate) fn of(rare: &'a MaybeRare) -> Self {
        Self(rare)
    }

    /// Sets the value of type `T`; returns the one before it. Once the session's `on_close` has returned, the value is
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

    /// A clone of the value of type `T`. A lock is held while it is cloned: `T::clone` must not use the properties of
    /// the same session.
    pub fn get<T: Clone + Send + Sync + 'static>(self) -> Option<T> {
        self.with(|value: &mut T| value.clone())
    }

    /// Takes the value of type `T` away.
    pub fn remove<T: Send + Sync + 'static>(self) -> Option<T> {
        let value = self.lock()?.remove(&TypeId::of::<T>());
        value.and_then(|value| value.downcast().ok()).map(|value| *value)
    }

    /// Calls `f` with the value of type `T` where it lies. A lock is held meanwhile: `f` must not use the properties
    /// of the same session, nor drop what does.
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
