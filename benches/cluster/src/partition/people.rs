//! The users: each has a session, comes back when it ends, and sometimes says a line.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compare::load::Target;
use compare::load::socket::{self, Poller, Ready};
use compare::script::Echo;

use super::record::{NodeRun, Record, SETTLING};
use super::world::{NAMES, NODES, Shared};
use crate::dialect::{Dialect, Heard};
use crate::line::Line;
use crate::session::{SCRATCH, Session};

/// So many handshakes are under way at a time.
const OPENING: usize = 64;
/// A handshake that takes longer is given up.
const GIVE_UP: Duration = Duration::from_secs(5);
/// The first pause before a user comes back; it doubles with each failure, and half of it is random.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Between two lines of a room.
const EVERY: Duration = Duration::from_secs(1);
/// Bytes of a line.
const SIZE: usize = 100;

enum State {
    Away { until: Duration },
    Opening { stream: TcpStream, unsent: Vec<u8>, got: Vec<u8>, at: NodeRun, since: Duration },
    Open { session: Session, number: usize },
}

struct User {
    room: usize,
    home: usize,
    /// It knows the other nodes as well, and tries them in turn.
    roams: bool,
    failures: u32,
    state: State,
}

pub struct People {
    shared: Shared,
    addrs: [SocketAddr; NODES],
    users: Vec<User>,
    members: usize,
    poller: Poller,
    scratch: Vec<u8>,
    pub record: Record,
    next_line: Vec<Duration>,
    random: u64,
    opening: usize,
    open: usize,
}

impl People {
    /// Half of the users of each room and node know their own node only.
    pub fn new(shared: Shared, addrs: [SocketAddr; NODES], rooms: usize, members: usize) -> Result<Self> {
        let users = (0..rooms * members * NODES).map(|number| User {
            room: number / (members * NODES),
            home: number % NODES,
            roams: (number / NODES).is_multiple_of(2),
            failures: 0,
            state: State::Away { until: Duration::ZERO },
        });
        Ok(Self {
            shared,
            addrs,
            users: users.collect(),
            members,
            poller: Poller::new()?,
            scratch: vec![0; SCRATCH],
            record: Record::default(),
            next_line: Vec::new(),
            random: 1,
            opening: 0,
            open: 0,
        })
    }

    pub fn open(&self) -> usize {
        self.open
    }

    pub fn len(&self) -> usize {
        self.users.len()
    }

    pub fn are_all_open(&self) -> bool {
        self.open == self.users.len()
    }

    /// Waits once for sockets, lets users come back, and says the lines that are due.
    pub fn step(&mut self, wait: Duration, says: bool) -> Result<()> {
        self.come_back()?;
        if says {
            self.say()?;
        }
        for at in 0..self.poller.wait_for(wait)? {
            let ready = self.poller.ready(at);
            self.advance(ready)?;
        }
        Ok(())
    }

    fn come_back(&mut self) -> Result<()> {
        let now = self.shared.now();
        for number in 0..self.users.len() {
            match self.users[number].state {
                State::Away { until } if until <= now && self.opening < OPENING => self.start(number, now)?,
                State::Opening { since, .. } if now - since > GIVE_UP => self.fail(number, now),
                _ => {}
            }
        }
        Ok(())
    }

    fn start(&mut self, number: usize, now: Duration) -> Result<()> {
        let user = &self.users[number];
        let node = if user.roams { (user.home + user.failures as usize) % NODES } else { user.home };
        let path = Dialect::Plain.path(&format!("r{}", user.room), &name(number));
        let target = Target::in_namespace(self.addrs[node], &path, Echo::WebSocket)?;
        let run = self.shared.lock().runs[node];
        let Ok(stream) = socket::connect(&target, number) else {
            self.pause(number, now);
            return Ok(());
        };
        self.poller.add(&stream, number)?;
        let (at, unsent) = (NodeRun { node, run }, socket::upgrade_request(&target));
        self.users[number].state = State::Opening { stream, unsent, got: Vec::new(), at, since: now };
        self.opening += 1;
        Ok(())
    }

    /// An attempt to come back has failed.
    fn fail(&mut self, number: usize, now: Duration) {
        self.opening -= 1;
        self.pause(number, now);
    }

    fn pause(&mut self, number: usize, now: Duration) {
        let failures = self.users[number].failures;
        let pause = (FIRST_PAUSE * 2u32.pow(failures.min(10))).min(LONGEST_PAUSE);
        let until = now + pause.mul_f64(0.5 + self.random() / 2.0);
        let user = &mut self.users[number];
        user.failures += 1;
        user.state = State::Away { until };
    }

