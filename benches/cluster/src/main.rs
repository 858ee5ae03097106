//! Measures a cluster of this project's servers beside one of Socket.IO: see `README.md`.

mod crowd;
mod dialect;
mod engine;
mod figures;
mod fleet;
mod layout;
mod ledger;
mod line;
mod measure;
mod model;
mod partition;
mod report;
mod session;
mod target;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use compare::bench::Bench;
use compare::process::{self, Cores};
use serde::{Deserialize, Serialize};

use figures::{Finding, Run};
use layout::{Load, Placement};
use measure::Plan;
use target::{Choice, Target};

const HELP: &str = "cluster: a cluster of this project's servers against one of Socket.IO

  --targets a,b       of: socketio socketio-sharded ours-redis ours-nats (all)
  --target NAME=CMD   one more program, a single node; {addr} and {node} are replaced; it speaks as ours does
  --ours FILE         the program of ours, already built
  --loads a,b         SESSIONSxROOMS (360x30,1500x100)
  --nodes N           3
  --seconds S         seconds of each loop (5)
  --warmup S          2
  --rounds N          3
  --size N            bytes of a line (100)
  --senders N         members of a room that send (1)
  --in-flight N       lines of a sender under way (4)
  --join-sessions N   sessions that join ten rooms each (10000); 0 measures no joins
  --server-cores a,b  cores of all nodes and of the engine (0)
  --load-core N       1
  --out DIR           where results.json, results.md and the logs go (target/results)
  --no-build          nothing is built or installed first

cluster model: how many nodes many sessions and deliveries take, from what was measured

  --from FILE         a results.json (target/results/results.json)
  --load NAME         the load whose figures are taken (the last one)
  --sessions N        1000000
  --deliveries N      deliveries a second (1000000)
  --nodes a,b         3,10,30,100
  --svg FILE          also draws it

cluster partition: a load while a script breaks nodes, engine and network; partition.sh is that script

  --nodes a,b,c       HOST:PORT of the nodes a, b and c, on a private network
  --engine NAME       for the title
  --rooms N           100
  --members N         members of each room on each node (10)
  --out FILE          the tables";

/// The contents of `results.json`.
#[derive(Serialize, Deserialize)]
struct Results {
    conditions: String,
    nodes: usize,
    runs: Vec<Run>,
}

fn main() -> Result<()> {
    let mut args = pico_args::Arguments::from_env();
    if args.contains(["-h", "--help"]) {
        println!("{HELP}");
        return Ok(());
    }
    match args.subcommand()?.as_deref() {
        None => measure_all(args),
        Some("model") => draw_model(args),
        Some("partition") => prove_partition(args),
        Some(other) => bail!("unknown command {other}\n\n{HELP}"),
    }
}

fn list(text: String) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn out_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/results")
}

fn finish(args: pico_args::Arguments) -> Result<()> {
    let rest = args.finish();
    ensure!(rest.is_empty(), "unknown arguments {rest:?}\n\n{HELP}");
    Ok(())
}

fn measure_all(mut args: pico_args::Arguments) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "measure with --release");
    let choice = Choice {
        names: args.opt_value_from_str("--targets")?.map(list),
        further: args.values_from_str("--target")?,
        ours: args.opt_value_from_str("--ours")?,
        build: !args.contains("--no-build"),
    };
    let loads = args.opt_value_from_str("--loads")?.unwrap_or_else(|| "360x30,1500x100".to_owned());
    let plan = Plan {
        nodes: args.opt_value_from_str("--nodes")?.unwrap_or(3),
        seconds: args.opt_value_from_str("--seconds")?.unwrap_or(5.0),
        warmup: args.opt_value_from_str("--warmup")?.unwrap_or(2.0),
        size: args.opt_value_from_str("--size")?.unwrap_or(100),
        senders: args.opt_value_from_str("--senders")?.unwrap_or(1),
        in_flight: args.opt_value_from_str("--in-flight")?.unwrap_or(4),
        join_sessions: args.opt_value_from_str("--join-sessions")?.unwrap_or(10_000),
    };
    let rounds = args.opt_value_from_str("--rounds")?.unwrap_or(3);
    let server_cores: Cores = args.opt_value_from_str("--server-cores")?.unwrap_or_else(|| Cores::one(0));
    let load_core: Cores = args.opt_value_from_str("--load-core")?.unwrap_or_else(|| Cores::one(1));
    let out: PathBuf = args.opt_value_from_str("--out")?.unwrap_or_else(out_dir);
    finish(args)?;
    let loads = list(loads).iter().map(|load| load.parse()).collect::<Result<Vec<Load>>>()?;
    ensure!(rounds > 0 && plan.nodes > 1 && plan.in_flight > 0, "nothing to compare");

    let targets = choice.targets()?;
    process::raise_open_files()?;
    process::pin(&load_core)?;
    let mut driver = Driver {
        bench: Bench::new(server_cores.clone(), load_core.clone(), out.join("logs"))?,
        runs: Vec::new(),
        plan,
        conditions: String::new(),
        out,
    };
    let load_before = load_average();
    for round in 0..rounds {
        let mut order: Vec<&Target> = targets.iter().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for load in &loads {
            for target in &order {
                for placement in Placement::ALL {
                    // without an engine there is one node
                    if target.engine.is_some() || !placement.has_engine() {
                        driver.measure(target, round, Some((*load, placement)))?;
                    }
                }
            }
        }
        for target in order.iter().filter(|target| target.engine.is_some() && plan.join_sessions > 0) {
            driver.measure(target, round, None)?;
        }
        let Plan { nodes, seconds, warmup, size, senders, in_flight, .. } = plan;
        driver.conditions = format!(
            "{}; {nodes} nodes and their engine on core {server_cores}, load on core {load_core}; {} rounds of \
             {seconds} s after {warmup} s; lines of {size} bytes, senders per room: {senders}, lines of each under way: \
             {in_flight}; load average {load_before} before, {} after.",
            machine(),
            round + 1,
            load_average(),
        );
        driver.write()?;
    }
    println!("{}", report::markdown(&driver.runs));
    eprintln!("written to {}", driver.out.display());
    let failed = driver.runs.iter().filter(|run| run.failed()).count();
    ensure!(failed == 0, "{failed} runs failed");
    Ok(())
}

