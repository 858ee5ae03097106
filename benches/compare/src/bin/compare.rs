//! The driver: builds the servers, starts each on one core and the load on another, round after round in alternating
//! order, and writes what it found as tables. It ends what it started, and nothing else.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use compare::load::{self, Outcome, Target};
use compare::process::{self, Process};
use compare::script::Echo;
use compare::table::{self, Finding, Run};
use compare::workload::{self, Work, Workload};

const HELP: &str = "compare: this project's server beside its peers

  --workloads a,b     of: e1 e100 e1000 p16 t1k b1k t16k b16k u16k t1m b1m fanout churn idle (all)
  --servers a,b       of: ours raw fastwebsockets tokio-websockets tungstenite axum (all)
  --server NAME=CMD   one more, with {addr} for its address and an echo at /ws; may be repeated
  --against a,b       what the ratios are to (raw,fastwebsockets,tokio-websockets)
  --rounds N          3
  --seconds S         measured per round (1)
  --warmup S          before it (0.3)
  --idle-connections N  10000
  --server-core N     0
  --load-core N       1
  --out DIR           where results.json, results.md and the servers' logs go (target/results)
  --no-build          the servers are built already";

const PEERS: [(&str, &str); 5] = [
    ("raw", "raw-tcp"),
    ("fastwebsockets", "peer-fastwebsockets"),
    ("tokio-websockets", "peer-tokio-websockets"),
    ("tungstenite", "peer-tungstenite"),
    ("axum", "peer-axum"),
];

/// The floor, the best Rust peer on single messages, and the best on large ones and fan-out.
const AGAINST: [&str; 3] = ["raw", "fastwebsockets", "tokio-websockets"];

const OURS: &str = "ours";
const OURS_EXAMPLE: &str = "bench_server";

/// A server must accept connections this soon after its start.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// What a run may take beside its warm-up and its measurement: opening, settling, the load's own deadlines.
const RUN_SLACK: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

fn main() -> Result<()> {
    let mut args = pico_args::Arguments::from_env();
    if args.contains(["-h", "--help"]) {
        println!("{HELP}");
        return Ok(());
    }
    ensure!(!cfg!(debug_assertions), "measure with --release");
    let options = Options::from_args(&mut args)?;
    let rest = args.finish();
    ensure!(rest.is_empty(), "unknown arguments {rest:?}\n\n{HELP}");

    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let servers = servers(&options)?;
    process::raise_open_files()?;
    process::pin(options.load_core)?;
    std::fs::create_dir_all(options.out.join("logs"))?;
    let failed = Driver { options, servers, interrupted, runs: Vec::new(), next_port: FIRST_PORT }.measure_all()?;
    if failed > 0 {
        bail!("{failed} runs failed");
    }
    Ok(())
}

struct Options {
    workloads: Vec<&'static Workload>,
    servers: Option<Vec<String>>,
    further: Vec<String>,
    against: Vec<String>,
    rounds: usize,
    seconds: f64,
    warmup: f64,
    idle_connections: usize,
    server_core: usize,
    load_core: usize,
    out: PathBuf,
    build: bool,
}

impl Options {
    fn from_args(args: &mut pico_args::Arguments) -> Result<Self> {
        let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let workloads = match args.opt_value_from_str("--workloads")?.map(list) {
            None => workload::ALL.iter().collect(),
            Some(names) => names
                .iter()
                .map(|name| Workload::named(name).with_context(|| format!("no workload {name}\n\n{HELP}")))
                .collect::<Result<_>>()?,
        };
        let options = Self {
            workloads,
            servers: args.opt_value_from_str("--servers")?.map(list),
            further: args.values_from_str("--server")?,
            against: args.opt_value_from_str("--against")?.map_or_else(|| AGAINST.map(str::to_owned).to_vec(), list),
            rounds: args.opt_value_from_str("--rounds")?.unwrap_or(3),
            seconds: args.opt_value_from_str("--seconds")?.unwrap_or(1.0),
            warmup: args.opt_value_from_str("--warmup")?.unwrap_or(0.3),
            idle_connections: args.opt_value_from_str("--idle-connections")?.unwrap_or(10_000),
            server_core: args.opt_value_from_str("--server-core")?.unwrap_or(0),
            load_core: args.opt_value_from_str("--load-core")?.unwrap_or(1),
            out: args.opt_value_from_str("--out")?.unwrap_or_else(|| own_dir().join("target/results")),
            build: !args.contains("--no-build"),
        };
        ensure!(options.rounds > 0 && options.idle_connections > 0, "a comparison of nothing");
        Ok(options)
    }
}

/// A server by its name in the tables.
struct Server {
    name: String,
    command: Vec<String>,
    echo: Echo,
    broadcasts: bool,
}

