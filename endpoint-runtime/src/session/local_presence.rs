//! The table of a container's presence, and whether a task ticks for it.

use std::fmt;
use std::sync::OnceLock;

use tokio::time::Instant;

use crate::cluster::NodeId;
use crate::cluster::presence::{LocalChange, PresenceTable, RoomTick};
use crate::scheduling::ticks::Ticks;
use crate::send_queue::sync::{Mutex, MutexGuard, PoisonError};

/// Number of graces that end under one lock.
const EXPIRED_AT_ONCE: usize = 256;

/// Who is present in the rooms of a container.
#[derive(Debug)]
pub(crate) struct LocalPresence {
    state: Mutex<State>,
    pub(super) ticks: Ticks,
    publish: OnceLock<Publish>,
}

#[derive(Debug)]
struct State {
    table: PresenceTable,
    /// Whether a task ticks.
    ticking: bool,
}

/// Takes the changes of this node's devices, in order, once in each tick that has some.
struct Publish(Box<dyn Fn(Vec<LocalChange>) + Send + Sync>);

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publish")
    }
}

impl LocalPresence {
    pub(crate) fn new(node: NodeId) -> Self {
        let state = State { table: PresenceTable::new(node), ticking: false };
        Self { state: Mutex::new(state), ticks: Ticks::default(), publish: OnceLock::new() }
    }

    /// Publishes the changes of this node's devices from now on: `publish` is called outside the lock, by the task that
    /// ticks. The first call counts.
    pub(crate) fn publish_by(&self, publish: impl Fn(Vec<LocalChange>) + Send + Sync + 'static) {
        if self.publish.set(Publish(Box::new(publish))).is_ok() {
            self.lock().table.record_local();
        }
    }

    /// Reads the table.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&PresenceTable) -> T) -> T {
        read(&self.lock().table)
    }

    /// Changes the table. Also returns whether the caller must start a task that ticks.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut PresenceTable) -> T) -> (T, bool) {
        let mut state = self.lock();
        let result = change(&mut state.table);
        let starts = !state.ticking && state.table.is_busy();
        state.ticking |= starts;
        (result, starts)
    }

    /// Removes some of the devices whose grace is over. Returns whether there may be more.
    pub(super) fn expire(&self, now: Instant) -> bool {
        self.lock().table.expire(now, EXPIRED_AT_ONCE)
    }

    /// Publishes what changed on this node.
    pub(super) fn publish(&self) {
        let Some(Publish(publish)) = self.publish.get() else { return };
        let local = self.lock().table.take_local();
        if !local.is_empty() {
            publish(local);
        }
    }

    /// The next room that changed, after `after`. The lock is taken for each room anew, so that a tick keeps nobody waiting
    /// for longer than one room takes.
    pub(super) fn take_next(&self, after: Option<&str>) -> Option<RoomTick> {
        self.lock().table.take_next(after)
    }

    /// Whether nothing is left to do. Then the task that ticks ends, and the next change must start another one.
    pub(super) fn rests(&self) -> bool {
        let mut state = self.lock();
        state.ticking = state.table.is_busy();
        !state.ticking
    }

    /// Notes that no task could be started; the next change tries again.
    pub(super) fn stopped_ticking(&self) {
        self.lock().ticking = false;
    }

    /// Ends the task that ticks. Graces are not waited for.
    pub(crate) async fn stop(&self) {
        self.ticks.stop().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
