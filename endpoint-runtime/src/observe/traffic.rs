//! The traffic log: a line for each message, with a part of its payload from which secrets are removed.

use super::redaction::redacted;

/// Target of the lines of the traffic log, so that a filter can select them.
const TRAFFIC: &str = "endpoint_runtime::traffic";

/// A log of all messages, for development and for hunting a fault
/// ([`ContainerBuilder::traffic_log`](crate::ContainerBuilder::traffic_log)).
///
/// Each message in and out is a line at debug with the target `endpoint_runtime::traffic` and the fields `session`,
/// `path`, `direction`, `kind`, `bytes` and, for text, `payload`: cut, with control characters escaped and secrets replaced
/// by `[redacted]`. A message in is shown as the peer sent it, before interceptors; a message out as it is sent, after them.
/// Messages that no handler takes are not shown, nor those that are dropped before one: over a rate, or because a stream
/// decoder failed.
///
/// A secret is recognized by its name, whatever the format: the value after `"token":`, `password=` or `Authorization:` and
/// the like, and names that end with *token*, *secret*, *password*, *apikey* or *cookie*; and a JSON Web Token wherever it
/// stands. [`redact`](Self::redact) adds names. **A secret without such a name cannot be recognized**: a password as the
/// whole message, the third value of a row, a card number in a chat line. Payloads of binary messages, of messages in parts
/// and of streams are never logged, only their sizes. If that is not enough, take [`sizes`](Self::sizes).
#[derive(Clone, Debug)]
pub struct TrafficLog {
    payload_bytes: usize,
    names: Vec<String>,
}

impl TrafficLog {
    /// Logs each message without its payload.
    pub fn sizes() -> Self {
        Self::payloads(0)
    }

    /// Logs each message with at most the first `bytes` of a text payload.
    pub fn payloads(bytes: usize) -> Self {
        Self { payload_bytes: bytes, names: Vec::new() }
    }

    /// Adds names whose values are secret, such as `pin`. Upper and lower case, `-` and `_` make no difference.
    #[must_use]
    pub fn redact<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        let plain = |name: S| name.as_ref().chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        self.names.extend(names.into_iter().map(|name| plain(name).to_ascii_lowercase()));
        self
    }

    /// The first part of a payload, without secrets and control characters.
    fn excerpt(&self, text: &str) -> String {
        let end = text.len().min(self.payload_bytes);
        let end = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        // cut first: nothing behind the cut is shown, and the work is bounded
        let mut line: String = redacted(&text[..end], &self.names).chars().flat_map(visible).collect();
        if end < text.len() {
            line.push('…');
        }
        line
    }
}

/// A character as it is shown: escaped if it could change the line or hide in it.
fn visible(char: char) -> impl Iterator<Item = char> {
    let is_hidden = char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let (escaped, plain) = if is_hidden { (Some(char.escape_default()), None) } else { (None, Some(char)) };
    escaped.into_iter().flatten().chain(plain)
}

/// A message, as far as the log shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown<'m> {
    /// A whole text message.
    Text(&'m str),
    /// Any other message or part: its kind and size.
    Size(&'static str, usize),
}

impl Shown<'_> {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Size(kind, _) => kind,
        }
    }

    /// Size in bytes.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Size(_, size) => size,
        }
    }
}

/// The traffic log of one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointTraffic {
    pub(crate) log: TrafficLog,
    pub(crate) path: Box<str>,
}

impl EndpointTraffic {
    /// Logs a message of the session with this ID.
    #[cold]
    pub(crate) fn note(&self, session: &str, direction: &'static str, message: Shown<'_>) {
        if !tracing::enabled!(target: TRAFFIC, tracing::Level::DEBUG) {
            return;
        }
        let payload = match message {
            Shown::Text(text) if self.log.payload_bytes > 0 => Some(self.log.excerpt(text)),
            _ => None,
        };
        let (kind, bytes, path) = (message.kind(), message.size(), &*self.path);
        tracing::debug!(target: TRAFFIC, session, path, direction, kind, bytes, payload, "message");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_cut_redacted_and_escaped() {
        let log = TrafficLog::payloads(24).redact(["Pin-Code"]);
        assert_eq!(log.excerpt("short"), "short");
        assert_eq!(log.excerpt("a\nb\u{1b}[31m\u{202e}c"), "a\\nb\\u{1b}[31m\\u{202e}c");
        assert_eq!(log.excerpt("ééééééééééééé"), "éééééééééééé…");
        assert_eq!(log.excerpt(r#"{"token":"abcdefghijklmnop"}"#), r#"{"token":[redacted]…"#);
        assert_eq!(log.excerpt(r#"{"pin_code":"1234"}"#), r#"{"pin_code":[redacted]}"#);
        assert_eq!(TrafficLog::sizes().excerpt("any"), "…");
    }
}