/// The servers asked for, built.
fn servers(options: &Options) -> Result<Vec<Server>> {
    let asked = |name: &str| options.servers.as_ref().is_none_or(|names| names.iter().any(|asked| asked == name));
    let mut servers = Vec::new();
    if asked(OURS) {
        match ours(options)? {
            Some(path) => servers.push(Server::of(OURS, vec![path, "--threads".into(), "1".into()], true)),
            None if options.servers.is_none() => eprintln!("without `{OURS}`: no example {OURS_EXAMPLE}"),
            None => bail!("there is no example {OURS_EXAMPLE}"),
        }
    }
    if options.build {
        cargo(own_dir(), &["--bins"])?;
    }
    let bins = std::env::current_exe()?;
    for (name, binary) in PEERS {
        if asked(name) {
            let path = bins.with_file_name(binary).to_string_lossy().into_owned();
            servers.push(Server::of(name, vec![path], true));
        }
    }
    for further in &options.further {
        let (name, command) = further.split_once('=').with_context(|| format!("{further} is not NAME=COMMAND"))?;
        ensure!(command.contains("{addr}"), "{name}'s command has no {{addr}}");
        let words = command.split_whitespace().map(str::to_owned).collect();
        servers.push(Server::of(name, words, false));
    }
    for name in options.servers.iter().flatten() {
        ensure!(servers.iter().any(|server| server.name == *name), "no server {name}\n\n{HELP}");
    }
    for (at, server) in servers.iter().enumerate() {
        ensure!(servers[..at].iter().all(|other| other.name != server.name), "two servers {}", server.name);
    }
    ensure!(!servers.is_empty(), "no server to measure");
    Ok(servers)
}

impl Server {
    fn of(name: &str, mut command: Vec<String>, takes_addr: bool) -> Self {
        if takes_addr {
            command.extend(["--addr".to_owned(), "{addr}".to_owned()]);
        }
        let echo = if name == "raw" { Echo::Bytes } else { Echo::WebSocket };
        Self { name: name.to_owned(), command, echo, broadcasts: false }
    }

    fn command_at(&self, addr: SocketAddr) -> Vec<String> {
        self.command.iter().map(|word| word.replace("{addr}", &addr.to_string())).collect()
    }
}

/// The project's server, or `None` as long as it has none.
fn ours(options: &Options) -> Result<Option<String>> {
    let root = own_dir().join("../..").canonicalize()?;
    if !root.join("examples").join(OURS_EXAMPLE).with_extension("rs").exists() {
        return Ok(None);
    }
    if !options.build {
        let path = root.join("target/release/examples").join(OURS_EXAMPLE);
        return Ok(Some(path.to_string_lossy().into_owned()));
    }
    let messages = cargo(&root, &["--example", OURS_EXAMPLE, "--message-format=json-render-diagnostics"])?;
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == OURS_EXAMPLE)
        .find_map(|message| message["executable"].as_str().map(str::to_owned));
    executable.map(Some).with_context(|| format!("cargo built no executable {OURS_EXAMPLE}"))
}

fn cargo(dir: &Path, args: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet"])
        .args(args)
        .current_dir(dir)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(built.status.success(), "cargo build {} failed", args.join(" "));
    Ok(String::from_utf8_lossy(&built.stdout).into_owned())
}

fn own_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Driver {
    options: Options,
    servers: Vec<Server>,
    interrupted: Arc<AtomicBool>,
    runs: Vec<Run>,
    next_port: u16,
}

/// Below the ports that connections get, so that no connection sits on a server's port.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 30_000;

