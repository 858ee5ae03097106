//! The interface of an engine: publish and subscribe, and where it keeps history, append and read.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::BoxError;

/// Future of a [`Backplane`] or [`BackplaneLink`], boxed so that both traits can be trait objects.
pub type BackplaneFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// An engine that carries packets between the nodes of a cluster: Redis, NATS, or [`Memory`](crate::cluster::Memory).
///
/// An engine only connects, publishes and subscribes. Membership, requests, presence, reconnecting with back-off and
/// the count of lost messages belong to the cluster, and are the same on every engine.
pub trait Backplane: Send + Sync + 'static {
    /// Name of the engine for the log and for [`Health`](crate::cluster::Health), such as `"redis"`.
    fn name(&self) -> &'static str;

    /// Largest packet in bytes. By default 512 KiB, half of what NATS takes.
    fn max_packet(&self) -> usize {
        512 << 10
    }

    /// Whether [`Packet::history`] is kept, and [`BackplaneLink::history`] answers. False by default.
    fn keeps_history(&self) -> bool {
        false
    }

    /// Opens a link to the engine. The cluster calls it again whenever a link was lost, and limits its time. If it takes long,
    /// the cluster calls it again meanwhile, and takes the first link that opens.
    ///
    /// # Errors
    /// The engine cannot be reached, or refuses the link.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing of the link may be left behind.
    fn connect(&self, inbound: Inbound) -> BackplaneFuture<'_, Box<dyn BackplaneLink>>;
}

/// One connection to an engine. It does not reconnect: once lost, it is dropped, and the cluster connects again.
///
/// Packets that are published through one link to one subject arrive in order at every subscriber, at most once. A link
/// also receives what it has published itself to subjects it has subscribed to.
pub trait BackplaneLink: Send + Sync + 'static {
    /// Publishes packets in this order; resolves when the engine has taken all of them.
    ///
    /// # Errors
    /// Some packets may not have been published. The cluster then drops the link.
    fn publish(&self, packets: Vec<Packet>) -> BackplaneFuture<'_, ()>;

    /// Subscribes to subjects; resolves when the engine has confirmed all of them, so that a packet published to them
    /// afterwards arrives.
    ///
    /// # Errors
    /// The cluster then drops the link.
    fn subscribe(&self, subjects: Vec<Subject>) -> BackplaneFuture<'_, ()>;

    /// Ends subscriptions.
    ///
    /// # Errors
    /// The cluster then drops the link.
    fn unsubscribe(&self, subjects: Vec<Subject>) -> BackplaneFuture<'_, ()>;

    /// Resolves to the reason when the link is lost. Called once.
    fn closed(&self) -> Pin<Box<dyn Future<Output = BoxError> + Send + '_>>;

    /// The entries kept for `key`, oldest first: at most `keep.last`, none older than `keep.within`.
    ///
    /// # Errors
    /// The engine cannot be read, or, by default, keeps no history.
    fn history(&self, key: &str, keep: Keep) -> BackplaneFuture<'_, Vec<Bytes>> {
        let _ = (key, keep);
        Box::pin(async { Err("this engine keeps no history".into()) })
    }
}

/// Bytes for the subscribers of a subject.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Packet {
    /// The subject to publish to.
    pub subject: Subject,
    /// The bytes; the engine does not look into them.
    pub payload: Bytes,
    /// Entries to append to histories before the packet is published.
    pub history: Vec<HistoryEntry>,
}

impl Packet {
    /// A packet without history.
    pub fn new(subject: Subject, payload: Bytes) -> Self {
        Self { subject, payload, history: Vec::new() }
    }

    /// Adds an entry to a history.
    #[must_use]
    pub fn and_history(mut self, key: impl Into<Arc<str>>, keep: Keep, entry: Bytes) -> Self {
        self.history.push(HistoryEntry { key: key.into(), keep, entry });
        self
    }
}

/// An entry of a history.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The history, such as that of one room. It may contain any character.
    pub key: Arc<str>,
    /// How much of this history is kept.
    pub keep: Keep,
    /// The bytes of the entry.
    pub entry: Bytes,
}

/// How much of a history is kept: an entry goes when it is older than `within`, or when `last` newer ones are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Number of entries.
    pub last: usize,
    /// Age of the oldest entry.
    pub within: Duration,
}

/// The address of packets. Its text, by [`Display`](fmt::Display), has only letters, digits and dots; `FromStr` reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Subject {
    /// All nodes: `nodes`.
    Nodes,
    /// One node: `node.` and its 16 hexadecimal digits.
    Node(NodeId),
    /// The nodes with sessions in one bucket of rooms or users: `bucket.` and its number. An engine may distribute
    /// buckets over its servers.
    Bucket(u16),
}

/// One run of a node, unique in the cluster: 64 random bits. As text it has 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u64);

impl NodeId {
    /// The node with these 64 bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes => f.write_str("nodes"),
            Self::Node(id) => write!(f, "node.{id}"),
            Self::Bucket(number) => write!(f, "bucket.{number}"),
        }
    }
}

/// A text that is not a [`Subject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidSubject;

impl fmt::Display for InvalidSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a subject of a cluster")
    }
}

impl std::error::Error for InvalidSubject {}

impl FromStr for Subject {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        let parsed = match text.split_once('.') {
            None if text == "nodes" => Some(Self::Nodes),
            Some(("node", id)) if id.len() == 16 => u64::from_str_radix(id, 16).ok().map(|id| Self::Node(NodeId(id))),
            Some(("bucket", number)) => number.parse().ok().map(Self::Bucket),
            _ => None,
        };
        // other spellings of the same subject, such as a sign or a leading zero, are refused
        parsed.filter(|subject| subject.to_string() == text).ok_or(InvalidSubject)
    }
}

/// Takes the packets that arrive through a link. A clone is the same receiver.
#[derive(Clone)]
pub struct Inbound(Arc<dyn Fn(Subject, Bytes) + Send + Sync>);

impl Inbound {
    /// A receiver that calls `deliver` with each packet, such as for the tests of an engine.
    pub fn new(deliver: impl Fn(Subject, Bytes) + Send + Sync + 'static) -> Self {
        Self(Arc::new(deliver))
    }

    /// Delivers a packet. Call it in the order in which the packets of a subject arrived, from one task for each
    /// subject. It never waits: it writes to send queues, which have their own bounds.
    pub fn deliver(&self, subject: Subject, payload: Bytes) {
        (self.0)(subject, payload);
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbound")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn subject_is_read_back_from_its_text(id: u64, bucket: u16) {
            for subject in [Subject::Nodes, Subject::Node(NodeId(id)), Subject::Bucket(bucket)] {
                prop_assert_eq!(subject.to_string().parse(), Ok(subject));
            }
        }

        #[test]
        fn no_other_text_is_a_subject(text in "(node|nodes|bucket)?\\.?[+0-9a-fA-F]{0,17}") {
            if let Ok(subject) = text.parse::<Subject>() {
                prop_assert_eq!(subject.to_string(), text);
            }
        }
    }
}
