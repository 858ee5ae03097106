//! Idle memory: the server's resident set before, with silent connections, and after one echo on each.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::connection::{Connection, SCRATCH, advance_until};
use super::socket::Poller;
use super::{Memory, Target};
use crate::process;
use crate::script::{self, Kind, Script};
use crate::workload::Workload;

/// Echoes on so many connections at a time: a burst of all would measure the burst's buffers.
const WAVE: usize = 100;

const READING: Duration = Duration::from_millis(200);
/// Memory has come to rest when so many readings in a row differ by no more than `REST_KIB`.
const READINGS: usize = 5;
const REST_KIB: u64 = 64;
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn run(target: &Target, workload: &Workload, server: u32) -> Result<Memory> {
    let script = Rc::new(Script::new(Kind::Text, workload.size, 1, 0, target.echo));
    let open = |count| Connection::open_all(target, count, |_| script.clone());

    // What the first connection alone makes a server allocate is not per connection.
    let mut first = open(1)?;
    echo_once(&mut first, workload)?;
    drop(first);
    let (before_kib, rested_before) = settle(&mut [], server)?;

    let mut connections = open(workload.connections)?;
    let deflated = connections.iter().filter(|connection| connection.deflates).count();
    let (idle_kib, rested_idle) = settle(&mut connections, server)?;
    for wave in connections.chunks_mut(WAVE) {
        echo_once(wave, workload)?;
    }
    let (after_echo_kib, rested_after) = settle(&mut connections, server)?;
    Ok(Memory {
        connections: workload.connections,
        deflated,
        before_kib,
        idle_kib,
        after_echo_kib,
        settled: rested_before && rested_idle && rested_after,
    })
}

/// One message on each connection, all at once, compressed where the server agreed to it.
fn echo_once(connections: &mut [Connection], workload: &Workload) -> Result<()> {
    for connection in connections.iter_mut() {
        match connection.deflates {
            true => connection.send_deflated(script::payload(Kind::Text, workload.size, 0, 0))?,
            false => connection.send_script(Instant::now())?,
        }
    }
    advance_until(connections, |connection| connection.awaited == 0)
}

/// Answers pings until the resident set has come to rest, or the deadline; returns it and whether it rested.
fn settle(connections: &mut [Connection], server: u32) -> Result<(u64, bool)> {
    let mut poller = Poller::new()?;
    for (index, connection) in connections.iter().enumerate() {
        connection.register(&poller, index)?;
    }
    let mut scratch = vec![0; SCRATCH];
    let start = Instant::now();
    let mut next_reading = start + READING;
    let mut readings = Vec::new();
    loop {
        for at in 0..poller.wait_for(READING)? {
            let ready = poller.ready(at);
            let messages = connections[ready.index].advance(ready, &mut scratch)?;
            ensure!(messages == 0, "the server sent a message to a silent connection");
        }
        if Instant::now() < next_reading {
            continue;
        }
        next_reading += READING;
        let resident = process::resident_kib(server)?;
        readings.push(resident);
        if at_rest(&readings) {
            return Ok((resident, true));
        }
        if start.elapsed() > DEADLINE {
            return Ok((resident, false));
        }
    }
}

fn at_rest(readings: &[u64]) -> bool {
    let Some(last) = readings.len().checked_sub(READINGS).map(|from| &readings[from..]) else { return false };
    let (min, max) = last.iter().fold((u64::MAX, 0), |(min, max), kib| (min.min(*kib), max.max(*kib)));
    max - min <= REST_KIB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_rests_after_five_like_readings() {
        assert!(!at_rest(&[100; 4]));
        assert!(at_rest(&[100; 5]));
        assert!(at_rest(&[9000, 100, 110, 164, 120, 130]));
        assert!(!at_rest(&[100, 110, 165, 120, 130]));
    }
}
