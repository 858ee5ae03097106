//! The other nodes: who is alive, where each has sessions, and which of its messages have come. Pure: times come in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backplane::{NodeId, Subject};
use super::inbox::{Budget, PeerInbox};
use super::interest::{ALL_BUCKETS, InterestSet};
use crate::config::CLUSTER_DEAD;

/// Nodes that are known at a time. Who can publish to the engine could otherwise make up nodes without end.
const MAX_PEERS: usize = 4096;

/// Bytes of the name of a node.
const MAX_NAME: usize = 256;

/// How long the numbers of a dead node are kept: if a partition heals, what was lost in it can be counted.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The other nodes of the cluster.
#[derive(Debug)]
pub(crate) struct Peers {
    /// In order, so that tests replay.
    peers: BTreeMap<NodeId, Peer>,
    /// Number of live nodes with interest in each bucket.
    interested: Box<[u32; ALL_BUCKETS]>,
    /// Messages of all nodes that wait for missing ones.
    held: Budget,
}

/// Another node.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Empty until the node has introduced itself.
    pub(crate) name: Arc<str>,
    /// The number of the beat that said so.
    beat: u64,
    interest: InterestSet,
    last_heard: Instant,
    is_alive: bool,
    /// It was heard since it was granted time again.
    is_back: bool,
    /// When it said that it ends.
    ended: Option<Instant>,
    /// It has said where it has sessions since it was heard first, or again.
    is_introduced: bool,
    /// The sequence of its messages.
    pub(crate) inbox: Arc<PeerInbox>,
}

/// Whether a node was known when something came from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Known,
    /// It is new, or was taken for dead.
    New,
    /// There are too many nodes.
    Refused,
}

impl Default for Peers {
    fn default() -> Self {
        Self { peers: BTreeMap::new(), interested: Box::new([0; ALL_BUCKETS]), held: Budget::default() }
    }
}

impl Peers {
    /// Notes a sign of life.
    pub(crate) fn heard(&mut self, node: NodeId, now: Instant) -> (Heard, Option<Arc<PeerInbox>>) {
        if let Some(peer) = self.peers.get_mut(&node) {
            (peer.last_heard, peer.is_back) = (now, true);
            let inbox = Some(peer.inbox.clone());
            // what it sent before it ended may come after the news of it
            if peer.ended.is_some_and(|ended| now.duration_since(ended) < CLUSTER_DEAD) {
                return (Heard::Known, inbox);
            }
            if std::mem::replace(&mut peer.is_alive, true) {
                return (Heard::Known, inbox);
            }
            peer.is_introduced = false;
            let interest = peer.interest;
            self.count(&interest, true);
            return (Heard::New, inbox);
        }
        if self.peers.len() >= MAX_PEERS && !self.forget_one() {
            return (Heard::Refused, None);
        }
        let inbox = Arc::new(PeerInbox::new(self.held.clone()));
        let peer = Peer {
            name: "".into(),
            beat: 0,
            interest: InterestSet::default(),
            last_heard: now,
            is_alive: true,
            is_back: true,
            ended: None,
            is_introduced: false,
            inbox: inbox.clone(),
        };
        self.peers.insert(node, peer);
        (Heard::New, Some(inbox))
    }

    /// Forgets the node that has been dead for longest; returns whether there was one.
    fn forget_one(&mut self) -> bool {
        let dead = self.peers.iter().filter(|(_, peer)| !peer.is_alive);
        let oldest = dead.min_by_key(|(_, peer)| peer.last_heard).map(|(node, _)| *node);
        oldest.and_then(|node| self.peers.remove(&node)).is_some()
    }

