//! Who is present in which room, on all nodes: a table without a clock, without tasks and without sessions.
//!
//! The devices of this node are put by its sessions, those of other nodes by what these nodes publish. A tick takes, of each
//! room that changed, the difference to the tick before.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::backplane::NodeId;
use super::presence_changes::{Change, Changes, Metas};

/// One session of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Device {
    /// The node that has the session, and alone decides when the device goes.
    pub(crate) node: NodeId,
    /// The ID of the session.
    pub(crate) session: u128,
}

/// A device in a room, as nodes tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceEntry {
    pub(crate) room: Arc<str>,
    pub(crate) user: Arc<str>,
    pub(crate) device: Device,
    pub(crate) meta: Option<Bytes>,
    /// Whether the session has ended, and the device is in its grace period.
    pub(crate) lingers: bool,
}

/// A change of a device of this node, for the other nodes. The changes of one device come in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LocalChange {
    /// The device is in the room, possibly with another meta, user or state than before. `replaces` is the device whose
    /// session has ended, and whose place it took.
    Put { entry: DeviceEntry, replaces: Option<Device> },
    /// The device is no longer in the room.
    Removed { room: Arc<str>, device: Device },
}

/// The difference in one room since it was taken before.
#[derive(Debug)]
pub(crate) struct RoomTick {
    /// Number of this difference among all that were taken; the first one is 1.
    pub(crate) number: u64,
    pub(crate) room: Arc<str>,
    /// The users whose presence changed; may be empty.
    pub(crate) changes: Arc<Changes>,
    /// Everyone present, as joined, if a session waits for that.
    pub(crate) list: Option<Arc<Changes>>,
}

/// A user in a room, with the metas of the user's devices.
pub(crate) type User = (Arc<str>, Metas);

/// Who is present in which room. A room without users takes no memory.
#[derive(Debug)]
pub(crate) struct PresenceTable {
    node: NodeId,
    rooms: BTreeMap<Arc<str>, Room>,
    /// The rooms to look at in a tick.
    touched: BTreeSet<Arc<str>>,
    /// When the grace of a device ends.
    graces: BTreeSet<(Instant, Arc<str>, Device)>,
    /// Number of differences that were taken.
    taken: u64,
    /// Changes of this node's devices; `None` if nobody takes them.
    local: Option<Vec<LocalChange>>,
}

#[derive(Debug, Default)]
struct Room {
    users: BTreeMap<Arc<str>, Present>,
    /// The user of each device.
    devices: BTreeMap<Device, Arc<str>>,
    /// The metas of the users that were changed since the difference was taken; `None` if a user was not present.
    before: BTreeMap<Arc<str>, Option<Metas>>,
    /// Whether the next difference comes with a list of everyone.
    list_wanted: bool,
}

#[derive(Debug)]
struct Present {
    devices: BTreeMap<Device, State>,
    /// The metas of `devices`.
    metas: Metas,
}

/// The state of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    meta: Option<Bytes>,
    lingers: bool,
    /// When the grace ends, if this node has the device or the node that had it is gone.
    until: Option<Instant>,
}

impl PresenceTable {
    /// An empty table of this node.
    pub(crate) fn new(node: NodeId) -> Self {
        let (rooms, touched, graces, taken, local) = <_>::default();
        Self { node, rooms, touched, graces, taken, local }
    }

    /// The device of one of this node's sessions.
    pub(crate) fn own_device(&self, session: u128) -> Device {
        Device { node: self.node, session }
    }

    /// Adds a device of this node to a room, or changes the user or the meta of one that is in. A device that is new for
    /// its user takes the place of one whose session has ended, if the user has such a device in the room: of one with the
    /// same meta, or else of any. So a user who comes back within the grace period does not leave, nor does a device.
    pub(crate) fn put(&mut self, room: &Arc<str>, user: &Arc<str>, device: Device, meta: Option<Bytes>) {
        let is_known = self.state_of(room, device).is_some_and(|(_, same, _)| same == *user);
        let replaces = if is_known { None } else { self.lingering(room, user, &meta) };
        self.place(room, user, device, State { meta, lingers: false, until: None }, replaces);
    }

