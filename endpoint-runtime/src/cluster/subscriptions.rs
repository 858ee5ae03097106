//! The buckets that a node is subscribed to: as many as it has sessions in, and the other nodes know of each.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::backplane::{BackplaneLink, Subject};
use super::engine_call::{Lost, within};
use super::envelope::Entry;
use super::interest::{ALL_BUCKETS, InterestSet};
use super::node::Node;
use super::outbox::index;
use crate::config::{CLUSTER_CHECK, CLUSTER_LINGER};
use crate::error::BoxError;
use crate::send_queue::FAR;

/// Buckets whose subscriptions end when the other nodes know.
type Leaving = (InterestSet, Pin<Box<dyn Future<Output = ()> + Send>>);

/// Subscribes to the buckets in which the node has sessions, and ends subscriptions that have not been needed for a
/// while, as long as the link lives.
pub(super) async fn keep(node: &Arc<Node>, link: &Arc<dyn BackplaneLink>) -> Lost {
    let mut idle = [None; ALL_BUCKETS];
    let mut leaving: Option<Leaving> = None;
    loop {
        add(node, link).await?;
        let over = over(node, &mut idle);
        let over = if leaving.is_none() { node.local().withdraw(over) } else { InterestSet::default() };
        if !over.is_empty() {
            // others may publish to these buckets until they know; what they publish still arrives
            leaving = Some((over, Box::pin(tell(node.clone(), link.clone()))));
        }
        tokio::select! {
            biased;
            () = told(&mut leaving) => {
                let buckets = leaving.take().map(|(buckets, _)| buckets).unwrap_or_default();
                remove(node, link, buckets).await?;
            }
            () = node.changed.notified() => {}
            () = sleep(CLUSTER_LINGER / 8) => {}
        }
    }
}

/// Subscribes to the buckets that the node has sessions in, and announces them.
async fn add(node: &Arc<Node>, link: &Arc<dyn BackplaneLink>) -> Result<(), BoxError> {
    let (added, unsubscribed) = {
        let local = node.local();
        let added = local.counts.set().without(&local.announced);
        (added, added.without(&local.subscribed))
    };
    if added.is_empty() {
        return Ok(());
    }
    if !unsubscribed.is_empty() {
        within(link.subscribe(unsubscribed.iter().map(Subject::Bucket).collect())).await?;
    }
    node.local().add(&added);
    node.spawn(announce(node.clone(), link.clone(), added));
    added.iter().for_each(|bucket| node.sync_presence_in(bucket));
    Ok(())
}

/// The announced buckets that have had no sessions for a while.
fn over(node: &Node, idle: &mut [Option<Instant>; ALL_BUCKETS]) -> InterestSet {
    let unused = {
        let local = node.local();
        local.announced.without(&local.counts.set())
    };
    // while sessions that have ended are still present, other nodes may ask for them
    let grace = node.sink.presence_grace().unwrap_or_default();
    let linger = CLUSTER_LINGER + grace.min(FAR);
    let now = Instant::now();
    let mut over = InterestSet::default();
    for (bucket, since) in (0..).zip(idle) {
        *since = unused.contains(bucket).then(|| since.unwrap_or(now));
        if since.is_some_and(|since| now.duration_since(since) >= linger) {
            over.set(bucket, true);
        }
    }
    over
}

/// Resolves when the other nodes know of the buckets that end; never without any.
async fn told(leaving: &mut Option<Leaving>) {
    match leaving {
        Some((_, told)) => told.await,
        None => pending().await,
    }
}

/// Ends subscriptions, but for buckets that have sessions again.
async fn remove(node: &Node, link: &Arc<dyn BackplaneLink>, buckets: InterestSet) -> Result<(), BoxError> {
    let ended = node.local().remove(buckets);
    within(link.unsubscribe(ended.iter().map(Subject::Bucket).collect())).await?;
    node.forget(&ended);
    Ok(())
}

/// Announces all buckets after a new link.
pub(super) fn announce_all(node: &Arc<Node>, link: &Arc<dyn BackplaneLink>) {
    let buckets = node.local().announced;
    node.spawn(announce(node.clone(), link.clone(), buckets));
}

/// Makes the other nodes know that this one has sessions in these buckets, as long as the link lives.
async fn announce(node: Arc<Node>, link: Arc<dyn BackplaneLink>, buckets: InterestSet) {
    tell(node.clone(), link.clone()).await;
    if node.is_current(&link) {
        node.note_known(buckets);
    }
}

/// Resolves when every live node knows which buckets this one has announced, or the link is lost.
async fn tell(node: Arc<Node>, link: Arc<dyn BackplaneLink>) {
    while node.is_current(&link) {
        let nodes = node.peers().alive();
        let gathered = node
            .gather(nodes, |request| {
                node.send_control(Subject::Nodes, &Entry::Beat(node.beat(false, request)));
            })
            .await;
        // one that has died meanwhile need not know
        let is_missing = node.peers().alive_peers().any(|(id, _)| gathered.missing.contains(&id));
        if !is_missing {
            return;
        }
        sleep(CLUSTER_CHECK).await;
    }
}

impl Node {
    /// Forgets what other nodes have said in buckets that are not subscribed any more.
    pub(super) fn forget(&self, buckets: &InterestSet) {
        {
            let mut local = self.local();
            local.kept = local.kept.without(buckets);
        }
        buckets.iter().for_each(|bucket| self.sink.forget_presence(bucket));
        for inbox in self.peers().inboxes() {
            buckets.iter().for_each(|bucket| inbox.reset(index(Subject::Bucket(bucket))));
        }
    }

    /// Whether this is the link now.
    fn is_current(&self, link: &Arc<dyn BackplaneLink>) -> bool {
        self.link().link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link))
    }

    /// Every live node knows that this one has announced these buckets.
    fn note_known(&self, buckets: InterestSet) {
        let mut local = self.local();
        let announced = buckets.iter().filter(|bucket| local.announced.contains(*bucket)).collect();
        local.known = local.known.and(&announced);
        drop(local);
        self.known.send_modify(|version| *version += 1);
    }
}
