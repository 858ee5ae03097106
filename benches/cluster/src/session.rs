//! An open session of the load: a WebSocket that takes lines and gives the texts it receives.

use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use compare::frame::{self, Control};
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
        while let Some((length, frame)) = next_frame(&bytes[at..])? {
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
