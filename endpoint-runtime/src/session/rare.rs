//! The parts that most sessions do not have: properties, a principal, rooms, presence, added message handlers. One box holds
//! them, allocated when the first of them is needed, so that an idle session carries only a pointer.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use super::handlers::Handlers;
use super::heard::OwnPresence;
use super::principal::Identity;
use crate::observe::destructors;
#[cfg(feature = "otel")]
use crate::observe::otel::{self, Link};
use crate::scheduling::session_tasks::End;
use crate::send_queue::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};

/// The rare part of a session, if it was needed.
pub(crate) type MaybeRare<S> = OnceLock<Box<Rare<S>>>;

/// The application's own values, by their type.
pub(super) type TypeMap = HashMap<TypeId, Box<dyn Any + Send + Sync>>;

/// The rare part of a session.
pub(crate) struct Rare<S> {
    properties: Mutex<TypeMap>,
    principal: Mutex<Known>,
    rooms: Mutex<Joined>,
    handlers: Mutex<Handlers<S>>,
    /// Created when the session hears of presence, or has a meta.
    presence: OnceLock<Box<OwnPresence>>,
    /// Reached when the session has ended; created by the first that waits for the end.
    end: OnceLock<End>,
    /// The connection has ended: no value of the application is kept any more. Set before the values are taken, and
    /// read under the lock of the collection to add to, so that nothing is added afterwards.
    released: AtomicBool,
    /// The span of the opening handshake, which those of messages link to.
    #[cfg(feature = "otel")]
    trace_link: OnceLock<Box<Link>>,
}

/// The rooms of a session.
#[derive(Default)]
pub(crate) struct Joined {
    /// Names of the rooms, shared with the rooms themselves.
    pub(crate) names: HashSet<Arc<str>>,
    /// Names of the rooms that it was in when it ended, for `on_close`.
    pub(crate) left: Vec<Arc<str>>,
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

impl<S> Default for Rare<S> {
    fn default() -> Self {
        let (properties, principal, rooms, handlers, presence, end, released) = <_>::default();
        Self {
            properties,
            principal,
            rooms,
            handlers,
            presence,
            end,
            released,
            #[cfg(feature = "otel")]
            trace_link: OnceLock::new(),
        }
    }
}

impl<S> Rare<S> {
    /// The application's values.
    pub(super) fn properties(&self) -> MutexGuard<'_, TypeMap> {
        lock(&self.properties)
    }

    /// The identity of the peer, if set.
    pub(crate) fn principal(&self) -> MutexGuard<'_, Known> {
        lock(&self.principal)
    }

    /// A clone of the identity: its methods are application code, which must not run under the lock.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.principal().identity.clone()
    }

    /// The name of the principal.
    pub(super) fn identity_name(&self) -> Option<Arc<str>> {
        self.principal().identity.as_ref().map(|identity| identity.name().clone())
    }

    /// Sets the identity of the peer, before there is a session.
    pub(crate) fn set_identity(&self, identity: Identity) {
        // dropped after the lock is released
        let _before = self.principal().identity.replace(identity);
    }

    /// The message handlers that were added to the session.
    pub(crate) fn handlers(&self) -> MutexGuard<'_, Handlers<S>> {
        lock(&self.handlers)
    }

    /// The rooms that the session has joined.
    pub(crate) fn rooms(&self) -> MutexGuard<'_, Joined> {
        lock(&self.rooms)
    }

    /// What the session tells and hears of presence; created if necessary.
    pub(super) fn presence(&self) -> &OwnPresence {
        self.presence.get_or_init(Box::default)
    }

    /// What the session tells and hears of presence, if anything.
    pub(super) fn presence_if_any(&self) -> Option<&OwnPresence> {
        self.presence.get().map(|presence| &**presence)
    }

    /// The end of the session, to wait for.
    pub(super) fn end(&self) -> End {
        self.end.get_or_init(End::default).clone()
    }

    /// Wakes those that wait for the end of the session.
    pub(super) fn reach_end(&self) {
        if let Some(end) = self.end.get() {
            end.reach();
        }
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
        let properties = std::mem::take(&mut *self.properties());
        let identity = self.principal().identity.take();
        drop(std::mem::take(&mut self.rooms().left));
        // a handler catches panics of its own destructor
        drop(handlers);
        properties.into_values().for_each(|value| destructors::run("a property", value));
        destructors::run("a principal", identity);
    }
}

/// Keeps the current span, if it is recorded, for the spans of messages to link to.
#[cfg(feature = "otel")]
pub(crate) fn remember_span<S>(rare: &MaybeRare<S>) {
    if let Some(link) = otel::current() {
        let _ = of(rare).trace_link.set(Box::new(link));
    }
}

#[cfg(feature = "otel")]
impl<S> Rare<S> {
    /// The span of the opening handshake, if it was recorded.
    pub(super) fn trace_link(&self) -> Option<&Link> {
        self.trace_link.get().map(|link| &**link)
    }
}

/// Covers sessions that never opened, which may hold values too.
impl<S> Drop for Rare<S> {
    fn drop(&mut self) {
        self.release();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rare part, allocated if necessary.
pub(crate) fn of<S>(rare: &MaybeRare<S>) -> &Rare<S> {
    rare.get_or_init(Box::default)
}
