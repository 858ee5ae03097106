//! A raw client that speaks RFC 6455 by hand, right or wrong as told, and servers for the endpoints of a test.
//!
//! Every wait is for an event and has a deadline; what came instead is printed.
#![allow(dead_code)] // each test file uses a part of it

pub mod authority;
pub mod ear;
pub mod http2;
pub mod raw_server;

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use endpoint_runtime::{ContainerBuilder, Server, ServerBuilder, ServerContainer, ServerEndpoint, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// The longest a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for `event`, at most until the deadline.
#[track_caller]
pub fn soon<F: Future>(event: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, event).await {
            Ok(output) => output,
            Err(_) => panic!("{place}: nothing arrived within {DEADLINE:?}"),
        }
    }
}

/// A server on a free port; dropped, it stops accepting.
pub struct TestServer {
    pub addr: SocketAddr,
    pub container: ServerContainer,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<Shutdown, endpoint_runtime::Error>>,
}

impl TestServer {
    /// Serves `E` and nothing else, with default settings.
    pub async fn of<E: ServerEndpoint>() -> Self {
        Self::with(ServerContainer::builder().register::<E>()).await
    }

    /// Serves what `container` has.
    pub async fn with(container: ContainerBuilder) -> Self {
        Self::serving(Server::with(container)).await
    }

    /// Serves what `server` has.
    pub async fn serving(server: ServerBuilder) -> Self {
        let server = server.quiet().bind("127.0.0.1:0").await.unwrap();
        let (addr, container) = (server.local_addr().unwrap(), server.container().clone());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run_until(async move {
            // a dropped sender stops it, too
            let _ = stopped.await;
        }));
        Self { addr, container, stop: Some(stop), task }
    }

    /// Shuts down and returns the counts.
    pub async fn shutdown(mut self) -> Shutdown {
        let _ = self.stop.take().unwrap().send(());
        soon(&mut self.task).await.unwrap().unwrap()
    }

    /// Opens a WebSocket at `path`.
    pub async fn connect(&self, path: &str) -> Client {
        Client::connect(self.addr, path).await
    }

    /// Sends an HTTP request as it stands (lines joined by CRLF, an empty one added) and reads the answer's head.
    pub async fn request(&self, lines: &[&str]) -> (Answer, Client) {
        Client::request(self.addr, lines, b"").await
    }
}

/// The head of an HTTP response, and its body as far as its length is known.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A frame as the server sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub rsv: u8,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A client that says exactly what it is told to say; or, made by a `RawServer`, the server's end of a connection.
pub struct Client {
    pub stream: TcpStream,
    read: Vec<u8>,
    /// It is the server's end: what it sends has no mask, and what it hears must have one.
    serves: bool,
    /// The keys of the masked frames so far.
    pub keys: Vec<[u8; 4]>,
}

impl Client {
    pub async fn connect(addr: SocketAddr, path: &str) -> Self {
        Self::connect_with(addr, path, &[]).await
    }

    /// Opens a WebSocket with further header lines.
    pub async fn connect_with(addr: SocketAddr, path: &str, headers: &[&str]) -> Self {
        let (answer, client) = Self::try_connect(addr, path, headers).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        client
    }

    /// As [`Client::connect_with`], but takes a refusal for an answer. Over HTTP/2 if the environment asks for it.
    pub async fn try_connect(addr: SocketAddr, path: &str, headers: &[&str]) -> (Answer, Self) {
        let connection = if http2::is_asked_for() { http2::bridge(addr).await } else { addr };
        Self::handshake(connection, addr, path, headers).await
    }

