//! How many nodes a demand takes, from what one message costs each party. Pure; the formula is in `README.md`.

use std::fmt::Write;

use compare::chart::{self, Group, Heading};
use compare::stats::{Spread, spread};
use compare::table::{put_row, significant, thousands};

use crate::figures::{Run, flows, joins};
use crate::layout::{Load, Placement};
use crate::measure::Flow;

/// The share of a core that may be in use.
const FULL: f64 = 0.7;
/// No more nodes than this are tried.
const MOST_NODES: usize = 10_000;
/// Bars are cut off here.
const LONGEST: f64 = 2.0;

const HEADING: Heading = Heading {
    title: "Cores per node and of the engine, by number of nodes",
    head: "Cores of each node and of the engine, by number of nodes",
    below: "Less is better. The dashed line is one core. Computed from costs measured on three nodes.",
};

/// The demand.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    pub sessions: f64,
    /// A second.
    pub deliveries: f64,
}

/// CPU microseconds of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    pub target: String,
    /// Members of a room.
    pub members: f64,
    /// The sender's node: takes a message in.
    pub message: f64,
    /// A node with the receiver: a delivery.
    pub delivery: f64,
    /// The sender's node: hands a message to the engine.
    pub publish: f64,
    /// Another node with members: takes a message from the engine.
    pub receive: f64,
    /// A node without members.
    pub bystand: f64,
    /// The engine: a message, a node with members, a node without.
    pub engine_message: f64,
    pub engine_member: f64,
    pub engine_bystander: f64,
    pub commands: f64,
    pub session_kib: f64,
}

/// A demand on so many nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    pub cores_per_node: f64,
    pub engine_cores: f64,
    pub commands_per_second: f64,
    pub gib_per_node: f64,
}

/// The targets that were measured in all placements of the load.
pub fn costs(runs: &[Run], load: Load, nodes: usize) -> Vec<Costs> {
    let mut targets: Vec<&str> = Vec::new();
    for run in runs {
        if !targets.contains(&run.target.as_str()) {
            targets.push(&run.target);
        }
    }
    targets.into_iter().filter_map(|target| costs_of(runs, target, load, nodes)).collect()
}

/// Differences are taken round by round, so that what disturbs a whole round disturbs them less.
fn costs_of(runs: &[Run], target: &str, load: Load, nodes: usize) -> Option<Costs> {
    let rounds: Vec<Costs> = flows(runs, target, load, Placement::Spread)
        .filter_map(|(round, spread)| costs_of_round(runs, spread, target, load, nodes, round))
        .collect();
    let median = |read: fn(&Costs) -> f64| spread(rounds.iter().map(read)).map(|spread| spread.median);
    let kib = spread(joins(runs, target).map(|joins| joins.kib_per_session)).map_or(0.0, |kib| kib.median);
    Some(Costs {
        target: target.to_owned(),
        members: load.members() as f64,
        message: median(|costs| costs.message)?,
        delivery: median(|costs| costs.delivery)?,
        publish: median(|costs| costs.publish)?,
        receive: median(|costs| costs.receive)?,
        bystand: median(|costs| costs.bystand)?,
        engine_message: median(|costs| costs.engine_message)?,
        engine_member: median(|costs| costs.engine_member)?,
        engine_bystander: median(|costs| costs.engine_bystander)?,
        commands: median(|costs| costs.commands)?,
        session_kib: kib,
    })
}

fn costs_of_round(runs: &[Run], spread: &Flow, target: &str, load: Load, nodes: usize, round: usize) -> Option<Costs> {
    let flow =
        |placement| flows(runs, target, load, placement).find(|(other, _)| *other == round).map(|(_, flow)| flow);
    let (gathered, single) = (flow(Placement::Gathered)?, flow(Placement::Single)?);
    let node = Flow::node_us_per_message;
    let (alone, alone_full) = (node(flow(Placement::Alone)?), node(flow(Placement::AloneFull)?));
    let members = load.members() as f64;
    let others = (nodes - 1) as f64;
    let here = members / nodes as f64;

    let delivery = (alone_full - alone) / (members - here);
    let publish = (node(single) - alone).max(0.0);
    // more than half of the bytes that nodes with members receive
    let bytes = Flow::engine_bytes_per_message;
    let reaches_bystanders = bytes(gathered) - bytes(single) > (bytes(spread) - bytes(single)) / 2.0;
    let to_bystanders = |cost: f64| if reaches_bystanders { cost.max(0.0) } else { 0.0 };
    let engine = Flow::engine_us_per_message;
    Some(Costs {
        target: target.to_owned(),
        members,
        message: (alone - here * delivery).max(0.0),
        delivery,
        publish,
        receive: ((node(spread) - alone_full - publish) / others).max(0.0),
        bystand: to_bystanders(gathered.other_node_us_per_message()?),
        engine_message: engine(single),
        engine_member: ((engine(spread) - engine(single)) / others).max(0.0),
        engine_bystander: to_bystanders((engine(gathered) - engine(single)) / others),
        commands: spread.commands_per_message(),
        session_kib: 0.0,
    })
}

