//! The traffic of a test's connection, in both directions, with times.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::frame::TestFrame;
use endpoint_wire::close::CloseCode;
use endpoint_wire::event::{ByteChunk, Event, Utf8Chunk};
use endpoint_wire::message::{Binary, DataKind};
use endpoint_wire::text::Text;

/// Maximum characters, or bytes, of a payload that are shown.
const SHOWN: usize = 120;

/// A message, frame or end on the connection of a [`TestClient`](super::client::TestClient).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traffic {
    /// A whole text message.
    Text(Text),
    /// A whole binary message.
    Binary(Binary),
    /// A ping.
    Ping(Binary),
    /// A pong.
    Pong(Binary),
    /// A close frame. One without a code has [`CloseCode::NoStatusCode`].
    #[allow(missing_docs)]
    Close { code: CloseCode, reason: Text },
    /// A frame built by the test.
    Frame(TestFrame),
    /// Bytes sent by the test.
    Raw(Bytes),
    /// The server's protocol violation, described; nothing after it is read.
    Violation(String),
    /// The end of the connection in this direction.
    End,
}

impl From<Event<'_>> for Traffic {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text { text, .. } => Self::Text(text.into_text()),
            Event::Binary { data, .. } => Self::Binary(data.into_binary()),
            Event::Ping(data) => Self::Ping(data),
            Event::Pong(data) => Self::Pong(data),
            Event::Close(reason) => Self::Close { code: reason.code(), reason: reason.reason().into() },
            // nothing is discarded
            Event::Discarded { kind: DataKind::Text } => Self::Text(Utf8Chunk::Borrowed("").into_text()),
            Event::Discarded { kind: DataKind::Binary } => Self::Binary(ByteChunk::Borrowed(&[]).into_binary()),
        }
    }
}

impl Traffic {
    /// Length of the payload in bytes.
    pub(super) fn payload_len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Close { reason: text, .. } => text.len(),
            Self::Binary(data) | Self::Ping(data) | Self::Pong(data) => data.len(),
            Self::Raw(data) => data.len(),
            // not counted
            Self::Frame(_) | Self::Violation(_) | Self::End => 0,
        }
    }
}

/// The form used in a [`Transcript`]; long payloads are cut.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => {
                f.write_str("text ")?;
                quoted(f, text)
            }
            Self::Binary(data) => bytes(f, "binary", data),
            Self::Ping(data) => control(f, "ping", data),
            Self::Pong(data) => control(f, "pong", data),
            Self::Close { code: CloseCode::NoStatusCode, .. } => f.write_str("close without a code"),
            Self::Close { code, reason } if reason.is_empty() => write!(f, "close {code}"),
            Self::Close { code, reason } => write!(f, "close {code} {:?}", &**reason),
            Self::Frame(frame) => frame.fmt(f),
            Self::Raw(data) => bytes(f, "raw", data),
            Self::Violation(text) => write!(f, "protocol violation: {text}"),
            Self::End => f.write_str("end"),
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text.char_indices().nth(SHOWN) {
        None => write!(f, "{text:?}"),
        Some((end, _)) => write!(f, "{:?} and {} more bytes", &text[..end], text.len() - end),
    }
}

fn bytes(f: &mut fmt::Formatter<'_>, kind: &str, data: &[u8]) -> fmt::Result {
    f.write_str(kind)?;
    data.iter().take(SHOWN).try_for_each(|byte| write!(f, " {byte:02x}"))?;
    match data.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, " and {more} more bytes"),
    }
}

/// Shows the payload of a control frame, which is mostly text.
fn control(f: &mut fmt::Formatter<'_>, kind: &str, data: &[u8]) -> fmt::Result {
    match std::str::from_utf8(data) {
        Ok("") => f.write_str(kind),
        Ok(text) if !text.contains(char::is_control) => {
            write!(f, "{kind} ")?;
            quoted(f, text)
        }
        _ => bytes(f, kind, data),
    }
}

/// Direction of a [`Transcript`] line. Exhaustive: there is no third.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    Sent,
    /// From the server to the client.
    Received,
}

/// A line of a [`Transcript`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Time since the handshake was answered.
    pub at: Duration,
    /// Direction of the line.
    pub direction: Direction,
    /// The traffic that was sent or received.
    pub what: Traffic,
    /// It was sent after the connection was gone.
    pub is_lost: bool,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // milliseconds, the resolution of tokio's timers
        write!(f, "{}.{:03} ", self.at.as_secs(), self.at.subsec_millis())?;
        self.without_time(f)
    }
}

impl Entry {
    fn without_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match self.direction {
            Direction::Sent => "->",
            Direction::Received => "<-",
        };
        write!(f, "{arrow} {}{}", self.what, if self.is_lost { " (lost)" } else { "" })
    }
}

/// The traffic of a connection, in both directions, with the time since the handshake was answered in seconds. `->` is
/// from the client to the server.
///
/// It is a snapshot. It is compared with text line by line, ignoring indentation and empty lines:
///
/// ```
/// # use endpoint_runtime::prelude::*;
/// # use endpoint_runtime::test::TestServer;
/// # #[server_endpoint("/echo")] #[derive(Default)] struct Echo;
/// # impl Echo { #[on_message] fn say(&self, text: String) -> String { text } }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let server = TestServer::of::<Echo>();
/// # let mut client = server.connect("/echo").await;
/// client.send_text("hello").await;
/// client.expect_text("hello").await;
/// assert_eq!(
///     client.transcript().without_times(),
///     r#"
///     -> text "hello"
///     <- text "hello"
///     "#
/// );
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Transcript {
    pub(super) entries: Vec<Entry>,
    pub(super) has_times: bool,
}

impl Transcript {
    /// Lines of the transcript.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Removes the times, for tests with a running clock.
    #[must_use]
    pub fn without_times(mut self) -> Self {
        self.entries.iter_mut().for_each(|entry| entry.at = Duration::ZERO);
        self.has_times = false;
        self
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.entries.iter().map(|entry| {
            if self.has_times {
                return entry.to_string();
            }
            struct Bare<'e>(&'e Entry);
            impl fmt::Display for Bare<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.without_time(f)
                }
            }
            Bare(entry).to_string()
        })
    }

    /// The last few lines, for failure messages.
    pub(super) fn end(&self) -> String {
        let from = self.entries.len().saturating_sub(20);
        let mut text = String::from(if from > 0 { "\n    …" } else { "" });
        self.lines().skip(from).for_each(|line| text.extend(["\n    ", &line]));
        text
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Same as [`Display`](fmt::Display), so that a failed comparison can be read.
impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl PartialEq<str> for Transcript {
    fn eq(&self, other: &str) -> bool {
        self.lines().eq(other.lines().map(str::trim).filter(|line| !line.is_empty()))
    }
}

impl PartialEq<&str> for Transcript {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}
