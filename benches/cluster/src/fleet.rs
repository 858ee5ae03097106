//! The processes of one run: nodes and their engine, their CPU time, their memory.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use compare::bench::Bench;
use compare::process::{self, Process};
use compare::servers::Server;

use crate::engine::{Kind, Work};
use crate::layout::node_name;
use crate::target::Target;

/// Processes that take less than this share of a core have nothing left to do.
const AT_REST: f64 = 0.02;
const LOOK: Duration = Duration::from_millis(50);
const REST_DEADLINE: Duration = Duration::from_secs(10);

pub struct Fleet {
    nodes: Vec<(Process, SocketAddr)>,
    engine: Option<Engine>,
}

struct Engine {
    kind: Kind,
    process: Process,
    addr: SocketAddr,
    monitor: SocketAddr,
}

/// CPU time since the start of each process.
#[derive(Clone, Debug)]
pub struct Cpu {
    pub nodes: Vec<Duration>,
    pub engine: Duration,
}

impl Cpu {
    pub fn since(&self, before: &Cpu) -> Cpu {
        let nodes = self.nodes.iter().zip(&before.nodes).map(|(now, before)| now.saturating_sub(*before));
        Cpu { nodes: nodes.collect(), engine: self.engine.saturating_sub(before.engine) }
    }

    pub fn total(&self) -> Duration {
        self.nodes.iter().sum::<Duration>() + self.engine
    }
}

impl Fleet {
    pub fn start(bench: &mut Bench, target: &Target, nodes: usize, with_engine: bool) -> Result<Self> {
        let engine = match target.engine.filter(|_| with_engine) {
            None => None,
            Some(kind) => {
                let monitor = bench.free_address()?;
                let server = Server::new(&format!("{}-engine", target.name), kind.command(monitor));
                let (process, addr) = bench.start(&server, &[])?;
                Some(Engine { kind, process, addr, monitor })
            }
        };
        let option = engine.as_ref().map_or_else(Vec::new, |engine| engine.kind.option(engine.addr).to_vec());
        let mut fleet = Self { nodes: Vec::new(), engine };
        for node in 0..nodes {
            let command = target.node_command(&node_name(node), &option);
            let server = Server::new(&format!("{}-{}", target.name, node_name(node)), command);
            fleet.nodes.push(bench.start(&server, &[])?);
        }
        Ok(fleet)
    }

    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|(_, addr)| *addr).collect()
    }

    pub fn cpu(&self) -> Result<Cpu> {
        let nodes = self.nodes.iter().map(|(process, _)| process::cpu_time(process.pid())).collect::<Result<_>>()?;
        let engine =
            self.engine.as_ref().map_or(Ok(Duration::ZERO), |engine| process::cpu_time(engine.process.pid()))?;
        Ok(Cpu { nodes, engine })
    }

    pub fn resident_kib(&self) -> Result<u64> {
        self.nodes.iter().map(|(process, _)| process::resident_kib(process.pid())).sum()
    }

    /// The work of the engine; nothing if there is none.
    pub fn work(&self) -> Result<Work> {
        self.engine.as_ref().map_or(Ok(Work::default()), |engine| engine.kind.work(engine.addr, engine.monitor))
    }

    /// Waits until no process has anything to do: nodes without members of a room may be behind those with some.
    pub fn come_to_rest(&self) -> Result<()> {
        let deadline = Instant::now() + REST_DEADLINE;
        let mut before = self.cpu()?;
        while Instant::now() < deadline {
            std::thread::sleep(LOOK);
            let now = self.cpu()?;
            if now.since(&before).total() < LOOK.mul_f64(AT_REST) {
                return Ok(());
            }
            before = now;
        }
        Ok(())
    }

    /// An error names the process that has ended.
    pub fn check(&mut self) -> Result<()> {
        for (number, (process, _)) in self.nodes.iter_mut().enumerate() {
            if let Some(status) = process.ended()? {
                bail!("node {} exited with {status}", node_name(number));
            }
        }
        let engine = self.engine.as_mut().map_or(Ok(None), |engine| engine.process.ended())?;
        if let Some(status) = engine {
            bail!("the engine exited with {status}");
        }
        Ok(())
    }
}
