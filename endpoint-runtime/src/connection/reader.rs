//! The reading half of a connection: reads into a lent buffer, decodes in place, and knows whether more is expected.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::time::Instant;

use super::input::Input;
use super::unfinished::Unfinished;
use crate::session::message_handler::MessageKind;
use crate::transport::socket::Socket;
use endpoint_wire::Violation;
use endpoint_wire::budget::Budget;
use endpoint_wire::decode::{Decoder, OWN_FROM};
use endpoint_wire::event::{DecodeOptions, Event};

/// Largest message size that is expected to repeat, and to arrive in one piece.
const OWN_MOST: usize = 64 << 10;

/// Bytes read beyond the expected message: its header, and small messages after it.
const OWN_MORE: usize = 256;

/// Decodes what the peer sends.
pub(super) struct Reader {
    decoder: Decoder,
    input: Input,
    state: State,
    /// Size in bytes of the last message that was handed on owned; the next one is expected to be as large.
    expected_bytes: u32,
    /// The session's message size limit, as of the last collect from the queue.
    max_message_size: usize,
    /// `Some` while a message is incomplete, and for some time after.
    unfinished: Option<Box<Unfinished>>,
    /// The peer's protocol violation, until it is reported. Nothing is read after it.
    violation: Option<Box<Violation>>,
}

/// Whether more input is expected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The socket may have bytes.
    Ready,
    /// The last read emptied the socket.
    Drained,
    /// Nothing more is read: the peer ended TCP, reading failed, or the peer violated the protocol.
    Stopped,
    /// The peer's close frame has arrived, so nothing after it matters (RFC 6455 §5.5.1).
    Closed,
}

/// The result of one read.
pub(super) struct Read {
    /// The number of bytes; zero at the end of the stream.
    pub(super) count: usize,
    /// `Some` if the bytes were read straight to where a large message is put together: what they completed.
    pub(super) direct: Option<Result<Option<Event<'static>>, Violation>>,
}

impl Reader {
    pub(super) fn new(decoder: Decoder, early: Bytes, max_message_size: usize) -> Self {
        Self {
            decoder,
            input: early.into(),
            state: State::Ready,
            expected_bytes: 0,
            max_message_size,
            unfinished: None,
            violation: None,
        }
    }

