//! A server that speaks RFC 6455 by hand, right or wrong as told, for clients of ours.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Client, soon};

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

    /// The next connection, of which nothing was read.
    pub async fn accept(&self) -> Peer {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        Peer::of_server(stream)
    }

    /// The next connection and what it asks for, unanswered.
    pub async fn asked(&self) -> (Asked, Peer) {
        let mut peer = self.accept().await;
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
pub type Peer = Client;

impl Peer {
    fn of_server(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { serves: true, ..Self::from(stream) }
    }

    /// Reads the head of a request.
    pub async fn asked(&mut self) -> Asked {
        let (line, headers) = self.head().await;
        Asked { line, headers }
    }
}

/// An unmasked frame with a payload of any length.
pub fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    super::frame_with(first, payload, None)
}
