//! An in-memory transport whose other end is a client without its own task or buffer: a state machine that takes
//! what the server writes, counts it, and answers pings.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use compare::frame::{self, Control};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock;

const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

const MASK: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];

/// Counts of all peers together.
#[derive(Debug, Default)]
pub struct Seen {
    pub opened: AtomicU64,
    pub texts: AtomicU64,
    pub pings: AtomicU64,
    /// Writes that no client expects; a run with one of them fails.
    pub faults: AtomicU64,
    /// The number of texts at which the time is taken, and the time.
    pub awaited: AtomicU64,
    pub last_text: AtomicU64,
}

pub static SEEN: Seen = Seen {
    opened: AtomicU64::new(0),
    texts: AtomicU64::new(0),
    pings: AtomicU64::new(0),
    faults: AtomicU64::new(0),
    awaited: AtomicU64::new(0),
    last_text: AtomicU64::new(0),
};

#[derive(Debug, Default)]
enum Stage {
    /// The request is to be read.
    #[default]
    Request,
    /// The response is awaited.
    Response,
    Open,
    Closed,
}

/// The server's end of the transport, with the client behind it.
#[derive(Debug, Default)]
pub struct Peer {
    stage: Stage,
    /// The client's answer, which the server must still read.
    answer: Option<Box<[u8]>>,
    reader: Option<Waker>,
}

impl Peer {
    /// Takes what the server wrote. Each write has whole frames, because a peer takes everything at once.
    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.stage {
            Stage::Request => Err("the server answered before it had read".to_owned()),
            Stage::Response if bytes.starts_with(b"HTTP/1.1 101 ") && bytes.ends_with(b"\r\n\r\n") => {
                self.stage = Stage::Open;
                SEEN.opened.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Stage::Response => Err(format!("the server answered {:?}", String::from_utf8_lossy(bytes))),
            Stage::Open | Stage::Closed => self.take_frames(bytes),
        }
    }

    fn take_frames(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let [first, second, ..] = *bytes {
            let length = 2 + usize::from(second);
            if second > 125 || bytes.len() < length {
                return Err("a frame is long or in parts".to_owned());
            }
            let (frame, rest) = bytes.split_at(length);
            bytes = rest;
            if first == 0x80 | frame::TEXT {
                let texts = SEEN.texts.fetch_add(1, Ordering::Relaxed) + 1;
                if texts == SEEN.awaited.load(Ordering::Relaxed) {
                    SEEN.last_text.store(clock::now().map_err(|error| error.to_string())?, Ordering::Release);
                }
                continue;
            }
            match frame::read_control(frame)? {
                Some((_, Control::Ping(payload))) => {
                    SEEN.pings.fetch_add(1, Ordering::Relaxed);
                    self.answer(frame::PONG, &payload);
                }
                Some((_, Control::Close(_))) => {
                    self.answer(frame::CLOSE, &frame[2..]);
                    self.stage = Stage::Closed;
                }
                _ => {}
            }
        }
        if bytes.is_empty() { Ok(()) } else { Err("a frame is in parts".to_owned()) }
    }

    fn answer(&mut self, opcode: u8, payload: &[u8]) {
        let mut bytes = self.answer.take().map(Vec::from).unwrap_or_default();
        frame::put_client_frame(&mut bytes, opcode, payload, MASK);
        self.answer = Some(bytes.into());
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl AsyncRead for Peer {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if matches!(self.stage, Stage::Request) {
            into.put_slice(REQUEST);
            self.stage = Stage::Response;
        } else if let Some(answer) = self.answer.take() {
            let (now, later) = answer.split_at(answer.len().min(into.remaining()));
            into.put_slice(now);
            if !later.is_empty() {
                self.answer = Some(later.into());
            }
        } else if !matches!(self.stage, Stage::Closed) {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Err(fault) = self.hear(bytes)
            && SEEN.faults.fetch_add(1, Ordering::Relaxed) == 0
        {
            eprintln!("{fault}");
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_peer_asks_hears_and_answers() {
        let mut peer = Peer::default();
        let mut bytes = [0; 512];
        let length = peer.read(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..length], REQUEST);
        peer.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
        peer.write_all(b"\x81\x02hi\x89\x01x").await.unwrap();
        let length = peer.read(&mut bytes).await.unwrap();
        assert_eq!(bytes[..length], [0x8a, 0x81, 0x5a, 0xc3, 0x3c, 0xa5, b'x' ^ 0x5a]);
        peer.write_all(b"\x88\x02\x03\xe8").await.unwrap();
        assert_eq!(peer.read(&mut bytes).await.unwrap(), 8);
        assert_eq!(peer.read(&mut bytes).await.unwrap(), 0);
        let seen = (SEEN.opened.load(Ordering::Relaxed), SEEN.texts.load(Ordering::Relaxed));
        assert_eq!((seen, SEEN.faults.load(Ordering::Relaxed)), ((1, 1), 0));
    }

    #[test]
    fn a_frame_in_parts_is_a_fault() {
        let mut peer = Peer { stage: Stage::Open, ..Peer::default() };
        assert!(peer.take_frames(b"\x81\x05hi").is_err() && peer.take_frames(b"\x81").is_err());
    }
}