    /// Opens a WebSocket of `addr` on a connection to `connection`.
    async fn handshake(connection: SocketAddr, addr: SocketAddr, path: &str, headers: &[&str]) -> (Answer, Self) {
        let (get, host) = (format!("GET {path} HTTP/1.1"), format!("Host: {addr}"));
        let mut lines = vec![
            get.as_str(),
            host.as_str(),
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        lines.extend(headers);
        Self::request(connection, &lines, b"").await
    }

    /// Sends a request and, in the same segment, `early` bytes.
    pub async fn request(addr: SocketAddr, lines: &[&str], early: &[u8]) -> (Answer, Self) {
        let mut client = Self::from(soon(TcpStream::connect(addr)).await.unwrap());
        client.stream.set_nodelay(true).unwrap();
        client.send_raw(&[format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes(), early].concat()).await;
        let answer = client.read_answer().await;
        (answer, client)
    }

    /// The answer to a further request on the same connection.
    pub async fn answer(&mut self) -> Answer {
        self.read_answer().await
    }

    /// Opens a WebSocket on a connection that is there already.
    pub async fn upgrade(stream: TcpStream, path: &str) -> Self {
        let mut client = Self::from(stream);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.send_raw(head.as_bytes()).await;
        let answer = client.read_answer().await;
        assert_eq!(answer.status, 101, "{answer:?}");
        client
    }

    /// Reads the head of a request or an answer: its first line, and the headers.
    async fn head(&mut self) -> (String, Vec<(String, String)>) {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.fill().await, "the connection ended in the head: {:?}", String::from_utf8_lossy(&self.read));
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        (first, headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    async fn read_answer(&mut self) -> Answer {
        let (line, headers) = self.head().await;
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, headers, body: String::new() };
        if let Some(length) = answer.header("content-length").map(|length| length.parse().unwrap()) {
            while self.read.len() < length {
                assert!(self.fill().await, "the connection ended in the body");
            }
            answer.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        }
        answer
    }

    /// Reads something more; false at the end.
    async fn fill(&mut self) -> bool {
        // a reset is an end as well
        soon(self.stream.read_buf(&mut self.read)).await.unwrap_or(0) > 0
    }

    // ---- saying ----

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends a frame, masked as its side has to; `first` is its first byte, such as 0x81 for a whole text.
    pub async fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        let key = (!self.serves).then_some(KEY);
        self.send_raw(&frame_with(first, payload.as_ref(), key)).await;
    }

    pub async fn text(&mut self, text: &str) {
        self.send(0x80 | TEXT, text).await;
    }

    pub async fn binary(&mut self, data: &[u8]) {
        self.send(0x80 | BINARY, data).await;
    }

    /// Sends a close frame with a code.
    pub async fn close(&mut self, code: u16, reason: &str) {
        self.send(0x80 | CLOSE, [&code.to_be_bytes()[..], reason.as_bytes()].concat()).await;
    }

    // ---- hearing ----

    /// The next frame, or `None` when the connection has ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.parse() {
                return Some(frame);
            }
            if !self.fill().await {
                assert!(self.read.is_empty(), "the connection ended in a frame: {:?}", self.read);
                return None;
            }
        }
    }

    fn parse(&mut self) -> Option<Frame> {
        let [first, second, rest @ ..] = &self.read[..] else { return None };
        let masked = second & 0x80 != 0;
        assert_eq!(masked, self.serves, "a server must not mask, a client must");
        let (length, header) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().unwrap())), 4),
            127 => (u64::from_be_bytes(rest.get(..8)?.try_into().unwrap()), 10),
            length => (u64::from(length), 2),
        };
        let start = header + if masked { 4 } else { 0 };
        let end = start + usize::try_from(length).unwrap();
        let mut payload = self.read.get(start..end)?.to_vec();
        if masked {
            let key = self.read[header..start].try_into().unwrap();
            mask(&mut payload, key);
            self.keys.push(key);
        }
        let frame = Frame { fin: first & 0x80 != 0, rsv: first >> 4 & 7, opcode: first & 15, payload };
        self.read.drain(..end);
        Some(frame)
    }

    #[track_caller]
    pub fn expect(&mut self, opcode: u8) -> impl Future<Output = Vec<u8>> {
        let place = std::panic::Location::caller();
        async move {
            match self.frame().await {
                Some(Frame { fin: true, rsv: 0, opcode: came, payload }) if came == opcode => payload,
                other => panic!("{place}: expected opcode {opcode}, got {other:?}"),
            }
        }
    }

    #[track_caller]
    pub fn expect_text(&mut self, text: &str) -> impl Future<Output = ()> {
        let (place, text) = (std::panic::Location::caller(), text.to_owned());
        async move {
            match self.frame().await {
                Some(Frame { fin: true, rsv: 0, opcode: TEXT, payload }) if payload == text.as_bytes() => {}
                Some(frame) => panic!(
                    "{place}: expected the text {text:?}, got {:?} in {frame:?}",
                    String::from_utf8_lossy(&frame.payload)
                ),
                None => panic!("{place}: expected the text {text:?}, got the end"),
            }
        }
    }

    #[track_caller]
    pub fn expect_close(&mut self, code: u16) -> impl Future<Output = String> {
        let place = std::panic::Location::caller();
        async move {
            match self.frame().await {
                Some(Frame { fin: true, rsv: 0, opcode: CLOSE, payload })
                    if payload.get(..2) == Some(&code.to_be_bytes()) =>
                {
                    String::from_utf8(payload[2..].to_vec()).unwrap()
                }
                other => panic!("{place}: expected a close frame with {code}, got {other:?}"),
            }
        }
    }

    /// The connection must end, without another frame.
    #[track_caller]
    pub fn expect_end(&mut self) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            if let Some(frame) = self.frame().await {
                panic!("{place}: expected the end, got {frame:?}");
            }
        }
    }

    /// Sends a ping and takes its pong: everything before it has been handled, and nothing else was sent.
    pub async fn expect_silence(&mut self) {
        self.send(0x80 | PING, "silence?").await;
        assert_eq!(self.expect(PONG).await, b"silence?");
    }
}

