//! Sessions over TCP: server processes on one port, and client processes, all on this machine.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compare::process::{self, Cores};
use serde::{Deserialize, Serialize};
use socket2::Socket;

use crate::clock;
use crate::orders::{Answer, Child, Counts, Order, ask_all};
use crate::server::reserve;
use crate::system::{self, Kernel, Limits, Memory};

/// Files that a process has open beside its sessions, and room for the kernel's uneven distribution of connections: six
/// standard deviations of it at this number.
const OTHER_FILES: usize = 1000;

/// Longest wait for a process to start, or to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest wait for all sessions to open.
const OPEN: Duration = Duration::from_secs(600);
/// Longest wait for a broadcast to reach all.
const HEARD: Duration = Duration::from_secs(120);
/// Time in which memory comes to rest.
const PAUSE: Duration = Duration::from_secs(3);

/// How many sessions, and over which processes they are distributed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub sessions: usize,
    pub servers: usize,
    pub clients: usize,
}

impl Plan {
    /// As few processes as the limit of open files allows.
    pub fn new(sessions: usize, servers: Option<usize>, limits: &Limits) -> Result<Self> {
        let most = (limits.open_files as usize).saturating_sub(OTHER_FILES);
        ensure!(most > 0, "a process may open {} files only", limits.open_files);
        let least = sessions.div_ceil(most).max(1);
        let servers = servers.unwrap_or(least);
        ensure!(
            servers >= least,
            "{sessions} sessions need {least} server processes, because one may open {} files",
            limits.open_files
        );
        let files = 2 * sessions;
        ensure!(files < limits.all_files as usize, "{files} sockets are above fs.file-max, {}", limits.all_files);
        if let Some((count, most)) = limits.tracked.filter(|(count, _)| *count > 0) {
            ensure!(sessions < (most - count) as usize, "{sessions} connections are above nf_conntrack_max, {most}");
        }
        Ok(Self { sessions, servers, clients: least })
    }
}

/// Result of a run. Memory is in KiB, and that of processes is the sum over all of a kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    pub sessions: usize,
    pub servers: usize,
    pub clients: usize,
    /// Sessions of the server process that has the fewest and of the one that has the most.
    pub least: usize,
    pub most: usize,
    pub before: Memory,
    pub idle: Memory,
    pub after_broadcasts: Memory,
    pub clients_idle: Memory,
    pub kernel_before: Kernel,
    pub kernel_idle: Kernel,
    pub open_seconds: f64,
    pub open_cpu_seconds: f64,
    pub broadcasts: Vec<Broadcast>,
    pub rest_seconds: f64,
    pub rest_cpu_seconds: f64,
    /// Pings sent and answered in that time.
    pub rest_pings: u64,
}

/// One text to all sessions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Broadcast {
    /// From the first order to a server process until the last client had it.
    pub heard_seconds: f64,
    /// CPU time of all server processes.
    pub cpu_seconds: f64,
}

/// The processes of a run. They end with this value.
pub struct Fleet {
    pub servers: Vec<Child>,
    pub clients: Vec<Child>,
    plan: Plan,
    /// Keeps the port.
    _port: Socket,
}

