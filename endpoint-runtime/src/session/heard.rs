//! What one session tells and hears of presence: its meta, and the changes of its rooms that wait for its handler.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::presence::RoomTick;
use crate::cluster::presence_changes::Changes;
use crate::send_queue::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};

/// The presence of a session, in its rare part.
#[derive(Default)]
pub(crate) struct OwnPresence {
    /// Whether changes wait for the handler; readable without the lock.
    due: AtomicBool,
    heard: Mutex<Heard>,
    /// The meta as JSON. After each change the table is told.
    meta: Mutex<Option<Bytes>>,
}

#[derive(Default)]
struct Heard {
    /// The rooms whose changes the session hears.
    rooms: HashMap<Arc<str>, HeardRoom>,
    /// The rooms whose changes wait, each once.
    waiting: VecDeque<Arc<str>>,
    /// A change was handled since the last message.
    had_turn: bool,
}

/// A room whose changes the session hears. Changes that wait are merged, so that there is at most one for each user,
/// however slow the handler is.
struct HeardRoom {
    /// The lowest number of the first difference that the session hears. That comes with a list of everyone.
    from: u64,
    has_list: bool,
    pending: Option<Arc<Changes>>,
}

/// The changes of one room, for the handler.
#[derive(Clone, Debug)]
pub struct PresenceChange {
    pub(crate) room: Arc<str>,
    pub(crate) changes: Arc<Changes>,
}

impl OwnPresence {
    /// The session hears the changes of a room, from the difference with this number on.
    pub(super) fn listen(&self, room: &Arc<str>, from: u64) {
        let listened = HeardRoom { from, has_list: false, pending: None };
        self.lock().rooms.insert(room.clone(), listened);
    }

    /// The session has left the room. Changes that wait are dropped.
    pub(super) fn forget(&self, room: &str) {
        let mut heard = self.lock();
        if heard.rooms.remove(room).is_some_and(|room| room.pending.is_some()) {
            heard.waiting.retain(|waiting| &**waiting != room);
            self.note_due(&heard);
        }
    }

    /// The session hears nothing any more.
    pub(super) fn forget_all(&self) {
        let before = mem::take(&mut *self.lock());
        self.due.store(false, Ordering::Release);
        drop(before);
    }

    /// Adds what happened in a room. Returns whether the connection must be woken.
    pub(super) fn hear(&self, tick: &RoomTick) -> bool {
        let mut heard = self.lock();
        let Heard { rooms, waiting, .. } = &mut *heard;
        let Some(room) = rooms.get_mut(&tick.room).filter(|room| room.from <= tick.number) else { return false };
        let changes = if room.has_list { Some(&tick.changes) } else { tick.list.as_ref() };
        let Some(changes) = changes else { return false };
        room.has_list = true;
        if changes.is_empty() {
            return false;
        }
        let is_first = waiting.is_empty();
        match &mut room.pending {
            Some(pending) => {
                let merged = Arc::make_mut(pending);
                merged.merge(changes);
                if merged.is_empty() {
                    room.pending = None;
                    waiting.retain(|waiting| *waiting != tick.room);
                }
            }
            None => {
                room.pending = Some(changes.clone());
                waiting.push_back(tick.room.clone());
            }
        }
        self.note_due(&heard);
        is_first
    }

    /// Whether changes wait.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.due.load(Ordering::Acquire)
    }

    /// The next changes for the handler; `None` if there are none, or it is the turn of the messages that wait.
    pub(crate) fn next(&self, messages_wait: bool) -> Option<PresenceChange> {
        let mut heard = self.lock();
        if mem::take(&mut heard.had_turn) && messages_wait {
            return None;
        }
        let room = heard.waiting.pop_front()?;
        let changes = heard.rooms.get_mut(&room)?.pending.take()?;
        heard.had_turn = true;
        self.note_due(&heard);
        Some(PresenceChange { room, changes })
    }

    pub(super) fn meta(&self) -> Option<Bytes> {
        self.lock_meta().clone()
    }

    pub(super) fn set_meta(&self, meta: Option<Bytes>) {
        *self.lock_meta() = meta;
    }

    fn note_due(&self, heard: &Heard) {
        self.due.store(!heard.waiting.is_empty(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_meta(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.meta.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
