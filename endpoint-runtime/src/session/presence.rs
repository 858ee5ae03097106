//! The presence of sessions in their rooms: what changes the table, and the ticks that tell sessions of it.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::heard::{OwnPresence, PresenceChange};
use super::local_presence::LocalPresence;
use super::rare;
use super::session::{Groups, Session};
use crate::cluster::presence::{Device, PresenceTable, RoomTick};
#[cfg(feature = "json")]
use crate::codec::presence_meta;
#[cfg(feature = "json")]
use crate::config::PRESENCE_META_BYTES;
use crate::config::PRESENCE_TICK;
#[cfg(feature = "json")]
use crate::error::Error;
use crate::scheduling::ticks::{Next, RuntimeId};
use crate::send_queue::FAR;

/// How long the task that ticks runs before it yields to other tasks.
const TURN: Duration = Duration::from_micros(400);

/// The presence of a session's user: what the others in the rooms learn of this device. From [`Session::presence`].
#[derive(Clone, Copy)]
pub struct SessionPresence<'a>(&'a Session);

/// Presence.
impl Session {
    /// The presence of this session in its rooms.
    ///
    /// A session of an endpoint with the option `presence` is present in each room that it has joined, under the name of
    /// its principal; all sessions of one user are one user with several devices. A session without a principal is not
    /// present. When a session ends, its user stays present for the grace period of the option; a
    /// [`leave`](Self::leave) takes effect at once.
    ///
    /// ```
    /// use endpoint_runtime::prelude::*;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Away {
    ///     minutes: u32,
    /// }
    ///
    /// #[server_endpoint("/chat/{room}", events("away", "back"), presence(grace = "15s"))]
    /// #[derive(Default)]
    /// struct Chat;
    ///
    /// impl Chat {
    ///     #[on_open]
    ///     fn enter(&mut self, session: &Session, #[path_param] room: &str) {
    ///         session.join(room);
    ///     }
    ///
    ///     #[on_presence]
    ///     fn changed(&mut self, change: Presence<Away>) -> Json<Presence<Away>> {
    ///         Json(change)
    ///     }
    ///
    ///     #[on_message(event = "away")]
    ///     fn away(&self, Json(away): Json<Away>, session: &Session) -> Result<(), Error> {
    ///         session.presence().set(&away)
    ///     }
    ///
    ///     #[on_message(event = "back")]
    ///     fn back(&self, session: &Session) {
    ///         session.presence().clear();
    ///     }
    /// }
    /// ```
    pub fn presence(&self) -> SessionPresence<'_> {
        SessionPresence(self)
    }

    /// Whether changes of presence wait for the handler.
    #[inline]
    pub(crate) fn has_presence_changes(&self) -> bool {
        self.own_presence().is_some_and(OwnPresence::is_due)
    }

    /// The next changes for the handler; `None` if there are none, or it is the turn of the messages that wait.
    pub(crate) fn next_presence_change(&self, messages_wait: bool) -> Option<PresenceChange> {
        self.own_presence()?.next(messages_wait)
    }

    /// Notes that presence may tick on the current runtime.
    pub(super) fn serve_presence(&self) {
        if self.has_presence() {
            self.groups().presence_or_new().ticks.serve_here();
        }
    }

    /// Notes that the session is in a room now.
    ///
    /// This and each other change until the end of the session is made under the lock on its rooms, so that the table has
    /// the session's last state.
    pub(super) fn enter_presence(&self, room: &Arc<str>) {
        if !self.has_presence() {
            return;
        }
        let rare = rare::of(&self.0.rare);
        let user = rare.identity_name();
        let hears = self.0.endpoint.hears_presence;
        let own = if hears { Some(rare.presence()) } else { rare.presence_if_any() };
        self.0.endpoint.groups.change_presence(|table| {
            if let Some(user) = &user {
                let device = self.device(table);
                table.put(room, user, device, own.and_then(OwnPresence::meta));
            }
            if let Some(own) = own.filter(|_| hears) {
                // under the lock on the table, so that the session misses no change
                own.listen(room, table.want_list(room));
            }
        });
    }

    /// Notes that the session has left a room.
    pub(super) fn leave_presence(&self, room: &str) {
        if !self.has_presence() {
            return;
        }
        self.0.endpoint.groups.change_presence(|table| table.remove(room, self.device(table)));
        if let Some(own) = self.own_presence() {
            own.forget(room);
        }
    }

    /// Notes that the session has ended, and was in these rooms. Its user stays present for the grace period.
    pub(super) fn end_presence<'r>(&self, rooms: impl Iterator<Item = &'r Arc<str>>) {
        let Some(grace) = self.0.endpoint.limits.presence else { return };
        if let Some(own) = self.own_presence() {
            own.forget_all();
        }
        let until = (!grace.is_zero()).then(|| Instant::now() + grace.min(FAR));
        self.0.endpoint.groups.change_presence(|table| {
            let device = self.device(table);
            rooms.for_each(|room| match until {
                Some(until) => table.linger(room, device, Some(until)),
                None => table.remove(room, device),
            });
        });
    }

    /// Puts the session into the table as it is now: with its current user and meta.
    pub(super) fn refresh_presence(&self) {
        if !self.has_presence() {
            return;
        }
        let Some(rare) = self.0.rare.get() else { return };
        let joined = rare.rooms();
        let Some(user) = rare.identity_name() else { return };
        let meta = rare.presence_if_any().and_then(OwnPresence::meta);
        self.0.endpoint.groups.change_presence(|table| {
            let device = self.device(table);
            joined.names.iter().for_each(|room| table.put(room, &user, device, meta.clone()));
        });
    }

    fn has_presence(&self) -> bool {
        self.0.endpoint.limits.presence.is_some()
    }

    fn own_presence(&self) -> Option<&OwnPresence> {
        self.0.rare.get()?.presence_if_any()
    }

    fn device(&self, table: &PresenceTable) -> Device {
        table.own_device(self.id().to_bits())
    }
}

