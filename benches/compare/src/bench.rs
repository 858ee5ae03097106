//! What servers and load stand on: a port for each server, the load as a process beside it, and an end at Ctrl-C.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::load::Outcome;
use crate::process::{Cores, Process};
use crate::script::Echo;
use crate::servers::Server;

/// A server must accept connections this soon after its start.
const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Below the ports that connections get, so that no connection sits on a server's port.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 30_000;

pub struct Bench {
    server_cores: Cores,
    load_core: Cores,
    /// Where the servers' logs go.
    logs: PathBuf,
    next_port: u16,
    interrupted: Arc<AtomicBool>,
}

impl Bench {
    /// From here on Ctrl-C does not end this process: it ends what the bench waits for, with an error.
    pub fn new(server_cores: Cores, load_core: Cores, logs: PathBuf) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        std::fs::create_dir_all(&logs)?;
        Ok(Self { server_cores, load_core, logs, next_port: FIRST_PORT, interrupted })
    }

    /// Starts a server, as an argument of `under` if that is a program, and waits until it accepts connections.
    pub fn start(&mut self, server: &Server, under: &[String]) -> Result<(Process, SocketAddr)> {
        let addr = self.free_address()?;
        let log = self.logs.join(format!("{}.log", server.name));
        let command = [under, &server.command_at(addr)].concat();
        let mut process = Process::start_server(&command, &self.server_cores, &log)?;
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(addr).is_err() {
            if let Some(status) = process.ended()? {
                bail!("{} exited with {status} before it listened on {addr}; see {}", server.name, log.display());
            }
            ensure!(Instant::now() < deadline, "{} does not listen on {addr}; see {}", server.name, log.display());
            self.pause()?;
        }
        Ok((process, addr))
    }

    /// Runs the load with these arguments against a server, as long as `limit` at the most.
    pub fn load(&self, addr: SocketAddr, pid: u32, echo: Echo, args: &[String], limit: Duration) -> Result<Outcome> {
        let mut command = Command::new(std::env::current_exe()?.with_file_name("load"));
        command.args(["--addr", &addr.to_string(), "--server-pid", &pid.to_string()]).args(args);
        if echo == Echo::Bytes {
            command.arg("--raw");
        }
        let mut load = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()), &self.load_core)?;
        let deadline = Instant::now() + limit;
        while load.ended()?.is_none() {
            ensure!(Instant::now() < deadline, "the run timed out");
            self.pause()?;
        }
        let mut line = String::new();
        load.take_stdout().context("no output from the load generator")?.read_to_string(&mut line)?;
        let report: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("the load generator failed: {line}"))?;
        match report["error"].as_str() {
            Some(error) => Err(anyhow!(error.to_owned())),
            None => Ok(serde_json::from_value(report["ok"].clone())?),
        }
    }

    /// A short wait; an error once Ctrl-C was pressed.
    pub fn pause(&self) -> Result<()> {
        std::thread::sleep(POLL);
        ensure!(!self.is_interrupted(), "interrupted");
        Ok(())
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// On 127.0.0.1.
    pub fn free_address(&mut self) -> Result<SocketAddr> {
        for _ in FIRST_PORT..LAST_PORT {
            let addr = SocketAddr::from(([127, 0, 0, 1], self.next_port));
            self.next_port = if self.next_port + 1 < LAST_PORT { self.next_port + 1 } else { FIRST_PORT };
            if TcpListener::bind(addr).is_ok() {
                return Ok(addr);
            }
        }
        bail!("no free port from {FIRST_PORT} to {LAST_PORT}")
    }
}
