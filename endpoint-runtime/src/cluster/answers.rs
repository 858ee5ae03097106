//! What other nodes have answered.

use std::fmt;

use super::backplane::NodeId;

/// Answers of the nodes of a cluster to one question.
///
/// A question ends as soon as every node has answered, is declared dead, or the
/// [request timeout](crate::cluster::Cluster::request_timeout) is over. Answers that came are never thrown away because
/// others are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answers<T> {
    /// The answer of each node, this one first.
    pub got: Vec<(NodeId, T)>,
    /// Nodes that should have answered and have not.
    pub missing: Vec<NodeId>,
}

impl<T> Answers<T> {
    pub(crate) fn here(node: NodeId, answer: T) -> Self {
        Self { got: vec![(node, answer)], missing: Vec::new() }
    }

    /// Whether no answer is missing.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// The answers, without the nodes.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.got.iter().map(|(_, answer)| answer)
    }
}

impl Answers<usize> {
    /// The sum of all numbers that came.
    pub fn sum(&self) -> usize {
        self.iter().sum()
    }
}

impl<T> Answers<Vec<T>> {
    /// The items of all lists that came.
    pub fn into_items(self) -> Vec<T> {
        self.got.into_iter().flat_map(|(_, items)| items).collect()
    }
}

/// Where a message has arrived ([`Report::everywhere`](crate::Report::everywhere)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterReport {
    /// Number of sessions of this node for which the message was queued.
    pub here: usize,
    /// Number of sessions of other nodes for which it was queued.
    pub elsewhere: usize,
    /// Number of live nodes, this one included, that have the message or have no sessions for it.
    pub nodes: usize,
    /// Number of live nodes, this one included.
    pub of: usize,
    /// Nodes that did not confirm the message: they may or may not have it.
    pub unsure: Vec<NodeId>,
}

impl ClusterReport {
    /// The report of a container without a cluster.
    pub(crate) fn alone(here: usize) -> Self {
        Self { here, elsewhere: 0, nodes: 1, of: 1, unsure: Vec::new() }
    }

    /// Whether every live node has confirmed.
    pub fn is_complete(&self) -> bool {
        self.unsure.is_empty()
    }
}

impl fmt::Display for ClusterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { here, elsewhere, nodes, of, unsure } = self;
        write!(f, "here = {here}, elsewhere = {elsewhere}, nodes {nodes} of {of}, unsure = {}", unsure.len())
    }
}
