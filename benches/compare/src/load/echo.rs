//! Echo: every connection sends its script and sends it again when all of it has come back.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::connection::{Connection, SCRATCH, advance_until};
use super::socket::Poller;
use super::window::{Span, Window};
use super::{Flow, SILENCE, Target, scripts};
use crate::workload::Workload;

pub(super) fn run(target: &Target, workload: &Workload, server: u32, span: Span) -> Result<Flow> {
    let mut connections = Connection::open_all(target, workload.connections, scripts(workload, target.echo))?;
    let mut poller = Poller::new()?;
    let mut scratch = vec![0; SCRATCH];
    let mut window = Window::new(server, span);
    for (index, connection) in connections.iter_mut().enumerate() {
        connection.register(&poller, index)?;
        connection.send_script(Instant::now())?;
    }
    // After the end nothing new is sent, but all that was sent must still come back.
    let mut busy = connections.len();
    let mut over_at = None;
    while busy > 0 {
        for at in 0..poller.wait()? {
            let ready = poller.ready(at);
            let connection = &mut connections[ready.index];
            let messages = connection.advance(ready, &mut scratch)?;
            if messages == 0 || connection.awaited > 0 {
                continue;
            }
            let now = Instant::now();
            if window.count(workload.pipeline, connection.sent_at, now)? {
                connection.send_script(now)?;
            } else {
                busy -= 1;
                let over: Instant = *over_at.get_or_insert(now);
                ensure!(now - over < SILENCE, "{busy} connections received no echo");
            }
        }
    }
    window.into_flow()
}

/// One script on each connection, all at once.
pub(super) fn once(connections: &mut [Connection]) -> Result<()> {
    for connection in connections.iter_mut() {
        connection.send_script(Instant::now())?;
    }
    advance_until(connections, |connection| connection.awaited == 0)
}
