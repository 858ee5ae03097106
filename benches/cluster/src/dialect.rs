//! What a session says and hears inside its WebSocket messages: plain JSON, or Socket.IO's framing. Pure.

use std::fmt::Write;

use serde::Deserialize;

/// How a target speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/chat/{room}?name=NAME`: a line as it is, and JSON back.
    Plain,
    /// Engine.IO 4 and Socket.IO 5, WebSocket only.
    SocketIo,
}

/// The line that every member of the room receives.
#[derive(Debug, PartialEq, Deserialize)]
pub struct Said<'a> {
    pub from: &'a str,
    pub line: &'a str,
    pub node: &'a str,
}

/// A text message that a session received.
#[derive(Debug, PartialEq)]
pub enum Heard<'a> {
    Said(Said<'a>),
    /// The transport is open: this is the answer.
    Opened(&'static str),
    /// The session is in its rooms.
    Ready,
    /// Asks for this answer.
    Ping(&'static str),
    /// A `join` was carried out.
    Joined,
}

impl Dialect {
    /// Where a session of this name opens, to be in these rooms.
    pub fn path(self, room: &str, name: &str) -> String {
        match self {
            Dialect::Plain => format!("/chat/{room}?name={name}"),
            Dialect::SocketIo => format!("/socket.io/?EIO=4&transport=websocket&room={room}&name={name}"),
        }
    }

    /// Whether a session is ready as soon as its WebSocket is open.
    pub fn is_ready_at_once(self) -> bool {
        self == Dialect::Plain
    }

    /// Writes the message that says `line`, which has nothing that JSON escapes.
    pub fn say(self, line: &str, out: &mut String) {
        let written = match self {
            Dialect::Plain => out.write_str(line),
            Dialect::SocketIo => write!(out, r#"42["message","{line}"]"#),
        };
        written.expect("a String takes all");
    }

    /// The message that joins a further room and is answered with `Joined`, where there is one.
    pub fn join(self, room: &str) -> Option<String> {
        match self {
            Dialect::Plain => None,
            Dialect::SocketIo => Some(format!(r#"420["join","{room}"]"#)),
        }
    }

    pub fn read(self, text: &str) -> Option<Heard<'_>> {
        match self {
            Dialect::Plain => serde_json::from_str(text).ok().map(Heard::Said),
            Dialect::SocketIo => read_socket_io(text),
        }
    }
}

fn read_socket_io(text: &str) -> Option<Heard<'_>> {
    if let Some(event) = text.strip_prefix("42") {
        let (_, said): (&str, Said<'_>) = serde_json::from_str(event).ok().filter(|(name, _)| *name == "message")?;
        return Some(Heard::Said(said));
    }
    match text.as_bytes() {
        [b'2', ..] => Some(Heard::Ping("3")),
        [b'0', ..] => Some(Heard::Opened("40")),
        [b'4', b'0', ..] => Some(Heard::Ready),
        [b'4', b'3', ..] => Some(Heard::Joined),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_read_what_was_said() {
        let said = || Heard::Said(Said { from: "u1", line: "m 1 2", node: "a" });
        let json = r#"{"from":"u1","line":"m 1 2","node":"a"}"#;
        assert_eq!(Dialect::Plain.read(json), Some(said()));
        assert_eq!(Dialect::SocketIo.read(&format!(r#"42["message",{json}]"#)), Some(said()));
        assert_eq!(Dialect::SocketIo.read(&format!(r#"42["other",{json}]"#)), None);
        assert_eq!(Dialect::Plain.read("hello"), None);
    }

    #[test]
    fn socket_io_opens_pings_and_acknowledges() {
        let read = |text| Dialect::SocketIo.read(text);
        assert_eq!(read(r#"0{"sid":"x","upgrades":[]}"#), Some(Heard::Opened("40")));
        assert_eq!(read(r#"40{"sid":"x"}"#), Some(Heard::Ready));
        assert_eq!(read("2"), Some(Heard::Ping("3")));
        assert_eq!(read("430[]"), Some(Heard::Joined));
        assert_eq!(read(r#"44{"message":"refused"}"#), None);
    }

    #[test]
    fn a_line_is_said_in_the_dialect() {
        let say = |dialect: Dialect| {
            let mut out = String::new();
            dialect.say("m 1", &mut out);
            out
        };
        assert_eq!(say(Dialect::Plain), "m 1");
        assert_eq!(say(Dialect::SocketIo), r#"42["message","m 1"]"#);
    }
}
