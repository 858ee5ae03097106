//! What the runs of a target under a load say together: rates, costs, latency. Pure.

use serde::{Deserialize, Serialize};

use crate::layout::{Load, Placement};
use crate::measure::{Flow, Joins};

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub target: String,
    pub round: usize,
    /// The load and its placement; `None` is the run of joins.
    pub load: Option<(Load, Placement)>,
    pub finding: Finding,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Flow(Box<Flow>),
    Joins(Box<Joins>),
    Error(String),
}

impl Run {
    /// The words before an error of this run.
    pub fn name(&self) -> String {
        let what =
            self.load.map_or("joins".to_owned(), |(load, placement)| format!("{} {}", load.name(), placement.name()));
        format!("{what}, {}, round {}", self.target, self.round + 1)
    }

    pub fn failed(&self) -> bool {
        match &self.finding {
            Finding::Error(_) => true,
            Finding::Joins(_) => false,
            Finding::Flow(flow) => !is_exact(flow),
        }
    }
}

/// Every line came once and in order.
pub fn is_exact(flow: &Flow) -> bool {
    let latency = flow.latency.as_ref();
    flow.local + flow.remote == flow.expected
        && flow.faults == Default::default()
        && latency.is_none_or(|latency| latency.deliveries == latency.expected && latency.faults == Default::default())
}

pub fn flows<'a>(
    runs: &'a [Run],
    target: &'a str,
    wanted: Load,
    placement: Placement,
) -> impl Iterator<Item = (usize, &'a Flow)> {
    runs.iter().filter(move |run| run.target == target && run.load == Some((wanted, placement))).filter_map(|run| {
        match &run.finding {
            Finding::Flow(flow) => Some((run.round, &**flow)),
            _ => None,
        }
    })
}

pub fn joins<'a>(runs: &'a [Run], target: &'a str) -> impl Iterator<Item = &'a Joins> {
    runs.iter().filter(move |run| run.target == target).filter_map(|run| match &run.finding {
        Finding::Joins(joins) => Some(&**joins),
        _ => None,
    })
}

impl Flow {
    pub fn deliveries(&self) -> u64 {
        self.local + self.remote
    }

    pub fn node_us_per_message(&self) -> f64 {
        self.node_cpu_seconds.iter().sum::<f64>() * 1e6 / self.messages as f64
    }

    pub fn first_node_us_per_message(&self) -> f64 {
        self.node_cpu_seconds[0] * 1e6 / self.messages as f64
    }

    /// Of each node but the first.
    pub fn other_node_us_per_message(&self) -> Option<f64> {
        let others = &self.node_cpu_seconds[1..];
        (!others.is_empty()).then(|| others.iter().sum::<f64>() / others.len() as f64 * 1e6 / self.messages as f64)
    }

    pub fn engine_us_per_message(&self) -> f64 {
        self.engine_cpu_seconds * 1e6 / self.messages as f64
    }

    pub fn commands_per_message(&self) -> f64 {
        self.engine.total() as f64 / self.messages as f64
    }

    pub fn engine_bytes_per_message(&self) -> f64 {
        self.engine.sent_bytes as f64 / self.messages as f64
    }

    /// How many cores the nodes and their engine kept busy.
    pub fn busy_cores(&self) -> f64 {
        (self.node_cpu_seconds.iter().sum::<f64>() + self.engine_cpu_seconds) / self.seconds
    }

    pub fn remote_per_message(&self) -> f64 {
        self.remote as f64 / self.messages as f64
    }

    /// CPU time of the nodes for a remote delivery: all they spend on a message, less what `local` spends on one that has
    /// the same local deliveries and no remote ones, divided by the remote deliveries.
    pub fn node_us_per_remote(&self, local: &Flow) -> f64 {
        (self.node_us_per_message() - local.node_us_per_message()) / self.remote_per_message()
    }

    /// The engine serves remote deliveries only.
    pub fn engine_us_per_remote(&self) -> f64 {
        self.engine_us_per_message() / self.remote_per_message()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::engine::Work;
    use crate::ledger::Faults;

    /// A thousand messages in a second, with these CPU microseconds per message.
    pub fn flow(members: usize, local: u64, nodes: &[f64], engine: f64, engine_bytes: u64) -> Flow {
        Flow {
            sessions: members,
            members,
            messages: 1000,
            local: local * 1000,
            remote: (members as u64 - local) * 1000,
            expected: members as u64 * 1000,
            faults: Faults::default(),
            seconds: 1.0,
            drain_seconds: 0.0,
            node_cpu_seconds: nodes.iter().map(|us| us / 1e3).collect(),
            engine_cpu_seconds: engine / 1e3,
            load_cpu_seconds: 0.1,
            engine: Work { commands: [("publish".to_owned(), 1000)].into(), sent_bytes: engine_bytes * 1000 },
            latency: None,
        }
    }

    #[test]
    fn remote_deliveries_cost_what_local_ones_do_not() {
        let spread = flow(12, 4, &[40.0, 30.0, 30.0], 16.0, 600);
        let alone = flow(4, 4, &[20.0], 0.0, 0);
        assert!((spread.node_us_per_remote(&alone) - 10.0).abs() < 1e-9);
        assert!((spread.engine_us_per_remote() - 2.0).abs() < 1e-9);
        assert_eq!(spread.other_node_us_per_message(), Some(30.0));
        assert_eq!((spread.commands_per_message(), alone.other_node_us_per_message()), (1.0, None));
    }

    #[test]
    fn a_lost_or_doubled_line_is_a_failed_run() {
        let mut lossy = flow(12, 4, &[1.0], 0.0, 0);
        assert!(is_exact(&lossy));
        lossy.faults.duplicates = 1;
        assert!(!is_exact(&lossy));
        lossy.faults.duplicates = 0;
        lossy.local -= 1;
        assert!(!is_exact(&lossy));
    }
}
