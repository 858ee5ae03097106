//! The settings of a cluster.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::authentication::Key;
use super::backplane::Backplane;
use crate::config::{CLUSTER_QUEUE_BYTES, CLUSTER_QUEUE_FOR, CLUSTER_REQUEST_TIMEOUT};

/// The engine that connects the containers of a cluster, and the settings of this node.
///
/// Given to [`ContainerBuilder::cluster`](crate::ContainerBuilder::cluster) or
/// [`ServerBuilder::cluster`](crate::ServerBuilder::cluster). An engine alone is enough, and becomes a `Cluster` with
/// default settings.
///
/// ```
/// use endpoint_runtime::ServerContainer;
/// use endpoint_runtime::cluster::{Cluster, Memory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), endpoint_runtime::Error> {
/// let engine = Memory::new();
/// let one = ServerContainer::builder().cluster(engine.clone()).build()?;
/// let other = ServerContainer::builder().cluster(Cluster::on(engine).node("other").key("secret of all nodes")).build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Cluster {
    pub(crate) engine: Arc<dyn Backplane>,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) key: Option<Key>,
    pub(crate) has_empty_key: bool,
    pub(crate) while_down: WhileDown,
    pub(crate) queue_bytes: usize,
    pub(crate) request_timeout: Duration,
    /// What seems random: the same in every run of a test.
    pub(crate) seed: Option<u64>,
}

/// What becomes of messages to other nodes while the engine cannot be reached. Local sessions get them in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhileDown {
    /// They are refused at once, and the [`Report`](crate::Report) says so.
    Refuse,
    /// They wait, within [`Cluster::queue_bytes`], and are published when the engine and the other nodes are back. If the
    /// engine stays away for this time, those that wait are dropped, and counted as
    /// [`unsure`](crate::cluster::ClusterCounts::unsure); later ones are refused until it is back.
    QueueFor(Duration),
}

impl Cluster {
    /// A cluster on this engine, with default settings.
    pub fn on(engine: impl Backplane) -> Self {
        Self {
            engine: Arc::new(engine),
            node: None,
            key: None,
            has_empty_key: false,
            while_down: WhileDown::QueueFor(CLUSTER_QUEUE_FOR),
            queue_bytes: CLUSTER_QUEUE_BYTES,
            request_timeout: CLUSTER_REQUEST_TIMEOUT,
            seed: None,
        }
    }

    /// Makes what seems random the same in every run.
    #[cfg(feature = "test")]
    pub(crate) fn seeded(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The name of this node, for people: in the log, in [`Health`](crate::cluster::Health), on a page. It need not be
    /// unique. By default it is made from the [`NodeId`](crate::cluster::NodeId).
    #[must_use]
    pub fn node(mut self, name: impl Into<Arc<str>>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// A secret that all nodes share. Packets without a tag made with it are dropped and counted: nobody else who can
    /// publish to the engine can send messages to sessions. The tag is an HMAC; packets are not encrypted. By default
    /// there is none, and everybody who can publish to the engine is trusted. An empty secret is a deployment error.
    #[must_use]
    pub fn key(mut self, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        self.has_empty_key = secret.is_empty();
        self.key = Some(Key::new(secret));
        self
    }

    /// What becomes of messages while the engine cannot be reached. Default: [`WhileDown::QueueFor`] 10 seconds.
    #[must_use]
    pub fn while_down(mut self, what: WhileDown) -> Self {
        self.while_down = what;
        self
    }

    /// Bytes of messages that wait for the engine, in all; further messages are refused, and their reports say so.
    /// Default: 8 MiB. It protects the memory of the node against an engine that is slow or away.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How long a question to other nodes, a join, and [`Report::everywhere`](crate::Report::everywhere) wait for
    /// answers. Default: 5 seconds. A node that dies meanwhile is not waited for.
    #[must_use]
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = limit;
        self
    }
}

impl<B: Backplane> From<B> for Cluster {
    fn from(engine: B) -> Self {
        Self::on(engine)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("engine", &self.engine.name()).field("node", &self.node).finish_non_exhaustive()
    }
}
