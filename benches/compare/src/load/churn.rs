//! Churn: some slots, each of which connects, upgrades, echoes once, closes, sees the server hang up, and starts anew.

use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::connection::SCRATCH;
use super::socket::{self, Poller, Ready};
use super::window::{Span, Window};
use super::{Flow, SILENCE, Target};
use crate::frame::{self, Control};
use crate::handshake;
use crate::script::{Checker, Echo, Script};
use crate::workload::Workload;

const CLOSE_PAYLOAD: [u8; 2] = 1000u16.to_be_bytes();
const CLOSE_MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(super) fn run(target: &Target, workload: &Workload, server: u32, span: Span) -> Result<Flow> {
    let plan = Plan::new(target, workload);
    let mut poller = Poller::new()?;
    let mut scratch = vec![0; SCRATCH];
    let mut window = Window::new(server, span);
    let mut opened = 0..;
    let mut slots = Vec::new();
    for index in 0..workload.connections {
        slots.push(Slot::open(&plan, &mut opened, &poller, index)?);
    }
    let mut busy = slots.len();
    let mut looked = Instant::now();
    while busy > 0 {
        for at in 0..poller.wait()? {
            let ready = poller.ready(at);
            let slot = &mut slots[ready.index];
            if !slot.advance(&plan, ready, &mut scratch).with_context(|| format!("while {}", slot.step.act()))? {
                continue;
            }
            if window.count(1, slot.started, Instant::now())? {
                *slot = Slot::open(&plan, &mut opened, &poller, ready.index)?;
            } else {
                busy -= 1;
            }
        }
        if looked.elapsed() > SILENCE / 10 {
            looked = Instant::now();
            let stuck = slots.iter().find(|slot| slot.step != Step::Done && slot.started.elapsed() > SILENCE);
            ensure!(stuck.is_none(), "a connection timed out while {}", stuck.map_or("", |slot| slot.step.act()));
        }
    }
    window.into_flow()
}

/// What every connection says.
struct Plan<'a> {
    target: &'a Target,
    request: Vec<u8>,
    script: Rc<Script>,
    close: Vec<u8>,
}

impl<'a> Plan<'a> {
    fn new(target: &'a Target, workload: &Workload) -> Self {
        let mut close = Vec::new();
        frame::put_client_frame(&mut close, frame::CLOSE, &CLOSE_PAYLOAD, CLOSE_MASK);
        Self {
            target,
            request: handshake::request(target.addr.into(), &target.path, target.offers_deflate),
            script: Rc::new(Script::new(workload.kind, workload.size, 1, 0, target.echo)),
            close,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Upgrading,
    Echoing,
    Closing,
    HangingUp,
    Done,
}

impl Step {
    fn act(self) -> &'static str {
        match self {
            Step::Upgrading => "connecting and upgrading",
            Step::Echoing => "echoing",
            Step::Closing => "closing",
            Step::HangingUp => "waiting for the server to close",
            Step::Done => "nothing",
        }
    }
}

struct Slot {
    stream: TcpStream,
    started: Instant,
    step: Step,
    unsent: Vec<u8>,
    /// Received and not yet understood: an answer or a close frame in parts.
    received: Vec<u8>,
    checker: Checker,
}

impl Slot {
    fn open(plan: &Plan<'_>, opened: &mut std::ops::RangeFrom<usize>, poller: &Poller, index: usize) -> Result<Self> {
        let started = Instant::now();
        let stream = socket::connect(plan.target, opened.next().unwrap_or(0))?;
        poller.add(&stream, index)?;
        let checker = Checker::new(plan.script.clone());
        let mut slot =
            Self { stream, started, step: Step::Upgrading, unsent: Vec::new(), received: Vec::new(), checker };
        slot.send(&plan.request)?;
        Ok(slot)
    }

    /// Does what readiness allows and says whether the connection has just come to its good end.
    fn advance(&mut self, plan: &Plan<'_>, ready: Ready, scratch: &mut [u8]) -> Result<bool> {
        if self.step == Step::Done {
            return Ok(false);
        }
        self.send(&[])?;
        loop {
            let length = match socket::read_some(&mut self.stream, scratch) {
                // After the close handshake a reset is as good an end as any.
                Err(_) if self.step == Step::HangingUp => 0,
                Err(e) => return Err(e.into()),
                Ok(None) => return Ok(false),
                Ok(Some(length)) => length,
            };
            if length == 0 {
                ensure!(self.step == Step::HangingUp, "the server closed the connection");
                self.step = Step::Done;
                // Closed here and not when the slot is reused, so that the last ones are closed too.
                let _ = self.stream.shutdown(Shutdown::Both);
                return Ok(true);
            }
            self.take(plan, &scratch[..length])?;
            if length < scratch.len() && !ready.hangup {
                return Ok(false);
            }
        }
    }

    fn take(&mut self, plan: &Plan<'_>, bytes: &[u8]) -> Result<()> {
        match self.step {
            Step::Upgrading => {
                self.received.extend_from_slice(bytes);
                let Some(end) = socket::accepted(&self.received)? else { return Ok(()) };
                ensure!(end == self.received.len(), "the server sent a message before it received one");
                self.received.clear();
                self.step = Step::Echoing;
                self.send(&plan.script.send)
            }
            Step::Echoing => {
                let mut controls = Vec::new();
                let messages = self.checker.take(bytes, &mut controls).map_err(|e| anyhow!(e))?;
                ensure!(controls.is_empty(), "the server sent {controls:?}");
                if messages > 0 {
                    self.step = Step::Closing;
                    self.send(&plan.close)?;
                }
                Ok(())
            }
            Step::Closing => {
                self.received.extend_from_slice(bytes);
                self.read_close(plan)
            }
            Step::HangingUp | Step::Done => bail!("the server sent {bytes:02x?} after its close frame"),
        }
    }

    fn read_close(&mut self, plan: &Plan<'_>) -> Result<()> {
        if plan.target.echo == Echo::Bytes {
            if self.received.len() >= plan.close.len() {
                ensure!(self.received == plan.close, "wrong echo of the close frame");
                self.step = Step::HangingUp;
                // A server of WebSockets hangs up first; the floor has to be told.
                self.stream.shutdown(Shutdown::Write)?;
            }
            return Ok(());
        }
        match frame::read_control(&self.received).map_err(|e| anyhow!(e))? {
            None => Ok(()),
            Some((length, Control::Close(Some(1000)))) if length == self.received.len() => {
                self.step = Step::HangingUp;
                Ok(())
            }
            Some((_, other)) => bail!("the server responded to the close frame with {other:?}"),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if self.unsent.is_empty() {
            let written = socket::write_some(&mut self.stream, bytes)?;
            self.unsent.extend_from_slice(&bytes[written..]);
        } else {
            self.unsent.extend_from_slice(bytes);
            let written = socket::write_some(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..written);
        }
        Ok(())
    }
}
