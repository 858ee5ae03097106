//! The identity of a session's peer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::principal::{Identity, Principal};
use super::rare::{self, Known};
use super::session::Session;

impl Session {
    /// The authenticated user (Jakarta's `getUserPrincipal`), if a [`Configurator`](crate::Configurator) or
    /// [`reauthenticate`](Self::reauthenticate) set one, and it is a `P`. `None` once `on_close` has returned.
    pub fn principal<P: Principal>(&self) -> Option<Arc<P>> {
        self.identity(Identity::principal)?
    }

    /// Whether the user has this role; `false` if the session has no principal.
    pub fn is_user_in_role(&self, role: &str) -> bool {
        self.identity(|identity| identity.has_role(role)).unwrap_or(false)
    }

    /// Replaces the principal and the time when the session expires, such as after a login or with a fresh token. Roles
    /// are checked against the new principal from the next message on.
    ///
    /// If several tasks call this at the same time, one is the last: the session is found by that principal's name
    /// alone. Once `on_close` has returned, the principal is dropped instead.
    pub fn reauthenticate<P: Principal>(&self, principal: P) {
        let identity = Identity::new(principal);
        let rare = rare::of(&self.0.rare);
        let mut known = rare.principal();
        let before = if rare.is_released() {
            Some(identity)
        } else {
            let before = known.identity.replace(identity);
            self.enter_as(&mut known);
            before
        };
        drop(known);
        // the application's destructor must not run under the lock
        drop(before);
        self.refresh_presence();
        self.leave_if_ended();
        self.0.send_queue.wake();
    }

    /// The name of the user.
    pub(super) fn user_name(&self) -> Option<Arc<str>> {
        self.identity(|identity| identity.name().clone())
    }

    /// Round-trip time of the connection's last answered ping; `None` before the first answer, and if
    /// [`ping_interval`](crate::ContainerBuilder::ping_interval) is off. A ping is sent only if one side was silent, so
    /// a session that is busy in both directions keeps an old value.
    pub fn rtt(&self) -> Option<Duration> {
        match self.0.rtt.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros.into())),
        }
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        self.0.rtt.store(u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
    }

    /// Time until the principal expires; `None` if it never does.
    pub(crate) fn expires_in(&self) -> Option<Duration> {
        let end = self.identity(Identity::expires_at)??;
        // the system clock may be adjusted, so read it each time
        Some(end.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Makes the session findable by the name of its principal, while it is open.
    pub(super) fn enter_as_principal(&self) {
        let Some(rare) = self.0.rare.get() else { return };
        self.enter_as(&mut rare.principal());
        self.leave_if_ended();
    }

    /// Leaves the group of an earlier name and enters that of the current principal. Both happen under the lock on the
    /// identity; otherwise two concurrent changes could leave the session in the group of another user.
    fn enter_as(&self, known: &mut Known) {
        let Some(name) = known.identity.as_ref().map(|identity| identity.name().clone()) else { return };
        if known.entered.as_ref() == Some(&name) {
            return;
        }
        let principals = &self.0.endpoint.groups.principals;
        if let Some(before) = known.entered.replace(name.clone()) {
            principals.leave(&before, self);
        }
        principals.enter(name, self);
    }

    fn identity<T>(&self, ask: impl FnOnce(&Identity) -> T) -> Option<T> {
        self.0.rare.get()?.identity().as_ref().map(ask)
    }

    pub(super) fn leave_as_principal(&self) {
        let Some(rare) = self.0.rare.get() else { return };
        let mut known = rare.principal();
        if let Some(name) = known.entered.take() {
            self.0.endpoint.groups.principals.leave(&name, self);
        }
    }
}
