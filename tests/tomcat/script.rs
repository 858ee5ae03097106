//! A script: what a client says to a server, and the transcript of what comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::support::{Answer, BINARY, CLOSE, CONTINUATION, Client, Frame, PING, PONG, TEXT, frame};

/// The longest that a server may take with anything. Tomcat looks for idle sessions every ten seconds.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a handler's note is waited for that may never come.
const NOTE: Duration = Duration::from_secs(5);
/// What the endpoint of the notes says then.
const NOTHING: &str = "nothing more";

pub struct Script {
    pub name: &'static str,
    path: &'static str,
    method: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    early: Vec<u8>,
    steps: Vec<Step>,
    /// Notes that come after that of the close.
    late_notes: usize,
}

enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Goes on as another client, once all that this one said is answered.
    Client(usize),
    /// Waits for the server to end the session.
    Ends,
    /// Lets go of the socket without a word.
    Drop,
}

/// A handshake that is right, and a session in which nothing is said. It ends with a close frame of the client's with
/// 1000, unless the server ends it before.
pub fn script(name: &'static str, path: &'static str) -> Script {
    let headers = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    Script { name, path, method: "GET", headers, early: Vec::new(), steps: Vec::new(), late_notes: 0 }
}

impl Script {
    /// Another method than GET.
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// Adds a header, or replaces it.
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self = self.without(name);
        self.headers.push((name, value));
        self
    }

    pub fn without(mut self, name: &'static str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self
    }

    /// Sends a frame together with the request.
    pub fn early(mut self, first: u8, payload: &str) -> Self {
        self.early.extend(frame(first, payload.as_bytes()));
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.frame(0x80 | TEXT, text)
    }

    pub fn binary(self, data: impl AsRef<[u8]>) -> Self {
        self.frame(0x80 | BINARY, data)
    }

    /// A masked frame; `first` is its first byte.
    pub fn frame(self, first: u8, payload: impl AsRef<[u8]>) -> Self {
        self.raw(frame(first, payload.as_ref()))
    }

    /// A text that is compressed (RFC 7692 §7.2.1).
    pub fn compressed(self, text: &str) -> Self {
        let mut payload = Vec::with_capacity(text.len() + 64);
        let flush = FlushCompress::Sync;
        Compress::new(Compression::best(), false).compress_vec(text.as_bytes(), &mut payload, flush).unwrap();
        assert!(payload.ends_with(&[0, 0, 255, 255]));
        payload.truncate(payload.len() - 4);
        self.frame(0xc0 | TEXT, payload)
    }

    pub fn raw(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Send(bytes.into()));
        self
    }

    /// A close frame with a code.
    pub fn close(self, code: u16, phrase: &str) -> Self {
        self.frame(0x80 | CLOSE, [&code.to_be_bytes()[..], phrase.as_bytes()].concat())
    }

    /// Goes on as another client, once all that this one said is answered; the first is 1.
    pub fn client(mut self, number: usize) -> Self {
        self.steps.push(Step::Client(number));
        self
    }

    pub fn ends(mut self) -> Self {
        self.steps.push(Step::Ends);
        self
    }

    pub fn drops(mut self) -> Self {
        self.steps.push(Step::Drop);
        self
    }

    pub fn late_notes(mut self, count: usize) -> Self {
        self.late_notes = count;
        self
    }

    /// Plays it with the server at `addr`; `key` names it there. The transcript has a line for everything that came.
    pub async fn play(&self, addr: SocketAddr, key: &str) -> Vec<String> {
        let mut play = Play { script: self, addr, key, clients: BTreeMap::new(), lines: Vec::new() };
        let mut current = 1;
        play.open(current).await;
        for step in &self.steps {
            match step {
                Step::Send(bytes) => play.say(current, bytes).await,
                Step::Client(number) => {
                    play.settle(current).await;
                    current = *number;
                    if !play.clients.contains_key(&current) {
                        play.open(current).await;
                    }
                }
                Step::Ends => play.read_to_end(current).await,
                Step::Drop => drop(play.clients.insert(current, None)),
            }
        }
        // what this one said may have reached the others
        play.settle(current).await;
        let opened: Vec<usize> = play.clients.keys().copied().collect();
        for number in &opened {
            play.settle(*number).await;
        }
        for number in &opened {
            play.goodbye(*number).await;
            if self.path.contains("{script}") && play.lines.iter().any(|line| line.starts_with("101")) {
                play.notes().await;
            }
        }
        play.lines
    }
}

