//! Sessions in one process over the in-memory transport of `peer`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use compare::process;
use endpoint_runtime::ServerContainer;
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

use crate::clock;
use crate::peer::{Peer, SEEN};
use crate::server::{container, round_text, upgrade};
use crate::system::{self, Memory};

/// Longest wait for the sessions to open, and for a broadcast to arrive.
const LIMIT: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(5);
/// Time in which memory comes to rest.
const PAUSE: Duration = Duration::from_secs(2);

/// Result of a run. Memory is that of the process, in KiB.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    pub sessions: usize,
    pub threads: usize,
    /// With the container, before the first session.
    pub before: Memory,
    pub idle: Memory,
    pub after_broadcasts: Memory,
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
    /// Until the call returned: the text is queued for all.
    pub queued_seconds: f64,
    /// Until the last client had it.
    pub heard_seconds: f64,
    pub cpu_seconds: f64,
}

/// Bytes that the transport with its clients takes for each session, measured without a server.
pub fn transport_bytes(sessions: usize) -> Result<f64> {
    let before = system::memory(std::process::id())?;
    let peers: Vec<Box<Peer>> = (0..sessions).map(|_| Box::default()).collect();
    let after = system::memory(std::process::id())?;
    let list = peers.len() * size_of::<Box<Peer>>();
    Ok(((after.pss - before.pss) as f64 * 1024.0 - list as f64) / peers.len() as f64)
}

pub fn run(sessions: usize, threads: usize, rounds: u32, rest: Duration) -> Result<Found> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    // on a worker: broadcasts are for runtimes that serve sessions
    runtime.block_on(async move { tokio::spawn(measure(sessions, threads, rounds, rest)).await? })
}

async fn measure(sessions: usize, threads: usize, rounds: u32, rest: Duration) -> Result<Found> {
    let container = container().build()?;
    let before = own_memory()?;
    let (started, cpu) = (Instant::now(), process::own_cpu_time()?);
    for part in 0..threads {
        let count = sessions / threads + usize::from(part < sessions % threads);
        tokio::spawn(open(count, container.clone()));
    }
    until("the sessions are open", || {
        SEEN.opened.load(Ordering::Relaxed) == sessions as u64 && container.sessions().len() == sessions
    })
    .await?;
    let (open_seconds, open_cpu) = (started.elapsed(), process::own_cpu_time()? - cpu);
    tokio::time::sleep(PAUSE).await;
    let idle = own_memory()?;

    let mut broadcasts = Vec::new();
    for round in 1..=rounds {
        broadcasts.push(broadcast(&container, sessions, round).await?);
        tokio::time::sleep(PAUSE).await;
    }
    let after_broadcasts = own_memory()?;

    let pings = SEEN.pings.load(Ordering::Relaxed);
    let (started, cpu) = (Instant::now(), process::own_cpu_time()?);
    tokio::time::sleep(rest).await;
    let (rest_time, rest_cpu) = (started.elapsed(), process::own_cpu_time()? - cpu);
    let rest_pings = SEEN.pings.load(Ordering::Relaxed) - pings;
    ensure!(container.sessions().len() == sessions, "sessions have ended: {} are open", container.sessions().len());
    ensure!(SEEN.faults.load(Ordering::Relaxed) == 0, "the clients got what they did not expect");
    Ok(Found {
        sessions,
        threads,
        before,
        idle,
        after_broadcasts,
        open_seconds: open_seconds.as_secs_f64(),
        open_cpu_seconds: open_cpu.as_secs_f64(),
        broadcasts,
        rest_seconds: rest_time.as_secs_f64(),
        rest_cpu_seconds: rest_cpu.as_secs_f64(),
        rest_pings,
    })
}

async fn open(count: usize, container: ServerContainer) {
    for _ in 0..count {
        if let Err(error) = upgrade(Peer::default(), container.clone()).await {
            return eprintln!("a session did not open: {error}");
        }
        // the session's own task starts
        yield_now().await;
    }
}

async fn broadcast(container: &ServerContainer, sessions: usize, round: u32) -> Result<Broadcast> {
    let texts = SEEN.texts.load(Ordering::Relaxed);
    SEEN.awaited.store(texts + sessions as u64, Ordering::Relaxed);
    SEEN.last_text.store(0, Ordering::Relaxed);
    let (started, cpu) = (clock::now()?, process::own_cpu_time()?);
    let report = container.sessions().async_remote().send_text(round_text(round));
    let queued = clock::now()?;
    ensure!(report.sent == sessions, "the broadcast was queued for {} sessions only", report.sent);
    until("all have the broadcast", || SEEN.last_text.load(Ordering::Acquire) > 0).await?;
    let seconds = |time: u64| (time - started) as f64 / 1e9;
    let cpu = process::own_cpu_time()? - cpu;
    Ok(Broadcast {
        queued_seconds: seconds(queued),
        heard_seconds: seconds(SEEN.last_text.load(Ordering::Acquire)),
        cpu_seconds: cpu.as_secs_f64(),
    })
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        if Instant::now() > deadline {
            bail!("not until {LIMIT:?}: {what}");
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn own_memory() -> Result<Memory> {
    system::memory(std::process::id())
}
