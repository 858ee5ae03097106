//! The presence of a container that is a node of a cluster: what it tells other nodes, and what they tell it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::session::Groups;
use crate::cluster::NodeId;
use crate::cluster::interest::room_bucket;
use crate::cluster::node::Node;
use crate::cluster::presence::LocalChange;
use crate::cluster::presence_entries::{decode, encode, encode_entries};
use crate::config::PRESENCE_AFTER_DEATH;
use crate::send_queue::FAR;

impl Groups {
    /// Publishes the presence of this node from now on.
    pub(crate) fn share_presence(self: &Arc<Self>, node: Weak<Node>) {
        self.presence_or_new().publish_by(move |changes| {
            if let Some(node) = node.upgrade() {
                publish(&node, changes);
            }
        });
    }

    /// Applies what another node tells of its devices.
    pub(crate) fn apply_presence(self: &Arc<Self>, node: NodeId, changes: Bytes) {
        let changes = decode(node, changes);
        self.change_presence(|table| changes.into_iter().for_each(|change| table.apply(change)));
    }

    /// Replaces what is known of another node's devices in a bucket.
    pub(crate) fn replace_presence(self: &Arc<Self>, node: NodeId, bucket: u16, state: Bytes) {
        let entries = decode(node, state).into_iter().filter_map(|change| match change {
            LocalChange::Put { entry, .. } => Some(entry),
            LocalChange::Removed { .. } => None,
        });
        let entries: Vec<_> = entries.collect();
        self.change_presence(|table| table.replace_node_rooms(node, is_in(bucket), entries));
    }

    /// Forgets the devices of other nodes in a bucket.
    pub(crate) fn forget_presence(self: &Arc<Self>, bucket: u16) {
        if self.presence().is_some() {
            self.change_presence(|table| table.forget_others(is_in(bucket)));
        }
    }

    /// Lets the devices of a node that is gone stay for this grace, so that their users can come back elsewhere.
    pub(crate) fn lose_presence(self: &Arc<Self>, node: NodeId, grace: Duration, has_died: bool) {
        let grace = if has_died { grace.min(PRESENCE_AFTER_DEATH) } else { grace.min(FAR) };
        if self.presence().is_some() {
            self.change_presence(|table| table.linger_node(node, Instant::now() + grace));
        }
    }

    /// This node's devices in a bucket.
    pub(crate) fn presence_in(&self, bucket: u16) -> Bytes {
        let Some(presence) = self.presence() else { return Bytes::new() };
        encode_entries(presence.read(|table| table.local_entries(is_in(bucket))))
    }

    /// This node's devices in some rooms.
    pub(crate) fn presence_of_rooms(&self, rooms: &[String]) -> Bytes {
        let Some(presence) = self.presence() else { return Bytes::new() };
        encode_entries(presence.read(|table| table.local_entries(|room| rooms.iter().any(|name| name == room))))
    }
}

fn is_in(bucket: u16) -> impl Fn(&str) -> bool {
    move |room| room_bucket(room) == bucket
}

fn publish(node: &Node, changes: Vec<LocalChange>) {
    let bucket_of = |change: &LocalChange| match change {
        LocalChange::Put { entry, .. } => room_bucket(&entry.room),
        LocalChange::Removed { room, .. } => room_bucket(room),
    };
    let mut changes: Vec<_> = changes.into_iter().map(|change| (bucket_of(&change), change)).collect();
    // stable: the changes of one room stay in order
    changes.sort_by_key(|(bucket, _)| *bucket);
    for of_bucket in changes.chunk_by(|(one, _), (other, _)| one == other) {
        let Some((bucket, _)) = of_bucket.first() else { continue };
        let parts = encode(of_bucket.iter().map(|(_, change)| change));
        parts.into_iter().for_each(|part| node.change_presence(*bucket, part));
    }
}