    /// Removes a device from a room. Harmless if it is not in.
    pub(crate) fn remove(&mut self, room: &str, device: Device) {
        let Some((shared, state)) = self.take(room, device) else { return };
        self.forget_grace(&shared, device, &state);
        if device.node == self.node {
            if let Some(local) = &mut self.local {
                local.push(LocalChange::Removed { room: shared, device });
            }
        }
    }

    /// Notes that the session of a device has ended. It stays until [`expire`](Self::expire) is called with a time from
    /// `until` on, if this node has it, or until its node removes it (`None`).
    pub(crate) fn linger(&mut self, room: &str, device: Device, until: Option<Instant>) {
        let Some((shared, user, state)) = self.state_of(room, device) else { return };
        self.place(&shared, &user, device, State { meta: state.meta, lingers: true, until }, None);
    }

    /// Removes at most `most` devices whose grace is over. Returns whether there may be more.
    pub(crate) fn expire(&mut self, now: Instant, most: usize) -> bool {
        for _ in 0..most {
            let Some((until, room, device)) = self.graces.first() else { return false };
            if *until > now {
                return false;
            }
            let (room, device) = (room.clone(), *device);
            self.remove(&room, device);
        }
        true
    }

    /// Asks for a list of everyone in this room, which comes with its next difference. Returns the lowest number that this
    /// difference can have.
    pub(crate) fn want_list(&mut self, room: &Arc<str>) -> u64 {
        self.rooms.entry(room.clone()).or_default().list_wanted = true;
        self.touched.insert(room.clone());
        self.taken + 1
    }

    /// Takes the difference of the first room after `after`, by name, that has one or whose list was asked for. A tick
    /// calls it until there is none, so that each room comes once, and a room that changes all the time delays no other.
    pub(crate) fn take_next(&mut self, after: Option<&str>) -> Option<RoomTick> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            let room = self.touched.range::<str, _>((start, Bound::Unbounded)).next()?.clone();
            self.touched.remove(&room);
            if let Some(tick) = self.take_room(room) {
                return Some(tick);
            }
        }
    }

    /// Whether a tick would have something to do, now or later.
    pub(crate) fn is_busy(&self) -> bool {
        !self.touched.is_empty()
            || !self.graces.is_empty()
            || self.local.as_ref().is_some_and(|local| !local.is_empty())
    }

    /// Number of users in a room.
    pub(crate) fn count(&self, room: &str) -> usize {
        self.rooms.get(room).map_or(0, |room| room.users.len())
    }

    /// The user of this name in a room.
    pub(crate) fn user(&self, room: &str, name: &str) -> Option<Metas> {
        Some(self.rooms.get(room)?.users.get(name)?.metas.clone())
    }

    /// At most `limit` users of a room, sorted by name, from the first one after `after`.
    pub(crate) fn page(&self, room: &str, after: Option<&str>, limit: usize) -> Vec<User> {
        let Some(room) = self.rooms.get(room) else { return Vec::new() };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let users = room.users.range::<str, _>((start, Bound::Unbounded)).take(limit);
        users.map(|(name, present)| (name.clone(), present.metas.clone())).collect()
    }

    /// The difference in one room, if there is any.
    fn take_room(&mut self, name: Arc<str>) -> Option<RoomTick> {
        let room = self.rooms.get_mut(&name)?;
        let before = mem::take(&mut room.before).into_iter();
        let changes = before.filter_map(|(user, before)| {
            let change = Change::between(before, room.users.get(&user).map(|present| &present.metas))?;
            Some((user, change))
        });
        let changes: Arc<Changes> = Arc::new(changes.collect());
        let list = mem::take(&mut room.list_wanted).then(|| {
            let users = room.users.iter().map(|(user, present)| (user.clone(), Change::Joined(present.metas.clone())));
            Arc::new(users.collect())
        });
        if room.is_empty() {
            self.rooms.remove(&name);
        }
        if changes.is_empty() && list.is_none() {
            return None;
        }
        self.taken += 1;
        Some(RoomTick { number: self.taken, room: name, changes, list })
    }

    /// Puts a device in this state, in the place of another one.
    fn place(&mut self, room: &Arc<str>, user: &Arc<str>, device: Device, state: State, replaces: Option<Device>) {
        if let Some((_, same, before)) = self.state_of(room, device) {
            if same == *user && before == state {
                return;
            }
            self.take(room, device);
            self.forget_grace(room, device, &before);
        }
        if let Some(replaced) = replaces {
            let lingers = |(_, same, state): (_, Arc<str>, State)| same == *user && state.lingers;
            if self.state_of(room, replaced).is_some_and(lingers) {
                self.remove(room, replaced);
            }
        }
        if let Some(until) = state.until {
            self.graces.insert((until, room.clone(), device));
        }
        if device.node == self.node {
            if let Some(local) = &mut self.local {
                let (room, user, meta, lingers) = (room.clone(), user.clone(), state.meta.clone(), state.lingers);
                local.push(LocalChange::Put { entry: DeviceEntry { room, user, device, meta, lingers }, replaces });
            }
        }
        let there = self.rooms.entry(room.clone()).or_default();
        there.note_before(user);
        there.devices.insert(device, user.clone());
        let present = there.users.entry(user.clone()).or_default();
        present.devices.insert(device, state);
        present.refresh();
        self.touched.insert(room.clone());
    }

    /// The device whose place a new one with this meta takes.
    fn lingering(&self, room: &str, user: &str, meta: &Option<Bytes>) -> Option<Device> {
        let present = self.rooms.get(room)?.users.get(user)?;
        let lingering = || present.devices.iter().filter(|(_, state)| state.lingers);
        let replaced = lingering().find(|(_, state)| state.meta == *meta).or_else(|| lingering().next());
        replaced.map(|(device, _)| *device)
    }

    /// Takes a device out of a room; returns the room's name as it is stored, and the state of the device.
    fn take(&mut self, room: &str, device: Device) -> Option<(Arc<str>, State)> {
        let (shared, user, state) = self.state_of(room, device)?;
        let there = self.rooms.get_mut(room)?;
        there.note_before(&user);
        there.devices.remove(&device);
        if let Some(present) = there.users.get_mut(&user) {
            present.devices.remove(&device);
            present.refresh();
            if present.devices.is_empty() {
                there.users.remove(&user);
            }
        }
        self.touched.insert(shared.clone());
        Some((shared, state))
    }

    /// The room's name as it is stored, the user of a device in it, and the state of the device.
    fn state_of(&self, room: &str, device: Device) -> Option<(Arc<str>, Arc<str>, State)> {
        let (shared, room) = self.rooms.get_key_value(room)?;
        let user = room.devices.get(&device)?;
        let state = room.users.get(user)?.devices.get(&device)?;
        Some((shared.clone(), user.clone(), state.clone()))
    }

    fn forget_grace(&mut self, room: &Arc<str>, device: Device, state: &State) {
        if let Some(until) = state.until {
            self.graces.remove(&(until, room.clone(), device));
        }
    }
}

