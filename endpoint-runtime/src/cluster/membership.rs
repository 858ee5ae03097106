//! The place of a container in a cluster: it begins with this, and ends with it.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::backplane::Keep;
use super::link;
use super::node::Node;
use super::settings::Cluster;
use super::sink::Sink;

/// Keeps the node in the cluster: its tasks end when this is dropped.
#[derive(Debug)]
pub(crate) struct Membership(pub(crate) Arc<Node>);

impl Membership {
    /// Makes a node and begins to connect. `keep` is how much of each room's messages is kept.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start(cluster: Cluster, keep: Option<Keep>, sink: Arc<dyn Sink>) -> Self {
        let node = Arc::new(Node::new(cluster, keep, sink));
        node.open_outbox_while_down();
        node.tasks.spawn(link::run(node.clone()));
        Self(node)
    }

    /// Tells the others that this node ends, and waits for its tasks, at most until `end`.
    pub(crate) async fn leave(&self, end: Instant) {
        self.0.stop.cancel();
        self.0.tasks.close();
        let _ = timeout_at(end, self.0.tasks.wait()).await;
    }

    /// Ends the node without a word to the others.
    #[cfg(feature = "test")]
    pub(crate) fn abort(&self) {
        self.0.stop.cancel();
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}
