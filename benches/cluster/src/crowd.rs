//! All sessions of a load: opens them, makes them say lines, and counts what each of them hears.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compare::load::Target;
use compare::load::socket::Poller;
use compare::script::Echo;
use compare::stats::Histogram;

use crate::dialect::{Dialect, Heard, Said};
use crate::layout::Layout;
use crate::ledger::{Faults, Ledger};
use crate::line::Line;
use crate::session::{Opening, SCRATCH, Session};

/// So many handshakes are under way at a time.
const OPENING: usize = 64;
/// Deliveries that have not come after this much silence are lost.
const SILENCE: Duration = Duration::from_secs(5);
/// A join, or a room on all nodes, must have taken effect by then.
const EFFECT_DEADLINE: Duration = Duration::from_secs(60);
/// Rooms whose members have not all heard of it are asked again after this time.
const PROBE_AGAIN: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(5);

/// When senders send.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many lines of each sender are under way: it sends the next when it has heard one of them.
    Closed { in_flight: usize },
    /// So many lines a second of all senders together, whatever is heard.
    Open { rate: f64 },
}

/// The events between the first line and the last delivery.
#[derive(Debug)]
pub struct Phase {
    pub messages: u64,
    /// To members on the sender's node, the sender included.
    pub local: u64,
    pub remote: u64,
    pub faults: Faults,
    pub seconds: f64,
    /// Of these, after the last line was sent.
    pub drain_seconds: f64,
    pub local_latency: Histogram,
    pub remote_latency: Histogram,
    /// The most that a line of the open loop was sent too late.
    pub latest: Duration,
}

pub struct Crowd {
    wire: Wire,
    layout: Layout,
    phase: u32,
    /// Bytes of a line.
    size: usize,
}

/// The sessions, and what they received last.
struct Wire {
    dialect: Dialect,
    sessions: Vec<Session>,
    poller: Poller,
    scratch: Vec<u8>,
    /// Lines are timed from here.
    started: Instant,
    said: String,
    framed: String,
}

/// The events of a round of waiting, beside lines.
#[derive(Debug, Default)]
struct Answers {
    ready: usize,
    joined: usize,
}

impl Crowd {
    /// Opens all sessions on the nodes at `addrs`, and waits until each is ready.
    pub fn open(dialect: Dialect, addrs: &[SocketAddr], layout: Layout, size: usize) -> Result<Self> {
        let mut sessions: Vec<Session> = Vec::with_capacity(layout.seats.len());
        while sessions.len() < layout.seats.len() {
            let first = sessions.len();
            let wave = (first..layout.seats.len().min(first + OPENING)).map(|number| {
                let seat = layout.seats[number];
                let path = dialect.path(&format!("r{}", seat.room), &format!("u{number}"));
                Opening::start(Target::new(addrs[seat.node], &path, Echo::WebSocket)?, number)
            });
            for opening in wave.collect::<Result<Vec<_>>>()? {
                sessions.push(opening.finish()?);
            }
        }
        let poller = Poller::new()?;
        for (index, session) in sessions.iter().enumerate() {
            poller.add(session.stream(), index)?;
        }
        let wire = Wire {
            dialect,
            sessions,
            poller,
            scratch: vec![0; SCRATCH],
            started: Instant::now(),
            said: String::new(),
            framed: String::new(),
        };
        let mut crowd = Self { wire, layout, phase: 0, size };
        if !dialect.is_ready_at_once() {
            crowd.await_answers("sessions are not ready", crowd.len(), |answers| answers.ready)?;
        }
        Ok(crowd)
    }

    pub fn len(&self) -> usize {
        self.layout.seats.len()
    }

    /// Lets each session join further rooms, `wave` sessions at a time. Returns how many joins were answered.
    pub fn join(&mut self, rooms: impl Fn(usize) -> Vec<String>, wave: usize) -> Result<usize> {
        let mut joins = 0;
        for first in (0..self.len()).step_by(wave) {
            let mut asked = 0;
            for number in first..self.len().min(first + wave) {
                for room in rooms(number) {
                    let message = self.wire.dialect.join(&room).context("no message of this target joins a room")?;
                    self.wire.sessions[number].send(&message)?;
                    asked += 1;
                }
            }
            self.await_answers("joins were not answered", asked, |answers| answers.joined)?;
            joins += asked;
        }
        Ok(joins)
    }

