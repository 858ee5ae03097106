//! A message that is read while it arrives: [`TextStream`] and [`BinaryStream`].
//!
//! The connection fills a pipe up to the inbox limit, and then reads no more from the peer until the handler has taken
//! data out.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::config::INBOX_BYTES;
use crate::error::Error;
use crate::send_queue::SendQueue;
use endpoint_wire::message::Message;
use endpoint_wire::text::Text;

/// A text message, read while it arrives (Jakarta's `Reader`): the payload of an `async fn` with `#[on_message]`.
///
/// A [`Stream`] of pieces that end with whole characters; it ends with the message. The handler is called with the
/// first piece, and the connection keeps running meanwhile: it answers pings, and reads as far ahead as for any
/// suspended handler. If the handler takes nothing, backpressure slows the peer down.
///
/// If the message cannot continue, because the session ends or the peer violates the protocol, the last item is an
/// error. When the handler returns, the rest of the message is read and discarded before the next message; a stream
/// that is kept longer then ends with an error.
///
/// ```
/// # use endpoint_runtime::prelude::*;
/// #[server_endpoint("/words")]
/// #[derive(Default)]
/// struct Words;
///
/// impl Words {
///     #[on_message]
///     async fn count(&self, mut text: TextStream) -> Result<usize, Error> {
///         let mut lines = 0;
///         while let Some(piece) = text.next().await {
///             lines += piece?.matches('\n').count();
///         }
///         Ok(lines)
///     }
/// }
/// ```
pub struct TextStream(Reading);

/// A binary message, read while it arrives (Jakarta's `InputStream`): the payload of an `async fn` with
/// `#[on_message]`.
///
/// A [`Stream`] of pieces, and an [`AsyncRead`]; otherwise like [`TextStream`].
///
/// ```
/// # use endpoint_runtime::prelude::*;
/// #[server_endpoint("/files")]
/// #[derive(Default)]
/// struct Files;
///
/// impl Files {
///     #[on_message(max_total = "1GiB")]
///     async fn upload(&self, mut body: BinaryStream) -> Result<u64, Error> {
///         let mut file = tokio::io::sink();
///         Ok(tokio::io::copy(&mut body, &mut file).await?)
///     }
/// }
/// ```
pub struct BinaryStream(Reading);

/// The handler's side of the pipe.
struct Reading {
    pipe: Arc<Pipe>,
    /// The part of a piece that `AsyncRead` has not returned yet.
    rest: Bytes,
}

/// The pipe from the connection to a handler that reads a message.
pub(crate) struct Pipe {
    send_queue: Arc<SendQueue>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parts: VecDeque<Message>,
    bytes: usize,
    end: Option<End>,
    reader: Option<Waker>,
    /// Whether the handler has stopped reading.
    abandoned: bool,
}

enum End {
    Whole,
    Failed(Error),
    /// The error has been returned.
    Over,
}

impl Pipe {
    /// `send_queue` is the session's; the pipe uses it to wake the connection.
    pub(crate) fn new(send_queue: Arc<SendQueue>) -> Arc<Self> {
        Arc::new(Self { send_queue, state: Mutex::default() })
    }

    /// Adds a part, which may be empty.
    pub(crate) fn push(&self, part: Message, last: bool) {
        let mut state = self.lock();
        let size = size(&part);
        if size > 0 && !state.abandoned {
            state.bytes += size;
            state.parts.push_back(part);
        }
        if last {
            state.end.get_or_insert(End::Whole);
        }
        wake(state);
    }

    /// Ends the message with an error: the rest of it will not arrive.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.end.get_or_insert(End::Failed(error));
        wake(state);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.lock().bytes < INBOX_BYTES
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        let mut state = self.lock();
        if let Some(part) = state.parts.pop_front() {
            let was_full = state.bytes >= INBOX_BYTES;
            state.bytes -= size(&part);
            let has_room = state.bytes < INBOX_BYTES;
            drop(state);
            if was_full && has_room {
                self.send_queue.wake();
            }
            return Poll::Ready(Some(Ok(part)));
        }
        match state.end.take() {
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(End::Failed(error)) => {
                state.end = Some(End::Over);
                Poll::Ready(Some(Err(error)))
            }
            Some(end) => {
                state.end = Some(end);
                Poll::Ready(None)
            }
        }
    }

    fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        let was_full = state.bytes >= INBOX_BYTES;
        let gone = (std::mem::take(&mut state.parts), state.reader.take());
        state.bytes = 0;
        drop(state);
        drop(gone);
        if was_full {
            self.send_queue.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(part: &Message) -> usize {
    match part {
        Message::Text(text) => text.len(),
        Message::Binary(data) => data.len(),
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    reader.into_iter().for_each(Waker::wake);
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.pipe.abandon();
    }
}

impl TextStream {
    pub(crate) fn new(pipe: Arc<Pipe>) -> Self {
        Self(Reading { pipe, rest: Bytes::new() })
    }

    /// The next piece of the message, or `None` at its end.
    ///
    /// # Errors
    /// [`Error::is_closed`] if the session has ended; [`Error::is_protocol`], [`Error::is_too_big`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Text, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl BinaryStream {
    pub(crate) fn new(pipe: Arc<Pipe>) -> Self {
        Self(Reading { pipe, rest: Bytes::new() })
    }

    /// The next piece of the message, or `None` at its end.
    ///
    /// # Errors
    /// As [`TextStream::next`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for TextStream {
    type Item = Result<Text, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.0.pipe.poll_next(cx)) {
                Some(Ok(Message::Text(text))) => return Poll::Ready(Some(Ok(text))),
                // a message is of one kind
                Some(Ok(Message::Binary(_))) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for BinaryStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.0.rest.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.0.rest))));
        }
        loop {
            match ready!(self.0.pipe.poll_next(cx)) {
                Some(Ok(Message::Binary(data))) => return Poll::Ready(Some(Ok(data.into()))),
                // a message is of one kind
                Some(Ok(Message::Text(_))) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl AsyncRead for BinaryStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0.rest.is_empty() {
            match ready!(self.as_mut().poll_next(cx)) {
                Some(Ok(piece)) => self.0.rest = piece,
                Some(Err(error)) => return Poll::Ready(Err(error.into_io())),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.0.rest.len().min(buf.remaining());
        buf.put_slice(&self.0.rest[..count]);
        self.0.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for TextStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextStream").finish_non_exhaustive()
    }
}

impl fmt::Debug for BinaryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BinaryStream").finish_non_exhaustive()
    }
}
