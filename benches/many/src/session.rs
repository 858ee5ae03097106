//! A session of the clients: raw RFC 6455 on a socket that does not block.

use std::collections::VecDeque;
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use compare::frame::{self, Control, Frame};
use compare::load::Target;
use compare::load::socket::{self, Ready};

const MASK: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];

/// The buffer that all sessions of a process receive into.
pub const SCRATCH: usize = 128 << 10;

/// A session whose handshake is under way.
pub struct Opening {
    stream: TcpStream,
}

impl Opening {
    /// Connects and asks for the upgrade.
    pub fn start(target: &Target, number: usize) -> Result<Self> {
        let mut stream = socket::connect(target, number)?;
        socket::send_request(&mut stream, target)?;
        Ok(Self { stream })
    }

    /// Waits for the answer.
    pub fn finish(mut self, target: &Target) -> Result<Session> {
        let (partial, _) = socket::receive_answer(&mut self.stream, target)?;
        Ok(Session { stream: self.stream, partial, unsent: Vec::new(), round: 0, talk: None })
    }
}

pub struct Session {
    stream: TcpStream,
    /// The start of a frame whose rest must still come.
    partial: Vec<u8>,
    unsent: Vec<u8>,
    /// The last round that was heard.
    pub round: u32,
    pub talk: Option<Box<Talking>>,
}

/// Messages of an active session.
#[derive(Default)]
pub struct Talking {
    /// Number of the next message to send.
    pub next: u64,
    /// When each of the messages under way should have been sent, the oldest first.
    pub under_way: VecDeque<u64>,
}

/// A frame or message from the server.
#[derive(Debug, PartialEq)]
pub enum Heard<'a> {
    Text(&'a str),
    Ping,
}

impl Session {
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send(&mut self, text: &str) -> Result<()> {
        frame::put_client_frame(&mut self.unsent, frame::TEXT, text.as_bytes(), MASK);
        self.flush()
    }

    /// Does what readiness allows: writes the unsent, reads, answers pings, and hands over what it hears.
    pub fn advance(
        &mut self,
        ready: Ready,
        scratch: &mut [u8],
        mut heard: impl FnMut(&mut u32, &mut Option<Box<Talking>>, Heard<'_>) -> Result<()>,
    ) -> Result<()> {
        self.flush()?;
        loop {
            // before what is read now
            let kept = self.partial.len();
            scratch[..kept].copy_from_slice(&self.partial);
            let length = match socket::read_some(&mut self.stream, &mut scratch[kept..]).context("reading failed")? {
                None if kept == 0 => return Ok(()),
                None => 0,
                Some(0) => bail!("the server closed the connection"),
                Some(length) => length,
            };
            let bytes = &scratch[..kept + length];
            let mut at = 0;
            while let Some((used, frame)) = frame::read_text_or_control(&bytes[at..]).map_err(anyhow::Error::msg)? {
                match frame {
                    Frame::Text(text) => heard(&mut self.round, &mut self.talk, Heard::Text(text))?,
                    Frame::Control(Control::Ping(payload)) => {
                        heard(&mut self.round, &mut self.talk, Heard::Ping)?;
                        frame::put_client_frame(&mut self.unsent, frame::PONG, &payload, MASK);
                        self.flush()?;
                    }
                    Frame::Control(Control::Pong) => {}
                    Frame::Control(Control::Close(code)) => bail!("the server closed the session with {code:?}"),
                }
                at += used;
            }
            ensure!(bytes.len() - at < SCRATCH / 2, "the server sent a message that is too long");
            // an idle session keeps no buffer
            self.partial = bytes[at..].to_vec();
            if length < scratch.len() - kept && !(ready.hangup && length > 0) {
                return Ok(());
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.unsent.is_empty() {
            let written = socket::write_some(&mut self.stream, &self.unsent).context("writing failed")?;
            self.unsent.drain(..written);
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
            }
        }
        Ok(())
    }
}