    fn await_answers(&mut self, what: &str, count: usize, of: impl Fn(&Answers) -> usize) -> Result<()> {
        let deadline = Instant::now() + EFFECT_DEADLINE;
        let mut total = 0;
        while total < count {
            ensure!(Instant::now() < deadline, "{} of {count} {what}", count - total);
            total += of(&self.wire.pump(POLL, &self.layout, |_, _, _| ())?);
        }
        Ok(())
    }

    /// One line per room, again and again, until a line has reached every member of its room: then all nodes know of
    /// the rooms.
    pub fn await_rooms(&mut self) -> Result<()> {
        self.phase += 1;
        let Self { wire, layout, phase, size } = self;
        let deadline = Instant::now() + EFFECT_DEADLINE;
        let mut reached = vec![false; layout.seats.len()];
        let mut asked: Option<Instant> = None;
        while reached.contains(&false) {
            let missing = reached.iter().filter(|reached| !**reached).count();
            ensure!(Instant::now() < deadline, "{missing} sessions hear nothing from their rooms");
            if asked.is_none_or(|asked| asked.elapsed() > PROBE_AGAIN) {
                asked = Some(Instant::now());
                for first in (0..reached.len()).step_by(layout.members) {
                    if reached[layout.room_of(first)].contains(&false) {
                        wire.say(first, *phase, 0, *size)?;
                    }
                }
            }
            wire.pump(POLL, layout, |receiver, line, _| reached[receiver] |= line.phase == *phase)?;
        }
        // late deliveries of what was asked twice
        let quiet = Instant::now() + PROBE_AGAIN;
        while Instant::now() < quiet {
            wire.pump(POLL, layout, |_, _, _| ())?;
        }
        Ok(())
    }

    /// Senders send for `seconds`; then all deliveries are awaited.
    pub fn run(&mut self, pace: Pace, seconds: f64) -> Result<Phase> {
        self.phase += 1;
        let Self { wire, layout, phase, size } = self;
        let (phase, size, started) = (*phase, *size, wire.started);
        let senders: Vec<usize> = (0..layout.seats.len()).filter(|session| layout.sends(*session)).collect();
        let mut sent = vec![0u32; layout.seats.len()];
        let mut messages = 0;
        let mut count = Count::new(layout, phase);
        if let Pace::Closed { in_flight } = pace {
            count.own = senders.iter().flat_map(|sender| std::iter::repeat_n(*sender, in_flight)).collect();
        }
        let mut latest = Duration::ZERO;

        let start = Instant::now();
        let end = start + Duration::from_secs_f64(seconds);
        let (mut last_sent, mut last_heard) = (start, start);
        let mut say = |wire: &mut Wire, sender: usize| {
            wire.say_numbered(sender, phase, &mut sent, size)?;
            messages += 1;
            anyhow::Ok(messages)
        };
        let mut total = 0u64;
        loop {
            let is_over = Instant::now() >= end;
            let mut wait = POLL;
            if !is_over {
                match pace {
                    Pace::Closed { .. } => {
                        for sender in count.own.drain(..) {
                            total = say(wire, sender)?;
                            last_sent = Instant::now();
                        }
                    }
                    Pace::Open { rate } => loop {
                        let due = start + Duration::from_secs_f64(total as f64 / rate);
                        let now = Instant::now();
                        if due > now {
                            // waiting in the kernel has a millisecond's grain
                            wait = if due - now > Duration::from_millis(2) { due - now } else { Duration::ZERO };
                            break;
                        }
                        if due >= end {
                            break;
                        }
                        latest = latest.max(now - due);
                        total = say(wire, senders[total as usize % senders.len()])?;
                        last_sent = now;
                    },
                }
            }
            let before = count.deliveries();
            wire.pump(wait, layout, |receiver, line, now| {
                count.hear(receiver, line, now.duration_since(started));
            })?;
            if count.deliveries() > before {
                last_heard = Instant::now();
            }
            let is_complete = count.deliveries() == total * layout.members as u64;
            if is_over && (is_complete || last_heard.elapsed() > SILENCE) {
                break;
            }
        }
        let Count { ledger, late, local, remote, local_latency, remote_latency, .. } = count;
        let mut faults = ledger.close(|receiver, sender| sent[layout.room_of(receiver).start + sender]);
        faults.duplicates += late;
        Ok(Phase {
            messages: total,
            local,
            remote,
            faults,
            seconds: (last_heard - start).as_secs_f64(),
            drain_seconds: last_heard.saturating_duration_since(last_sent).as_secs_f64(),
            local_latency,
            remote_latency,
            latest,
        })
    }
}