impl Driver {
    /// Returns how many runs failed.
    fn measure_all(mut self) -> Result<usize> {
        self.check_all()?;
        let load_before = load_average();
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
            self.write(&load_before)?;
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
            let (_process, addr) = self.start(at)?;
            let echo = self.servers[at].echo;
            let checked = Target::new(addr, "/ws", echo).and_then(|target| load::check(&target, largest));
            checked.with_context(|| format!("{name} does not echo"))?;
            if fan_out && echo == Echo::WebSocket {
                let broadcast = Target::new(addr, "/broadcast", echo)?;
                self.servers[at].broadcasts =
                    load::offers(&broadcast).with_context(|| format!("{name} fails at /broadcast"))?;
            }
            eprintln!("{name} echoes");
        }
        Ok(())
    }

    fn measure_one(&mut self, at: usize, workload: &'static Workload, round: usize) -> Result<()> {
        let server = &self.servers[at];
        if workload.work == Work::FanOut && !server.broadcasts {
            return Ok(());
        }
        let name = server.name.clone();
        let finding = match self.run(at, workload) {
            Ok(outcome) => Finding::Ok(outcome),
            Err(_) if self.interrupted.load(Ordering::Relaxed) => bail!("interrupted"),
            Err(e) => Finding::Error(format!("{e:#}")),
        };
        let result = if matches!(finding, Finding::Ok(_)) { "" } else { " FAILED" };
        eprintln!("{} round {}: {name}{result}", workload.name, round + 1);
        self.runs.push(Run { workload: workload.name, server: name, round, finding });
        Ok(())
    }

    /// One run against a server of its own, which is ended with it.
    fn run(&mut self, at: usize, workload: &Workload) -> Result<Outcome> {
        let (mut server, addr) = self.start(at)?;
        let outcome = self.load(addr, server.pid(), self.servers[at].echo, workload);
        match (outcome, server.ended()?) {
            (Err(e), Some(status)) => Err(e.context(format!("the server ended with {status}"))),
            (outcome, _) => outcome,
        }
    }

    /// Starts a server and waits until it accepts connections.
    fn start(&mut self, at: usize) -> Result<(Process, SocketAddr)> {
        let addr = self.free_address()?;
        let server = &self.servers[at];
        let log = self.options.out.join("logs").join(format!("{}.log", server.name));
        let mut process = Process::start_server(&server.command_at(addr), self.options.server_core, &log)?;
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(addr).is_err() {
            if let Some(status) = process.ended()? {
                bail!("{} ended with {status} before it listened on {addr}; see {}", server.name, log.display());
            }
            ensure!(Instant::now() < deadline, "{} does not listen on {addr}; see {}", server.name, log.display());
            self.pause()?;
        }
        Ok((process, addr))
    }

    fn free_address(&mut self) -> Result<SocketAddr> {
        for _ in FIRST_PORT..LAST_PORT {
            let addr = SocketAddr::from(([127, 0, 0, 1], self.next_port));
            self.next_port = if self.next_port + 1 < LAST_PORT { self.next_port + 1 } else { FIRST_PORT };
            if TcpListener::bind(addr).is_ok() {
                return Ok(addr);
            }
        }
        bail!("no free port from {FIRST_PORT} to {LAST_PORT}")
    }

    fn load(&self, addr: SocketAddr, server: u32, echo: Echo, workload: &Workload) -> Result<Outcome> {
        let options = &self.options;
        let mut command = Command::new(std::env::current_exe()?.with_file_name("load"));
        command.args(["--addr", &addr.to_string(), "--server-pid", &server.to_string()]);
        command.args(["--workload", workload.name]);
        command.args(["--seconds", &options.seconds.to_string(), "--warmup", &options.warmup.to_string()]);
        if workload.work == Work::Idle {
            command.args(["--connections", &options.idle_connections.to_string()]);
        }
        if echo == Echo::Bytes {
            command.arg("--raw");
        }
        let mut load = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()), options.load_core)?;
        let deadline = Instant::now() + Duration::from_secs_f64(options.seconds + options.warmup) + RUN_SLACK;
        while load.ended()?.is_none() {
            ensure!(Instant::now() < deadline, "the run did not end in time");
            self.pause()?;
        }
        let mut line = String::new();
        load.take_stdout().context("no output of the load")?.read_to_string(&mut line)?;
        let report: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("the load broke down: {line}"))?;
        match report["error"].as_str() {
            Some(error) => Err(anyhow!(error.to_owned())),
            None => Ok(serde_json::from_value(report["ok"].clone())?),
        }
    }

    fn pause(&self) -> Result<()> {
        std::thread::sleep(POLL);
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }

    fn table_of(&self, workload: &Workload) -> String {
        let names: Vec<String> = self.servers.iter().map(|server| server.name.clone()).collect();
        let mut table = table::markdown(workload, &names, &self.options.against, &self.runs);
        if workload.work == Work::FanOut {
            let without: Vec<&str> =
                self.servers.iter().filter(|server| !server.broadcasts).map(|server| server.name.as_str()).collect();
            if !without.is_empty() {
                table.push_str(&format!("\nWithout /broadcast: {}.\n", without.join(", ")));
            }
        }
        table
    }

    /// All that is known so far.
    fn write(&self, load_before: &str) -> Result<()> {
        let Options { rounds, seconds, warmup, server_core, load_core, out, .. } = &self.options;
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let conditions = format!(
            "{}, Linux {}, {} cores; server on core {server_core}, load on core {load_core}; {rounds} rounds of \
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
        let json = serde_json::json!({ "conditions": conditions, "runs": self.runs });
        Ok(std::fs::write(out.join("results.json"), serde_json::to_string_pretty(&json)?)?)
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