    fn advance(&mut self, ready: Ready) -> Result<()> {
        let (number, now) = (ready.index, self.shared.now());
        if let State::Opening { stream, unsent, got, .. } = &mut self.users[number].state {
            match shake_hands(stream, unsent, got) {
                Ok(None) => return Ok(()),
                Ok(Some(end)) => self.enter(number, end, now),
                Err(_) => {
                    self.fail(number, now);
                    return Ok(());
                }
            }
        }
        let user = &mut self.users[number];
        let State::Open { session, number: me } = &mut user.state else { return Ok(()) };
        let (record, shared, room, members) = (&mut self.record, &self.shared, user.room, self.members);
        let mut wrong = None;
        let ended = session.advance(ready, &mut self.scratch, |text| {
            if let Err(error) = hear(record, *me, room, members, text, shared.now()) {
                wrong = Some(error.context(format!("a session in r{room} received {text}")));
            }
            Ok(None)
        });
        if let Some(error) = wrong {
            return Err(error);
        }
        if let Err(error) = ended {
            let me = *me;
            self.leave(number, me, now, &format!("{error:#}"));
        }
        Ok(())
    }

    fn enter(&mut self, number: usize, end: usize, now: Duration) {
        let user = &mut self.users[number];
        let State::Opening { stream, mut got, at, .. } = std::mem::replace(&mut user.state, State::Away { until: now })
        else {
            return;
        };
        // it may have been started again since the attempt began
        let at = NodeRun { run: self.shared.lock().runs[at.node], ..at };
        let me = self.record.open(user.room, at, now);
        user.state = State::Open { session: Session::new(stream, got.split_off(end)), number: me };
        user.failures = 0;
        self.opening -= 1;
        self.open += 1;
        let mut world = self.shared.lock();
        let room = &mut world.rooms[user.room];
        room.version += 1;
        room.names.insert(name(number), at.node);
    }

    fn leave(&mut self, number: usize, me: usize, now: Duration, why: &str) {
        self.record.close(me, now, why);
        self.open -= 1;
        let mut world = self.shared.lock();
        let room = &mut world.rooms[self.users[number].room];
        room.version += 1;
        room.names.remove(&name(number));
        drop(world);
        self.pause(number, now);
    }

    /// One line of each room every second, by a member that has been there for a while.
    fn say(&mut self) -> Result<()> {
        let now = self.shared.now();
        let in_room = self.members * NODES;
        let rooms = self.users.len() / in_room;
        if self.next_line.is_empty() {
            self.next_line = (0..rooms as u32).map(|room| now + EVERY * room / rooms as u32).collect();
        }
        for room in 0..rooms {
            if self.next_line[room] > now {
                continue;
            }
            self.next_line[room] += EVERY;
            let first = (self.random() * in_room as f64) as usize;
            let settled = (0..in_room).map(|at| room * in_room + (first + at) % in_room).find(|number| {
                let State::Open { number, .. } = self.users[*number].state else { return false };
                self.record.has_settled(number, now - SETTLING)
            });
            let Some(sender) = settled else { continue };
            let State::Open { session, number: me } = &mut self.users[sender].state else { continue };
            let me = *me;
            let line = Line { phase: 0, sender, number: self.record.say(me, now), sent: now.as_nanos() as u64 };
            let mut text = String::new();
            line.write(SIZE, &mut text);
            if let Err(error) = session.send(&text) {
                self.leave(sender, me, now, &format!("{error:#}"));
            }
        }
        Ok(())
    }

    /// From 0 to below 1, the same in every run.
    fn random(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn name(number: usize) -> String {
    format!("u{number:05}")
}

/// Goes on with a handshake; returns where the frames begin once it is done.
fn shake_hands(stream: &mut TcpStream, unsent: &mut Vec<u8>, got: &mut Vec<u8>) -> Result<Option<usize>> {
    if !unsent.is_empty() {
        let written = socket::write_some(stream, unsent)?;
        unsent.drain(..written);
    }
    let mut chunk = [0; 1024];
    while let Some(length) = socket::read_some(stream, &mut chunk)? {
        ensure!(length > 0, "the server closed the connection on the upgrade request");
        got.extend_from_slice(&chunk[..length]);
    }
    socket::accepted(got)
}

/// Notes a line, if it is one of this room and has its sender's name and node.
fn hear(record: &mut Record, me: usize, room: usize, members: usize, text: &str, now: Duration) -> Result<()> {
    let Some(Heard::Said(said)) = Dialect::Plain.read(text) else { anyhow::bail!("no line") };
    let line = Line::read(said.line).context("no line of this load")?;
    let sender = record.sender(line.number).context("a line that nobody said")?;
    ensure!(said.from == name(line.sender), "the sender is another");
    ensure!(line.sender / (members * NODES) == room, "the sender is in another room");
    ensure!(said.node == NAMES[record.at(sender).node], "the sender's node is another");
    record.hear(me, line.number, now);
    Ok(())
}
