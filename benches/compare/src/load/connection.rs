//! An open connection that follows its script: sends messages, checks what comes, answers pings.

use std::net::TcpStream;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::deflated::DeflatedEcho;
use super::socket::{self, Poller, Ready};
use super::{SILENCE, Target};
use crate::frame::{self, Control};
use crate::script::{Checker, Script};

/// The buffer all connections receive into. Larger ones leave the cache.
pub(super) const SCRATCH: usize = 128 << 10;

/// This many connections are opened at a time; no listener's queue is longer than that by default.
const OPENING: usize = 64;

const PONG_MASK: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];

pub(super) struct Connection {
    stream: TcpStream,
    checker: Checker,
    /// What is still to be written of the script.
    unsent: Range<usize>,
    /// Control frames, written behind it.
    extra: Vec<u8>,
    controls: Vec<Control>,
    /// How many messages must still come.
    pub(super) awaited: usize,
    pub(super) sent_at: Instant,
    pub(super) pongs: usize,
    /// The server agreed to compress.
    pub(super) deflates: bool,
    /// The compressed message whose echo must come.
    deflated: Option<DeflatedEcho>,
}

impl Connection {
    /// Opens so many connections, each with the script of its number.
    pub(super) fn open_all(
        target: &Target,
        count: usize,
        script: impl Fn(usize) -> Rc<Script>,
    ) -> Result<Vec<Connection>> {
        let mut connections = Vec::with_capacity(count);
        while connections.len() < count {
            let opened = connections.len();
            let mut wave = Vec::new();
            for number in opened..count.min(opened + OPENING) {
                let mut stream = socket::connect(target, number)?;
                socket::send_request(&mut stream, target)?;
                wave.push(stream);
            }
            for (number, mut stream) in wave.into_iter().enumerate() {
                let (early, deflates) = socket::receive_answer(&mut stream, target)?;
                let mut connection = Connection::new(stream, script(opened + number));
                connection.deflates = deflates;
                ensure!(connection.take(&early)? == 0, "the server sent a message before it received one");
                connection.flush()?;
                connections.push(connection);
            }
        }
        Ok(connections)
    }

    fn new(stream: TcpStream, script: Rc<Script>) -> Self {
        Self {
            stream,
            checker: Checker::new(script),
            unsent: 0..0,
            extra: Vec::new(),
            controls: Vec::new(),
            awaited: 0,
            sent_at: Instant::now(),
            pongs: 0,
            deflates: false,
            deflated: None,
        }
    }

    pub(super) fn register(&self, poller: &Poller, index: usize) -> Result<()> {
        poller.add(&self.stream, index)
    }

    /// Sends the whole script and awaits its echo.
    pub(super) fn send_script(&mut self, now: Instant) -> Result<()> {
        let script = self.checker.script();
        (self.unsent, self.awaited, self.sent_at) = (0..script.send.len(), script.messages, now);
        self.flush()
    }

    /// Sends one message of the script, awaiting nothing: what must come is for the caller to say.
    pub(super) fn send_message(&mut self, number: usize) -> Result<()> {
        let step = self.checker.script().sent_step();
        let start = number % self.checker.script().messages * step;
        self.unsent = start..start + step;
        self.flush()
    }

    /// Sends this text compressed, the connection's first message, and awaits its echo.
    pub(super) fn send_deflated(&mut self, text: Vec<u8>) -> Result<()> {
        let echo = DeflatedEcho::new(text);
        self.extra.extend(echo.frame()?);
        (self.deflated, self.awaited) = (Some(echo), 1);
        self.flush()
    }

    pub(super) fn send_ping(&mut self) -> Result<()> {
        frame::put_client_frame(&mut self.extra, frame::PING, b"", PONG_MASK);
        self.flush()
    }

    /// Does what readiness allows: writes the unsent, reads and checks. Returns how many messages were completed.
    pub(super) fn advance(&mut self, ready: Ready, scratch: &mut [u8]) -> Result<usize> {
        self.flush()?;
        let mut messages = 0;
        loop {
            let length = match socket::read_some(&mut self.stream, scratch).context("the connection failed")? {
                None => break,
                Some(0) => bail!("the server closed the connection"),
                Some(length) => length,
            };
            messages += self.take(&scratch[..length])?;
            // A short read has emptied the socket, unless the end stands behind it.
            if length < scratch.len() && !ready.hangup {
                break;
            }
        }
        self.awaited = self.awaited.checked_sub(messages).context("the server sent too many messages")?;
        Ok(messages)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        let messages = match &mut self.deflated {
            Some(echo) => echo.take(bytes, &mut self.controls)?,
            None => self.checker.take(bytes, &mut self.controls).map_err(|e| anyhow!(e))?,
        };
        if !self.controls.is_empty() {
            self.answer_controls()?;
        }
        Ok(messages)
    }

    fn answer_controls(&mut self) -> Result<()> {
        for control in self.controls.drain(..) {
            match control {
                Control::Ping(payload) => {
                    frame::put_client_frame(&mut self.extra, frame::PONG, &payload, PONG_MASK);
                }
                Control::Pong => self.pongs += 1,
                Control::Close(code) => bail!("the server closed the connection with code {code:?}"),
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        if !self.unsent.is_empty() {
            let script = self.checker.script();
            let written = socket::write_some(&mut self.stream, &script.send[self.unsent.clone()]);
            self.unsent.start += written.context("the connection failed")?;
        }
        if self.unsent.is_empty() && !self.extra.is_empty() {
            let written = socket::write_some(&mut self.stream, &self.extra).context("the connection failed")?;
            self.extra.drain(..written);
        }
        Ok(())
    }
}

/// Advances all connections until each one is `done`, within one deadline.
pub(super) fn advance_until(connections: &mut [Connection], done: impl Fn(&Connection) -> bool) -> Result<()> {
    let mut poller = Poller::new()?;
    for (index, connection) in connections.iter().enumerate() {
        connection.register(&poller, index)?;
    }
    let mut scratch = vec![0; SCRATCH];
    let mut waiting = connections.iter().filter(|connection| !done(connection)).count();
    let start = Instant::now();
    while waiting > 0 {
        ensure!(start.elapsed() < SILENCE * 3, "{waiting} connections received no echo or pong");
        for at in 0..poller.wait()? {
            let ready = poller.ready(at);
            let connection = &mut connections[ready.index];
            let before = done(connection);
            connection.advance(ready, &mut scratch)?;
            waiting -= usize::from(!before && done(connection));
        }
    }
    Ok(())
}
