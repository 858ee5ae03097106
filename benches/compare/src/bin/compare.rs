//! The driver: builds the servers, starts each on one core and the load on another, round after round in alternating
//! order, and writes what it found as tables. It ends what it started, and nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use compare::bench::Bench;
use compare::chart;
use compare::load::{self, Outcome, Target};
use compare::process::{self, Cores};
use compare::script::Echo;
use compare::servers::{Choice, Server, own_dir};
use compare::table::{self, Finding, Run};
use compare::workload::{self, Work, Workload};
use serde::{Deserialize, Serialize};

const HELP: &str = "compare: this project's server against others

  --workloads a,b     of: e1 e100 e1000 p16 t1k b1k t16k b16k u16k t1m b1m fanout churn idle
                      idle-deflate (all)
  --servers a,b       of: ours raw fastwebsockets tokio-websockets tungstenite axum (all); ours-2t has two threads
  --server NAME=CMD   another server; {addr} is replaced by its address; it echoes at /ws; may be repeated
  --against a,b       base of the ratios (raw,fastwebsockets,tokio-websockets)
  --rounds N          3
  --seconds S         seconds measured per round (1)
  --warmup S          seconds of warm-up (0.3)
  --idle-connections N  10000
  --server-cores a,b  0
  --load-core N       1
  --svg FILE          also draw what was found
  --from FILE         measure nothing: draw what this results.json has
  --out DIR           where results.json, results.md and the servers' logs go (target/results)
  --no-build          the servers are built already";

/// The floor, the best Rust peer on single messages, and the best on large ones and fan-out.
const AGAINST: [&str; 3] = ["raw", "fastwebsockets", "tokio-websockets"];

/// What a run may take beside its warm-up and its measurement: opening, settling, the load's own deadlines.
const RUN_SLACK: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let mut args = pico_args::Arguments::from_env();
    if args.contains(["-h", "--help"]) {
        println!("{HELP}");
        return Ok(());
    }
    ensure!(!cfg!(debug_assertions), "measure with --release");
    let from: Option<PathBuf> = args.opt_value_from_str("--from")?;
    let options = Options::from_args(&mut args)?;
    let rest = args.finish();
    ensure!(rest.is_empty(), "unknown arguments {rest:?}\n\n{HELP}");
    if let Some(from) = from {
        let text = std::fs::read_to_string(&from).with_context(|| format!("cannot read {}", from.display()))?;
        let results: Results = serde_json::from_str(&text).with_context(|| format!("in {}", from.display()))?;
        return results.draw(options.svg.as_deref().context("--from is for --svg FILE")?);
    }

    let servers = options.choice.servers()?;
    process::raise_open_files()?;
    process::pin(&options.load_core)?;
    let bench = Bench::new(options.server_cores.clone(), options.load_core.clone(), options.out.join("logs"))?;
    let broadcasts = vec![false; servers.len()];
    let failed = Driver { options, servers, broadcasts, bench, runs: Vec::new() }.measure_all()?;
    if failed > 0 {
        bail!("{failed} runs failed");
    }
    Ok(())
}

struct Options {
    workloads: Vec<&'static Workload>,
    choice: Choice,
    against: Vec<String>,
    rounds: usize,
    seconds: f64,
    warmup: f64,
    idle_connections: usize,
    server_cores: Cores,
    load_core: Cores,
    out: PathBuf,
    svg: Option<PathBuf>,
}

/// What `results.json` has.
#[derive(Serialize, Deserialize)]
struct Results {
    conditions: String,
    runs: Vec<Run>,
}