/// The interface for other nodes.
impl PresenceTable {
    /// Records the changes of this node's devices from now on, to be published.
    pub(crate) fn record_local(&mut self) {
        self.local.get_or_insert_default();
    }

    /// The changes of this node's devices since the last call, in order.
    pub(crate) fn take_local(&mut self) -> Vec<LocalChange> {
        self.local.as_mut().map(mem::take).unwrap_or_default()
    }

    /// Applies what another node says about one of its devices. A statement about a device of this node is ignored, except
    /// that another device took its place; then this node publishes that it is removed.
    pub(crate) fn apply(&mut self, change: LocalChange) {
        match change {
            LocalChange::Put { entry, replaces } if entry.device.node != self.node => {
                let DeviceEntry { room, user, device, meta, lingers } = entry;
                // its node may not have heard of the device that lingers here
                let is_known = lingers || self.state_of(&room, device).is_some_and(|(_, same, _)| same == user);
                let replaces = replaces.or_else(|| if is_known { None } else { self.lingering(&room, &user, &meta) });
                self.place(&room, &user, device, State { meta, lingers, until: None }, replaces);
            }
            LocalChange::Removed { room, device } if device.node != self.node => self.remove(&room, device),
            _ => {}
        }
    }

    /// The devices of this node in the rooms that `filter` selects, for a node that wants all of them.
    pub(crate) fn local_entries(&self, filter: impl Fn(&str) -> bool) -> Vec<DeviceEntry> {
        let rooms = self.rooms.iter().filter(|(name, _)| filter(name));
        let entries = rooms.flat_map(|(name, room)| {
            room.devices_of(self.node).filter_map(|(device, user)| {
                let State { meta, lingers, .. } = room.users.get(user)?.devices.get(device)?.clone();
                Some(DeviceEntry { room: name.clone(), user: user.clone(), device: *device, meta, lingers })
            })
        });
        entries.collect()
    }