/// A client with an open connection.
struct Open {
    client: Client,
    /// Whether it has sent a close frame.
    closed: bool,
    inflate: Decompress,
    /// The message that is being put together: its opcode, whether it is compressed, what came of it.
    message: Option<(u8, bool, Vec<u8>)>,
}

struct Play<'a> {
    script: &'a Script,
    addr: SocketAddr,
    key: &'a str,
    /// `None` for those whose connection has ended.
    clients: BTreeMap<usize, Option<Open>>,
    lines: Vec<String>,
}

impl Play<'_> {
    fn line(&mut self, number: usize, line: impl AsRef<str>) {
        // what differs by nature
        let line = line.as_ref().replace(&self.addr.to_string(), "HOST").replace(self.key, "SCRIPT");
        self.lines.push(if number == 1 { line } else { format!("client {number}: {line}") });
    }

    async fn open(&mut self, number: usize) {
        let path = self.script.path.replace("{script}", self.key);
        let mut lines = vec![format!("{} {path} HTTP/1.1", self.script.method)];
        if !self.script.headers.iter().any(|(name, _)| *name == "Host") {
            lines.push(format!("Host: {}", self.addr));
        }
        lines.extend(self.script.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (answer, client) = Client::request(self.addr, &lines, &self.script.early).await;
        self.line(number, describe_answer(&answer));
        let open = Open { client, closed: false, inflate: Decompress::new(false), message: None };
        self.clients.insert(number, (answer.status == 101).then_some(open));
    }

    async fn say(&mut self, number: usize, bytes: &[u8]) {
        let Some(Some(open)) = self.clients.get_mut(&number) else { return };
        // the opcode of a whole frame; what is no frame is no close frame either
        open.closed |= bytes[0] & 15 == CLOSE && bytes[1] & 0x80 != 0;
        // a server that has ended the session may not listen any more: what it said is read all the same
        let _ = timeout(LIMIT, open.client.stream.write_all(bytes)).await;
    }

    /// Reads until all that was said is answered: until the pong to a ping of its own.
    async fn settle(&mut self, number: usize) {
        if matches!(self.clients.get(&number), Some(Some(open)) if !open.closed) {
            self.say(number, &frame(0x80 | PING, b"settle")).await;
            while self.read(number, b"settle").await {}
        }
    }

    async fn read_to_end(&mut self, number: usize) {
        while self.read(number, b"").await {}
    }

    async fn goodbye(&mut self, number: usize) {
        if matches!(self.clients.get(&number), Some(Some(open)) if !open.closed) {
            self.say(number, &frame(0x80 | CLOSE, b"\x03\xe8so: done")).await;
        }
        self.read_to_end(number).await;
    }

    /// Reads a frame and writes it down. False when there will be no other, or if it was the pong with `until`.
    async fn read(&mut self, number: usize, until: &[u8]) -> bool {
        let Some(Some(open)) = self.clients.get_mut(&number) else { return false };
        let Ok(frame) = timeout(LIMIT, open.client.frame()).await else {
            self.clients.insert(number, None);
            self.line(number, "nothing more, and TCP stays open");
            return false;
        };
        let Some(Frame { fin, rsv, opcode, payload }) = frame else {
            self.clients.insert(number, None);
            self.line(number, "ends TCP");
            return false;
        };
        match opcode {
            PONG if payload == until => return false,
            PING => self.line(number, format!("ping {}", describe(&payload))),
            PONG => self.line(number, format!("pong {}", describe(&payload))),
            CLOSE => {
                self.line(number, describe_close(&payload));
                if matches!(self.clients.get(&number), Some(Some(open)) if !open.closed) {
                    self.say(number, &crate::support::frame(0x80 | CLOSE, &payload)).await;
                }
            }
            // how a message is cut into frames is the sender's own business
            TEXT | BINARY | CONTINUATION => {
                let mut message = open.message.take().unwrap_or((opcode, rsv == 4, Vec::new()));
                message.2.extend(payload);
                if !fin {
                    open.message = Some(message);
                    return true;
                }
                let (opcode, compressed, mut payload) = message;
                if compressed {
                    payload = inflate(&mut open.inflate, payload);
                }
                let kind = if opcode == TEXT { "text" } else { "binary" };
                self.line(number, format!("{kind} {}", describe(&payload)));
            }
            other => self.line(number, format!("a frame with opcode {other}")),
        }
        true
    }

    /// What the handlers noted until `on_close`, asked for by another connection.
    async fn notes(&mut self) {
        let mut client = Client::connect(self.addr, &format!("/notes/{}", self.key)).await;
        let mut late = None;
        while late != Some(0) {
            client.text(&NOTE.as_millis().to_string()).await;
            let note = String::from_utf8(client.expect(TEXT).await).unwrap();
            late = late.map(|late: usize| late - 1);
            let described = match note.strip_prefix("close ") {
                Some(close) => {
                    late = Some(self.script.late_notes);
                    let (code, phrase) = close.split_once(' ').unwrap();
                    format!("close {code}, {}", describe_phrase(phrase))
                }
                None => note.clone(),
            };
            self.line(1, format!("endpoint: {described}"));
            if note == NOTHING {
                return;
            }
        }
    }
}