impl SessionPresence<'_> {
    /// Sets the meta of this device: what the user's other devices and the others in the rooms learn of it, such as
    /// "away". It replaces the one before, applies to all rooms of the session, also to those that it joins later, and
    /// ends with the session. By default a device has no meta.
    ///
    /// The value is kept as JSON, in at most 4 KiB. If the endpoint has no option `presence`, nobody learns of it.
    ///
    /// # Errors
    /// [`Error::is_encode`]: serde cannot write the value as JSON, or it is too large. [`Error::is_closed`]: the session
    /// has ended.
    #[cfg(feature = "json")]
    pub fn set<M: serde::Serialize + ?Sized>(&self, meta: &M) -> Result<(), Error> {
        // the value's own code must not run under a lock
        let meta = presence_meta::write(meta, PRESENCE_META_BYTES)?;
        if !self.0.is_open() {
            return Err(Error::closed());
        }
        self.replace(Some(meta));
        Ok(())
    }

    /// Removes the meta of this device. Harmless if it has none.
    pub fn clear(&self) {
        if self.0.own_presence().is_some() {
            self.replace(None);
        }
    }

    fn replace(&self, meta: Option<Bytes>) {
        let rare = rare::of(&self.0.0.rare);
        rare.presence().set_meta(meta);
        self.0.refresh_presence();
    }
}

impl fmt::Debug for SessionPresence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionPresence").field(&self.0.id()).finish()
    }
}

impl Groups {
    /// Changes the table of presence; the next tick tells the sessions of it.
    pub(crate) fn change_presence<T>(self: &Arc<Self>, change: impl FnOnce(&mut PresenceTable) -> T) -> T {
        let presence = self.presence_or_new();
        let (result, starts) = presence.change(change);
        if starts {
            self.start_ticking(presence, true);
        }
        result
    }

    /// Starts the task that ticks; `here` allows the caller's runtime if no other one is known.
    fn start_ticking(self: &Arc<Self>, presence: &LocalPresence, here: bool) {
        let started = presence.ticks.start(PRESENCE_TICK, here, |runtime| {
            let mut ticking = Ticking { groups: Some(Arc::downgrade(self)), runtime, after: None };
            move || ticking.tick()
        });
        if !started {
            presence.stopped_ticking();
        }
    }

    /// Tells the sessions in a room what changed.
    fn tell_presence(&self, tick: &RoomTick) {
        for session in self.rooms.of(&tick.room).iter() {
            if session.own_presence().is_some_and(|own| own.hear(tick)) {
                session.send_queue().wake();
            }
        }
    }
}

/// The task that ticks.
struct Ticking {
    /// `None` once it has nothing more to do.
    groups: Option<Weak<Groups>>,
    runtime: RuntimeId,
    /// The room at which the current tick was interrupted.
    after: Option<Arc<str>>,
}

impl Ticking {
    fn tick(&mut self) -> Next {
        let groups = self.groups.as_ref().and_then(Weak::upgrade);
        let next = groups.map_or(Next::End, |groups| self.tick_some(&groups));
        if next == Next::End {
            self.groups = None;
        }
        next
    }

    /// Does a tick, or as much of it as fits into one turn of the task.
    fn tick_some(&mut self, groups: &Groups) -> Next {
        let Some(presence) = groups.presence() else { return Next::End };
        let (started, now) = (std::time::Instant::now(), Instant::now());
        let is_over = || started.elapsed() >= TURN;
        if self.after.is_none() {
            while presence.expire(now) {
                if is_over() {
                    return Next::Yield;
                }
            }
            presence.publish();
        }
        while let Some(tick) = presence.take_next(self.after.as_deref()) {
            groups.tell_presence(&tick);
            self.after = Some(tick.room);
            if is_over() {
                return Next::Yield;
            }
        }
        self.after = None;
        if presence.rests() { Next::End } else { Next::Wait }
    }
}

/// The task's runtime may shut down while sessions of another one go on.
impl Drop for Ticking {
    fn drop(&mut self) {
        let Some(groups) = self.groups.take().and_then(|groups| groups.upgrade()) else { return };
        let Some(presence) = groups.presence() else { return };
        // each attempt forgets a runtime, so they end
        presence.ticks.forget(self.runtime);
        if !presence.rests() {
            groups.start_ticking(presence, false);
        }
    }
}