impl Costs {
    /// Members sit on nodes at random; each node has an equal part of all.
    pub fn need(&self, demand: &Demand, nodes: usize) -> Need {
        let count = nodes as f64;
        let messages = demand.deliveries / self.members;
        // nodes with at least one member, the sender's included
        let with_members = count * (1.0 - (1.0 - 1.0 / count).powf(self.members));
        let others = with_members - 1.0;
        let without = count - with_members;
        let node_us =
            self.message + self.members * self.delivery + self.publish + others * self.receive + without * self.bystand;
        let engine_us = self.engine_message + others * self.engine_member + without * self.engine_bystander;
        Need {
            cores_per_node: messages * node_us / 1e6 / count,
            engine_cores: messages * engine_us / 1e6,
            commands_per_second: messages * self.commands,
            gib_per_node: demand.sessions / count * self.session_kib / f64::from(1 << 20),
        }
    }

    /// The fewest nodes of one core each that are not full, whatever the engine takes.
    pub fn fewest_nodes(&self, demand: &Demand) -> Option<usize> {
        (1..=MOST_NODES).find(|nodes| self.need(demand, *nodes).cores_per_node <= FULL)
    }
}

pub fn markdown(all: &[Costs], demand: &Demand, nodes: &[usize]) -> String {
    let mut out = String::from("CPU µs, as measured:\n\n");
    let columns = [
        "target",
        "members",
        "message",
        "delivery",
        "publish",
        "receive",
        "bystand",
        "engine: message",
        "engine: node with members",
        "engine: node without",
        "commands per message",
        "KiB per session",
    ];
    head(&mut out, &columns);
    for costs in all {
        let numbers = [
            costs.members,
            costs.message,
            costs.delivery,
            costs.publish,
            costs.receive,
            costs.bystand,
            costs.engine_message,
            costs.engine_member,
            costs.engine_bystander,
            costs.commands,
            costs.session_kib,
        ];
        let mut row = vec![costs.target.clone()];
        row.extend(numbers.map(significant));
        put_row(&mut out, &row);
    }
    let _ = writeln!(
        out,
        "\n{} sessions, {} deliveries a second:\n",
        thousands(demand.sessions as u64),
        thousands(demand.deliveries as u64)
    );
    let columns =
        ["target", "nodes", "cores per node", "GiB of sessions per node", "engine cores", "engine commands per second"];
    head(&mut out, &columns);
    for costs in all {
        for nodes in nodes {
            let need = costs.need(demand, *nodes);
            let cores = significant(need.cores_per_node);
            let row = [
                costs.target.clone(),
                nodes.to_string(),
                if need.cores_per_node > FULL { cores } else { format!("**{cores}**") },
                significant(need.gib_per_node),
                significant(need.engine_cores),
                thousands(need.commands_per_second as u64),
            ];
            put_row(&mut out, &row);
        }
    }
    let _ = writeln!(out, "\nBold: a node has enough with {:.0} % of one core.\n", FULL * 100.0);
    for costs in all {
        let fewest = match costs.fewest_nodes(demand) {
            None => format!("no number of nodes up to {} is enough", thousands(MOST_NODES as u64)),
            Some(nodes) => {
                let engine = costs.need(demand, nodes).engine_cores;
                format!("{nodes} nodes of one core are enough; their engine needs {} cores", significant(engine))
            }
        };
        let _ = writeln!(out, "- {}: {fewest}.", costs.target);
    }
    out
}

fn head(out: &mut String, columns: &[&str]) {
    put_row(out, columns);
    put_row(out, &columns.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "---:" }).collect::<Vec<_>>());
}