/// The status, and what else says something about the protocol. A right answer to a right handshake is a mere 101.
fn describe_answer(answer: &Answer) -> String {
    let usual: &[(&str, &str)] = &[
        ("Upgrade", "websocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("Sec-WebSocket-Protocol", ""),
        ("Sec-WebSocket-Extensions", ""),
    ];
    let of_refusals: &[(&str, &str)] = &[("Upgrade", ""), ("Sec-WebSocket-Version", ""), ("Allow", "")];
    let mut line = answer.status.to_string();
    for (name, usual) in if answer.status == 101 { usual } else { of_refusals } {
        // blanks after a semicolon mean nothing
        let value = answer.header(name).unwrap_or("").replace("; ", ";");
        if value != *usual && !(*name != "Sec-WebSocket-Accept" && value.eq_ignore_ascii_case(usual)) {
            line += &format!(", {name}: {}", value.replace(';', "; "));
        }
    }
    line
}

fn describe(payload: &[u8]) -> String {
    if payload.len() <= 48 {
        std::str::from_utf8(payload).map_or_else(|_| payload.escape_ascii().to_string(), |text| format!("{text:?}"))
    } else {
        // FNV-1a, so that what differs looks different
        let sum = payload.iter().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        format!("of {} bytes ({sum:08x})", payload.len())
    }
}

fn describe_close(payload: &[u8]) -> String {
    match payload {
        [] => "close without a code".to_owned(),
        [high, low, phrase @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!("close {code}, {}", describe_phrase(&String::from_utf8_lossy(phrase)))
        }
        [_] => "close with half a code".to_owned(),
    }
}

/// What the application or the client says begins with "so: " in all scripts; what servers say is their own.
fn describe_phrase(phrase: &str) -> String {
    if phrase.is_empty() {
        "no reason".to_owned()
    } else if phrase.starts_with("so: ") {
        describe(phrase.as_bytes())
    } else {
        "its own reason".to_owned()
    }
}

fn inflate(inflate: &mut Decompress, mut payload: Vec<u8>) -> Vec<u8> {
    payload.extend([0, 0, 255, 255]);
    let mut out = Vec::with_capacity(1 << 18);
    inflate.decompress_vec(&payload, &mut out, FlushDecompress::Sync).unwrap();
    out
}
