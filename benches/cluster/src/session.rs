//! An open session of the load: a WebSocket that takes lines and gives the texts it receives.

use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use compare::frame::{self, Control, Frame};
use compare::load::Target;
use compare::load::socket::{self, Ready};

const MASK: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];

/// The buffer that all sessions receive into.
pub const SCRATCH: usize = 128 << 10;

pub struct Session {
    stream: TcpStream,
    /// The start of a frame whose rest must still come.
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

/// A session whose handshake is under way.
pub struct Opening {
    stream: TcpStream,
    target: Target,
}

impl Opening {
    /// Connects and asks for the upgrade.
    pub fn start(target: Target, number: usize) -> Result<Self> {
        let mut stream = socket::connect(&target, number)?;
        socket::send_request(&mut stream, &target)?;
        Ok(Self { stream, target })
    }

    /// Waits for the answer.
    pub fn finish(mut self) -> Result<Session> {
        let (early, _) = socket::receive_answer(&mut self.stream, &self.target)?;
        Ok(Session::new(self.stream, early))
    }
}

impl Session {
    /// Of a stream that is upgraded and does not block, with the bytes that came after the answer.
    pub fn new(stream: TcpStream, early: Vec<u8>) -> Self {
        Self { stream, partial: early, unsent: Vec::new() }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send(&mut self, text: &str) -> Result<()> {
        frame::put_client_frame(&mut self.unsent, frame::TEXT, text.as_bytes(), MASK);
        self.flush()
    }

    /// Does what readiness allows: writes the unsent, reads, and hands over each text.
    pub fn advance(
        &mut self,
        ready: Ready,
        scratch: &mut [u8],
        mut heard: impl FnMut(&str) -> Result<Option<&'static str>>,
    ) -> Result<()> {
        self.flush()?;
        loop {
            // before what is read now
            let kept = self.partial.len();
            scratch[..kept].copy_from_slice(&self.partial);
            let length = match socket::read_some(&mut self.stream, &mut scratch[kept..]).context("a session failed")? {
                None if kept == 0 => return Ok(()),
                None => 0,
                Some(0) => bail!("the server closed a session"),
                Some(length) => length,
            };
            let used = self.take(&scratch[..kept + length], &mut heard)?;
            self.partial.clear();
            self.partial.extend_from_slice(&scratch[used..kept + length]);
            if length < scratch.len() - kept && !(ready.hangup && length > 0) {
                return Ok(());
            }
        }
    }

    /// Returns how many bytes were whole frames.
    fn take(&mut self, bytes: &[u8], heard: &mut impl FnMut(&str) -> Result<Option<&'static str>>) -> Result<usize> {
        let mut at = 0;
        while let Some((length, frame)) = frame::read_text_or_control(&bytes[at..]).map_err(anyhow::Error::msg)? {
            match frame {
                Frame::Text(text) => {
                    if let Some(answer) = heard(text)? {
                        self.send(answer)?;
                    }
                }
                Frame::Control(Control::Ping(payload)) => {
                    frame::put_client_frame(&mut self.unsent, frame::PONG, &payload, MASK);
                    self.flush()?;
                }
                Frame::Control(Control::Pong) => {}
                Frame::Control(Control::Close(code)) => bail!("the server closed a session with code {code:?}"),
            }
            at += length;
        }
        ensure!(bytes.len() - at < SCRATCH / 2, "the server sent a message that is too long");
        Ok(at)
    }

    fn flush(&mut self) -> Result<()> {
        if !self.unsent.is_empty() {
            let written = socket::write_some(&mut self.stream, &self.unsent).context("a session failed")?;
            self.unsent.drain(..written);
        }
        Ok(())
    }
}