/// A group of bars per number of nodes: first the nodes, then the engine.
pub fn svg(all: &[Costs], demand: &Demand, nodes: &[usize]) -> String {
    let group = |title: String, read: &dyn Fn(&Costs) -> f64| {
        let bars = all.iter().map(|costs| {
            let value = read(costs);
            (costs.target.clone(), Spread { median: value, min: value, max: value })
        });
        Group { title, unit: " cores", longest: LONGEST, base: Some(1.0), bars: bars.collect() }
    };
    let of_nodes = nodes
        .iter()
        .map(|nodes| group(format!("{nodes} nodes: each node"), &|costs| costs.need(demand, *nodes).cores_per_node));
    let of_engine = nodes
        .iter()
        .map(|nodes| group(format!("{nodes} nodes: their engine"), &|costs| costs.need(demand, *nodes).engine_cores));
    let about = format!(
        "{} sessions, {} deliveries a second, rooms of {} members on random nodes.",
        thousands(demand.sessions as u64),
        thousands(demand.deliveries as u64),
        all[0].members
    );
    chart::draw(HEADING, &of_nodes.chain(of_engine).collect::<Vec<_>>(), &about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Finding;
    use crate::figures::tests::flow;

    const LOAD: Load = Load { sessions: 12, rooms: 1 };
    const DEMAND: Demand = Demand { sessions: 1e6, deliveries: 1.2e6 };

    /// message 4, delivery 2, publish 6, receive 8, bystand 3; engine: 5, 1 with members, 1 without.
    fn runs(bystand: f64, bystander_bytes: u64) -> Vec<Run> {
        let run = |placement, flow| Run {
            target: "t".to_owned(),
            round: 0,
            load: Some((LOAD, placement)),
            finding: Finding::Flow(Box::new(flow)),
        };
        vec![
            run(Placement::Spread, flow(12, 4, &[18.0, 16.0, 16.0], 7.0, 900)),
            run(Placement::Gathered, flow(4, 4, &[18.0, bystand, bystand], 7.0, 300 + 2 * bystander_bytes)),
            run(Placement::Single, flow(4, 4, &[18.0], 5.0, 300)),
            run(Placement::Alone, flow(4, 4, &[12.0], 0.0, 0)),
            run(Placement::AloneFull, flow(12, 12, &[28.0], 0.0, 0)),
        ]
    }

    #[test]
    fn costs_are_the_differences_between_placements() {
        let costs = costs(&runs(3.0, 300), LOAD, 3).remove(0);
        let rounded = |value: f64| (value * 1e6).round() / 1e6;
        let nodes = [costs.message, costs.delivery, costs.publish, costs.receive, costs.bystand].map(rounded);
        assert_eq!(nodes, [4.0, 2.0, 6.0, 8.0, 3.0]);
        let engine = [costs.engine_message, costs.engine_member, costs.engine_bystander].map(rounded);
        assert_eq!(engine, [5.0, 1.0, 1.0]);
        assert_eq!(costs.commands, 1.0);
    }

    #[test]
    fn where_the_engine_spares_bystanders_they_cost_nothing() {
        let costs = costs(&runs(0.1, 0), LOAD, 3).remove(0);
        assert_eq!((costs.bystand, costs.engine_bystander), (0.0, 0.0));
    }

    #[test]
    fn a_bystander_costs_the_same_however_many_there_are() {
        let costs = costs(&runs(3.0, 300), LOAD, 3).remove(0);
        let need = costs.need(&DEMAND, 1000);
        // 100,000 messages a second at 3 µs on each node, and little else
        assert!((0.3..0.36).contains(&need.cores_per_node), "{need:?}");
        assert!((need.commands_per_second - 1e5).abs() < 1.0);
        let one = costs.need(&DEMAND, 1);
        assert!((one.cores_per_node - 3.4).abs() < 1e-6, "{one:?}");
    }

    #[test]
    fn demands_that_no_number_of_nodes_carries_have_none() {
        let mut costs = costs(&runs(3.0, 300), LOAD, 3).remove(0);
        assert!(costs.fewest_nodes(&DEMAND).is_some());
        costs.bystand = 8.0;
        assert_eq!(costs.fewest_nodes(&DEMAND), None);
        let table = markdown(&[costs.clone()], &DEMAND, &[3, 100]);
        assert!(table.contains("no number of nodes up to 10,000") && table.contains("| t | 100 |"), "{table}");
        assert!(svg(&[costs], &DEMAND, &[3, 100]).contains("100 nodes: their engine"));
    }
}