    /// Notes the name of a live node and where it has sessions; returns the buckets that are new, all of them if the node
    /// is. `beat` is the number of the beat that says so: an older one, such as a recorded one, says nothing.
    pub(crate) fn introduce(&mut self, node: NodeId, beat: u64, name: &str, interest: InterestSet) -> InterestSet {
        let peer = self.peers.get_mut(&node).filter(|peer| peer.is_alive && peer.beat < beat);
        let Some(peer) = peer else { return InterestSet::default() };
        peer.beat = beat;
        let mut end = name.len().min(MAX_NAME);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let name = &name[..end];
        if &*peer.name != name {
            peer.name = name.into();
        }
        let is_first = !std::mem::replace(&mut peer.is_introduced, true);
        let before = std::mem::replace(&mut peer.interest, interest);
        let added = interest.without(&before);
        self.count(&added, true);
        self.count(&before.without(&interest), false);
        if is_first { interest } else { added }
    }

    /// Notes that a node said that it ends; returns whether it was alive.
    pub(crate) fn end(&mut self, node: NodeId, now: Instant) -> bool {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.ended = Some(now);
        }
        self.lose(node)
    }

    /// Takes a node for dead; returns whether it was alive.
    pub(crate) fn lose(&mut self, node: NodeId) -> bool {
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.is_alive) else { return false };
        peer.is_alive = false;
        let interest = peer.interest;
        self.count(&interest, false);
        true
    }

    /// The live nodes that were silent for `limit`; forgets dead ones after a while.
    pub(crate) fn silent(&mut self, now: Instant, limit: Duration) -> Vec<NodeId> {
        self.peers.retain(|_, peer| peer.is_alive || now.duration_since(peer.last_heard) < REMEMBERED);
        let silent = self.alive_peers().filter(|(_, peer)| now.duration_since(peer.last_heard) >= limit);
        silent.map(|(node, _)| node).collect()
    }

    /// Grants every live node the same time again: nobody could be heard.
    pub(crate) fn pardon(&mut self, now: Instant) {
        for peer in self.peers.values_mut().filter(|peer| peer.is_alive) {
            (peer.last_heard, peer.is_back) = (now, false);
        }
    }

    /// Whether every live node was heard since it was granted time again.
    pub(crate) fn are_back(&self) -> bool {
        self.alive_peers().all(|(_, peer)| peer.is_back)
    }

    /// The live nodes.
    pub(crate) fn alive(&self) -> Vec<NodeId> {
        self.alive_peers().map(|(node, _)| node).collect()
    }

    /// The live nodes with sessions where a packet to this subject is for.
    pub(crate) fn interested(&self, subject: Subject) -> Vec<NodeId> {
        let is_interested = |peer: &Peer| match subject {
            Subject::Bucket(bucket) => peer.interest.contains(bucket),
            Subject::Nodes | Subject::Node(_) => true,
        };
        self.alive_peers().filter(|(_, peer)| is_interested(peer)).map(|(node, _)| node).collect()
    }

    /// The buckets in which a live node has sessions.
    pub(crate) fn interest(&self) -> InterestSet {
        (0..ALL_BUCKETS as u16).filter(|bucket| self.interested[usize::from(*bucket)] > 0).collect()
    }

    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.is_alive)
    }

    pub(crate) fn alive_peers(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        self.peers.iter().filter(|(_, peer)| peer.is_alive).map(|(node, peer)| (*node, peer))
    }

    /// All nodes whose messages are counted, also the dead.
    pub(crate) fn inboxes(&self) -> impl Iterator<Item = &Arc<PeerInbox>> {
        self.peers.values().map(|peer| &peer.inbox)
    }

    fn count(&mut self, buckets: &InterestSet, is_added: bool) {
        for bucket in buckets.iter() {
            if let Some(count) = self.interested.get_mut(usize::from(bucket)) {
                *count = if is_added { *count + 1 } else { count.saturating_sub(1) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId::from_bits(1);
    const B: NodeId = NodeId::from_bits(2);
    const LIMIT: Duration = Duration::from_secs(5);

    fn set(buckets: &[u16]) -> InterestSet {
        buckets.iter().copied().collect()
    }

    #[test]
    fn interest_is_that_of_live_nodes() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        assert_eq!(peers.heard(A, now).0, Heard::New);
        assert_eq!(peers.heard(B, now).0, Heard::New);
        assert_eq!(peers.introduce(A, 1, "a", set(&[1, 2])), set(&[1, 2]));
        assert_eq!(peers.introduce(B, 2, "b", set(&[2, 300])), set(&[2, 300]));
        assert_eq!(peers.introduce(A, 3, "a", set(&[2, 3])), set(&[3]));
        assert_eq!(peers.interest(), set(&[2, 3, 300]));
        // a recorded beat
        assert_eq!(peers.introduce(A, 3, "", set(&[7])), set(&[]));
        assert_eq!(peers.introduce(A, 1, "", set(&[])), set(&[]));
        assert_eq!(peers.interested(Subject::Bucket(3)), [A]);
        assert!(peers.lose(A) && !peers.lose(A));
        assert_eq!(peers.interest(), set(&[2, 300]));
        // what a dead node says counts once it is heard again
        assert_eq!(peers.introduce(A, 4, "a", set(&[9])), set(&[]));
        assert_eq!(peers.heard(A, now).0, Heard::New);
        assert_eq!(peers.interest(), set(&[2, 3, 300]));
        assert_eq!(peers.introduce(A, 5, "a", set(&[2, 3])), set(&[2, 3]));
        assert_eq!(peers.introduce(A, 6, "a", set(&[2, 3])), set(&[]));
    }

    #[test]
    fn silent_nodes_are_found_and_forgotten_later() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        peers.heard(A, now);
        peers.heard(B, now + LIMIT);
        assert_eq!(peers.silent(now + LIMIT, LIMIT), [A]);
        peers.pardon(now + LIMIT);
        assert!(peers.silent(now + LIMIT, LIMIT).is_empty() && !peers.are_back());
        peers.heard(A, now + LIMIT);
        assert!(!peers.are_back());
        peers.heard(B, now + LIMIT);
        assert!(peers.are_back());
        let inbox = peers.heard(A, now + LIMIT).1.unwrap();
        peers.lose(A);
        peers.silent(now + REMEMBERED, LIMIT);
        assert!(Arc::ptr_eq(&inbox, &peers.heard(A, now + REMEMBERED).1.unwrap()), "its numbers are still known");
        peers.lose(A);
        peers.silent(now + 2 * REMEMBERED, LIMIT);
        assert!(!Arc::ptr_eq(&inbox, &peers.heard(A, now + 2 * REMEMBERED).1.unwrap()));
    }

    #[test]
    fn late_packets_of_a_node_that_has_ended_do_not_revive_it() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        peers.heard(A, now);
        assert!(peers.end(A, now));
        assert_eq!(peers.heard(A, now + LIMIT / 2).0, Heard::Known);
        assert!(peers.alive().is_empty());
        // somebody else said it
        assert_eq!(peers.heard(A, now + LIMIT).0, Heard::New);
        assert_eq!(peers.alive(), [A]);
    }

    #[test]
    fn number_of_nodes_is_bounded() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        (0..MAX_PEERS as u64).for_each(|bits| assert_eq!(peers.heard(NodeId::from_bits(bits), now).0, Heard::New));
        let new = NodeId::from_bits(u64::MAX);
        assert_eq!(peers.heard(new, now).0, Heard::Refused);
        assert_eq!(peers.heard(A, now).0, Heard::Known);
        // the one that has been dead for longest makes place
        peers.heard(A, now + LIMIT);
        assert!(peers.lose(A) && peers.lose(B));
        assert_eq!(peers.heard(new, now + LIMIT).0, Heard::New);
        assert_eq!(peers.inboxes().count(), MAX_PEERS);
        assert!(peers.peers.contains_key(&A) && !peers.peers.contains_key(&B));
    }

    #[test]
    fn names_are_cut_between_two_characters() {
        let mut peers = Peers::default();
        peers.heard(A, Instant::now());
        peers.introduce(A, 7, &"é".repeat(MAX_NAME), set(&[]));
        assert_eq!(&*peers.peers[&A].name, "é".repeat(MAX_NAME / 2));
        peers.introduce(A, 8, &format!("a{}", "é".repeat(MAX_NAME)), set(&[]));
        assert_eq!(peers.peers[&A].name.len(), MAX_NAME - 1);
    }
}
