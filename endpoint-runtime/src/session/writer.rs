//! A message that is written piece by piece: [`TextWriter`] and [`BinaryWriter`].
//!
//! Written data is buffered and sent as the parts of one message. A writer never waits for a message that was begun
//! after its own, and never ends an incomplete message.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::error::{Error, Kind};
use crate::send_queue::{FragmentTicket, PartOwner, QueueItem, Refused, SHARE_FROM, SendQueue, Ticket, Waiting};
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::Binary;
use endpoint_wire::text::Text;
use endpoint_wire::utf8;

/// Size in bytes of the buffer for one part.
const PART: usize = 16 << 10;

/// Writes one text message piece by piece (Jakarta's `getSendWriter`); created by
/// [`BasicRemote::text_writer`](crate::BasicRemote::text_writer).
///
/// The first write, even of nothing, begins the message and takes its place in the queue: earlier messages are sent
/// first, and later ones wait behind all of it, in order and within the bounds of the queue. Only pings, pongs and a
/// close frame pass. The message ends with [`finish`](Self::finish), or with
/// [`shutdown`](tokio::io::AsyncWriteExt::shutdown), which does the same. A writer without a write sends nothing.
///
/// Pieces are buffered up to 16 KiB, or until [`flush`](tokio::io::AsyncWriteExt::flush), and sent as parts of the
/// message that end with a whole character. A writer is at most 256 KiB ahead of the socket; beyond that it waits,
/// each time for at most the send timeout.
///
/// As [`AsyncWrite`], it takes bytes, which must be valid UTF-8 as a whole: a character may be split between two
/// writes. An invalid byte is an error, after which the message cannot be finished.
///
/// **A message that was begun must be finished.** If the writer is dropped before that, or [aborted](Self::abort),
/// the session ends with 1011, so the peer never takes an incomplete message for a whole one.
///
/// A handler may send on its own session while its writer is open. Such a message is queued behind the writer's, and
/// awaiting it resolves at once; if the queue is full, it fails with [`Error::is_timeout`] after the send timeout.
///
/// ```no_run
/// # use endpoint_runtime::{Error, Session};
/// # async fn f(session: &Session, rows: Vec<String>) -> Result<(), Error> {
/// let mut writer = session.basic_remote().text_writer();
/// for row in &rows {
///     writer.write_text(row.as_str()).await?;
/// }
/// writer.finish().await
/// # }
/// ```
#[derive(Debug)]
pub struct TextWriter(Writer);

impl TextWriter {
    pub(crate) fn new(send_queue: Arc<SendQueue>, compressed: bool, waiting: Waiting) -> Self {
        Self(Writer::new(send_queue, OpCode::Text, compressed, waiting))
    }

    /// Adds text to the message. A `String` or [`Text`] of more than a few KiB is not copied.
    ///
    /// # Errors
    /// [`Error::is_closed`]; [`Error::is_timeout`] if the write could not continue within the send timeout;
    /// [`Error::is_encode`] in the middle of a character.
    ///
    /// # Cancel safety
    /// If the future is dropped, any part of the text may have been added.
    pub async fn write_text(&mut self, text: impl Into<Text> + AsRef<str>) -> Result<(), Error> {
        if self.0.shares(text.as_ref().len()) {
            self.0.write_shared(Binary::from(text.into()).into()).await
        } else {
            self.0.write_all(text.as_ref().as_bytes()).await
        }
    }

    /// Ends the message, and resolves when it is handed to the socket. Sends nothing if there was no write.
    ///
    /// # Errors
    /// As [`write_text`](Self::write_text). If the end of the message times out, it may still be delivered.
    ///
    /// # Cancel safety
    /// If the future is dropped, either the message ends, or the session ends as if the writer had been dropped.
    pub async fn finish(mut self) -> Result<(), Error> {
        poll_fn(|cx| self.0.poll_finish(cx)).await
    }

    /// Abandons the message: if it was begun, the session ends with 1011.
    pub fn abort(self) {}
}

