//! Measures what many idle connections take: see `README.md`.

mod clients;
mod clock;
mod memory;
mod orders;
mod peer;
mod report;
mod server;
mod session;
mod soak;
mod system;
mod tcp;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use compare::process;

use report::Results;
use tcp::Plan;

const HELP: &str = "many: what many idle connections take, on one machine

  --sessions a,b      over TCP, a run for each number (19000,304000); 0 leaves it out
  --servers N         server processes on the one port; as few as the limit of open files allows
  --memory N          sessions in one process over an in-memory transport (1000000); 0 leaves it out
  --threads N         worker threads of that process (2)
  --rounds N          broadcasts (3)
  --rest S            seconds of rest, with pings (60)
  --out DIR           where results.json and results.md go (target/results)
  --svg FILE          also draws it

many draw: the tables and the picture, from what was measured

  --from FILE         a results.json (target/results/results.json)
  --svg FILE

many soak: idle and active sessions over TCP; fails if one is lost, or a message lost or reordered, or if memory grows

  --seconds S         900
  --sessions N        20000
  --active N          sessions that talk (4000)
  --rate N            messages per second, of all of them together (4000)
  --growth PERCENT    of the servers' memory, from the end of the first third to the end (5)
  --out FILE          the table, too";

fn main() -> Result<()> {
    let mut args = pico_args::Arguments::from_env();
    if args.contains(["-h", "--help"]) {
        println!("{HELP}");
        return Ok(());
    }
    match args.subcommand()?.as_deref() {
        None => measure_all(args),
        Some("draw") => draw(args),
        Some("soak") => soak(args),
        // the processes that these start
        Some("server") => {
            die_with_driver()?;
            let limited = args.contains("--limits");
            server::run(args.value_from_str("--addr")?, limited)
        }
        Some("clients") => {
            die_with_driver()?;
            clients::run(
                args.value_from_str("--addr")?,
                args.value_from_str("--first")?,
                args.value_from_str("--count")?,
            )
        }
        Some("memory") => {
            die_with_driver()?;
            let seconds: f64 = args.value_from_str("--rest")?;
            let (sessions, threads) = (args.value_from_str("--sessions")?, args.value_from_str("--threads")?);
            let rounds = args.value_from_str("--rounds")?;
            let found = memory::run(sessions, threads, rounds, Duration::from_secs_f64(seconds))?;
            println!("{}", serde_json::to_string(&found)?);
            Ok(())
        }
        Some("transport") => {
            die_with_driver()?;
            println!("{}", serde_json::to_string(&memory::transport_bytes(args.value_from_str("--sessions")?)?)?);
            Ok(())
        }
        Some(other) => bail!("unknown command {other}\n\n{HELP}"),
    }
}

fn die_with_driver() -> Result<()> {
    process::die_with_parent();
    process::raise_open_files()?;
    Ok(())
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
    let tcp: String = args.opt_value_from_str("--sessions")?.unwrap_or_else(|| "19000,304000".to_owned());
    let servers = args.opt_value_from_str("--servers")?;
    let in_memory: usize = args.opt_value_from_str("--memory")?.unwrap_or(1_000_000);
    let threads: usize = args.opt_value_from_str("--threads")?.unwrap_or(2);
    let rounds: u32 = args.opt_value_from_str("--rounds")?.unwrap_or(3);
    let rest: f64 = args.opt_value_from_str("--rest")?.unwrap_or(60.0);
    let out: PathBuf = args.opt_value_from_str("--out")?.unwrap_or_else(out_dir);
    let svg: Option<PathBuf> = args.opt_value_from_str("--svg")?;
    finish(args)?;
    let tcp = tcp.split(',').map(|number| Ok(number.parse()?)).collect::<Result<Vec<usize>>>();
    let tcp = tcp.context("--sessions is a list of numbers")?;

    let limits = system::limits()?;
    let plans = tcp.iter().filter(|sessions| **sessions > 0).map(|sessions| Plan::new(*sessions, servers, &limits));
    let plans = plans.collect::<Result<Vec<_>>>()?;
    let mut results = Results { limits, load_before: report::load_average(), ..Results::default() };
    for plan in plans {
        println!("{} sessions over TCP, {} server and {} client processes", plan.sessions, plan.servers, plan.clients);
        let found = tcp::run(plan, rounds, Duration::from_secs_f64(rest), |line| println!("  {line}"))?;
        results.tcp.push(found);
        results.write(&out)?;
    }
    if in_memory > 0 {
        println!("{in_memory} sessions in memory");
        let number = in_memory.to_string();
        results.transport_bytes = own_command(&["transport", "--sessions", &number])?;
        let (threads, rounds, rest) = (threads.to_string(), rounds.to_string(), rest.to_string());
        let words = ["memory", "--sessions", &number, "--threads", &threads, "--rounds", &rounds, "--rest", &rest];
        results.memory = Some(own_command(&words)?);
    }
    results.load_after = report::load_average();
    results.write(&out)?;
    println!("\n{}", results.markdown());
    svg.map_or(Ok(()), |svg| results.draw(&svg))
}

/// Runs a command of this program in a separate process and returns its output.
fn own_command<T: serde::de::DeserializeOwned>(words: &[&str]) -> Result<T> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(words).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {words:?}"))?;
    ensure!(output.status.success(), "{words:?} failed, {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn draw(mut args: pico_args::Arguments) -> Result<()> {
    let from: PathBuf = args.opt_value_from_str("--from")?.unwrap_or_else(|| out_dir().join("results.json"));
    let svg: Option<PathBuf> = args.opt_value_from_str("--svg")?;
    finish(args)?;
    let results = Results::read(&from)?;
    println!("{}", results.markdown());
    svg.map_or(Ok(()), |svg| results.draw(&svg))
}

fn soak(mut args: pico_args::Arguments) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "measure with --release");
    let soak = soak::Soak {
        seconds: args.opt_value_from_str("--seconds")?.unwrap_or(900),
        sessions: args.opt_value_from_str("--sessions")?.unwrap_or(20_000),
        active: args.opt_value_from_str("--active")?.unwrap_or(4000),
        rate: args.opt_value_from_str("--rate")?.unwrap_or(4000.0),
        growth: args.opt_value_from_str("--growth")?.unwrap_or(5.0),
    };
    let out: Option<PathBuf> = args.opt_value_from_str("--out")?;
    finish(args)?;
    soak.run(out.as_deref())
}
