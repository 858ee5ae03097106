//! What the cluster needs of the container: the sessions of this node.

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

    /// Whether an endpoint here has presence.
    fn has_presence(&self) -> bool;

    /// Another node's presence has changed.
    fn presence_changed(&self, node: NodeId, changes: &[u8]);

    /// The whole presence of another node in a bucket; replaces all that is known of it.
    fn presence_is(&self, node: NodeId, bucket: u16, state: &[u8]);

    /// Another node has died or ended.
    fn lost(&self, node: NodeId);
}