    /// Whether input still matters: reading has not stopped, and the peer has not sent its close frame.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Ready | State::Drained)
    }

    /// Whether the peer's close frame has arrived.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Stops reading.
    pub(super) fn stop(&mut self) {
        if self.is_open() {
            self.state = State::Stopped;
        }
    }

    /// Notes the peer's close frame.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Keeps the peer's violation, and stops reading.
    pub(super) fn fail(&mut self, violation: Violation) {
        self.stop();
        // a running handler may delay the report: free the memory now
        (self.decoder, self.unfinished) = (Decoder::default(), None);
        self.input.release();
        self.violation = Some(Box::new(violation));
    }

    /// Takes the peer's violation, once; everything before it has been handled.
    pub(super) fn take_violation(&mut self) -> Option<Box<Violation>> {
        self.violation.take()
    }

    pub(super) fn has_violation(&self) -> bool {
        self.violation.is_some()
    }

    #[inline]
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    #[inline]
    pub(super) fn max_message_size(&self) -> usize {
        self.max_message_size
    }

    pub(super) fn set_max_message_size(&mut self, bytes: usize) {
        self.max_message_size = bytes;
    }

    /// Notes the size of a message that was handed on owned.
    #[inline]
    pub(super) fn expect(&mut self, bytes: usize) {
        self.expected_bytes = bytes as u32;
    }

    /// The kind of the incomplete message.
    pub(super) fn started(&self) -> Option<MessageKind> {
        self.decoder.started().map(MessageKind::of)
    }

    /// Returns the thread's buffer, and copies the rest of the batch aside.
    #[inline]
    pub(super) fn put_aside(&mut self) {
        self.input.put_aside();
    }

    /// Drops the input and releases its buffer.
    #[inline]
    pub(super) fn release(&mut self) {
        self.input.release();
    }

    /// Releases the buffer of exhausted input.
    pub(super) fn release_if_empty(&mut self) {
        if self.input.is_empty() {
            self.input.release();
        }
    }

    /// Decodes from the front of the input. Returns the cost, which is the bytes used and those that decompression made,
    /// and an event, as [`Decoder::next`].
    #[inline(always)]
    pub(super) fn next_event(&mut self, options: &DecodeOptions) -> Result<(usize, Option<Event<'_>>), Violation> {
        let mut decoded = self.input.decode(&mut self.decoder, options);
        if let Ok((cost, _)) = &mut decoded {
            *cost += self.decoder.take_work();
        }
        decoded
    }

    /// Reads once, at most `most` bytes: straight into a large message's own buffer, or into the thread's buffer. While
    /// it waits it holds no buffer, because the peer may be slow. The input must be empty.
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        most: usize,
    ) -> Poll<io::Result<Read>> {
        if let Some((place, space)) = self.decoder.direct(self.expected_bytes as usize) {
            self.input.release();
            let count = ready!(socket.poll_append(cx, place, space.min(most)))?;
            let direct = (count > 0).then(|| self.decoder.filled(count));
            return Poll::Ready(Ok(Read { count, direct }));
        }
        if self.state == State::Drained {
            self.state = State::Ready;
            if socket.poll_readable(cx).is_pending() {
                self.input.release();
                return Poll::Pending;
            }
        }
        if (OWN_FROM..=OWN_MOST).contains(&(self.expected_bytes as usize)) {
            return self.poll_read_owned(cx, socket);
        }
        let buffer = self.input.lend();
        let most = buffer.len().min(most);
        let Poll::Ready(read) = socket.poll_read(cx, &mut buffer[..most]) else {
            self.input.release();
            return Poll::Pending;
        };
        let count = *read.as_ref().unwrap_or(&0);
        self.input.fill(count);
        if count < most && self.is_open() {
            self.state = State::Drained;
        }
        Poll::Ready(read.map(|count| Read { count, direct: None }))
    }

    /// Reads into a buffer that the next message may take over: most likely it is as large as the last one.
    fn poll_read_owned(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<Read>> {
        self.input.release();
        if socket.poll_readable(cx).is_pending() {
            return Poll::Pending;
        }
        // more than the expected bytes: a partly filled buffer shows that the socket is empty for now
        let space = self.expected_bytes as usize + OWN_MORE;
        let mut buffer = Vec::with_capacity(space);
        let count = ready!(socket.poll_append(cx, &mut buffer, space))?;
        if count > 0 {
            self.input = Input::own(buffer);
        }
        Poll::Ready(Ok(Read { count, direct: None }))
    }

    /// Reads any bytes into the thread's buffer, also after reading has stopped. Zero at the end of the stream or after
    /// an error.
    pub(super) fn poll_read_any(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<usize> {
        let read = socket.poll_read(cx, self.input.lend()).map(|read| read.unwrap_or(0));
        self.input.fill(if let Poll::Ready(count) = read { count } else { 0 });
        read
    }

    /// Counts the bytes that are kept of an incomplete message. Call this when decoding stops. Returns whether the
    /// message is the first incomplete one for some time.
    pub(super) fn note_unfinished(&mut self, budget: &Arc<Budget>) -> Result<bool, Violation> {
        let Some(message) = self.decoder.unfinished() else { return Ok(false) };
        let is_first = self.unfinished.is_none();
        let unfinished = self.unfinished.get_or_insert_with(|| Box::new(Unfinished::new(&message)));
        unfinished.reserve(&message, budget)?;
        Ok(is_first)
    }

    /// Releases the reservation of a message that is complete by now.
    #[inline]
    pub(super) fn release_finished(&mut self) {
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.release_finished(self.decoder.unfinished().as_ref());
        }
    }

    /// Checks that the incomplete message arrives fast enough; see [`Unfinished::check`]. Zero means any rate.
    pub(super) fn check_unfinished(
        &mut self,
        now: Instant,
        rate: usize,
        is_read: bool,
    ) -> Result<Option<Instant>, Violation> {
        let Some(unfinished) = &mut self.unfinished else { return Ok(None) };
        let Some(message) = self.decoder.unfinished() else {
            self.unfinished = None;
            return Ok(None);
        };
        if rate == 0 {
            return Ok(None);
        }
        unfinished.check(&message, now, rate, is_read).map(Some)
    }

    /// Whether the thread's buffer is lent, and the capacity of the input's buffer.
    #[cfg(test)]
    pub(super) fn buffer(&self) -> (bool, usize) {
        self.input.buffer()
    }
}