struct Driver {
    bench: Bench,
    runs: Vec<Run>,
    plan: Plan,
    conditions: String,
    out: PathBuf,
}

impl Driver {
    fn measure(&mut self, target: &Target, round: usize, load: Option<(Load, Placement)>) -> Result<()> {
        let found = match load {
            Some((load, placement)) => measure::flow(&mut self.bench, target, load, placement, &self.plan)
                .map(|flow| Finding::Flow(Box::new(flow))),
            None => measure::joins(&mut self.bench, target, &self.plan).map(|joins| Finding::Joins(Box::new(joins))),
        };
        ensure!(!self.bench.is_interrupted(), "interrupted");
        let finding = found.unwrap_or_else(|error| Finding::Error(format!("{error:#}")));
        let run = Run { target: target.name.clone(), round, load, finding };
        let result = match &run.finding {
            Finding::Error(error) => format!("FAILED: {error}"),
            Finding::Joins(joins) => format!("{} joins in {:.1} s", joins.joins, joins.joined.seconds),
            Finding::Flow(flow) => format!(
                "{:.0} deliveries/s{}",
                flow.deliveries() as f64 / flow.seconds,
                if figures::is_exact(flow) { "" } else { ", NOT EXACT" }
            ),
        };
        eprintln!("{}: {result}", run.name());
        self.runs.push(run);
        Ok(())
    }

    /// All that is known so far.
    fn write(&self) -> Result<()> {
        let about = "Medians over the rounds (lowest–highest).";
        let tables = report::markdown(&self.runs);
        std::fs::write(self.out.join("results.md"), format!("{}\n{about}\n\n{tables}", self.conditions))?;
        let results = Results { conditions: self.conditions.clone(), nodes: self.plan.nodes, runs: self.runs.clone() };
        std::fs::write(self.out.join("results.json"), serde_json::to_string_pretty(&results)?)?;
        Ok(())
    }
}

fn draw_model(mut args: pico_args::Arguments) -> Result<()> {
    let from: PathBuf = args.opt_value_from_str("--from")?.unwrap_or_else(|| out_dir().join("results.json"));
    let load: Option<Load> = args.opt_value_from_str("--load")?;
    let demand = model::Demand {
        sessions: args.opt_value_from_str("--sessions")?.unwrap_or(1e6),
        deliveries: args.opt_value_from_str("--deliveries")?.unwrap_or(1e6),
    };
    let nodes = args.opt_value_from_str("--nodes")?.unwrap_or_else(|| "3,10,30,100".to_owned());
    let svg: Option<PathBuf> = args.opt_value_from_str("--svg")?;
    finish(args)?;
    let nodes = list(nodes).iter().map(|nodes| nodes.parse()).collect::<Result<Vec<usize>, _>>()?;
    let text = std::fs::read_to_string(&from).with_context(|| format!("cannot read {}", from.display()))?;
    let results: Results = serde_json::from_str(&text).with_context(|| format!("in {}", from.display()))?;
    let last = results.runs.iter().rev().find_map(|run| run.load).map(|(load, _)| load);
    let load = load.or(last).context("no load was measured")?;
    let costs = model::costs(&results.runs, load, results.nodes);
    ensure!(!costs.is_empty(), "no target has all placements of {}", load.name());
    println!("{}", model::markdown(&costs, &demand, &nodes));
    if let Some(path) = svg {
        std::fs::write(&path, model::svg(&costs, &demand, &nodes))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn prove_partition(mut args: pico_args::Arguments) -> Result<()> {
    let nodes: String = args.value_from_str("--nodes")?;
    let options = partition::Options {
        nodes: list(nodes).iter().map(|addr| addr.parse()).collect::<Result<_, _>>()?,
        engine: args.value_from_str("--engine")?,
        rooms: args.opt_value_from_str("--rooms")?.unwrap_or(100),
        members: args.opt_value_from_str("--members")?.unwrap_or(10),
        out: args.value_from_str("--out")?,
    };
    finish(args)?;
    partition::run(&options)
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, Linux {}, {cores} cores", model.map_or("unknown CPU", |(_, name)| name), kernel.trim())
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split_whitespace().take(1).collect()
}
