//! What the driver asks of its child processes, and what they answer: a line of JSON each, over their standard streams.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use compare::process::{Cores, Process};
use serde::{Deserialize, Serialize};

/// A question of the driver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// To a server: how many sessions are open?
    Sessions,
    /// To a server: send this round to all sessions.
    Broadcast(u32),
    /// To clients: open the sessions.
    Open,
    /// To clients: what has happened so far?
    Counts,
    /// To clients: start to talk.
    Talk(Talk),
    /// To clients: send nothing further, and wait for what is under way.
    Silence,
}

/// How the active sessions of a process talk.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Talk {
    /// Number of sessions that talk.
    pub active: usize,
    /// Messages per second, of all of them together.
    pub rate: f64,
}

/// The answer of a child process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// A server listens; clients can be asked.
    Ready,
    Sessions(usize),
    /// A broadcast is queued for `sent` sessions and was refused for `dropped`.
    Broadcast {
        sent: usize,
        dropped: usize,
    },
    Open(usize),
    Counts(Counts),
    /// The order is being obeyed.
    Done,
    /// The process cannot go on.
    Failed(String),
}

/// Counts of the clients of one process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    pub open: usize,
    /// Sessions that ended; nobody asked for that.
    pub ended: usize,
    /// The first reason.
    pub why: Option<String>,
    pub pings: u64,
    /// The last round of a broadcast that reached any session, the sessions that it has reached, and the time when it
    /// reached the last of them.
    pub round: u32,
    pub heard: usize,
    pub last_heard: u64,
    pub sent: u64,
    pub echoed: u64,
    /// Echoes and rounds that came in another order than they were sent, or with other bytes.
    pub wrong: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub slowest_us: f64,
}

/// The orders that come in on the standard input. The channel is disconnected when the driver is gone.
pub fn incoming() -> Receiver<Order> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            let Ok(order) = serde_json::from_str(&line) else { return eprintln!("unknown order {line}") };
            if sender.send(order).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Sends an answer to the driver.
pub fn reply(answer: &Answer) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// A child process that obeys orders. It is ended when this value is dropped.
pub struct Child {
    pub name: String,
    process: Process,
    stdin: ChildStdin,
    answers: Receiver<String>,
}

impl Child {
    /// Starts a command of this program, on all cores.
    pub fn start(name: String, arguments: &[String], cores: &Cores) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command, cores)?;
        let stdin = process.take_stdin().context("a child has no standard input")?;
        let stdout = process.take_stdout().context("a child has no standard output")?;
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { name, process, stdin, answers })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn tell(&mut self, order: &Order) -> Result<()> {
        let line = serde_json::to_string(order)? + "\n";
        self.stdin.write_all(line.as_bytes()).with_context(|| format!("{} is gone", self.name))
    }

    pub fn answer(&mut self, limit: Duration) -> Result<Answer> {
        let line = match self.answers.recv_timeout(limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("{} did not answer within {limit:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => bail!("{} has ended, {:?}", self.name, self.process.ended()?),
        };
        match serde_json::from_str(&line).with_context(|| format!("{} answered {line:?}", self.name))? {
            Answer::Failed(reason) => bail!("{}: {reason}", self.name),
            answer => Ok(answer),
        }
    }
}

/// Gives all of them the order, and then takes the answer of each.
pub fn ask_all(children: &mut [Child], order: &Order, limit: Duration) -> Result<Vec<Answer>> {
    children.iter_mut().try_for_each(|child| child.tell(order))?;
    children.iter_mut().map(|child| child.answer(limit)).collect()
}
