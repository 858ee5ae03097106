//! What the cluster needs of the container: the sessions of this node.

use std::time::Duration;

use bytes::Bytes;

use super::backplane::NodeId;
use super::envelope::Publish;
use super::target::{Operation, Question, Target};

/// The sessions of this node, as the cluster sees them. No method waits.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Sends a message of another node to sessions here; returns for how many it was queued.
    fn deliver(&self, publish: &Publish) -> usize;

    /// Does the operation to the sessions here; returns how many they were.
    fn operate(&self, target: &Target, operation: &Operation) -> usize;

    /// The answer of this node.
    fn answer(&self, target: &Target, question: &Question) -> Bytes;

    /// The rooms of this node in a bucket.
    fn rooms_in(&self, bucket: u16) -> Vec<String>;

    /// The subprotocols that endpoints here support.
    fn subprotocols(&self) -> Vec<String>;

    /// The longest grace of the endpoints with presence; `None` if there is none.
    fn presence_grace(&self) -> Option<Duration>;

    /// Another node's presence has changed.
    fn presence_changed(&self, node: NodeId, changes: Bytes);

    /// The whole presence of another node in a bucket; replaces all that is known of it.
    fn presence_is(&self, node: NodeId, bucket: u16, state: Bytes);

    /// The presence of other nodes in a bucket is not known any more.
    fn forget_presence(&self, bucket: u16);

    /// Another node has died, or has ended as it said.
    fn lost(&self, node: NodeId, has_died: bool);
}