/// A client that has said nothing yet.
impl From<TcpStream> for Client {
    fn from(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new(), serves: false, keys: Vec::new() }
    }
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame with a payload of any length.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame_with(first, payload, Some(KEY))
}

fn frame_with(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if key.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        length @ ..=125 => out.push(bit | length as u8),
        length @ 126..=0xffff => {
            out.push(bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend(key.iter().flatten());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut out[start..], key);
    }
    out
}

fn mask(payload: &mut [u8], key: [u8; 4]) {
    payload.iter_mut().enumerate().for_each(|(place, byte)| *byte ^= key[place % 4]);
}

/// What handlers did, in order, for a test to wait for. A clone is the same journal; make one per test, and hand it to
/// endpoints with `endpoint_with`.
#[derive(Clone, Default)]
pub struct Journal(Arc<(Mutex<VecDeque<String>>, Notify)>);

impl Journal {
    pub fn note(&self, what: impl Into<String>) {
        self.0.0.lock().unwrap().push_back(what.into());
        self.0.1.notify_one();
    }

    /// The next thing noted.
    pub async fn next(&self) -> String {
        soon(async {
            loop {
                if let Some(next) = self.0.0.lock().unwrap().pop_front() {
                    return next;
                }
                self.0.1.notified().await;
            }
        })
        .await
    }

    /// What was noted and not waited for.
    pub fn rest(&self) -> Vec<String> {
        self.0.0.lock().unwrap().drain(..).collect()
    }

    #[track_caller]
    pub fn expect(&self, what: &str) -> impl Future<Output = ()> {
        let (place, what) = (std::panic::Location::caller(), what.to_owned());
        async move {
            let next = self.next().await;
            assert!(next == what, "{place}: expected {what:?} to be noted, but it was {next:?}");
        }
    }
}

/// What is logged on this thread while it lives.
pub struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub fn capture() -> Self {
        Self::capture_from(tracing::Level::INFO)
    }

    /// What is logged at this level and above.
    pub fn capture_from(level: tracing::Level) -> Self {
        // somebody listens on every thread: what another one logs first just now is else not asked for again
        static EVERYWHERE: std::sync::Once = std::sync::Once::new();
        EVERYWHERE.call_once(|| {
            let deaf = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
            tracing::subscriber::set_global_default(deaf).unwrap();
        });
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = text.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || Sink(sink.clone()));
        let subscriber = subscriber.with_max_level(level);
        Self { text, _guard: tracing::subscriber::set_default(subscriber.finish()) }
    }

    /// The lines that contain `what`, for a test to look at.
    pub fn lines(&self, what: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned();
        text.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
    }
}
