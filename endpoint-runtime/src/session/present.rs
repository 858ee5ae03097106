//! Who is present in a room, and how that changes, as the application sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::heard::PresenceChange;
use super::session::{Groups, Session};
use crate::cluster::NodeId;
use crate::cluster::membership::Membership;
use crate::cluster::presence::{DeviceEntry, LocalChange};
use crate::cluster::presence_changes::{Change, Metas};
use crate::cluster::presence_entries::decode;
use crate::cluster::target::{Question, Scope};
use crate::codec::presence_meta::PresenceMeta;
use endpoint_wire::text::Text;

/// A user who is present in a room, with a meta of type `M` for each device.
///
/// A device is a session of the user in the room, or one that ended within the grace period. Without metas, write
/// `Present` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Present<M = ()> {
    /// The user's name ([`Principal::name`](crate::Principal::name)).
    pub name: Arc<str>,
    /// The meta of each device, in no particular order: what the session gave to [`SessionPresence::set`]. `None` for a
    /// device without a meta, and for a meta that is not an `M`.
    ///
    /// [`SessionPresence::set`]: crate::SessionPresence::set
    pub devices: Vec<Option<M>>,
}

/// The change of who is present in one room: the parameter of an `#[on_presence]` handler.
///
/// A user is in at most one of the three lists, each of which is sorted by name. The first change of a room after a
/// session joined lists everyone present as `joined`, including the session's own user; later changes are differences.
/// So a list that adds who joined, removes who left and replaces who was updated is the list of those present.
///
/// `M` is the type of the metas. Without metas, write `Presence` alone. With the feature `json` (or another that brings
/// serde) it serializes as `{"room": …, "joined": […], "left": […], "updated": […]}`, so that a handler can return
/// `Json(change)`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence<M = ()> {
    /// The name of the room.
    pub room: Arc<str>,
    /// The users who are present now and were not before.
    pub joined: Vec<Present<M>>,
    /// The users who are no longer present, with their last metas.
    pub left: Vec<Present<M>>,
    /// The users who are still present, and whose devices or metas are others than before.
    pub updated: Vec<Present<M>>,
}

/// The users who are present in a room, on all nodes of a cluster. From [`Room::present`](crate::Room::present).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresentUsers<M = ()> {
    /// The users, sorted by name; each once, with the devices of all nodes.
    pub users: Vec<Present<M>>,
    /// Nodes that did not answer. Their users may be missing.
    pub missing: Vec<NodeId>,
}

impl<M: PresenceMeta> PresentUsers<M> {
    /// The users whose devices these are.
    fn of(devices: Vec<LocalChange>, missing: Vec<NodeId>) -> Self {
        let mut users: BTreeMap<Arc<str>, Vec<Option<M>>> = BTreeMap::new();
        for change in devices {
            if let LocalChange::Put { entry: DeviceEntry { user, meta, .. }, .. } = change {
                users.entry(user).or_default().push(meta.and_then(|meta| M::read(&meta)));
            }
        }
        let users = users.into_iter().map(|(name, devices)| Present { name, devices }).collect();
        Self { users, missing }
    }

    /// Asks all nodes.
    pub(super) async fn in_room(groups: &Groups, room: &str) -> Self {
        let rooms = vec![room.to_owned()];
        let here = groups.presence_of_rooms(&rooms);
        let Some(Membership(node)) = groups.cluster.get() else {
            return Self::of(decode(NodeId::from_bits(0), here), Vec::new());
        };
        let gathered = node.ask(Scope::Rooms(rooms).into(), Question::Present).await;
        let mut devices = decode(node.id, here);
        gathered.got.into_iter().for_each(|(node, body)| devices.extend(decode(node, body)));
        Self::of(devices, gathered.missing)
    }
}

/// The users who are present in a room, as far as this container knows: a handle like [`Room`](crate::Room), created by
/// [`Room::present_here`](crate::Room::present_here). Each call looks at the moment when it is made.
#[derive(Clone)]
pub struct PresentHere {
    groups: Arc<Groups>,
    room: Text,
}

impl<M: PresenceMeta> Present<M> {
    /// Reads the metas. Also returns how many are not an `M`.
    fn read(name: &Arc<str>, metas: &Metas) -> (Self, usize) {
        let mut failed = 0;
        let devices = metas.iter().map(|meta| {
            let read = M::read(meta.as_ref()?);
            failed += usize::from(read.is_none());
            read
        });
        (Self { name: name.clone(), devices: devices.collect() }, failed)
    }
}