    /// Replaces everything known of another node in the rooms that `filter` selects by `entries`, its own
    /// [`local_entries`](Self::local_entries). A device that stays as it is causes no change.
    pub(crate) fn replace_node_rooms(
        &mut self,
        node: NodeId,
        filter: impl Fn(&str) -> bool,
        entries: impl IntoIterator<Item = DeviceEntry>,
    ) {
        let entries = entries.into_iter().filter(|entry| entry.device.node == node && filter(&entry.room));
        let entries: Vec<DeviceEntry> = entries.collect();
        let kept: BTreeSet<(&str, Device)> = entries.iter().map(|entry| (&*entry.room, entry.device)).collect();
        let gone: Vec<(Arc<str>, Device)> = self
            .of_node(node, filter)
            .into_iter()
            .filter(|(room, device)| !kept.contains(&(&**room, *device)))
            .collect();
        gone.iter().for_each(|(room, device)| self.remove(room, *device));
        entries.into_iter().for_each(|entry| self.apply(LocalChange::Put { entry, replaces: None }));
    }

    /// Lets the devices of another node, which is gone, stay until then: their users may come back elsewhere.
    pub(crate) fn linger_node(&mut self, node: NodeId, until: Instant) {
        for (room, device) in self.of_node(node, |_| true) {
            self.linger(&room, device, Some(until));
        }
    }

    /// Removes all devices of other nodes in the rooms that `filter` selects: this node does not hear of them any more.
    pub(crate) fn forget_others(&mut self, filter: impl Fn(&str) -> bool) {
        let rooms = self.rooms.iter().filter(|(name, _)| filter(name));
        let others: Vec<_> = rooms
            .flat_map(|(name, room)| room.devices.keys().map(|device| (name.clone(), *device)))
            .filter(|(_, device)| device.node != self.node)
            .collect();
        others.iter().for_each(|(room, device)| self.remove(room, *device));
    }

    /// The devices of a node in the rooms that `filter` selects.
    fn of_node(&self, node: NodeId, filter: impl Fn(&str) -> bool) -> Vec<(Arc<str>, Device)> {
        let rooms = self.rooms.iter().filter(|(name, _)| filter(name));
        rooms.flat_map(|(name, room)| room.devices_of(node).map(|(device, _)| (name.clone(), *device))).collect()
    }
}

impl Room {
    /// Keeps the metas that the user had in the last tick, before the first change since.
    fn note_before(&mut self, user: &Arc<str>) {
        if !self.before.contains_key(user) {
            let metas = self.users.get(user).map(|present| present.metas.clone());
            self.before.insert(user.clone(), metas);
        }
    }

    fn devices_of(&self, node: NodeId) -> impl Iterator<Item = (&Device, &Arc<str>)> {
        let first = Device { node, session: 0 };
        let last = Device { node, session: u128::MAX };
        self.devices.range(first..=last)
    }

    fn is_empty(&self) -> bool {
        self.users.is_empty() && self.before.is_empty() && !self.list_wanted
    }
}

impl Default for Present {
    fn default() -> Self {
        Self { devices: BTreeMap::new(), metas: Arc::new([]) }
    }
}

