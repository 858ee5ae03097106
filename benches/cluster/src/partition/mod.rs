//! `cluster partition`: a load on three nodes while a script breaks things, and what that shows from outside.
//!
//! `partition.sh` makes the hosts and breaks them. It writes what it does to the standard input, a word or two a line.

mod people;
mod record;
mod report;
mod watch;
mod world;

use std::io::BufRead;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use people::People;
use record::NodeRun;
use world::{Event, NODES, Shared};

/// All sessions must be open by then.
const OPENING: Duration = Duration::from_secs(120);
/// After the last line: what is late may come, and the nodes may count.
const DRAIN: Duration = Duration::from_secs(15);
/// Other nodes know of all rooms by then.
const QUIET: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(5);

#[derive(Clone, Debug)]
pub struct Options {
    /// Of a, b and c.
    pub nodes: Vec<SocketAddr>,
    pub engine: String,
    pub rooms: usize,
    /// Members of each room on each node.
    pub members: usize,
    pub out: PathBuf,
}

pub fn run(options: &Options) -> Result<()> {
    let addrs: [SocketAddr; NODES] =
        options.nodes.clone().try_into().ok().context("there must be three nodes: a, b and c")?;
    compare::process::raise_open_files()?;
    let shared = Shared::new(options.rooms);
    let events = events();
    let mut people = People::new(shared.clone(), addrs, options.rooms, options.members)?;
    let deadline = Instant::now() + OPENING;
    while !people.are_all_open() {
        ensure!(Instant::now() < deadline, "only {} sessions are open", people.open());
        people.step(POLL, false)?;
    }
    let quiet = Instant::now() + QUIET;
    while Instant::now() < quiet {
        people.step(POLL, false)?;
    }
    let health = watch::health(shared.clone(), addrs);
    let presence: Vec<_> =
        addrs.into_iter().enumerate().map(|(node, addr)| watch::presence(shared.clone(), node, addr)).collect();
    // the script waits for this
    println!("open");

    let mut ends = None;
    while ends.is_none_or(|ends| Instant::now() < ends) {
        people.step(POLL, !shared.lock().events.is_empty() && ends.is_none())?;
        match events.try_recv() {
            Ok(event) => {
                let now = shared.now();
                eprintln!("{:6.1} s: {}, {} sessions open", since_begin(&shared, now), event.name(), people.open());
                if let Event::Kill(node) = event {
                    let run = shared.lock().runs[node];
                    people.record.kill(NodeRun { node, run }, now);
                }
                shared.lock().apply(event, now);
                if event == Event::End {
                    ends = Some(Instant::now() + DRAIN);
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) if ends.is_some() => {}
            Err(TryRecvError::Disconnected) => bail!("the script has ended too early"),
        }
    }
    shared.lock().is_over = true;
    let (membership, readings) = health.join().expect("the thread does not panic");
    let presence = presence.into_iter().map(|thread| thread.join().expect("the thread does not panic")).collect();
    let world = shared.lock().clone();
    let found = report::Found { world, membership, readings, presence, people: &people };
    let (text, failures) = report::markdown(&options.engine, &found);
    std::fs::write(&options.out, &text).with_context(|| format!("cannot write {}", options.out.display()))?;
    println!("{text}");
    ensure!(failures.is_empty(), "FAILED: {}", failures.join("; "));
    Ok(())
}

/// Seconds of the run; 0 before it.
fn since_begin(shared: &Shared, now: Duration) -> f64 {
    let begin = shared.lock().events.first().map_or(now, |(_, begin)| *begin);
    (now - begin).as_secs_f64()
}

fn events() -> Receiver<Event> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match Event::read(&line) {
                Some(event) if sender.send(event).is_ok() => {}
                Some(_) => return,
                None => eprintln!("unknown event {line}"),
            }
        }
    });
    receiver
}
