//! A WebSocket accepted by another library, as the socket of our connection: its messages become frames to read, and
//! written frames become messages.
//!
//! It holds at most one message in each direction, so that backpressure passes through it both ways. It spawns nothing
//! and keeps no time.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use endpoint_wire::close::CloseReason;
use endpoint_wire::encode;
use endpoint_wire::frame::{self, Header, MAX_HEADER, OpCode};
use endpoint_wire::role::Role;

/// Maximum number of pings whose pongs have not been written yet. At this number reading stops, until some have.
const PINGS: usize = 64;

/// The mask bit, in the second byte of a frame.
const MASKED: u8 = 0x80;

/// A library's WebSocket: whole messages and control frames, in and out.
///
/// The library answers pings and the peer's close frame itself.
pub(crate) trait Messages: Unpin + Send + 'static {
    /// Receives the next message or control frame, with the payload of its frame; `None` at the end. After an error
    /// that is the peer's violation, a close frame can still be sent.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<(OpCode, Bytes)>>>;

    /// Waits until a message may be sent.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Sends the message or control frame with this payload.
    fn send(&mut self, opcode: OpCode, payload: Bytes) -> io::Result<()>;

    /// Waits until everything sent is with the socket.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Closes the WebSocket.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Converts between the library's messages and frames: reads give a client's frames, writes take a server's.
pub(crate) struct MessageSocket<M> {
    messages: M,
    reading: Reading,
    writing: Writing,
    /// Pings that were read and that the library answered, until the connection writes its own pongs: those are
    /// dropped.
    pings: VecDeque<Bytes>,
    /// Waits until fewer pings are pending.
    crowded: Option<Waker>,
    peer_closed: bool,
    closed: bool,
}

/// A frame that is being read.
#[derive(Default)]
struct Reading {
    head: Bytes,
    payload: Bytes,
}

/// A frame that is being written.
#[derive(Default)]
struct Writing {
    head: Vec<u8>,
    header: Option<Header>,
    payload: BytesMut,
    /// A complete frame that waits until it may be sent.
    whole: Option<(OpCode, Bytes)>,
}

impl<M: Messages> MessageSocket<M> {
    pub(crate) fn new(messages: M) -> Self {
        Self {
            messages,
            reading: Reading::default(),
            writing: Writing::default(),
            pings: VecDeque::new(),
            crowded: None,
            peer_closed: false,
            closed: false,
        }
    }

    /// Closes with a close frame, because there will be no session; reads until the peer closed the connection too.
    pub(crate) fn poll_refuse(&mut self, cx: &mut Context<'_>, reason: &CloseReason) -> Poll<io::Result<()>> {
        if !self.closed {
            ready!(self.messages.poll_ready(cx))?;
            let mut frame = Vec::new();
            encode::close(&mut frame, reason);
            self.closed = true;
            self.messages.send(OpCode::Close, Bytes::from(frame).slice(2..))?;
        }
        ready!(self.messages.poll_flush(cx))?;
        while ready!(self.messages.poll_message(cx))?.is_some() {}
        Poll::Ready(Ok(()))
    }

    /// Receives the next message, if nothing is left of the one before it. False at the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.reading.head.is_empty() && self.reading.payload.is_empty() {
            if self.peer_closed {
                // reading drives the library's answers
                return self.messages.poll_message(cx).map(|_| Ok(false));
            }
            if self.pings.len() >= PINGS {
                self.crowded = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let Some((opcode, payload)) = ready!(self.messages.poll_message(cx))? else {
                return Poll::Ready(Ok(false));
            };
            match opcode {
                // the connection answers no more pings
                OpCode::Ping if self.closed => continue,
                OpCode::Ping => self.pings.push_back(payload.clone()),
                OpCode::Close => self.peer_closed = true,
                _ => {}
            }
            self.reading = Reading { head: masked_header(opcode, payload.len()), payload };
        }
        Poll::Ready(Ok(true))
    }

    /// Sends the complete frame, if there is one.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((opcode, payload)) = &self.writing.whole else { return Poll::Ready(Ok(())) };
        match opcode {
            OpCode::Pong if self.pings.front() == Some(payload) => {
                self.pings.pop_front();
                self.writing.whole = None;
                if let Some(waker) = self.crowded.take() {
                    waker.wake();
                }
                return Poll::Ready(Ok(()));
            }
            OpCode::Close => {
                self.closed = true;
                self.pings.clear();
                if let Some(waker) = self.crowded.take() {
                    waker.wake();
                }
            }
            _ => {}
        }
        if self.peer_closed {
            // the library answers the peer's close frame, after which nothing is sent
            let is_close = *opcode == OpCode::Close;
            ready!(self.messages.poll_flush(cx))?;
            self.writing.whole = None;
            let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the peer closed the connection");
            return Poll::Ready(if is_close { Ok(()) } else { Err(gone()) });
        }
        ready!(self.messages.poll_ready(cx))?;
        let Some((opcode, payload)) = self.writing.whole.take() else { return Poll::Ready(Ok(())) };
        Poll::Ready(self.messages.send(opcode, payload))
    }
}

/// The header of a client's frame. Its mask is all zeros, which change nothing.
fn masked_header(opcode: OpCode, payload: usize) -> Bytes {
    let mut head = Vec::with_capacity(MAX_HEADER);
    encode::header(&mut head, true, opcode, payload);
    head[1] |= MASKED;
    head.extend_from_slice(&[0; 4]);
    head.into()
}

impl Writing {
    /// Takes bytes up to the end of a frame; returns how many.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        let header = match self.header {
            Some(header) => header,
            None => loop {
                if let Some(header) = frame::parse(&self.head, Role::Client, false)? {
                    // a frame of our own: its length is that of a message already in memory
                    self.payload.reserve(usize::try_from(header.payload).unwrap_or_default());
                    self.header = Some(header);
                    break header;
                }
                let Some(byte) = bytes.get(taken) else { return Ok(taken) };
                self.head.push(*byte);
                taken += 1;
            },
        };
        let missing = usize::try_from(header.payload).unwrap_or(usize::MAX) - self.payload.len();
        let rest = &bytes[taken..];
        let some = missing.min(rest.len());
        self.payload.extend_from_slice(&rest[..some]);
        taken += some;
        if some == missing {
            if !header.fin || header.opcode == OpCode::Continuation {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket takes only whole messages"));
            }
            self.whole = Some((header.opcode, self.payload.split().freeze()));
            self.head.clear();
            self.header = None;
        }
        Ok(taken)
    }
}

impl<M: Messages> AsyncRead for MessageSocket<M> {
    /// Reads one message at a time, so that the answer to it is sent before the next one is read: that may be the
    /// peer's close frame, after which the library sends nothing.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if ready!(self.poll_next(cx))? {
            let Reading { head, payload } = &mut self.reading;
            for piece in [head, payload] {
                let some = piece.len().min(into.remaining());
                into.put_slice(&piece[..some]);
                piece.advance(some);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<M: Messages> AsyncWrite for MessageSocket<M> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        Poll::Ready(self.writing.take(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.messages.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.messages.poll_close(cx)
    }
}
