//! One run: a fleet of its own, its sessions, and what was found between two moments of rest.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compare::bench::Bench;
use compare::process::own_cpu_time;
use compare::stats::Histogram;
use serde::{Deserialize, Serialize};

use crate::crowd::{Crowd, Pace, Phase};
use crate::engine::Work;
use crate::fleet::Fleet;
use crate::layout::{Layout, Load, Placement};
use crate::ledger::Faults;
use crate::target::Target;

/// Each session of the joins asks for so many rooms.
const JOINS_PER_SESSION: usize = 10;
/// So many sessions ask at a time.
const JOIN_WAVE: usize = 100;
/// Members of a room, or a few more.
const JOIN_ROOM: usize = 10;
const WARMUP_ROOMS: usize = 50;
/// Where nothing can join, this is how often all sessions open and close again.
const OPENINGS: usize = 10;

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub nodes: usize,
    pub seconds: f64,
    pub warmup: f64,
    /// Bytes of a line.
    pub size: usize,
    pub senders: usize,
    pub in_flight: usize,
    pub join_sessions: usize,
}

/// A run in a closed loop, and for `Spread` one in an open loop after it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    pub sessions: usize,
    pub members: usize,
    pub messages: u64,
    pub local: u64,
    pub remote: u64,
    pub expected: u64,
    pub faults: Faults,
    pub seconds: f64,
    pub drain_seconds: f64,
    pub node_cpu_seconds: Vec<f64>,
    pub engine_cpu_seconds: f64,
    pub load_cpu_seconds: f64,
    pub engine: Work,
    pub latency: Option<Latency>,
}

/// An open loop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latency {
    pub messages_per_second: f64,
    pub messages: u64,
    pub expected: u64,
    pub deliveries: u64,
    pub faults: Faults,
    pub remote: Quantiles,
    pub local: Quantiles,
    /// The most that a line was sent too late.
    pub latest_us: f64,
    pub node_cpu_seconds: f64,
    pub engine_cpu_seconds: f64,
}

/// In microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram) -> Self {
        Self { p50: histogram.quantile_us(0.5), p99: histogram.quantile_us(0.99) }
    }
}

/// Many sessions, each in one room, and then in ten more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joins {
    pub sessions: usize,
    pub opened: Cost,
    pub kib_per_session: f64,
    pub joins: usize,
    /// Joins are sessions that open and close: no message joins a room.
    pub by_opening: bool,
    pub joined: Cost,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    pub seconds: f64,
    pub node_cpu_seconds: f64,
    pub engine_cpu_seconds: f64,
    pub engine: Work,
}

/// Measures one placement of a load.
pub fn flow(bench: &mut Bench, target: &Target, load: Load, placement: Placement, plan: &Plan) -> Result<Flow> {
    let layout = Layout::new(load, placement, plan.nodes, plan.senders)?;
    let mut fleet = Fleet::start(bench, target, placement.nodes(plan.nodes), placement.has_engine())?;
    let flow = flow_of(&fleet, target, layout, placement, plan);
    fleet.check().and(flow)
}

fn flow_of(fleet: &Fleet, target: &Target, layout: Layout, placement: Placement, plan: &Plan) -> Result<Flow> {
    let members = layout.members;
    let mut crowd = Crowd::open(target.dialect, &fleet.addrs(), layout, plan.size)?;
    crowd.await_rooms()?;
    let pace = Pace::Closed { in_flight: plan.in_flight };
    crowd.run(pace, plan.warmup).context("in the warm-up")?;
    let (phase, load_cpu_seconds, cost) = at_rest(fleet, || {
        let before = own_cpu_time()?;
        let phase = crowd.run(pace, plan.seconds)?;
        Ok((phase, (own_cpu_time()? - before).as_secs_f64()))
    })
    .map(|((phase, load), cost)| (phase, load, cost))?;
    let latency = match placement {
        Placement::Spread => {
            let rate = phase.messages as f64 / phase.seconds / 2.0;
            Some(latency(fleet, &mut crowd, rate, members, plan).context("in the open loop")?)
        }
        _ => None,
    };
    let Phase { messages, local, remote, faults, seconds, drain_seconds, .. } = phase;
    Ok(Flow {
        sessions: crowd.len(),
        members,
        messages,
        local,
        remote,
        expected: messages * members as u64,
        faults,
        seconds,
        drain_seconds,
        node_cpu_seconds: cost.nodes,
        engine_cpu_seconds: cost.engine,
        load_cpu_seconds,
        engine: cost.work,
        latency,
    })
}

