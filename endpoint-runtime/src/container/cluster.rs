//! A container in a cluster: what it does for other nodes, and what it can ask them.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use super::service::{Inner, ServerContainer};
use crate::cluster::envelope::Publish;
use crate::cluster::interest::room_bucket;
use crate::cluster::membership::Membership;
use crate::cluster::node::Node;
use crate::cluster::sink::Sink;
use crate::cluster::target::{Operation, Question, Scope, Target};
use crate::cluster::{Cluster, Keep, NodeId};
use crate::session::anywhere::{AnySession, Everyone};
use crate::session::broadcast::Broadcast;
use crate::session::everywhere::{AllSessions, answer, operate, sessions_of};
use crate::session::rooms::Watch;
use crate::session::{OpenSessions, SessionId};

/// In a cluster.
impl ServerContainer {
    /// All sessions of all nodes. Without a cluster, those of this container.
    pub fn everyone(&self) -> Everyone {
        Everyone::new(&self.0.ground.groups, self.all_sessions())
    }

    /// The session with this ID, on whichever node it is. A session of this node can do more:
    /// [`session`](Self::session).
    pub fn session_anywhere(&self, id: SessionId) -> AnySession {
        AnySession::new(&self.0.ground.groups, self.all_sessions(), id)
    }

    /// Whether the other nodes know all that this one has told them; true while they cannot be reached.
    #[cfg(feature = "test")]
    pub(crate) fn is_known(&self) -> bool {
        self.0.ground.groups.cluster.get().is_none_or(|membership| membership.0.is_known())
    }

    /// Ends all connections and the place in the cluster at once, without a word to anybody.
    #[cfg(feature = "test")]
    pub(crate) fn abort(&self) {
        if let Some(membership) = self.0.ground.groups.cluster.get() {
            membership.abort();
        }
        self.0.table().sets().for_each(|set| set.cut());
    }

    fn all_sessions(&self) -> AllSessions {
        let container = Arc::downgrade(&self.0);
        AllSessions(Arc::new(move || sessions(&container)))
    }

    /// Connects the container with others.
    pub(super) fn join_cluster(&self, cluster: Cluster) {
        let groups = &self.0.ground.groups;
        let sink = Arc::new(ContainerSink(Arc::downgrade(&self.0)));
        let membership = Membership::start(cluster, self.0.keep(), sink);
        let node = Arc::downgrade(&membership.0);
        groups.rooms.watched_by(Rooms(Arc::downgrade(&membership.0)));
        groups.principals.watched_by(Users(Arc::downgrade(&membership.0)));
        // the container is being built: nobody else has set it
        let _ = groups.cluster.set(membership);
        groups.share_presence(node);
    }
}

fn sessions(container: &Weak<Inner>) -> OpenSessions {
    match container.upgrade() {
        Some(inner) => OpenSessions::of(inner.table().sets()),
        None => OpenSessions::of(std::iter::empty()),
    }
}

/// The container, as the cluster sees it. The container owns the cluster's node, so this does not own the container.
struct ContainerSink(Weak<Inner>);

impl ContainerSink {
    fn of(&self, target: &Target) -> OpenSessions {
        match self.0.upgrade() {
            Some(inner) => sessions_of(&inner.ground.groups, target, || sessions(&self.0)),
            None => OpenSessions::of(std::iter::empty()),
        }
    }
}

impl Sink for ContainerSink {
    fn deliver(&self, publish: &Publish) -> usize {
        let except: Vec<_> = publish.except.iter().map(|id| SessionId::from_bits(*id)).collect();
        Broadcast::deliver(self.of(&publish.target).except(except), publish).sent
    }

    fn operate(&self, target: &Target, operation: &Operation) -> usize {
        operate(&self.of(target), operation)
    }

    fn answer(&self, target: &Target, question: &Question) -> Bytes {
        match (question, self.0.upgrade()) {
            (Question::PresenceOf(bucket), Some(inner)) => inner.ground.groups.presence_in(*bucket),
            (Question::Present, Some(inner)) => match &target.scope {
                Scope::Rooms(rooms) => inner.ground.groups.presence_of_rooms(rooms),
                _ => Bytes::new(),
            },
            _ => answer(&self.of(target), question),
        }
    }

    fn rooms_in(&self, bucket: u16) -> Vec<String> {
        let Some(inner) = self.0.upgrade() else { return Vec::new() };
        let names = inner.ground.groups.rooms.names().into_iter();
        names.filter(|name| room_bucket(name) == bucket).map(|name| name.to_string()).collect()
    }

    fn subprotocols(&self) -> Vec<String> {
        let Some(inner) = self.0.upgrade() else { return Vec::new() };
        let table = inner.table();
        let names: BTreeSet<_> = table.mounted().flat_map(|mounted| mounted.options.subprotocols).copied().collect();
        names.into_iter().map(str::to_owned).collect()
    }

    fn presence_grace(&self) -> Option<Duration> {
        self.0.upgrade()?.presence_grace()
    }

    fn presence_changed(&self, node: NodeId, changes: Bytes) {
        if let Some(inner) = self.0.upgrade() {
            inner.ground.groups.apply_presence(node, changes);
        }
    }

    fn presence_is(&self, node: NodeId, bucket: u16, state: Bytes) {
        if let Some(inner) = self.0.upgrade() {
            inner.ground.groups.replace_presence(node, bucket, state);
        }
    }

    fn forget_presence(&self, bucket: u16) {
        if let Some(inner) = self.0.upgrade() {
            inner.ground.groups.forget_presence(bucket);
        }
    }

    fn lost(&self, node: NodeId, has_died: bool) {
        if let Some(inner) = self.0.upgrade() {
            let grace = inner.presence_grace().unwrap_or_default();
            inner.ground.groups.lose_presence(node, grace, has_died);
        }
    }
}

impl Inner {
    /// How much of each room's messages is kept: as much as the endpoint wants that wants most.
    fn keep(&self) -> Option<Keep> {
        let table = self.table();
        let wanted = || table.mounted().filter_map(|mounted| mounted.options.history);
        let (last, within) = (wanted().map(|(last, _)| last).max()?, wanted().map(|(_, within)| within).max()?);
        Some(Keep { last, within })
    }

    /// The longest grace of the endpoints with presence; `None` if there is none.
    fn presence_grace(&self) -> Option<Duration> {
        self.table().sets().filter_map(|set| set.limits.presence).max()
    }
}

/// Tells the cluster which rooms have sessions here.
#[derive(Debug)]
struct Rooms(Weak<Node>);

impl Watch for Rooms {
    fn created(&self, name: &str) {
        if let Some(node) = self.0.upgrade() {
            node.add_room(name);
        }
    }

    fn removed(&self, name: &str) {
        if let Some(node) = self.0.upgrade() {
            node.remove_room(name);
        }
    }
}

/// Tells the cluster which users have sessions here.
#[derive(Debug)]
struct Users(Weak<Node>);

impl Watch for Users {
    fn created(&self, name: &str) {
        if let Some(node) = self.0.upgrade() {
            node.add_user(name);
        }
    }

    fn removed(&self, name: &str) {
        if let Some(node) = self.0.upgrade() {
            node.remove_user(name);
        }
    }
}
