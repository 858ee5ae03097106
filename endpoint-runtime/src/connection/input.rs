//! The bytes that were read and are not decoded yet.

use bytes::Bytes;

use crate::transport::buffers;
use endpoint_wire::Violation;
use endpoint_wire::decode::Decoder;
use endpoint_wire::event::{DecodeOptions, Event};

/// A batch of input: in the thread's buffer while the task runs; what is left of it when the task suspends is in a buffer
/// of the connection's own.
#[derive(Default)]
pub(super) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    lent: bool,
}

impl Input {
    /// Creates input that owns its buffer.
    pub(super) fn own(buffer: Vec<u8>) -> Self {
        Self { start: 0, end: buffer.len(), buffer, lent: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Decodes from the front. Returns the number of bytes used, and an event, as [`Decoder::next`].
    ///
    /// The result is passed on as it is, because taking it apart and putting it together again would copy it.
    #[inline(always)]
    pub(super) fn decode(
        &mut self,
        decoder: &mut Decoder,
        options: &DecodeOptions,
    ) -> Result<(usize, Option<Event<'_>>), Violation> {
        let Self { buffer, start, end, lent } = self;
        let is_lent = *lent;
        let decoded = if is_lent {
            decoder.next(options, &mut buffer[*start..*end])
        } else {
            decode_own(decoder, options, buffer, start, end)
        };
        if is_lent {
            *start += decoded.as_ref().map_or(0, |(used, _)| *used);
        }
        decoded
    }

    /// The thread's buffer, to read into. The input must be empty.
    #[inline]
    pub(super) fn lend(&mut self) -> &mut [u8] {
        debug_assert!(self.is_empty(), "undecoded input would be lost");
        if !self.lent {
            (self.buffer, self.lent) = (buffers::lend_for_reading(), true);
        }
        &mut self.buffer
    }

    /// Takes the first `count` bytes of the [lent](Self::lend) buffer as input.
    #[inline]
    pub(super) fn fill(&mut self, count: usize) {
        (self.start, self.end) = (0, count);
        if count == 0 {
            self.release();
        }
    }

    /// Returns the thread's buffer, and copies the rest of the batch aside.
    #[inline]
    pub(super) fn put_aside(&mut self) {
        if self.lent {
            let rest = self.buffer[self.start..self.end].to_vec();
            buffers::return_from_reading(std::mem::replace(&mut self.buffer, rest));
            (self.start, self.end, self.lent) = (0, self.buffer.len(), false);
        }
    }

    /// Drops the input and releases its buffer.
    #[inline]
    pub(super) fn release(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if self.lent {
            buffers::return_from_reading(buffer);
        }
        (self.start, self.end, self.lent) = (0, 0, false);
    }

    /// Whether the thread's buffer is lent, and the capacity of the buffer.
    #[cfg(test)]
    pub(super) fn buffer(&self) -> (bool, usize) {
        (self.lent, self.buffer.capacity())
    }
}

/// Decodes in a buffer of the connection's own. A large message that fills the buffer takes it over.
fn decode_own(
    decoder: &mut Decoder,
    options: &DecodeOptions,
    buffer: &mut Vec<u8>,
    start: &mut usize,
    end: &mut usize,
) -> Result<(usize, Option<Event<'static>>), Violation> {
    let before = *end - *start;
    let (rest, event) = decoder.next_owned(options, buffer, *start..*end)?;
    (*start, *end) = (rest.start, rest.end);
    Ok((before - rest.len(), event))
}

impl From<Bytes> for Input {
    fn from(bytes: Bytes) -> Self {
        Self::own(bytes.into())
    }
}
