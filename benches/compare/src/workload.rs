//! The named workloads: who sends what over how many connections, and what one unit of work is. Pure.

use crate::script::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Every connection sends `pipeline` messages at once and the next as soon as all have come back.
    Echo,
    /// One connection sends a message, all receive it; the next when the last one has it.
    FanOut,
    /// Connect, upgrade, one echo, close handshake, end of the connection; `connections` at a time.
    Churn,
    /// Open connections that do nothing; then one echo on each, and nothing again.
    Idle,
}

#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    pub work: Work,
    pub connections: usize,
    pub size: usize,
    pub kind: Kind,
    pub pipeline: usize,
    /// The handshake offers permessage-deflate.
    pub offers_deflate: bool,
}

impl Workload {
    pub fn named(name: &str) -> Option<&'static Workload> {
        ALL.iter().find(|workload| workload.name == name)
    }

    pub fn path(&self) -> &'static str {
        if self.work == Work::FanOut { "/broadcast" } else { "/ws" }
    }

    /// What the CPU time is divided by.
    pub fn unit(&self) -> &'static str {
        match self.work {
            Work::Echo => "message",
            Work::FanOut => "delivery",
            Work::Churn | Work::Idle => "connection",
        }
    }
}

pub static ALL: &[Workload] = &[
    echo("e1", "20 B text echo, 1 connection", 1, 20, Kind::Text, 1),
    echo("e100", "20 B text echo, 100 connections", 100, 20, Kind::Text, 1),
    echo("e1000", "20 B text echo, 1000 connections", 1000, 20, Kind::Text, 1),
    echo("p16", "20 B text echo, 100 connections, 16 pipelined", 100, 20, Kind::Text, 16),
    echo("t1k", "1 KiB text echo, 100 connections", 100, 1 << 10, Kind::Text, 1),
    echo("b1k", "1 KiB binary echo, 100 connections", 100, 1 << 10, Kind::Binary, 1),
    echo("t16k", "16 KiB text echo, 32 connections", 32, 16 << 10, Kind::Text, 1),
    echo("b16k", "16 KiB binary echo, 32 connections", 32, 16 << 10, Kind::Binary, 1),
    echo("u16k", "16 KiB non-ASCII text echo, 32 connections", 32, 16 << 10, Kind::NonAscii, 1),
    echo("t1m", "1 MiB text echo, 4 connections", 4, 1 << 20, Kind::Text, 1),
    echo("b1m", "1 MiB binary echo, 4 connections", 4, 1 << 20, Kind::Binary, 1),
    Workload {
        work: Work::FanOut,
        ..echo("fanout", "fan-out of 100 B text to 1000 connections", 1000, 100, Kind::Text, 1)
    },
    Workload { work: Work::Churn, ..echo("churn", "connect, upgrade, echo, close; 64 at once", 64, 20, Kind::Text, 1) },
    Workload { work: Work::Idle, ..echo("idle", "memory of an idle connection", 10_000, 20, Kind::Text, 1) },
    Workload {
        work: Work::Idle,
        offers_deflate: true,
        ..echo("idle-deflate", "the same, offered permessage-deflate", 1000, 1 << 10, Kind::Text, 1)
    },
];

const fn echo(
    name: &'static str,
    title: &'static str,
    connections: usize,
    size: usize,
    kind: Kind,
    pipeline: usize,
) -> Workload {
    Workload { name, title, work: Work::Echo, connections, size, kind, pipeline, offers_deflate: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for workload in ALL {
            assert!(std::ptr::eq(Workload::named(workload.name).unwrap(), workload));
        }
        assert!(Workload::named("e2").is_none());
    }
}