/// The deliveries of a phase.
struct Count<'a> {
    layout: &'a Layout,
    phase: u32,
    ledger: Ledger,
    /// Lines of an earlier phase, which had heard all of its lines.
    late: u64,
    local: u64,
    remote: u64,
    local_latency: Histogram,
    remote_latency: Histogram,
    /// Senders that have heard a line of their own, once for each.
    own: Vec<usize>,
}

impl<'a> Count<'a> {
    fn new(layout: &'a Layout, phase: u32) -> Self {
        Self {
            layout,
            phase,
            ledger: Ledger::new(layout.seats.len(), layout.senders),
            late: 0,
            local: 0,
            remote: 0,
            local_latency: Histogram::new(),
            remote_latency: Histogram::new(),
            own: Vec::new(),
        }
    }

    fn deliveries(&self) -> u64 {
        self.local + self.remote
    }

    fn hear(&mut self, receiver: usize, line: Line, now: Duration) {
        if line.phase != self.phase {
            self.late += 1;
            return;
        }
        let (from, to) = (self.layout.seats[line.sender], self.layout.seats[receiver]);
        if !self.ledger.enter(receiver, from.member, line.number) {
            return;
        }
        let latency = now.saturating_sub(Duration::from_nanos(line.sent));
        if from.node == to.node {
            self.local += 1;
            self.local_latency.record(latency);
        } else {
            self.remote += 1;
            self.remote_latency.record(latency);
        }
        if line.sender == receiver {
            self.own.push(receiver);
        }
    }
}

impl Wire {
    fn say_numbered(&mut self, sender: usize, phase: u32, sent: &mut [u32], size: usize) -> Result<()> {
        self.say(sender, phase, sent[sender], size)?;
        sent[sender] += 1;
        Ok(())
    }

    fn say(&mut self, sender: usize, phase: u32, number: u32, size: usize) -> Result<()> {
        self.said.clear();
        self.framed.clear();
        let sent = self.started.elapsed().as_nanos() as u64;
        Line { phase, sender, number, sent }.write(size, &mut self.said);
        self.dialect.say(&self.said, &mut self.framed);
        self.sessions[sender].send(&self.framed)
    }

    /// Waits once, and hands over each line that sessions then have, with its receiver and the time.
    fn pump(
        &mut self,
        wait: Duration,
        layout: &Layout,
        mut heard: impl FnMut(usize, Line, Instant),
    ) -> Result<Answers> {
        let Self { dialect, sessions, poller, scratch, .. } = self;
        let mut answers = Answers::default();
        for at in 0..poller.wait_for(wait)? {
            let ready = poller.ready(at);
            let receiver = ready.index;
            let read = |text: &str| {
                match dialect.read(text).with_context(|| format!("a session received {text}"))? {
                    Heard::Said(said) => {
                        let line = checked(receiver, &said, layout)
                            .with_context(|| format!("session {receiver} received {said:?}"))?;
                        heard(receiver, line, Instant::now());
                    }
                    Heard::Opened(answer) | Heard::Ping(answer) => return Ok(Some(answer)),
                    Heard::Ready => answers.ready += 1,
                    Heard::Joined => answers.joined += 1,
                }
                Ok(None)
            };
            sessions[receiver].advance(ready, scratch, read)?;
        }
        Ok(answers)
    }
}

