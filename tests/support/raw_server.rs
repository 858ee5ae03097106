//! A server that speaks RFC 6455 by hand, right or wrong as told, for clients of ours.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{CLOSE, Frame, PING, PONG, TEXT, soon};

/// Listens, and does nothing by itself.
pub struct RawServer {
    listener: TcpListener,
    pub addr: SocketAddr,
}

/// The head of a client's request.
#[derive(Debug)]
pub struct Asked {
    /// The request line.
    pub line: String,
    pub headers: Vec<(String, String)>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The answer that opens a session, with further header lines.
    pub fn accepted(&self, headers: &[&str]) -> String {
        let key = derive_accept_key(self.header("sec-websocket-key").expect("a key").as_bytes());
        let mut lines = vec!["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
        lines.extend(headers);
        format!("{}\r\nSec-WebSocket-Accept: {key}\r\n\r\n", lines.join("\r\n"))
    }
}

impl RawServer {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { listener, addr }
    }

    pub fn uri(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr)
    }

    /// The next connection and what it asks for, unanswered.
    pub async fn asked(&self) -> (Asked, Peer) {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let mut peer = Peer::from(stream);
        let asked = peer.asked().await;
        (asked, peer)
    }

    /// The next connection, whose request is answered with `lines` and whatever else it says, as it stands.
    pub async fn answer(&self, answer: &[u8]) -> Peer {
        let (_, mut peer) = self.asked().await;
        peer.send_raw(answer).await;
        peer
    }

    /// The next connection, opened.
    pub async fn open(&self) -> Peer {
        let (asked, mut peer) = self.asked().await;
        peer.send_raw(asked.accepted(&[]).as_bytes()).await;
        peer
    }
}

/// The server's end of a connection.
pub struct Peer {
    pub stream: TcpStream,
    read: Vec<u8>,
    /// The keys of the frames so far.
    pub keys: Vec<[u8; 4]>,
}

impl From<TcpStream> for Peer {
    fn from(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new(), keys: Vec::new() }
    }
}

impl Peer {
    /// Reads the head of a request.
    pub async fn asked(&mut self) -> Asked {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.fill().await, "the client ended in the head: {:?}", String::from_utf8_lossy(&self.read));
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        Asked { line, headers }
    }

    /// Reads something more; false at the end.
    async fn fill(&mut self) -> bool {
        soon(self.stream.read_buf(&mut self.read)).await.unwrap_or(0) > 0
    }

    pub async fn send_raw(&mut self, octets: &[u8]) {
        soon(self.stream.write_all(octets)).await.unwrap();
    }

    /// Sends an unmasked frame.
    pub async fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        self.send_raw(&plain(first, payload.as_ref())).await;
    }

    pub async fn text(&mut self, text: &str) {
        self.send(0x80 | TEXT, text).await;
    }

    pub async fn close(&mut self, code: u16, reason: &str) {
        self.send(0x80 | CLOSE, [&code.to_be_bytes()[..], reason.as_bytes()].concat()).await;
    }

    /// The next frame without its mask, or `None` when the connection has ended.
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
        assert_ne!(second & 0x80, 0, "a client must mask");
        let (length, header) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().unwrap())), 4),
            127 => (u64::from_be_bytes(rest.get(..8)?.try_into().unwrap()), 10),
            length => (u64::from(length), 2),
        };
        let end = header + 4 + usize::try_from(length).unwrap();
        let octets = self.read.get(header..end)?;
        let key: [u8; 4] = octets[..4].try_into().unwrap();
        let payload = octets[4..].iter().enumerate().map(|(place, octet)| octet ^ key[place % 4]).collect();
        let frame = Frame { fin: first & 0x80 != 0, rsv: first >> 4 & 7, opcode: first & 15, payload };
        self.keys.push(key);
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
                other => panic!("{place}: expected the text {text:?}, got {other:?}"),
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

/// An unmasked frame with a payload of any length.
pub fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ ..=125 => out.push(length as u8),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}
