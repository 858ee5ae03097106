//! The load generator: one thread, one epoll, raw RFC 6455. Every wait has a deadline, every byte is checked.

mod churn;
mod connection;
mod deflated;
mod echo;
mod fan_out;
mod idle;
pub mod socket;
mod window;

use std::net::{SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

pub use window::Span;

use crate::script::{Echo, Kind, Script};
use crate::workload::{Work, Workload};
use connection::Connection;

/// No step of the load waits longer than this for a server that says nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// Above this size all connections share one script, so that the load does not measure its own cache misses.
const LARGEST_OWN_SCRIPT: usize = 4 << 10;

/// The server under load.
#[derive(Clone, Debug)]
pub struct Target {
    addr: SocketAddrV4,
    path: String,
    echo: Echo,
    offers_deflate: bool,
}

impl Target {
    /// Loopback only: this tool must not put load on anything else.
    pub fn new(addr: SocketAddr, path: &str, echo: Echo) -> Result<Self> {
        match addr {
            SocketAddr::V4(addr) if addr.ip().is_loopback() => {
                Ok(Self { addr, path: path.to_owned(), echo, offers_deflate: false })
            }
            other => bail!("{other} is not on 127.0.0.0/8"),
        }
    }

    /// As [`new`](Self::new), but on a private network: one of network namespaces of this machine.
    pub fn in_namespace(addr: SocketAddr, path: &str, echo: Echo) -> Result<Self> {
        match addr {
            SocketAddr::V4(addr) if addr.ip().is_private() => {
                Ok(Self { addr, path: path.to_owned(), echo, offers_deflate: false })
            }
            other => bail!("{other} is not on a private network"),
        }
    }

    /// The same, asked for permessage-deflate in each handshake.
    pub fn offering_deflate(self) -> Self {
        Self { offers_deflate: true, ..self }
    }
}

/// What one run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Flow(Flow),
    Memory(Memory),
}

/// A run that counts messages, deliveries or connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    pub units: u64,
    pub seconds: f64,
    pub server_cpu_seconds: f64,
    /// The server was ready to run and another process had its core.
    pub server_waited_seconds: f64,
    pub load_cpu_seconds: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// A run that looks at the server's resident memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    pub connections: usize,
    /// Of these, how many the server compresses.
    pub deflated: usize,
    pub before_kib: u64,
    pub idle_kib: u64,
    pub after_echo_kib: u64,
    /// The readings had come to rest before the deadline.
    pub settled: bool,
}

/// Runs one workload against the server of that process.
pub fn run(target: &Target, workload: &Workload, server: u32, span: Span) -> Result<Outcome> {
    match workload.work {
        Work::Echo => echo::run(target, workload, server, span).map(Outcome::Flow),
        Work::FanOut => fan_out::run(target, workload, server, span).map(Outcome::Flow),
        Work::Churn => churn::run(target, workload, server, span).map(Outcome::Flow),
        Work::Idle => idle::run(target, workload, server).map(Outcome::Memory),
    }
}

/// One checked echo of each kind and length form up to `largest`; the error says what is wrong with the server.
pub fn check(target: &Target, largest: usize) -> Result<()> {
    let forms = [(Kind::Text, 20), (Kind::Binary, 1 << 10), (Kind::NonAscii, 16 << 10), (Kind::Text, 1 << 20)];
    for (kind, size) in forms.into_iter().filter(|(_, size)| *size <= largest) {
        let script = Rc::new(Script::new(kind, size, 2, 0, target.echo));
        let mut connections = Connection::open_all(target, 1, |_| script.clone())?;
        echo::once(&mut connections)?;
    }
    Ok(())
}

/// Whether the server has this endpoint: a refusal is a no, anything but a refusal or a 101 an error.
pub fn offers(target: &Target) -> Result<bool> {
    let script = Rc::new(Script::new(Kind::Text, 20, 1, 0, target.echo));
    match Connection::open_all(target, 1, |_| script.clone()) {
        Ok(_) => Ok(true),
        Err(e) if e.is::<socket::Refused>() => Ok(false),
        Err(e) => Err(e),
    }
}

fn scripts(workload: &Workload, echo: Echo) -> impl Fn(usize) -> Rc<Script> {
    let Workload { kind, size, pipeline, .. } = *workload;
    let shared = Rc::new(Script::new(kind, size, pipeline, 0, echo));
    move |owner| {
        if size > LARGEST_OWN_SCRIPT {
            return shared.clone();
        }
        Rc::new(Script::new(kind, size, pipeline, owner, echo))
    }
}