impl<M: PresenceMeta> Presence<M> {
    /// Reads a change for a handler of this session.
    fn read(session: &Session, change: &PresenceChange) -> Self {
        let PresenceChange { room, changes } = change;
        let (joined, left, updated) = <_>::default();
        let (mut presence, mut failed) = (Self { room: room.clone(), joined, left, updated }, 0);
        for (name, change) in changes.iter() {
            let (list, metas) = match change {
                Change::Joined(metas) => (&mut presence.joined, metas),
                Change::Left(metas) => (&mut presence.left, metas),
                Change::Updated { after, .. } => (&mut presence.updated, after),
            };
            let (present, count) = Present::read(name, metas);
            failed += count;
            list.push(present);
        }
        if failed > 0 {
            if let Some(not_logged) = session.open_set().log.metas.due() {
                let (endpoint, meta) = (session.open_set().name, std::any::type_name::<M>());
                tracing::warn!(
                    failed,
                    not_logged,
                    endpoint,
                    room = &**room,
                    "a presence meta cannot be read as {meta}: it is taken as none"
                );
            }
        }
        presence
    }
}

/// A parameter type that is named like `Presence<M>`: it is that type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Presence<M>` with an `M` that can be read",
    label = "`#[on_presence]` takes a parameter of this name as endpoint_runtime's `Presence<M>`",
    note = "import endpoint_runtime's type; with the feature `json`, `M` implements Deserialize and owns its data, without it `M` is `()`"
)]
pub trait FromPresence: Sized {
    /// Reads a change for a handler of this session.
    fn from_change(session: &Session, change: &PresenceChange) -> Self;
}

impl<M: PresenceMeta> FromPresence for Presence<M> {
    fn from_change(session: &Session, change: &PresenceChange) -> Self {
        Self::read(session, change)
    }
}

impl PresentHere {
    pub(super) fn new(groups: &Arc<Groups>, room: &Text) -> Self {
        Self { groups: groups.clone(), room: room.clone() }
    }

    /// Number of users who are present. Takes constant time, apart from finding the room.
    pub fn count(&self) -> usize {
        self.groups.presence().map_or(0, |presence| presence.read(|table| table.count(&self.room)))
    }

    /// All users who are present, sorted by name. For a large room take [`page`](Self::page).
    pub fn list<M: PresenceMeta>(&self) -> Vec<Present<M>> {
        self.page(None, usize::MAX)
    }

    /// At most `limit` users who are present, sorted by name, from the first one after `after`. Pass the last name of a
    /// page to get the next one. Takes time for the users of the page, not for those of the room.
    pub fn page<M: PresenceMeta>(&self, after: Option<&str>, limit: usize) -> Vec<Present<M>> {
        let Some(presence) = self.groups.presence() else { return Vec::new() };
        // metas are read outside the lock: that is code of the application
        let users = presence.read(|table| table.page(&self.room, after, limit));
        users.iter().map(|(name, metas)| Present::read(name, metas).0).collect()
    }

    /// The user of this name, if present.
    pub fn user<M: PresenceMeta>(&self, name: &str) -> Option<Present<M>> {
        let metas = self.groups.presence()?.read(|table| table.user(&self.room, name))?;
        Some(Present::read(&name.into(), &metas).0)
    }
}

impl fmt::Debug for PresentHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PresentHere").field(&self.room).finish()
    }
}

#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
mod serialize {
    use serde::ser::{Serialize, SerializeStruct, Serializer};

    use super::{Presence, Present};

    impl<M: Serialize> Serialize for Present<M> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut fields = serializer.serialize_struct("Present", 2)?;
            fields.serialize_field("name", &*self.name)?;
            fields.serialize_field("devices", &self.devices)?;
            fields.end()
        }
    }

    impl<M: Serialize> Serialize for Presence<M> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut fields = serializer.serialize_struct("Presence", 4)?;
            fields.serialize_field("room", &*self.room)?;
            fields.serialize_field("joined", &self.joined)?;
            fields.serialize_field("left", &self.left)?;
            fields.serialize_field("updated", &self.updated)?;
            fields.end()
        }
    }
}
