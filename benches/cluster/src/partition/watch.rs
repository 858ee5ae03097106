//! Asks the nodes, as any client can: `/health` for membership and counts, `/presence` of every room.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::record::NodeRun;
use super::world::{NODES, Shared};

const CONNECT: Duration = Duration::from_secs(1);
/// A question that has no answer by then is asked anew: nodes wait longer than this for those that may be dead.
const ANSWER: Duration = Duration::from_millis(1500);
/// Between two looks at the health of all nodes.
const LOOK: Duration = Duration::from_millis(200);
/// Between two looks at all rooms.
const PAUSE: Duration = Duration::from_millis(300);

#[derive(Clone, Debug, Deserialize)]
pub struct Health {
    pub connected: bool,
    pub peers: Vec<String>,
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Counts {
    pub lost: u64,
    pub refused: u64,
    pub unsure: u64,
    pub duplicates: u64,
}

/// The health of one node at a time.
#[derive(Clone, Debug)]
pub struct Reading {
    pub when: Duration,
    pub of: NodeRun,
    pub health: Health,
}

/// Whether everything was as it should be, at the end of a look.
#[derive(Clone, Debug)]
pub struct Look {
    pub when: Duration,
    /// The events before it.
    pub epoch: usize,
    /// The first fault.
    pub wrong: Option<String>,
}

#[derive(Deserialize)]
struct Presence {
    names: Vec<String>,
    missing: Vec<String>,
}

/// A connection to a node for requests, opened when one is needed.
struct Asker {
    addr: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Asker {
    fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None }
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        let answer = self.try_get(path);
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn try_get(&mut self, path: &str) -> Result<Vec<u8>> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.addr, CONNECT)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().expect("it is open");
        stream.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr).as_bytes())?;
        let (mut line, mut length) = (String::new(), None);
        stream.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
        loop {
            line.clear();
            ensure!(stream.read_line(&mut line)? > 0, "{path}: the answer is cut off");
            if line == "\r\n" {
                break;
            }
            let header = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            if let Some((_, value)) = header {
                length = Some(value.trim().parse()?);
            }
        }
        let mut body = vec![0; length.context("an answer without a length")?];
        stream.read_exact(&mut body)?;
        Ok(body)
    }
}

/// Looks at the health of all nodes until the end.
pub fn health(shared: Shared, addrs: [SocketAddr; NODES]) -> JoinHandle<(Vec<Look>, Vec<Reading>)> {
    std::thread::spawn(move || {
        let (mut looks, mut readings) = (Vec::new(), Vec::new());
        let mut askers = addrs.map(Asker::new);
        loop {
            let world = shared.lock().clone();
            if world.is_over {
                return (looks, readings);
            }
            let mut wrong = None;
            for (node, asker) in askers.iter_mut().enumerate().filter(|(node, _)| world.is_live[*node]) {
                let health = asker.get("/health").and_then(|body| Ok(serde_json::from_slice::<Health>(&body)?));
                let name = super::world::NAMES[node];
                let fault = match &health {
                    Err(error) => Some(format!("node {name} does not answer: {error:#}")),
                    Ok(health) => match world.peers(node) {
                        None if health.connected => Some(format!("node {name} believes in its engine")),
                        None => None,
                        Some(_) if !health.connected => Some(format!("node {name} is not connected")),
                        Some(peers) if peers != health.peers => Some(format!("node {name} knows {:?}", health.peers)),
                        Some(_) => None,
                    },
                };
                wrong = wrong.or(fault);
                if let Ok(health) = health {
                    let of = NodeRun { node, run: world.runs[node] };
                    readings.push(Reading { when: shared.now(), of, health });
                }
            }
            if shared.lock().epoch() == world.epoch() {
                looks.push(Look { when: shared.now(), epoch: world.epoch(), wrong });
            }
            std::thread::sleep(LOOK);
        }
    })
}

/// Asks one node who is in each room, again and again until the end.
pub fn presence(shared: Shared, node: usize, addr: SocketAddr) -> JoinHandle<Vec<Look>> {
    std::thread::spawn(move || {
        let mut looks = Vec::new();
        let mut asker = Asker::new(addr);
        // a look begins with the room that was wrong
        let mut first = 0;
        loop {
            let (epoch, is_over, is_joined, rooms) = {
                let world = shared.lock();
                (world.epoch(), world.is_over, world.is_joined(node), world.rooms.len())
            };
            if is_over {
                return looks;
            }
            if is_joined {
                let mut wrong = None;
                for room in (0..rooms).map(|at| (first + at) % rooms) {
                    wrong =
                        look_at(&shared, &mut asker, room, epoch).unwrap_or_else(|error| Some(format!("{error:#}")));
                    if wrong.is_some() {
                        first = room;
                        break;
                    }
                }
                if shared.lock().epoch() == epoch {
                    looks.push(Look { when: shared.now(), epoch, wrong });
                }
            }
            std::thread::sleep(PAUSE);
        }
    })
}

/// What is wrong with a room.
fn look_at(shared: &Shared, asker: &mut Asker, room: usize, epoch: usize) -> Result<Option<String>> {
    loop {
        let before = shared.lock().rooms[room].version;
        let Presence { names, missing } = serde_json::from_slice(&asker.get(&format!("/presence/r{room}"))?)?;
        let (expected, is_current) = {
            let world = shared.lock();
            if world.epoch() != epoch {
                return Ok(None);
            }
            (world.names(room), world.rooms[room].version == before)
        };
        let mut named = names.clone();
        named.sort();
        if named == expected && missing.is_empty() {
            return Ok(None);
        }
        if is_current {
            let more: Vec<_> = named.iter().filter(|name| !expected.contains(name)).collect();
            let fewer: Vec<_> = expected.iter().filter(|name| !named.contains(name)).collect();
            return Ok(Some(format!("r{room}: too many {more:?}, too few {fewer:?}, no answer of {missing:?}")));
        }
        // somebody came or went meanwhile
        std::thread::sleep(Duration::from_millis(20));
    }
}
