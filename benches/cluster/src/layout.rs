//! Who sits where: the sessions of a load, their rooms and nodes, and who of them sends. Pure.

use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// So many sessions in so many rooms, as `360x30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    pub sessions: usize,
    pub rooms: usize,
}

impl Load {
    pub fn members(self) -> usize {
        self.sessions / self.rooms
    }

    pub fn name(self) -> String {
        format!("{}x{}", self.sessions, self.rooms)
    }
}

impl FromStr for Load {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (sessions, rooms) = text.split_once('x').with_context(|| format!("{text} is not SESSIONSxROOMS"))?;
        let load = Self { sessions: sessions.parse()?, rooms: rooms.parse()? };
        ensure!(load.rooms > 0 && load.sessions.is_multiple_of(load.rooms), "{text}: rooms are not of equal size");
        Ok(load)
    }
}

/// How the rooms of a load lie on the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Every room on every node.
    Spread,
    /// The members of one node, all on the first node; the others have none.
    Gathered,
    /// The same without the other nodes.
    Single,
    /// The same without the engine.
    Alone,
    /// As many members as `Spread`, one node, no engine.
    AloneFull,
}

impl Placement {
    pub const ALL: [Self; 5] = [Self::Spread, Self::Gathered, Self::Single, Self::Alone, Self::AloneFull];

    pub fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Gathered => "gathered",
            Self::Single => "single",
            Self::Alone => "alone",
            Self::AloneFull => "alone-full",
        }
    }

    pub fn has_engine(self) -> bool {
        !matches!(self, Self::Alone | Self::AloneFull)
    }

    /// How many of `nodes` are started.
    pub fn nodes(self, nodes: usize) -> usize {
        if matches!(self, Self::Spread | Self::Gathered) { nodes } else { 1 }
    }
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seat {
    pub room: usize,
    pub node: usize,
    /// Its number in the room.
    pub member: usize,
}

/// All sessions, room by room.
#[derive(Clone, Debug)]
pub struct Layout {
    pub seats: Vec<Seat>,
    pub members: usize,
    /// The first members of each room send.
    pub senders: usize,
}

impl Layout {
    /// The rooms of a load on `nodes` nodes. Senders of different rooms are on different nodes in turn.
    pub fn new(load: Load, placement: Placement, nodes: usize, senders: usize) -> Result<Self> {
        ensure!(load.members().is_multiple_of(nodes), "{}: members of a room per node are not equal", load.name());
        let members = match placement {
            Placement::Spread | Placement::AloneFull => load.members(),
            _ => load.members() / nodes,
        };
        ensure!((1..=members).contains(&senders), "{}: {senders} of {members} members cannot send", load.name());
        let node = |room, member| if placement == Placement::Spread { (room + member) % nodes } else { 0 };
        let seats = (0..load.rooms)
            .flat_map(|room| (0..members).map(move |member| Seat { room, node: node(room, member), member }));
        Ok(Self { seats: seats.collect(), members, senders })
    }

    pub fn sends(&self, session: usize) -> bool {
        self.seats[session].member < self.senders
    }

    /// The sessions of the same room.
    pub fn room_of(&self, session: usize) -> std::ops::Range<usize> {
        let first = self.seats[session].room * self.members;
        first..first + self.members
    }
}

/// The name of a node, as its process knows it.
pub fn node_name(node: usize) -> String {
    format!("n{node}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(placement: Placement) -> Layout {
        Layout::new("24x4".parse().unwrap(), placement, 3, 1).unwrap()
    }

    #[test]
    fn spread_rooms_have_equal_parts_on_all_nodes() {
        let layout = layout(Placement::Spread);
        assert_eq!(layout.seats.len(), 24);
        for node in 0..3 {
            for room in 0..4 {
                let here = layout.seats.iter().filter(|seat| seat.node == node && seat.room == room);
                assert_eq!(here.count(), 2);
            }
        }
        let senders: Vec<usize> = (0..24).filter(|session| layout.sends(*session)).collect();
        assert_eq!(senders, [0, 6, 12, 18]);
        assert_eq!(senders.iter().map(|session| layout.seats[*session].node).collect::<Vec<_>>(), [0, 1, 2, 0]);
        assert_eq!(layout.room_of(7), 6..12);
    }

    #[test]
    fn gathered_rooms_have_the_part_of_one_node() {
        for placement in [Placement::Gathered, Placement::Single, Placement::Alone] {
            let layout = layout(placement);
            assert_eq!((layout.seats.len(), layout.members), (8, 2));
            assert!(layout.seats.iter().all(|seat| seat.node == 0));
        }
        assert_eq!(layout(Placement::AloneFull).members, 6);
    }

    #[test]
    fn uneven_loads_are_refused() {
        assert!("10x3".parse::<Load>().is_err() && "10".parse::<Load>().is_err());
        assert!(Layout::new("40x4".parse().unwrap(), Placement::Spread, 3, 1).is_err());
    }
}
