//! Which line was said where, which session heard it, and what that means: duplicates, disorder, losses. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// A session that has opened this shortly before a line may be too late for it: other nodes must hear of its room first.
pub const SETTLING: Duration = Duration::from_secs(2);
/// A line that was said this shortly before the end of a session may be too late for it.
const ENDING: Duration = Duration::from_secs(1);

/// A node between a start of its process and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeRun {
    pub node: usize,
    pub run: u32,
}

#[derive(Debug)]
struct Session {
    room: usize,
    at: NodeRun,
    opened: Duration,
    closed: Option<Duration>,
    why: String,
    /// The last line from each node.
    last: HashMap<NodeRun, u32>,
}

#[derive(Debug)]
struct Said {
    by: usize,
    sent: Duration,
    heard: Vec<(usize, Duration)>,
}

#[derive(Debug, Default)]
pub struct Record {
    sessions: Vec<Session>,
    lines: Vec<Said>,
    /// By room.
    members: HashMap<usize, Vec<usize>>,
    /// When a run of a node was killed.
    killed: HashMap<NodeRun, Duration>,
    pub duplicates: u64,
    pub disordered: u64,
    pub first_fault: Option<String>,
}

/// Outcome of the lines of one stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stretch {
    pub lines: u64,
    /// To sessions that were open before and after.
    pub expected: u64,
    /// Lines that their sender's node never got, because the connection broke.
    pub not_taken: u64,
    /// Deliveries of lines that a node had taken within a second before it was killed: nobody is left to count them.
    pub died_with_node: u64,
    /// By the receiving node.
    pub missed: BTreeMap<NodeRun, Missed>,
    /// From a node to its own sessions.
    pub missed_locally: u64,
    pub slowest: Duration,
}

/// The lines that the sessions of a node missed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Missed {
    pub deliveries: u64,
    /// The lines, each once for the node, by the node that sent them.
    pub lines: BTreeMap<NodeRun, BTreeSet<u32>>,
}

impl Missed {
    pub fn lines(&self) -> u64 {
        self.lines.values().map(|lines| lines.len() as u64).sum()
    }
}

impl Record {
    /// A session is open; returns its number.
    pub fn open(&mut self, room: usize, at: NodeRun, now: Duration) -> usize {
        self.sessions.push(Session { room, at, opened: now, closed: None, why: String::new(), last: HashMap::new() });
        self.members.entry(room).or_default().push(self.sessions.len() - 1);
        self.sessions.len() - 1
    }

    pub fn close(&mut self, session: usize, now: Duration, why: &str) {
        let session = &mut self.sessions[session];
        (session.closed, session.why) = (Some(now), why.to_owned());
    }

    /// Sessions that have ended, but not with their node.
    pub fn ended_on_live_nodes(&self) -> Vec<String> {
        let ended = self.sessions.iter().filter_map(|session| {
            let (closed, room, at) = (session.closed?, session.room, session.at);
            // the clients may see it before the script has said it
            let is_killed = self.killed.get(&at).is_some_and(|killed| closed + ENDING >= *killed);
            (!is_killed).then(|| format!("in r{room} at {at:?}, {closed:?}: {}", session.why))
        });
        ended.collect()
    }

    pub fn kill(&mut self, at: NodeRun, now: Duration) {
        self.killed.insert(at, now);
    }

    pub fn at(&self, session: usize) -> NodeRun {
        self.sessions[session].at
    }

    /// Whether a session was open by then.
    pub fn has_settled(&self, session: usize, by: Duration) -> bool {
        self.sessions[session].opened <= by
    }

    /// A session says a line; returns its number.
    pub fn say(&mut self, session: usize, now: Duration) -> u32 {
        self.lines.push(Said { by: session, sent: now, heard: Vec::new() });
        (self.lines.len() - 1) as u32
    }

    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// The session that said a line, if there is such a line.
    pub fn sender(&self, line: u32) -> Option<usize> {
        self.lines.get(line as usize).map(|said| said.by)
    }