/// Writes one binary message piece by piece (Jakarta's `getSendStream`); created by
/// [`BasicRemote::binary_writer`](crate::BasicRemote::binary_writer).
///
/// Behaves like [`TextWriter`], without the rules for characters.
///
/// ```no_run
/// # use endpoint_runtime::{Error, Session};
/// # async fn f(session: &Session, mut file: tokio::fs::File) -> Result<(), Error> {
/// let mut writer = session.basic_remote().binary_writer();
/// tokio::io::copy(&mut file, &mut writer).await?;
/// writer.finish().await
/// # }
/// ```
#[derive(Debug)]
pub struct BinaryWriter(Writer);

impl BinaryWriter {
    pub(crate) fn new(send_queue: Arc<SendQueue>, compressed: bool, waiting: Waiting) -> Self {
        Self(Writer::new(send_queue, OpCode::Binary, compressed, waiting))
    }

    /// Adds data to the message. A `Vec<u8>`, [`Bytes`] or [`Binary`] of more than a few KiB is not copied.
    ///
    /// # Errors
    /// [`Error::is_closed`]; [`Error::is_timeout`] if the write could not continue within the send timeout.
    ///
    /// # Cancel safety
    /// If the future is dropped, any part of the data may have been added.
    pub async fn write_binary(&mut self, data: impl Into<Binary> + AsRef<[u8]>) -> Result<(), Error> {
        if self.0.shares(data.as_ref().len()) {
            self.0.write_shared(data.into().into()).await
        } else {
            self.0.write_all(data.as_ref()).await
        }
    }

    /// Ends the message; see [`TextWriter::finish`].
    ///
    /// # Errors
    /// As [`write_binary`](Self::write_binary).
    ///
    /// # Cancel safety
    /// As [`TextWriter::finish`].
    pub async fn finish(mut self) -> Result<(), Error> {
        poll_fn(|cx| self.0.poll_finish(cx)).await
    }

    /// Abandons the message: if it was begun, the session ends with 1011.
    pub fn abort(self) {}
}

impl AsyncWrite for TextWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, data).map_err(Error::into_io)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx).map_err(Error::into_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_finish(cx).map_err(Error::into_io)
    }
}

impl AsyncWrite for BinaryWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, data).map_err(Error::into_io)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx).map_err(Error::into_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_finish(cx).map_err(Error::into_io)
    }
}

/// Progress of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The message has not begun.
    New,
    Begun,
    /// The message can no longer be completed.
    Failed,
    /// The whole message is queued.
    Ended(Ticket),
}

struct Writer {
    send_queue: Arc<SendQueue>,
    opcode: OpCode,
    compressed: bool,
    ticket: FragmentTicket,
    waiting: Waiting,
    /// The data of the next part.
    buffer: Vec<u8>,
    /// Number of bytes of the buffer that may be sent: all except an incomplete last character.
    whole: usize,
    stage: Stage,
}

impl Writer {
    fn new(send_queue: Arc<SendQueue>, opcode: OpCode, compressed: bool, waiting: Waiting) -> Self {
        let compressed = compressed && send_queue.deflation().is_some();
        let (ticket, buffer) = (FragmentTicket::default(), Vec::new());
        Self { send_queue, opcode, compressed, ticket, waiting, buffer, whole: 0, stage: Stage::New }
    }

    /// Whether data of this size is queued without a copy.
    fn shares(&self, size: usize) -> bool {
        size >= SHARE_FROM && !self.compressed
    }

    async fn write_all(&mut self, mut data: &[u8]) -> Result<(), Error> {
        loop {
            let count = poll_fn(|cx| self.poll_write(cx, data)).await?;
            data = &data[count..];
            if data.is_empty() {
                return Ok(());
            }
        }
    }

