//! What a connection sends again and again, prepared up front, and what must come back, checked byte for byte. Pure.

use std::rc::Rc;
use std::str::FromStr;

use crate::frame::{self, Control};

/// What a message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
    /// Text of two, three and four byte characters.
    NonAscii,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Binary => "binary",
            Kind::NonAscii => "non-ascii",
        }
    }

    fn opcode(self) -> u8 {
        match self {
            Kind::Text | Kind::NonAscii => frame::TEXT,
            Kind::Binary => frame::BINARY,
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Kind::Text, Kind::Binary, Kind::NonAscii]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("kind must be text, binary or non-ascii, not {name}"))
    }
}

/// How the other end answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Each client frame as a server frame.
    WebSocket,
    /// Each byte as it came: the raw TCP floor.
    Bytes,
}

/// A batch of numbered messages of equal size: the bytes to send and the bytes to expect.
#[derive(Debug)]
pub struct Script {
    pub send: Vec<u8>,
    expect: Vec<u8>,
    pub messages: usize,
    echo: Echo,
}

impl Script {
    /// Messages carry `owner` and their number in the batch as far as they fit, so that a reply to another connection,
    /// a lost, a doubled or a swapped one is noticed.
    pub fn new(kind: Kind, size: usize, messages: usize, owner: usize, echo: Echo) -> Self {
        let mut send = Vec::new();
        let mut expect = Vec::new();
        for number in 0..messages {
            let payload = payload(kind, size, owner, number);
            frame::put_client_frame(&mut send, kind.opcode(), &payload, mask(owner, number));
            frame::put_server_frame(&mut expect, kind.opcode(), &payload);
        }
        if echo == Echo::Bytes {
            expect.clone_from(&send);
        }
        Self { send, expect, messages, echo }
    }

    /// The bytes of one message from the client, as every one has.
    pub fn sent_step(&self) -> usize {
        self.send.len() / self.messages
    }

    fn step(&self) -> usize {
        self.expect.len() / self.messages
    }
}

/// A message of a script.
pub fn payload(kind: Kind, size: usize, owner: usize, number: usize) -> Vec<u8> {
    let stamp = format!("{owner:05}.{number:02} ");
    let filler: Vec<u8> = match kind {
        Kind::Text => (b' '..=b'~').collect(),
        Kind::Binary => (0..=u8::MAX).rev().collect(),
        Kind::NonAscii => "Füße, Ёлка, שלום, 你好世界, ありがとう, 🎉🦀. ".into(),
    };
    let mut payload: Vec<u8> = stamp.into_bytes();
    while payload.len() < size {
        payload.extend_from_slice(&filler);
    }
    payload.truncate(size);
    if kind == Kind::NonAscii {
        let whole = match std::str::from_utf8(&payload) {
            Ok(_) => size,
            Err(cut) => cut.valid_up_to(),
        };
        payload.truncate(whole);
        payload.resize(size, b'.');
    }
    payload
}

/// Any mask but zero will do; it differs from message to message and stays the same from run to run.
fn mask(owner: usize, number: usize) -> [u8; 4] {
    let mixed = (owner as u32).wrapping_mul(0x9e37_79b9).wrapping_add((number as u32).wrapping_mul(0x85eb_ca6b));
    (mixed | 0x0101_0101).to_be_bytes()
}

/// Compares a connection's received bytes with its script's, over and over; pings, pongs and closes may stand between.
#[derive(Debug)]
pub struct Checker {
    script: Rc<Script>,
    at: usize,
    control: Vec<u8>,
}

impl Checker {
    pub fn new(script: Rc<Script>) -> Self {
        Self { script, at: 0, control: Vec::new() }
    }

    pub fn script(&self) -> &Rc<Script> {
        &self.script
    }

    /// Takes what was received and returns how many messages it completed; control frames are put into `controls`.
    pub fn take(&mut self, mut bytes: &[u8], controls: &mut Vec<Control>) -> Result<usize, String> {
        let step = self.script.step();
        let before = self.at / step;
        let mut wrapped = 0;
        while !bytes.is_empty() {
            let expected = &self.script.expect[self.at..];
            let length = expected.len().min(bytes.len());
            if self.control.is_empty() && expected[..length] == bytes[..length] {
                bytes = &bytes[length..];
                self.at += length;
                if self.at == self.script.expect.len() {
                    self.at = 0;
                    wrapped += self.script.messages;
                }
                continue;
            }
            bytes = self.take_unexpected(bytes, controls)?;
        }
        Ok(wrapped + self.at / step - before)
    }