fn latency(fleet: &Fleet, crowd: &mut Crowd, rate: f64, members: usize, plan: &Plan) -> Result<Latency> {
    let (phase, cost) = at_rest(fleet, || crowd.run(Pace::Open { rate }, plan.seconds))?;
    Ok(Latency {
        messages_per_second: rate,
        messages: phase.messages,
        expected: phase.messages * members as u64,
        deliveries: phase.local + phase.remote,
        faults: phase.faults,
        remote: Quantiles::of(&phase.remote_latency),
        local: Quantiles::of(&phase.local_latency),
        latest_us: phase.latest.as_secs_f64() * 1e6,
        node_cpu_seconds: cost.nodes.iter().sum(),
        engine_cpu_seconds: cost.engine,
    })
}

struct Spent {
    nodes: Vec<f64>,
    engine: f64,
    work: Work,
}

/// CPU time of the fleet for this, from one rest to the next.
fn at_rest<T>(fleet: &Fleet, run: impl FnOnce() -> Result<T>) -> Result<(T, Spent)> {
    fleet.come_to_rest()?;
    let (cpu, work) = (fleet.cpu()?, fleet.work()?);
    let result = run()?;
    fleet.come_to_rest()?;
    let (cpu, work) = (fleet.cpu()?.since(&cpu), fleet.work()?.since(&work));
    let nodes = cpu.nodes.iter().map(Duration::as_secs_f64).collect();
    Ok((result, Spent { nodes, engine: cpu.engine.as_secs_f64(), work }))
}

fn costing<T>(fleet: &Fleet, run: impl FnOnce() -> Result<T>) -> Result<(T, Cost)> {
    let ((result, seconds), spent) = at_rest(fleet, || {
        let start = Instant::now();
        Ok((run()?, start.elapsed().as_secs_f64()))
    })?;
    let Spent { nodes, engine, work } = spent;
    let node_cpu_seconds = nodes.iter().sum();
    Ok((result, Cost { seconds, node_cpu_seconds, engine_cpu_seconds: engine, engine: work }))
}

/// Measures what opening sessions and joining rooms costs.
pub fn joins(bench: &mut Bench, target: &Target, plan: &Plan) -> Result<Joins> {
    let mut fleet = Fleet::start(bench, target, plan.nodes, true)?;
    let joins = joins_of(&fleet, target, plan);
    fleet.check().and(joins)
}

fn joins_of(fleet: &Fleet, target: &Target, plan: &Plan) -> Result<Joins> {
    // rooms of a size that all nodes have the same part of
    let members = JOIN_ROOM.next_multiple_of(plan.nodes);
    let rooms = plan.join_sessions / members;
    let load = Load { sessions: rooms * members, rooms };
    let open = |load| {
        let layout = Layout::new(load, Placement::Spread, plan.nodes, 1)?;
        Crowd::open(target.dialect, &fleet.addrs(), layout, plan.size)
    };
    // what a process makes for its first sessions is not theirs
    drop(open(Load { sessions: WARMUP_ROOMS * members, rooms: WARMUP_ROOMS })?);
    fleet.come_to_rest()?;
    let before_kib = fleet.resident_kib()?;
    let (mut crowd, opened) = costing(fleet, || open(load))?;
    let kib_per_session = (fleet.resident_kib()? as f64 - before_kib as f64) / load.sessions as f64;
    crowd.await_rooms()?;
    let by_opening = target.dialect.join("").is_none();
    let (joins, joined) = if by_opening {
        drop(crowd);
        costing(fleet, || {
            for _ in 0..OPENINGS {
                drop(open(load)?);
            }
            Ok(OPENINGS * load.sessions)
        })?
    } else {
        let rooms = |session: usize| {
            let first = session * JOINS_PER_SESSION;
            (first..first + JOINS_PER_SESSION).map(|room| format!("j{}", room % load.sessions)).collect()
        };
        costing(fleet, || crowd.join(rooms, JOIN_WAVE))?
    };
    Ok(Joins { sessions: load.sessions, opened, kib_per_session, joins, by_opening, joined })
}
