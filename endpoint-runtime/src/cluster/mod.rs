//! Several containers, on one machine or many, that act as one: rooms, users and presence across nodes.
//!
//! An engine, such as Redis or NATS, carries packets between the nodes; the containers are given to it by one line:
//!
//! ```
//! use endpoint_runtime::ServerContainer;
//! use endpoint_runtime::cluster::Memory;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), endpoint_runtime::Error> {
//! let engine = Memory::new(); // `Redis::connect(url).await?` of endpoint-redis, `Nats::connect(url).await?` of endpoint-nats
//! let container = ServerContainer::builder().cluster(engine).build()?;
//!
//! // local members get it at once, and members on other nodes a moment later
//! let report = container.room("42").async_remote().send_text("the match begins");
//! println!("{}", report.everywhere().await);
//! # Ok(()) }
//! ```
//!
//! # Guarantees
//!
//! - Local sessions get a message before it is published; an engine that is down costs delivery to other nodes only. The
//!   [`Report`](crate::Report) says so, [`Health`] is degraded, the counts grow, and one line is logged.
//! - The messages of one node to one room arrive in the order in which they were sent.
//! - A message is delivered at most once. What did not come is noticed by sequence numbers, and counted.
//! - With `history` on an endpoint, messages to rooms that did not come are fetched from the engine, in order.
//! - A node that dies is declared dead within 6 seconds, and nobody waits for it longer.

mod answers;
mod ask;
pub(crate) mod authentication;
mod backplane;
#[cfg(any(test, fuzzing))]
pub(crate) mod bare_node;
mod engine_call;
pub(crate) mod envelope;
pub(crate) mod fields;
mod health;
mod inbox;
pub(crate) mod interest;
mod lag;
mod link;
pub(crate) mod membership;
mod memory;
pub(crate) mod node;
mod outbox;
mod peers;
pub(crate) mod presence;
pub(crate) mod presence_changes;
pub(crate) mod presence_entries;
mod receive;
mod requests;
mod sequence;
mod settings;
pub(crate) mod sink;
mod subscriptions;
pub(crate) mod target;
#[cfg(test)]
mod vectors;

pub use self::answers::{Answers, ClusterReport};
pub use self::backplane::{
    Backplane, BackplaneFuture, BackplaneLink, HistoryEntry, Inbound, InvalidSubject, Keep, NodeId, Packet, Subject,
};
pub use self::health::{ClusterCounts, ClusterHealth, Health, HealthStatus};
pub use self::memory::{Memory, MemoryPort};
pub use self::settings::{Cluster, WhileDown};
