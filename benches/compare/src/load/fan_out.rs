//! Fan-out: the first connection sends, all receive, and the next message goes out when the last one has the last.

use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;

use super::connection::{Connection, SCRATCH, advance_until};
use super::socket::Poller;
use super::window::{Span, Window};
use super::{Flow, Target};
use crate::script::Script;
use crate::workload::Workload;

/// Different messages in turn, so that a lost or doubled delivery is noticed.
const MESSAGES: usize = 16;

pub(super) fn run(target: &Target, workload: &Workload, server: u32, span: Span) -> Result<Flow> {
    let script = Rc::new(Script::new(workload.kind, workload.size, MESSAGES, 0, target.echo));
    let mut connections = Connection::open_all(target, workload.connections, |_| script.clone())?;
    await_joined(&mut connections)?;

    let mut poller = Poller::new()?;
    for (index, connection) in connections.iter().enumerate() {
        connection.register(&poller, index)?;
    }
    let mut scratch = vec![0; SCRATCH];
    let mut window = Window::new(server, span);
    for round in 0.. {
        let sent = Instant::now();
        for connection in &mut connections {
            connection.awaited = 1;
        }
        connections[0].send_message(round)?;
        let mut missing = connections.len();
        while missing > 0 {
            for at in 0..poller.wait()? {
                let ready = poller.ready(at);
                missing -= connections[ready.index].advance(ready, &mut scratch)?;
            }
        }
        if !window.count(connections.len(), sent, Instant::now())? {
            break;
        }
    }
    window.into_flow()
}

/// A server answers a ping from its session loop, so a pong says that the session has joined the broadcast.
fn await_joined(connections: &mut [Connection]) -> Result<()> {
    for connection in connections.iter_mut() {
        connection.send_ping()?;
    }
    advance_until(connections, |connection| connection.pongs > 0)
}
