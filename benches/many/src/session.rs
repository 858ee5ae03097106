//! A session of the clients: raw RFC 6455 on a socket that does not block.

use std::collections::VecDeque;
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use compare::frame::{self, Control};
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
            while let Some((used, frame)) = next_frame(&bytes[at..])? {
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

#[derive(Debug, PartialEq)]
enum Frame<'a> {
    Text(&'a str),
    Control(Control),
}

/// Reads the frame at the start of `bytes`: its length and itself, or `None` while it is incomplete.
fn next_frame(bytes: &[u8]) -> Result<Option<(usize, Frame<'_>)>> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0x0f >= frame::CLOSE {
        let control = frame::read_control(bytes).map_err(anyhow::Error::msg)?;
        return Ok(control.map(|(length, control)| (length, Frame::Control(control))));
    }
    ensure!(first == 0x80 | frame::TEXT, "the server sent a frame that starts {first:#04x}, not a whole text");
    let (start, length) = match second {
        0..=125 => (2, usize::from(second)),
        126 => match bytes.get(2..4) {
            Some(length) => (4, usize::from(u16::from_be_bytes([length[0], length[1]]))),
            None => return Ok(None),
        },
        _ => bail!("the server sent a masked text or one of more than 64 KiB"),
    };
    let Some(payload) = bytes.get(start..start + length) else { return Ok(None) };
    let text = std::str::from_utf8(payload).context("the server sent a text that is not UTF-8")?;
    Ok(Some((start + length, Frame::Text(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_only_when_whole() {
        for text in ["hi".to_owned(), "x".repeat(300)] {
            let mut bytes = Vec::new();
            frame::put_server_frame(&mut bytes, frame::TEXT, text.as_bytes());
            for end in 0..bytes.len() {
                assert_eq!(next_frame(&bytes[..end]).unwrap(), None);
            }
            bytes.push(0x81);
            assert_eq!(next_frame(&bytes).unwrap(), Some((bytes.len() - 1, Frame::Text(&text))));
        }
    }

    #[test]
    fn fragments_and_binary_are_refused() {
        assert!(next_frame(b"\x01\x00").is_err() && next_frame(b"\x82\x00").is_err());
    }
}