impl Present {
    /// Gathers the metas of the devices. They are sorted, so that two users with the same metas are equal.
    fn refresh(&mut self) {
        let mut metas: Vec<_> = self.devices.values().map(|state| state.meta.clone()).collect();
        metas.sort();
        self.metas = metas.into();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const OWN: NodeId = NodeId::from_bits(1);
    const OTHER: NodeId = NodeId::from_bits(2);

    fn meta(text: &'static str) -> Option<Bytes> {
        (!text.is_empty()).then(|| Bytes::from_static(text.as_bytes()))
    }

    fn own(session: u128) -> Device {
        Device { node: OWN, session }
    }

    /// What a receiver knows of one room: it begins with a list, and folds changes into it.
    fn fold(known: &mut BTreeMap<Arc<str>, Metas>, changes: &Changes) {
        for (name, change) in changes.iter() {
            match change {
                Change::Joined(metas) => assert!(known.insert(name.clone(), metas.clone()).is_none(), "{name} twice"),
                Change::Updated { before, after } => {
                    assert_ne!(before, after);
                    assert_eq!(known.insert(name.clone(), after.clone()).as_ref(), Some(before), "{name}");
                }
                Change::Left(metas) => assert_eq!(known.remove(name).as_ref(), Some(metas), "{name}"),
            }
        }
    }

    fn all(table: &mut PresenceTable) -> Vec<RoomTick> {
        let mut all: Vec<RoomTick> = Vec::new();
        while let Some(tick) = table.take_next(all.last().map(|tick| &*tick.room)) {
            all.push(tick);
        }
        all
    }

    /// The changes of the next tick, as `room+name`, `room-name` and `room~name`.
    fn tick(table: &mut PresenceTable) -> String {
        let mut words = Vec::new();
        for room in all(table) {
            for (name, change) in room.changes.iter() {
                let sign = match change {
                    Change::Joined(_) => '+',
                    Change::Left(_) => '-',
                    Change::Updated { .. } => '~',
                };
                words.push(format!("{}{sign}{name}", room.room));
            }
        }
        words.join(" ")
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(usize, usize, u128, usize),
        PutOther(usize, usize, u128, usize, bool),
        Remove(usize, u128),
        RemoveOther(usize, u128),
        Linger(usize, u128, u64),
        Advance(u64),
        Sync(Vec<(usize, usize, u128, usize)>),
        RemoveNode,
        Tick,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (room, user, device, meta) = (0..2usize, 0..3usize, 0..4u128, 0..3usize);
        let entry = (room.clone(), user.clone(), device.clone(), meta.clone());
        let step = prop_oneof![
            6 => entry.clone().prop_map(|(r, u, d, m)| Step::Put(r, u, d, m)),
            4 => (entry.clone(), any::<bool>()).prop_map(|((r, u, d, m), lingers)| Step::PutOther(r, u, d, m, lingers)),
            2 => (room.clone(), device.clone()).prop_map(|(r, d)| Step::Remove(r, d)),
            2 => (room.clone(), device.clone()).prop_map(|(r, d)| Step::RemoveOther(r, d)),
            3 => (room, device, 1..20u64).prop_map(|(r, d, secs)| Step::Linger(r, d, secs)),
            2 => (1..10u64).prop_map(Step::Advance),
            1 => prop::collection::vec(entry, 0..4).prop_map(Step::Sync),
            1 => Just(Step::RemoveNode),
            3 => Just(Step::Tick),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        /// Also with a receiver that is slow, for which changes are merged, and on a node that is told of the changes.
        #[test]
        fn folded_changes_equal_the_list(steps in steps()) {
            let rooms: [Arc<str>; 2] = ["a".into(), "b".into()];
            let users: [Arc<str>; 3] = ["ann".into(), "ben".into(), "cy".into()];
            let metas = [None, meta("x"), meta("y")];
            let mut now = Instant::from_std(std::time::Instant::now());
            let (mut table, mut remote) = (PresenceTable::new(OWN), PresenceTable::new(OTHER));
            table.record_local();
            let mut known = [BTreeMap::new(), BTreeMap::new()];
            let mut slow = [BTreeMap::new(), BTreeMap::new()];
            let mut pending = [Changes::default(), Changes::default()];
            for step in steps.into_iter().chain([Step::Advance(100), Step::Tick]) {
                match step {
                    Step::Put(r, u, d, m) => table.put(&rooms[r], &users[u], own(d), metas[m].clone()),
                    Step::PutOther(r, u, d, m, lingers) => {
                        let device = Device { node: OTHER, session: d };
                        let (room, user, meta) = (rooms[r].clone(), users[u].clone(), metas[m].clone());
                        let entry = DeviceEntry { room, user, device, meta, lingers };
                        table.apply(LocalChange::Put { entry, replaces: None });
                    }
                    Step::Remove(r, d) => table.remove(&rooms[r], own(d)),
                    Step::RemoveOther(r, d) => {
                        let device = Device { node: OTHER, session: d };
                        table.apply(LocalChange::Removed { room: rooms[r].clone(), device });
                    }
                    Step::Linger(r, d, secs) => table.linger(&rooms[r], own(d), Some(now + Duration::from_secs(secs))),
                    Step::Advance(secs) => {
                        now += Duration::from_secs(secs);
                        assert!(!table.expire(now, usize::MAX));
                    }
                    Step::Sync(entries) => {
                        let entries = entries.into_iter().map(|(r, u, d, m)| {
                            let device = Device { node: OTHER, session: d };
                            let (room, user, meta) = (rooms[r].clone(), users[u].clone(), metas[m].clone());
                            DeviceEntry { room, user, device, meta, lingers: false }
                        });
                        table.replace_node_rooms(OTHER, |room| room == "a", entries);
                    }
                    Step::RemoveNode => table.linger_node(OTHER, now + Duration::from_secs(3)),
                    Step::Tick => {
                        for tick in all(&mut table) {
                            let index = rooms.iter().position(|room| *room == tick.room).unwrap();
                            prop_assert!(tick.list.is_none() && !tick.changes.is_empty());
                            fold(&mut known[index], &tick.changes);
                            pending[index].merge(&tick.changes);
                            if pending[index].iter().count() > 1 {
                                fold(&mut slow[index], &mem::take(&mut pending[index]));
                            }
                        }
                        for (room, known) in rooms.iter().zip(&known) {
                            let list: Vec<User> = known.iter().map(|(name, metas)| (name.clone(), metas.clone())).collect();
                            prop_assert_eq!(table.count(room), list.len());
                            prop_assert_eq!(table.page(room, None, usize::MAX), list);
                        }
                    }
                }
                // what this node says of its own devices, seen from another node
                table.take_local().into_iter().for_each(|change| remote.apply(change));
                let ours = table.local_entries(|_| true);
                let there = remote.of_node(OWN, |_| true);
                prop_assert_eq!(ours.len(), there.len());
                for entry in ours {
                    let (_, user, state) = remote.state_of(&entry.room, entry.device).unwrap();
                    prop_assert_eq!((user, state.meta, state.lingers), (entry.user, entry.meta, entry.lingers));
                }
            }
            for (index, pending) in pending.iter().enumerate() {
                fold(&mut slow[index], pending);
                prop_assert_eq!(&slow[index], &known[index]);
            }
            prop_assert!(table.graces.is_empty() && !table.is_busy());
            for (name, room) in &table.rooms {
                prop_assert!(!room.users.is_empty() && room.before.is_empty(), "{} is kept", name);
            }
        }
    }

    #[test]
    fn user_with_two_devices_is_one_user() {
        let mut table = PresenceTable::new(OWN);
        let (room, ann): (Arc<str>, Arc<str>) = ("r".into(), "ann".into());
        table.put(&room, &ann, own(1), None);
        table.put(&room, &ann, own(2), meta("x"));
        assert_eq!((&*tick(&mut table), table.count("r")), ("r+ann", 1));
        assert_eq!(table.user("r", "ann").unwrap()[..], [None, meta("x")]);
        table.remove("r", own(1));
        assert_eq!(tick(&mut table), "r~ann");
        table.remove("r", own(2));
        assert_eq!((&*tick(&mut table), table.rooms.len()), ("r-ann", 0));
    }

    #[test]
    fn coming_and_going_within_a_tick_is_no_change() {
        let mut table = PresenceTable::new(OWN);
        let (room, ann): (Arc<str>, Arc<str>) = ("r".into(), "ann".into());
        table.put(&room, &ann, own(1), None);
        table.remove("r", own(1));
        assert_eq!((&*tick(&mut table), table.rooms.len()), ("", 0));
    }

    #[test]
    fn user_who_comes_back_within_the_grace_has_not_left() {
        let (mut table, now) = (PresenceTable::new(OWN), Instant::from_std(std::time::Instant::now()));
        let (room, ann): (Arc<str>, Arc<str>) = ("r".into(), "ann".into());
        for (device, until) in [(1, 15), (2, 16)] {
            table.put(&room, &ann, own(device), None);
            tick(&mut table);
            table.linger("r", own(device), Some(now + Duration::from_secs(until)));
        }
        // the second device took the place of the first
        assert_eq!((table.user("r", "ann").unwrap().len(), table.graces.len()), (1, 1));
        assert!(!table.expire(now + Duration::from_secs(15), usize::MAX));
        assert_eq!(tick(&mut table), "");
        assert!(!table.expire(now + Duration::from_secs(16), usize::MAX));
        assert_eq!(tick(&mut table), "r-ann");
        assert!(!table.is_busy());
    }

    #[test]
    fn user_who_comes_back_on_another_node_has_not_left() {
        let now = Instant::from_std(std::time::Instant::now());
        let (room, ann): (Arc<str>, Arc<str>) = ("r".into(), "ann".into());
        let mut tables = [OWN, OTHER, NodeId::from_bits(3)].map(PresenceTable::new);
        tables.iter_mut().for_each(PresenceTable::record_local);
        let exchange = |tables: &mut [PresenceTable; 3]| {
            for from in 0..3 {
                for change in tables[from].take_local() {
                    (0..3).filter(|to| *to != from).for_each(|to| tables[to].apply(change.clone()));
                }
            }
        };
        tables[0].put(&room, &ann, own(1), None);
        exchange(&mut tables);
        assert!(tables.iter_mut().all(|table| tick(table) == "r+ann"));
        tables[0].linger("r", own(1), Some(now + Duration::from_secs(15)));
        exchange(&mut tables);
        let device = tables[1].own_device(2);
        tables[1].put(&room, &ann, device, None);
        exchange(&mut tables);
        for table in &mut tables {
            assert_eq!(tick(table), "", "nobody hears of it");
            assert_eq!(table.rooms["r"].devices.keys().collect::<Vec<_>>(), [&device]);
            assert!(table.graces.is_empty());
        }
        tables[0].forget_others(|_| true);
        assert_eq!(tick(&mut tables[0]), "r-ann");
    }

    #[test]
    fn device_with_the_same_meta_takes_the_place_first() {
        let (mut table, now) = (PresenceTable::new(OWN), Instant::from_std(std::time::Instant::now()));
        let (room, ann): (Arc<str>, Arc<str>) = ("r".into(), "ann".into());
        table.put(&room, &ann, own(1), meta("x"));
        table.put(&room, &ann, own(2), meta("y"));
        tick(&mut table);
        table.linger("r", own(1), Some(now));
        table.linger("r", own(2), Some(now));
        table.put(&room, &ann, own(3), meta("y"));
        assert_eq!(tick(&mut table), "");
        assert!(table.state_of("r", own(1)).is_some() && table.state_of("r", own(2)).is_none());
    }

    #[test]
    fn other_user_of_the_same_device_replaces_the_earlier_one() {
        let mut table = PresenceTable::new(OWN);
        let room: Arc<str> = "r".into();
        table.put(&room, &"ann".into(), own(1), None);
        tick(&mut table);
        table.put(&room, &"ben".into(), own(1), None);
        assert_eq!(tick(&mut table), "r-ann r+ben");
    }

    #[test]
    fn list_contains_everyone_and_an_empty_room_is_forgotten() {
        let mut table = PresenceTable::new(OWN);
        let room: Arc<str> = "r".into();
        table.want_list(&room);
        let ticks = all(&mut table);
        assert!(ticks[0].list.as_ref().is_some_and(|list| list.is_empty()) && table.rooms.is_empty());
        table.put(&room, &"ann".into(), own(1), None);
        all(&mut table);
        table.put(&room, &"ben".into(), own(2), None);
        let from = table.want_list(&room);
        let ticks = all(&mut table);
        assert_eq!(ticks[0].number, from);
        let names = |changes: &Changes| changes.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&ticks[0].changes), ["ben"]);
        assert_eq!(names(ticks[0].list.as_ref().unwrap()), ["ann", "ben"]);
    }

    #[test]
    fn pages_are_sorted_and_follow_each_other() {
        let mut table = PresenceTable::new(OWN);
        let room: Arc<str> = "r".into();
        for (device, name) in (0..).zip(["cy", "ann", "dan", "ben"]) {
            table.put(&room, &name.into(), own(device), None);
        }
        let names = |after, limit| table.page("r", after, limit).into_iter().map(|(name, _)| name.to_string());
        assert!(names(None, 3).eq(["ann", "ben", "cy"]));
        assert!(names(Some("cy"), 3).eq(["dan"]));
        // also if that user has left
        assert!(names(Some("bob"), 1).eq(["cy"]));
        assert!(names(Some("dan"), 1).eq([""; 0]));
    }
}