    async fn write_shared(&mut self, data: Bytes) -> Result<(), Error> {
        poll_fn(|cx| self.poll_begin(cx)).await?;
        poll_fn(|cx| self.poll_flush(cx)).await?;
        if !self.buffer.is_empty() {
            return Err(self.not_utf8());
        }
        poll_fn(|cx| self.poll_capacity(cx)).await?;
        self.enqueue(QueueItem::Shared(self.opcode, data), false).map(drop)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Error>> {
        ready!(self.poll_begin(cx))?;
        if self.buffer.len() >= PART {
            ready!(self.poll_flush(cx))?;
        }
        let count = data.len().min(PART - self.buffer.len());
        self.buffer.extend_from_slice(&data[..count]);
        if self.opcode == OpCode::Text {
            match utf8::valid_prefix(&self.buffer[self.whole..]) {
                Some(more) => self.whole += more,
                None => return Poll::Ready(Err(self.not_utf8())),
            }
        } else {
            self.whole = self.buffer.len();
        }
        Poll::Ready(Ok(count))
    }

    /// Waits for the fragment ticket before the first part.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.stage == Stage::New {
            let Self { send_queue, opcode, ticket, waiting, .. } = self;
            ready!(send_queue.poll_fragment_ticket(cx, *opcode, ticket, waiting))?;
            send_queue.stop_waiting(waiting);
            self.stage = Stage::Begun;
        }
        Poll::Ready(match self.stage {
            Stage::Begun if !self.send_queue.is_open() => Err(Error::closed()),
            Stage::Failed => Err(Error::new(Kind::Encode, "the message failed earlier and cannot be continued")),
            Stage::Ended(_) => Err(Error::new(Kind::Encode, "the message is already finished")),
            Stage::New | Stage::Begun => Ok(()),
        })
    }

    /// Queues the buffered data, except an incomplete last character.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.whole > 0 && self.stage == Stage::Begun {
            ready!(self.poll_capacity(cx))?;
            self.part(false)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let capacity = ready!(self.send_queue.poll_part_capacity(cx, &mut self.waiting));
        self.send_queue.stop_waiting(&mut self.waiting);
        Poll::Ready(capacity.map_err(|refused| self.fails(refused)))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match self.stage {
                Stage::New => return Poll::Ready(Ok(())),
                Stage::Begun if self.buffer.len() > self.whole => return Poll::Ready(Err(self.not_utf8())),
                Stage::Begun => {
                    if let Some(ticket) = self.part(true)? {
                        self.stage = Stage::Ended(ticket);
                    }
                }
                Stage::Failed => return self.poll_begin(cx),
                Stage::Ended(ticket) => {
                    let written = ready!(self.send_queue.poll_written(cx, ticket, &mut self.waiting));
                    return Poll::Ready(written.map_err(Error::from));
                }
            }
        }
    }

    /// Queues the sendable bytes of the buffer as one part.
    fn part(&mut self, last: bool) -> Result<Option<Ticket>, Error> {
        let buffer = std::mem::take(&mut self.buffer);
        let ticket = self.enqueue(QueueItem::Borrowed(self.opcode, &buffer[..self.whole]), last)?;
        self.buffer = buffer;
        self.buffer.drain(..self.whole);
        self.whole = 0;
        Ok(ticket)
    }

    fn enqueue(&mut self, part: QueueItem<'_>, last: bool) -> Result<Option<Ticket>, Error> {
        let enqueued = self.send_queue.enqueue_part(part, PartOwner::Writer(&self.ticket), last, self.compressed);
        enqueued.map_err(|refused| self.fails(refused))
    }

    fn fails(&mut self, refused: Refused) -> Error {
        self.stage = Stage::Failed;
        refused.into()
    }

    fn not_utf8(&mut self) -> Error {
        self.stage = Stage::Failed;
        Error::new(Kind::Encode, "data written to a text message is not UTF-8")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.send_queue.stop_waiting(&mut self.waiting);
        match self.stage {
            Stage::Ended(_) => {}
            Stage::New => self.send_queue.abandon_message(&mut self.ticket, false),
            Stage::Begun | Stage::Failed => {
                if self.send_queue.is_open() {
                    if let Some(not_logged) = self.send_queue.log().unfinished.due() {
                        tracing::warn!(
                            not_logged,
                            "a message was started but not finished: closing the session with 1011"
                        );
                    }
                }
                self.send_queue.abandon_message(&mut self.ticket, true);
            }
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("opcode", &self.opcode).field("stage", &self.stage).finish_non_exhaustive()
    }
}
