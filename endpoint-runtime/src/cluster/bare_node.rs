//! A node without sessions and without an engine, for checks: the fuzz target `cluster_packet` and tests give it any
//! packets and ask what it keeps.

use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::authentication::Key;
use super::backplane::{Backplane, BackplaneFuture, BackplaneLink, Inbound, Keep, NodeId, Packet, Subject};
use super::envelope::Publish;
use super::health::ClusterCounts;
use super::interest::{ALL_BUCKETS, BUCKETS};
use super::node::Node;
use super::settings::Cluster;
use super::sink::Sink;
use super::target::{Operation, Question, Target};
use crate::error::BoxError;

/// The sizes of a node after the packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) peers: usize,
    /// Bytes that wait for the engine.
    pub(crate) outbox: usize,
    /// Packets that were published.
    pub(crate) published: usize,
    /// Bytes of messages that wait for missing ones.
    pub(crate) held: usize,
    pub(crate) tasks: usize,
    /// Messages for sessions.
    pub(crate) delivered: usize,
    /// Changes of presence, and presences of buckets.
    pub(crate) present: usize,
    pub(crate) counts: ClusterCounts,
}

/// Lets a node take packets, and its tasks run between them. `history` is what the engine says each room has, and
/// `stalls` whether the engine takes no packet.
pub(crate) async fn receive(
    packets: impl IntoIterator<Item = (Subject, Bytes)>,
    history: Vec<Bytes>,
    secret: Option<&[u8]>,
    stalls: bool,
) -> Sizes {
    let mut cluster = Cluster::on(Engine).node("bare");
    (cluster.key, cluster.seed) = (secret.map(Key::new), Some(1));
    let keep = Some(Keep { last: 100, within: Duration::from_secs(60) });
    let nobody = Arc::new(Nobody::default());
    let node = Arc::new(Node::new(cluster, keep, nobody.clone()));
    let link = Arc::new(Link { history, published: AtomicUsize::new(0) });
    {
        let mut state = node.link();
        (state.link, state.since) = (Some(link.clone() as Arc<dyn BackplaneLink>), Some(Instant::now()));
        node.outbox().is_open = true;
        node.local().subscribed = (0..ALL_BUCKETS as u16).filter(|bucket| bucket % 3 == 0).collect();
    }
    for (subject, packet) in packets {
        node.receive(subject, packet);
        yield_now().await;
        if !stalls {
            let batch = node.outbox().take();
            let _ = link.publish(batch.packets).await;
        }
    }
    // what is to be fetched is fetched at once
    for _ in 0..3 {
        yield_now().await;
    }
    let health = node.health();
    let peers = node.peers();
    assert!(health.peers.len() <= peers.inboxes().count());
    Sizes {
        peers: peers.inboxes().count(),
        outbox: node.outbox().bytes(),
        published: link.published.load(Ordering::Relaxed),
        held: peers.inboxes().map(|inbox| inbox.held_bytes()).sum(),
        tasks: node.tasks.len(),
        delivered: nobody.delivered.load(Ordering::Relaxed),
        present: nobody.present.load(Ordering::Relaxed),
        counts: health.counts,
    }
}

/// Sessions that are not there.
#[derive(Default)]
struct Nobody {
    delivered: AtomicUsize,
    present: AtomicUsize,
}

impl Sink for Nobody {
    fn deliver(&self, publish: &Publish) -> usize {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        publish.forms.len()
    }

    fn operate(&self, _: &Target, _: &Operation) -> usize {
        1
    }

    fn answer(&self, _: &Target, _: &Question) -> Bytes {
        Bytes::from_static(&[7; 100])
    }

    fn rooms_in(&self, bucket: u16) -> Vec<String> {
        assert!(bucket < BUCKETS);
        vec!["42".to_owned()]
    }

    fn subprotocols(&self) -> Vec<String> {
        Vec::new()
    }

    fn presence_grace(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn presence_changed(&self, _: NodeId, _: Bytes) {
        self.present.fetch_add(1, Ordering::Relaxed);
    }

    fn presence_is(&self, _: NodeId, _: u16, _: Bytes) {
        self.present.fetch_add(1, Ordering::Relaxed);
    }

    fn forget_presence(&self, _: u16) {}

    fn lost(&self, _: NodeId, _: bool) {}
}

/// An engine that nobody connects to.
struct Engine;

impl Backplane for Engine {
    fn name(&self) -> &'static str {
        "bare"
    }

    fn keeps_history(&self) -> bool {
        true
    }

    fn connect(&self, _: Inbound) -> BackplaneFuture<'_, Box<dyn BackplaneLink>> {
        Box::pin(pending())
    }
}

struct Link {
    history: Vec<Bytes>,
    published: AtomicUsize,
}

impl BackplaneLink for Link {
    fn publish(&self, packets: Vec<Packet>) -> BackplaneFuture<'_, ()> {
        self.published.fetch_add(packets.len(), Ordering::Relaxed);
        Box::pin(ready(Ok(())))
    }

    fn subscribe(&self, _: Vec<Subject>) -> BackplaneFuture<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    fn unsubscribe(&self, _: Vec<Subject>) -> BackplaneFuture<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    fn closed(&self) -> Pin<Box<dyn Future<Output = BoxError> + Send + '_>> {
        Box::pin(pending())
    }

    fn history(&self, _: &str, _: Keep) -> BackplaneFuture<'_, Vec<Bytes>> {
        Box::pin(ready(Ok(self.history.clone())))
    }
}
