//! How a cluster is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::backplane::NodeId;

/// State of a container ([`ServerContainer::health`](crate::ServerContainer::health)).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// The state of the whole container.
    pub status: HealthStatus,
    /// Whether the container is shutting down: it refuses handshakes, and its sessions end.
    pub is_draining: bool,
    /// Number of open sessions.
    pub sessions: usize,
    /// Why the container is [degraded](HealthStatus::Degraded), one sentence each.
    pub reasons: Vec<&'static str>,
    /// The cluster; `None` for a container without one.
    pub cluster: Option<ClusterHealth>,
}

/// Whether a container does all that it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HealthStatus {
    /// Everything works.
    Healthy,
    /// Local sessions are served; something else does not work: the way to other nodes, or a budget for memory is used
    /// up. [`Health::reasons`] says what.
    Degraded,
}

/// State of a node's part in the cluster. All counts are since the start of the node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterHealth {
    /// The name of this node.
    pub node: Arc<str>,
    /// This run of the node.
    pub id: NodeId,
    /// The name of the engine.
    pub engine: &'static str,
    /// Whether the engine can be reached.
    pub is_connected: bool,
    /// The error that the last link ended with.
    pub last_error: Option<Arc<str>>,
    /// How long the engine takes to deliver: the time from when this node queued its last sign of life, which it sends
    /// every 1.5 seconds, to when the engine returned it. `None` until the first has returned, and without a link.
    pub lag: Option<Duration>,
    /// The other live nodes: their runs and their names. A node that has not introduced itself yet has an empty name.
    pub peers: Vec<(NodeId, Arc<str>)>,
    /// The counts.
    pub counts: ClusterCounts,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of a cluster's node since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct ClusterCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl ClusterCounts {
            /// The names of the counts, and their values.
            pub(crate) fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }

        /// The counts, as they grow.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn now(&self) -> ClusterCounts {
                ClusterCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}
counts! {
    /// Messages, operations and changes of presence that the engine has taken.
    published,
    /// Packets that the engine has taken; messages that are sent at the same time share packets.
    packets,
    /// Messages for which nothing was published, because no other node has sessions for them.
    not_needed,
    /// Messages that were refused, because the engine could not be reached or was behind, or because they were too
    /// large for it. The [`Report`](crate::Report) of each says so.
    refused,
    /// Messages that waited for the engine too long and were dropped, and those that were being published when a link
    /// was lost or the node ended. Some of the latter may have been delivered.
    unsure,
    /// Messages of other nodes that came.
    received,
    /// Messages of other nodes that did not come, noticed by their sequence numbers. At most so many concerned sessions
    /// of this node, because a bucket has several rooms. Changes of presence count as well; they are asked for again.
    lost,
    /// Missing messages that were fetched from the history, and are not counted as lost.
    recovered,
    /// Messages, operations and requests to operate that came twice and were dropped.
    duplicates,
    /// Packets that were dropped because they were malformed, of another version, or not authenticated.
    rejected,
    /// Links to the engine after the first.
    reconnects,
    /// Other nodes that were declared dead.
    deaths,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds a number that another node has claimed, which may be any; returns the count before and after.
    pub(crate) fn add_claimed(counter: &AtomicU64, claimed: u64) -> (u64, u64) {
        let add = |count: u64| Some(count.saturating_add(claimed));
        let before = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).unwrap_or_else(|count| count);
        (before, before.saturating_add(claimed))
    }
}