impl Fleet {
    /// Starts all processes; no session opens yet.
    pub fn start(plan: Plan, limited: bool) -> Result<Self> {
        let cores: Cores = every_core().parse().context("no list of cores")?;
        let port = reserve(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let addr = port.local_addr()?.as_socket().context("no address")?.to_string();
        let arguments = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut servers = Vec::new();
        for number in 0..plan.servers {
            let mut server = arguments(&["server", "--addr", &addr]);
            server.extend(limited.then(|| "--limits".to_owned()));
            servers.push(Child::start(format!("server {number}"), &server, &cores)?);
        }
        let mut clients = Vec::new();
        for number in 0..plan.clients {
            let (first, end) = (number * plan.sessions / plan.clients, (number + 1) * plan.sessions / plan.clients);
            let (first, count) = (first.to_string(), (end - first).to_string());
            let client = arguments(&["clients", "--addr", &addr, "--first", &first, "--count", &count]);
            clients.push(Child::start(format!("clients {number}"), &client, &cores)?);
        }
        let mut fleet = Self { servers, clients, plan, _port: port };
        for child in fleet.servers.iter_mut().chain(&mut fleet.clients) {
            let Answer::Ready = child.answer(ANSWER)? else { bail!("{} is not ready", child.name) };
        }
        Ok(fleet)
    }

    /// Opens all sessions. Returns the number of sessions of each server process.
    pub fn open(&mut self) -> Result<Vec<usize>> {
        for answer in ask_all(&mut self.clients, &Order::Open, OPEN)? {
            ensure!(matches!(answer, Answer::Open(_)), "unexpected answer {answer:?}");
        }
        let sessions = self.sessions()?;
        let open = sessions.iter().sum::<usize>();
        ensure!(open == self.plan.sessions, "{open} sessions are open of {}", self.plan.sessions);
        Ok(sessions)
    }

    pub fn sessions(&mut self) -> Result<Vec<usize>> {
        let number = |answer| match answer {
            Answer::Sessions(number) => Ok(number),
            other => bail!("unexpected answer {other:?}"),
        };
        ask_all(&mut self.servers, &Order::Sessions, ANSWER)?.into_iter().map(number).collect()
    }

    pub fn counts(&mut self) -> Result<Vec<Counts>> {
        let counts = |answer| match answer {
            Answer::Counts(counts) => Ok(counts),
            other => bail!("unexpected answer {other:?}"),
        };
        ask_all(&mut self.clients, &Order::Counts, ANSWER)?.into_iter().map(counts).collect()
    }

    /// Sends a text to all sessions and waits until the last client has it.
    pub fn broadcast(&mut self, round: u32) -> Result<Broadcast> {
        let (started, before) = (clock::now()?, cpu(&self.servers)?);
        for answer in ask_all(&mut self.servers, &Order::Broadcast(round), HEARD)? {
            let Answer::Broadcast { dropped: 0, .. } = answer else { bail!("a broadcast was dropped: {answer:?}") };
        }
        let deadline = Instant::now() + HEARD;
        loop {
            sleep(Duration::from_millis(50));
            let counts = self.counts()?;
            let heard: usize = counts.iter().filter(|counts| counts.round == round).map(|counts| counts.heard).sum();
            if heard == self.plan.sessions {
                let last = counts.iter().map(|counts| counts.last_heard).max().unwrap_or(started);
                let cpu = cpu(&self.servers)? - before;
                return Ok(Broadcast { heard_seconds: (last - started) as f64 / 1e9, cpu_seconds: cpu.as_secs_f64() });
            }
            ensure!(Instant::now() < deadline, "round {round} has reached {heard} sessions of {}", self.plan.sessions);
        }
    }

    /// All sessions are open, and heard all that was sent, in order.
    pub fn check(&mut self) -> Result<()> {
        for counts in self.counts()? {
            ensure!(
                counts.ended == 0 && counts.wrong == 0,
                "{} sessions ended, {} wrong messages; {}",
                counts.ended,
                counts.wrong,
                counts.why.unwrap_or_default()
            );
        }
        let open: usize = self.sessions()?.iter().sum();
        ensure!(open == self.plan.sessions, "{open} sessions are open of {}", self.plan.sessions);
        Ok(())
    }

    pub fn server_memory(&self) -> Result<Memory> {
        memory(&self.servers)
    }

    pub fn server_cpu(&self) -> Result<Duration> {
        cpu(&self.servers)
    }
}

/// Opens the sessions, sends to them, and lets them rest.
pub fn run(plan: Plan, rounds: u32, rest: Duration, mut progress: impl FnMut(&str)) -> Result<Found> {
    let mut fleet = Fleet::start(plan, false)?;
    sleep(PAUSE);
    let (before, kernel_before, cpu_before) = (fleet.server_memory()?, system::kernel()?, fleet.server_cpu()?);
    let started = Instant::now();
    let sessions = fleet.open()?;
    let (open_seconds, open_cpu) = (started.elapsed(), fleet.server_cpu()? - cpu_before);
    progress(&format!("{} sessions open after {:.1} s", plan.sessions, open_seconds.as_secs_f64()));
    sleep(PAUSE);
    let (idle, kernel_idle) = (fleet.server_memory()?, system::kernel()?);
    let clients_idle = memory(&fleet.clients)?;

    let mut broadcasts = Vec::new();
    for round in 1..=rounds {
        let broadcast = fleet.broadcast(round)?;
        progress(&format!("broadcast {round} took {:.2} s", broadcast.heard_seconds));
        broadcasts.push(broadcast);
        sleep(PAUSE);
    }
    let after_broadcasts = fleet.server_memory()?;

    let pings = |fleet: &mut Fleet| Ok::<_, anyhow::Error>(fleet.counts()?.iter().map(|it| it.pings).sum::<u64>());
    let pings_before = pings(&mut fleet)?;
    let (started, cpu_before) = (Instant::now(), fleet.server_cpu()?);
    sleep(rest);
    let (rest_time, rest_cpu) = (started.elapsed(), fleet.server_cpu()? - cpu_before);
    let rest_pings = pings(&mut fleet)? - pings_before;
    fleet.check()?;
    Ok(Found {
        sessions: plan.sessions,
        servers: plan.servers,
        clients: plan.clients,
        least: sessions.iter().copied().min().unwrap_or(0),
        most: sessions.iter().copied().max().unwrap_or(0),
        before,
        idle,
        after_broadcasts,
        clients_idle,
        kernel_before,
        kernel_idle,
        open_seconds: open_seconds.as_secs_f64(),
        open_cpu_seconds: open_cpu.as_secs_f64(),
        broadcasts,
        rest_seconds: rest_time.as_secs_f64(),
        rest_cpu_seconds: rest_cpu.as_secs_f64(),
        rest_pings,
    })
}

fn every_core() -> String {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    (0..cores).map(|core| core.to_string()).collect::<Vec<_>>().join(",")
}

fn memory(children: &[Child]) -> Result<Memory> {
    children.iter().map(|child| system::memory(child.pid())).sum()
}

fn cpu(children: &[Child]) -> Result<Duration> {
    children.iter().map(|child| process::cpu_time(child.pid())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            open_files: 20_000,
            all_files: 1_000_000,
            ports: (32_768, 60_999),
            backlog: 4096,
            tracked: Some((0, 262_144)),
            tcp_pages: 500_000,
            memory_kib: 24 << 20,
        }
    }

    #[test]
    fn the_limit_of_files_decides_the_number_of_processes() {
        let plan = Plan::new(304_000, None, &limits()).unwrap();
        assert_eq!((plan.servers, plan.clients), (16, 16));
        assert_eq!(Plan::new(1, None, &limits()).unwrap().servers, 1);
        assert_eq!(Plan::new(2000, Some(3), &limits()).unwrap().servers, 3);
        assert!(Plan::new(40_000, Some(2), &limits()).is_err());
    }

    #[test]
    fn a_limit_of_the_machine_is_named() {
        let error = Plan::new(600_000, None, &limits()).unwrap_err().to_string();
        assert!(error.contains("fs.file-max"), "{error}");
        let followed = Limits { tracked: Some((1, 262_144)), ..limits() };
        assert!(Plan::new(300_000, None, &followed).unwrap_err().to_string().contains("nf_conntrack_max"));
    }
}