impl Results {
    fn draw(&self, path: &Path) -> Result<()> {
        let about = self.conditions.split("; load average").next().unwrap_or(&self.conditions);
        let picture = chart::svg(&self.runs, about).context("no round succeeded: nothing to draw")?;
        std::fs::write(path, picture).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Options {
    fn from_args(args: &mut pico_args::Arguments) -> Result<Self> {
        let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let workloads = match args.opt_value_from_str("--workloads")?.map(list) {
            None => workload::ALL.iter().collect(),
            Some(names) => names
                .iter()
                .map(|name| Workload::named(name).with_context(|| format!("unknown workload {name}\n\n{HELP}")))
                .collect::<Result<_>>()?,
        };
        let options = Self {
            workloads,
            choice: Choice {
                names: args.opt_value_from_str("--servers")?.map(list),
                further: args.values_from_str("--server")?,
                build: !args.contains("--no-build"),
            },
            against: args.opt_value_from_str("--against")?.map_or_else(|| AGAINST.map(str::to_owned).to_vec(), list),
            rounds: args.opt_value_from_str("--rounds")?.unwrap_or(3),
            seconds: args.opt_value_from_str("--seconds")?.unwrap_or(1.0),
            warmup: args.opt_value_from_str("--warmup")?.unwrap_or(0.3),
            idle_connections: args.opt_value_from_str("--idle-connections")?.unwrap_or(10_000),
            server_cores: args.opt_value_from_str("--server-cores")?.unwrap_or_else(|| Cores::one(0)),
            load_core: args.opt_value_from_str("--load-core")?.unwrap_or_else(|| Cores::one(1)),
            out: args.opt_value_from_str("--out")?.unwrap_or_else(|| own_dir().join("target/results")),
            svg: args.opt_value_from_str("--svg")?,
        };
        ensure!(options.rounds > 0 && options.idle_connections > 0, "nothing to compare");
        Ok(options)
    }
}

struct Driver {
    options: Options,
    servers: Vec<Server>,
    /// Which of them have `/broadcast`.
    broadcasts: Vec<bool>,
    bench: Bench,
    runs: Vec<Run>,
}

impl Driver {
    /// Returns how many runs failed.
    fn measure_all(mut self) -> Result<usize> {
        self.check_all()?;
        let load_before = load_average();
        let mut results = None;
        for workload in self.options.workloads.clone() {
            for round in 0..self.options.rounds {
                let mut order: Vec<usize> = (0..self.servers.len()).collect();
                if round % 2 == 1 {
                    order.reverse();
                }
                for at in order {
                    self.measure_one(at, workload, round)?;
                }
            }
            println!("{}", self.table_of(workload));
            results = Some(self.write(&load_before)?);
        }
        if let (Some(path), Some(results)) = (&self.options.svg, results) {
            results.draw(path)?;
        }
        eprintln!("written to {}", self.options.out.display());
        Ok(self.runs.iter().filter(|run| matches!(run.finding, Finding::Error(_))).count())
    }

    /// Nothing is measured before each server has answered checked echoes.
    fn check_all(&mut self) -> Result<()> {
        let workloads = &self.options.workloads;
        let fan_out = workloads.iter().any(|workload| workload.work == Work::FanOut);
        let largest = workloads.iter().map(|workload| workload.size).max().unwrap_or(0);
        for at in 0..self.servers.len() {
            let name = self.servers[at].name.clone();
            let (_process, addr) = self.bench.start(&self.servers[at], &[])?;
            let echo = self.servers[at].echo;
            let checked = Target::new(addr, "/ws", echo).and_then(|target| load::check(&target, largest));
            checked.with_context(|| format!("{name} does not echo"))?;
            if fan_out && echo == Echo::WebSocket {
                let broadcast = Target::new(addr, "/broadcast", echo)?;
                self.broadcasts[at] =
                    load::offers(&broadcast).with_context(|| format!("{name} fails at /broadcast"))?;
            }
            eprintln!("{name} echoes");
        }
        Ok(())
    }

    fn measure_one(&mut self, at: usize, workload: &'static Workload, round: usize) -> Result<()> {
        let server = &self.servers[at];
        if workload.work == Work::FanOut && !self.broadcasts[at] {
            return Ok(());
        }
        let name = server.name.clone();
        let finding = match self.run(at, workload) {
            Ok(outcome) => Finding::Ok(outcome),
            Err(_) if self.bench.is_interrupted() => bail!("interrupted"),
            Err(e) => Finding::Error(format!("{e:#}")),
        };
        let result = if matches!(finding, Finding::Ok(_)) { "" } else { " FAILED" };
        eprintln!("{} round {}: {name}{result}", workload.name, round + 1);
        self.runs.push(Run { workload: workload.name.to_owned(), server: name, round, finding });
        Ok(())
    }

    /// One run against a server of its own, which is ended with it.
    fn run(&mut self, at: usize, workload: &Workload) -> Result<Outcome> {
        let (mut server, addr) = self.bench.start(&self.servers[at], &[])?;
        let outcome = self.load(addr, server.pid(), self.servers[at].echo, workload);
        match (outcome, server.ended()?) {
            (Err(e), Some(status)) => Err(e.context(format!("the server exited with {status}"))),
            (outcome, _) => outcome,
        }
    }

    fn load(&self, addr: SocketAddr, server: u32, echo: Echo, workload: &Workload) -> Result<Outcome> {
        let options = &self.options;
        let mut args = vec!["--workload".to_owned(), workload.name.to_owned()];
        args.extend(["--seconds".to_owned(), options.seconds.to_string()]);
        args.extend(["--warmup".to_owned(), options.warmup.to_string()]);
        if workload.work == Work::Idle {
            // a context of compression may have 300 KiB and more
            let most = if workload.offers_deflate { workload.connections } else { usize::MAX };
            args.extend(["--connections".to_owned(), options.idle_connections.min(most).to_string()]);
        }
        let limit = Duration::from_secs_f64(options.seconds + options.warmup) + RUN_SLACK;
        self.bench.load(addr, server, echo, &args, limit)
    }

    fn table_of(&self, workload: &Workload) -> String {
        let names: Vec<String> = self.servers.iter().map(|server| server.name.clone()).collect();
        let mut table = table::markdown(workload, &names, &self.options.against, &self.runs);
        if workload.work == Work::FanOut {
            let all = names.iter().zip(&self.broadcasts);
            let without: Vec<&str> = all.filter(|(_, has)| !**has).map(|(name, _)| name.as_str()).collect();
            if !without.is_empty() {
                table.push_str(&format!("\nWithout /broadcast: {}.\n", without.join(", ")));
            }
        }
        table
    }

    /// All that is known so far.
    fn write(&self, load_before: &str) -> Result<Results> {
        let Options { rounds, seconds, warmup, server_cores, load_core, out, .. } = &self.options;
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let conditions = format!(
            "{}, Linux {}, {} cores; server on core {server_cores}, load on core {load_core}; {rounds} rounds of \
             {seconds} s after {warmup} s; load average {load_before} before, {} after.",
            cpu_model(&cpus),
            read_line("/proc/sys/kernel/osrelease"),
            cpus.lines().filter(|line| line.starts_with("processor")).count(),
            load_average(),
        );
        let measured = self.options.workloads.iter().filter(|w| self.runs.iter().any(|run| run.workload == w.name));
        let tables: Vec<String> = measured.map(|workload| self.table_of(workload)).collect();
        let about = "Medians over the rounds (lowest–highest); ratios are taken round by round.";
        std::fs::write(out.join("results.md"), format!("{conditions}\n{about}\n\n{}", tables.join("\n")))?;
        let results = Results { conditions, runs: self.runs.clone() };
        std::fs::write(out.join("results.json"), serde_json::to_string_pretty(&results)?)?;
        Ok(results)
    }
}

fn load_average() -> String {
    read_line("/proc/loadavg").split_whitespace().take(1).collect()
}

fn cpu_model(cpus: &str) -> &str {
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("unknown CPU", |(_, name)| name)
}

fn read_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