    pub fn hear(&mut self, session: usize, line: u32, now: Duration) {
        let from = self.sessions[self.lines[line as usize].by].at;
        let heard = &mut self.lines[line as usize].heard;
        let receiver = &mut self.sessions[session];
        let mut fault = None;
        if heard.iter().any(|(other, _)| *other == session) {
            self.duplicates += 1;
            fault = Some("twice");
        } else {
            heard.push((session, now));
            // lines of a room are a second apart, so they have an order, whoever says them
            let last = receiver.last.entry(from).or_insert(line);
            if *last > line {
                self.disordered += 1;
                fault = Some("after a later one");
            }
            *last = line.max(*last);
        }
        if let Some(fault) = fault.filter(|_| self.first_fault.is_none()) {
            let (room, at) = (receiver.room, receiver.at);
            self.first_fault =
                Some(format!("room r{room}: line {line} of {from:?} came to {at:?} {fault}, at {now:?}"));
        }
    }

    /// Outcome of the lines that were sent in this time.
    pub fn stretch(&self, from: Duration, until: Duration) -> Stretch {
        let mut stretch = Stretch::default();
        for (number, said) in (0..).zip(&self.lines).filter(|(_, said)| (from..until).contains(&said.sent)) {
            stretch.lines += 1;
            let sender = &self.sessions[said.by];
            if said.heard.is_empty() && sender.closed.is_some_and(|closed| closed < said.sent + ENDING) {
                stretch.not_taken += 1;
                continue;
            }
            let died = self.killed.get(&sender.at).is_some_and(|killed| *killed < said.sent + ENDING);
            for (_, heard) in &said.heard {
                stretch.slowest = stretch.slowest.max(heard.saturating_sub(said.sent));
            }
            for receiver in self.members.get(&sender.room).into_iter().flatten() {
                let session = &self.sessions[*receiver];
                let is_open = session.opened + SETTLING <= said.sent
                    && session.closed.is_none_or(|closed| closed >= said.sent + ENDING);
                if !is_open {
                    continue;
                }
                stretch.expected += 1;
                if said.heard.iter().any(|(heard, _)| heard == receiver) {
                    continue;
                }
                if session.at == sender.at {
                    stretch.missed_locally += 1;
                } else if died {
                    stretch.died_with_node += 1;
                } else {
                    let missed = stretch.missed.entry(session.at).or_default();
                    missed.deliveries += 1;
                    missed.lines.entry(sender.at).or_default().insert(number);
                }
            }
        }
        stretch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeRun = NodeRun { node: 0, run: 0 };
    const B: NodeRun = NodeRun { node: 1, run: 0 };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Two sessions of one room on two nodes.
    fn record() -> Record {
        let mut record = Record::default();
        assert_eq!((record.open(7, A, at(0)), record.open(7, B, at(0))), (0, 1));
        record
    }

    #[test]
    fn lines_that_come_twice_or_late_are_faults() {
        let mut record = record();
        let lines = [3, 4, 5].map(|second| record.say(0, at(second)));
        for line in [lines[1], lines[0], lines[2], lines[2]] {
            record.hear(1, line, at(6));
        }
        assert_eq!((record.disordered, record.duplicates), (1, 1));
        assert!(record.first_fault.unwrap().contains("after a later one"));
    }

    #[test]
    fn missing_lines_are_those_of_sessions_that_stay_open() {
        let mut record = record();
        let late = record.open(7, B, at(9));
        for second in [1, 10, 20] {
            let line = record.say(0, at(second));
            record.hear(0, line, at(second));
        }
        record.close(late, at(30), "");
        let stretch = record.stretch(at(0), at(15));
        let missed = &stretch.missed[&B];
        assert_eq!((stretch.lines, stretch.expected, missed.deliveries, missed.lines()), (2, 2, 1, 1));
        let missed = &record.stretch(at(15), at(30)).missed[&B];
        assert_eq!((missed.deliveries, missed.lines()), (2, 1));
    }

    #[test]
    fn lines_of_a_killed_node_are_kept_apart() {
        let mut record = record();
        let line = record.say(0, at(10));
        record.hear(0, line, at(10));
        record.say(0, at(10));
        record.close(0, at(10), "");
        assert_eq!(record.ended_on_live_nodes().len(), 1);
        record.kill(A, at(10));
        assert!(record.ended_on_live_nodes().is_empty());
        let stretch = record.stretch(at(0), at(11));
        assert_eq!((stretch.lines, stretch.not_taken, stretch.died_with_node), (2, 1, 1));
        assert!(stretch.missed.is_empty() && stretch.missed_locally == 0);
    }
}
