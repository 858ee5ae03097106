//! One run of one workload against one server; prints what it found, or what went wrong, as one line of JSON.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use compare::load::{self, Outcome, Span, Target};
use compare::process;
use compare::script::Echo;
use compare::workload::Workload;

const HELP: &str = "load --addr 127.0.0.1:PORT --server-pid PID --workload NAME
  --seconds S  --warmup S  --messages N    duration (1, 0.3, unlimited)
  --connections N  --size BYTES  --kind text|binary|non-ascii  --pipeline N    override the workload's values
  --raw    the server echoes bytes instead of messages";

fn main() {
    process::die_with_parent();
    match run() {
        Ok(Some(outcome)) => println!("{}", serde_json::json!({ "ok": outcome })),
        Ok(None) => println!("{HELP}"),
        Err(e) => {
            println!("{}", serde_json::json!({ "error": format!("{e:#}") }));
            std::process::exit(1);
        }
    }
}

fn run() -> Result<Option<Outcome>> {
    let mut args = pico_args::Arguments::from_env();
    if args.contains(["-h", "--help"]) {
        return Ok(None);
    }
    let addr: SocketAddr = args.value_from_str("--addr")?;
    let server: u32 = args.value_from_str("--server-pid")?;
    let name: String = args.value_from_str("--workload")?;
    let mut workload = *Workload::named(&name).with_context(|| format!("unknown workload {name}"))?;
    workload.connections = args.opt_value_from_str("--connections")?.unwrap_or(workload.connections);
    workload.size = args.opt_value_from_str("--size")?.unwrap_or(workload.size);
    workload.kind = args.opt_value_from_str("--kind")?.unwrap_or(workload.kind);
    workload.pipeline = args.opt_value_from_str("--pipeline")?.unwrap_or(workload.pipeline);
    anyhow::ensure!(workload.connections > 0 && workload.pipeline > 0, "no load");
    let span = Span {
        warmup: Duration::try_from_secs_f64(args.opt_value_from_str("--warmup")?.unwrap_or(0.3))?,
        length: Duration::try_from_secs_f64(args.opt_value_from_str("--seconds")?.unwrap_or(1.0))?,
        units: args.opt_value_from_str("--messages")?,
    };
    let echo = if args.contains("--raw") { Echo::Bytes } else { Echo::WebSocket };
    let rest = args.finish();
    anyhow::ensure!(rest.is_empty(), "unknown arguments {rest:?}\n{HELP}");
    process::raise_open_files()?;
    let mut target = Target::new(addr, workload.path(), echo)?;
    if workload.offers_deflate {
        target = target.offering_deflate();
    }
    load::run(&target, &workload, server, span).map(Some)
}