    /// Somewhere in `bytes` stands a control frame, or they are wrong: advances past one of both.
    fn take_unexpected<'a>(&mut self, bytes: &'a [u8], controls: &mut Vec<Control>) -> Result<&'a [u8], String> {
        let expected = &self.script.expect[self.at..];
        let same = match self.control.is_empty() {
            true => expected.iter().zip(bytes).take_while(|(a, b)| a == b).count(),
            false => 0,
        };
        self.at += same;
        let rest = &bytes[same..];
        // A control frame may stand between messages only; a fragmented echo would be wrong anyway.
        let between = self.at.is_multiple_of(self.script.step()) && self.script.echo == Echo::WebSocket;
        if !between || (self.control.is_empty() && rest[0] & 0x08 == 0) {
            return Err(self.describe(rest));
        }
        let known = self.control.len();
        self.control.extend_from_slice(rest);
        match frame::read_control(&self.control)? {
            None => Ok(&[]),
            Some((length, control)) => {
                controls.push(control);
                self.control.clear();
                Ok(&rest[length - known..])
            }
        }
    }

    fn describe(&self, got: &[u8]) -> String {
        let step = self.script.step();
        let expected = &self.script.expect[self.at..];
        format!(
            "wrong echo at byte {} of a {step} byte message: expected {:02x?}, got {:02x?}",
            self.at % step,
            &expected[..expected.len().min(8)],
            &got[..got.len().min(8)]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checker(kind: Kind, size: usize, messages: usize) -> (Checker, Vec<u8>) {
        let script = Script::new(kind, size, messages, 7, Echo::WebSocket);
        let expect = script.expect.clone();
        (Checker::new(Rc::new(script)), expect)
    }

    fn take(checker: &mut Checker, bytes: &[u8]) -> (usize, Vec<Control>) {
        let mut controls = Vec::new();
        let messages = checker.take(bytes, &mut controls).unwrap();
        (messages, controls)
    }

    #[test]
    fn payloads_have_the_size_and_the_stamp() {
        for kind in [Kind::Text, Kind::Binary, Kind::NonAscii] {
            for size in [0, 1, 9, 20, 125, 126, 1024, 16 << 10] {
                let payload = payload(kind, size, 42, 3);
                assert_eq!(payload.len(), size);
                assert!(size < 9 || payload.starts_with(b"00042.03 "));
                assert!(kind == Kind::Binary || std::str::from_utf8(&payload).is_ok());
            }
        }
    }

    #[test]
    fn non_ascii_text_is_mostly_not_ascii() {
        let payload = payload(Kind::NonAscii, 16 << 10, 0, 0);
        assert!(payload.iter().filter(|byte| !byte.is_ascii()).count() > payload.len() * 3 / 4);
    }

    #[test]
    fn echo_is_the_same_whole_byte_by_byte_and_split_at_every_point() {
        let (_, bytes) = checker(Kind::Text, 20, 3);
        let (mut whole, _) = checker(Kind::Text, 20, 3);
        assert_eq!(take(&mut whole, &bytes).0, 3);
        let (mut single, _) = checker(Kind::Text, 20, 3);
        assert_eq!(bytes.iter().map(|byte| take(&mut single, &[*byte]).0).sum::<usize>(), 3);
        for at in 0..bytes.len() {
            let (mut split, _) = checker(Kind::Text, 20, 3);
            let messages = take(&mut split, &bytes[..at]).0 + take(&mut split, &bytes[at..]).0;
            assert_eq!(messages, 3, "split at {at}");
        }
    }

    #[test]
    fn script_restarts() {
        let (mut checker, bytes) = checker(Kind::Binary, 200, 2);
        let twice_and_a_half = [&bytes[..], &bytes[..], &bytes[..bytes.len() / 2]].concat();
        assert_eq!(take(&mut checker, &twice_and_a_half).0, 5);
    }

    #[test]
    fn ping_between_messages_is_returned_and_not_counted() {
        let (_, bytes) = checker(Kind::Text, 20, 2);
        let half = bytes.len() / 2;
        let bytes = [&bytes[..half], b"\x89\x02hi", &bytes[half..]].concat();
        for at in 0..bytes.len() {
            let (mut checker, _) = checker(Kind::Text, 20, 2);
            let (first, mut controls) = take(&mut checker, &bytes[..at]);
            let (second, more) = take(&mut checker, &bytes[at..]);
            controls.extend(more);
            assert_eq!((first + second, controls), (2, vec![Control::Ping(b"hi".to_vec())]), "split at {at}");
        }
    }

    #[test]
    fn every_wrong_byte_is_an_error() {
        let (_, bytes) = checker(Kind::Text, 20, 1);
        for at in 0..bytes.len() {
            let (mut checker, _) = checker(Kind::Text, 20, 1);
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x20;
            assert!(checker.take(&wrong, &mut Vec::new()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_control_frame_inside_a_message_is_an_error() {
        let (mut checker, bytes) = checker(Kind::Text, 20, 1);
        let bytes = [&bytes[..5], b"\x89\x00", &bytes[5..]].concat();
        assert!(checker.take(&bytes, &mut Vec::new()).is_err());
    }

    #[test]
    fn the_floor_returns_the_sent_bytes() {
        let script = Rc::new(Script::new(Kind::Text, 20, 16, 1, Echo::Bytes));
        assert_eq!(script.sent_step(), 26);
        let mut checker = Checker::new(script.clone());
        assert_eq!(checker.take(&script.send, &mut Vec::new()), Ok(16));
    }
}