/// The line, if this session may hear it and if its sender and its node are the right ones.
fn checked(receiver: usize, said: &Said<'_>, layout: &Layout) -> Result<Line> {
    let line = Line::read(said.line).context("no line of this load")?;
    let number = |name: &str, letter: char| name.strip_prefix(letter)?.parse::<usize>().ok();
    ensure!(number(said.from, 'u') == Some(line.sender), "the sender is another");
    ensure!(layout.room_of(receiver).contains(&line.sender), "the sender is in another room");
    ensure!(number(said.node, 'n') == Some(layout.seats[line.sender].node), "the sender's node is another");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use compare::frame::{TEXT, put_server_frame};
    use compare::handshake::CANNED_RESPONSE;

    use super::*;
    use crate::layout::Placement;

    /// The fault of the stand-in at every tenth line.
    #[derive(Clone, Copy, PartialEq)]
    enum Tenth {
        Delivers,
        Loses,
        Doubles,
    }

    type Members = Arc<Mutex<Vec<(String, TcpStream)>>>;

    /// One node of `/chat/{room}?name=NAME`, with a thread per session.
    fn stand_in(tenth: Tenth) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let members = Members::default();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let members = members.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &members, tenth));
            }
        });
        addr
    }

    fn serve(mut stream: TcpStream, members: &Members, tenth: Tenth) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(read_array::<1>(&mut stream)?[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let (room, name) = head.strip_prefix("GET /chat/")?.split(' ').next()?.split_once("?name=")?;
        members.lock().unwrap().push((room.to_owned(), stream.try_clone().ok()?));
        stream.write_all(CANNED_RESPONSE).ok()?;
        for count in 1.. {
            let [_, length] = read_array::<2>(&mut stream)?;
            let mask = read_array::<4>(&mut stream)?;
            let mut line = vec![0; usize::from(length & 0x7f)];
            stream.read_exact(&mut line).ok()?;
            line.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
            let line = String::from_utf8(line).ok()?;
            let said = serde_json::json!({ "from": name, "line": line, "node": "n0" }).to_string();
            let mut frame = Vec::new();
            put_server_frame(&mut frame, TEXT, said.as_bytes());
            let times = match tenth {
                Tenth::Loses if count % 10 == 0 => 0,
                Tenth::Doubles if count % 10 == 0 => 2,
                _ => 1,
            };
            for (_, member) in members.lock().unwrap().iter_mut().filter(|(other, _)| other == room) {
                member.write_all(&frame.repeat(times)).ok()?;
            }
        }
        None
    }

    fn read_array<const N: usize>(stream: &mut TcpStream) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    fn phase(tenth: Tenth, pace: Pace, seconds: f64) -> Phase {
        let load = "24x4".parse().unwrap();
        let layout = Layout::new(load, Placement::AloneFull, 3, 2).unwrap();
        let mut crowd = Crowd::open(Dialect::Plain, &[stand_in(tenth)], layout, 100).unwrap();
        crowd.await_rooms().unwrap();
        crowd.run(pace, seconds).unwrap()
    }

    #[test]
    fn every_delivery_is_counted_once() {
        let phase = phase(Tenth::Delivers, Pace::Closed { in_flight: 4 }, 0.3);
        assert!(phase.messages > 100, "{} messages", phase.messages);
        assert_eq!((phase.local, phase.remote), (phase.messages * 6, 0));
        assert_eq!(phase.faults, Faults::default());
    }

    #[test]
    fn open_loop_keeps_its_rate() {
        let phase = phase(Tenth::Delivers, Pace::Open { rate: 500.0 }, 0.4);
        assert!((195..=200).contains(&phase.messages), "{} messages", phase.messages);
        assert_eq!(phase.local, phase.messages * 6);
        assert!(phase.local_latency.quantile_us(0.5) > 0.0);
    }

    #[test]
    fn doubled_deliveries_are_counted_apart() {
        let phase = phase(Tenth::Doubles, Pace::Open { rate: 500.0 }, 0.4);
        assert_eq!(phase.local, phase.messages * 6);
        // 8 senders send 25 lines each, and two of 25 are doubled, one of them perhaps by the first question
        assert!((90..=150).contains(&phase.faults.duplicates), "{:?}", phase.faults);
        assert_eq!(phase.faults.lost, 0);
    }

    #[test]
    fn lost_deliveries_are_counted() {
        let phase = phase(Tenth::Loses, Pace::Open { rate: 500.0 }, 0.4);
        assert_eq!(phase.local + phase.faults.lost, phase.messages * 6);
        assert!((90..=150).contains(&phase.faults.lost), "{:?}", phase.faults);
    }
}
