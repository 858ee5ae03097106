//! What the driver knows of nodes and sessions, shared with the threads that ask the nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub const NODES: usize = 3;
pub const NAMES: [&str; NODES] = ["a", "b", "c"];

/// The events that the script causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The run begins; nothing is done.
    Begin,
    Kill(usize),
    Start(usize),
    StopEngine,
    StartEngine,
    Cut(usize),
    Heal(usize),
    End,
}

impl Event {
    pub fn read(text: &str) -> Option<Self> {
        let node = |name: &str| NAMES.iter().position(|known| *known == name);
        Some(match text.trim().split_once(' ') {
            None if text.trim() == "begin" => Self::Begin,
            None if text.trim() == "end" => Self::End,
            Some(("stop", "engine")) => Self::StopEngine,
            Some(("start", "engine")) => Self::StartEngine,
            Some(("kill", name)) => Self::Kill(node(name)?),
            Some(("start", name)) => Self::Start(node(name)?),
            Some(("cut", name)) => Self::Cut(node(name)?),
            Some(("heal", name)) => Self::Heal(node(name)?),
            _ => return None,
        })
    }

    pub fn name(self) -> String {
        match self {
            Self::Begin => "no fault".to_owned(),
            Self::Kill(node) => format!("node {} is killed", NAMES[node]),
            Self::Start(node) => format!("node {} is started again", NAMES[node]),
            Self::StopEngine => "the engine is stopped".to_owned(),
            Self::StartEngine => "the engine is started again".to_owned(),
            Self::Cut(node) => format!("node {} is cut off from the engine", NAMES[node]),
            Self::Heal(node) => format!("the network of node {} is healed", NAMES[node]),
            Self::End => "the end".to_owned(),
        }
    }
}

/// The state that the outside should see.
#[derive(Clone, Debug)]
pub struct World {
    pub events: Vec<(Event, Duration)>,
    pub runs: [u32; NODES],
    pub is_live: [bool; NODES],
    pub cut: Option<usize>,
    pub has_engine: bool,
    pub rooms: Vec<Room>,
    pub is_over: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Room {
    /// Grows with every change.
    pub version: u64,
    /// The names of the open sessions, and the node of each.
    pub names: BTreeMap<String, usize>,
}

#[derive(Clone)]
pub struct Shared {
    pub started: Instant,
    world: Arc<Mutex<World>>,
}

impl Shared {
    pub fn new(rooms: usize) -> Self {
        let world = World {
            events: Vec::new(),
            runs: [0; NODES],
            is_live: [true; NODES],
            cut: None,
            has_engine: true,
            rooms: vec![Room::default(); rooms],
            is_over: false,
        };
        Self { started: Instant::now(), world: Arc::new(Mutex::new(world)) }
    }

    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// The number of events so far.
    pub fn epoch(&self) -> usize {
        self.events.len()
    }

    pub fn apply(&mut self, event: Event, now: Duration) {
        self.events.push((event, now));
        match event {
            Event::Begin | Event::End => {}
            Event::Kill(node) => self.is_live[node] = false,
            Event::Start(node) => {
                self.runs[node] += 1;
                self.is_live[node] = true;
            }
            Event::StopEngine => self.has_engine = false,
            Event::StartEngine => self.has_engine = true,
            Event::Cut(node) => self.cut = Some(node),
            Event::Heal(_) => self.cut = None,
        }
    }

    /// Whether a node can reach others.
    pub fn is_joined(&self, node: usize) -> bool {
        self.has_engine && self.is_live[node] && self.cut != Some(node)
    }

    /// The other nodes that a node should know; `None` if it is to know that it is alone.
    pub fn peers(&self, node: usize) -> Option<Vec<&'static str>> {
        let others = (0..NODES).filter(|other| *other != node && self.is_joined(*other));
        self.is_joined(node).then(|| others.map(|other| NAMES[other]).collect())
    }

    /// The names that a node should list for a room.
    pub fn names(&self, room: usize) -> Vec<String> {
        let names = self.rooms[room].names.iter().filter(|(_, node)| self.cut != Some(**node));
        names.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_change_who_should_be_seen() {
        let mut world = Shared::new(1).lock().clone();
        let mut apply = |text: &str| {
            world.apply(Event::read(text).unwrap(), Duration::ZERO);
            (0..NODES).map(|node| world.peers(node)).collect::<Vec<_>>()
        };
        let all = vec![Some(vec!["b", "c"]), Some(vec!["a", "c"]), Some(vec!["a", "b"])];
        assert_eq!(apply("begin\n"), all);
        assert_eq!(apply("kill b"), [Some(vec!["c"]), None, Some(vec!["a"])]);
        assert_eq!(apply("start b"), all);
        assert_eq!(apply("stop engine"), [None, None, None]);
        assert_eq!(apply("start engine"), all);
        assert_eq!(apply("cut c"), [Some(vec!["b"]), Some(vec!["a"]), None]);
        assert_eq!(apply("heal c"), all);
        assert_eq!((world.runs, Event::read("kill d")), ([0, 1, 0], None));
    }
}
