//! Encoded frames to be written to a socket: in order, small ones together, large payloads without a copy.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::net::tcp::OwnedWriteHalf;

use endpoint_wire::encode;
use endpoint_wire::frame::OpCode;
use endpoint_wire::message::INLINE;

/// Written bytes are discarded once there are this many.
const RECLAIM: usize = if cfg!(test) { 64 } else { 64 << 10 };

/// Size of a block of small frames, in bytes, if more follow.
const BLOCK: usize = if cfg!(test) { 96 } else { 64 << 10 };

/// Extra capacity of a block, for the frame that fills it.
const MORE: usize = 16 << 10;

/// Maximum number of segments of one vectored write.
const SEGMENTS: usize = 64;

/// Encoded frames in order: small ones in one piece, large payloads shared and recorded with their position in it.
#[derive(Default)]
pub(crate) struct Frames {
    pub(super) small: Vec<u8>,
    /// Number of bytes of `small` that are written.
    start: usize,
    pub(super) large: Option<Box<Large>>,
}

/// Payloads that are not copied.
#[derive(Default)]
pub(super) struct Large {
    /// Each with the number of bytes of `small` before it.
    pub(super) payloads: VecDeque<(usize, Bytes)>,
    pub(super) len: usize,
    /// Number of payloads at the end that are not masked, and of bytes of `small` that are: for a client, which always
    /// has this struct.
    pub(super) bare: usize,
    pub(super) masked: usize,
}

impl Large {
    pub(super) fn push(&mut self, position: usize, payload: Bytes) {
        self.len += payload.len();
        self.bare += 1;
        self.payloads.push_back((position, payload));
    }
}

impl Frames {
    pub(crate) fn len(&self) -> usize {
        self.small.len() - self.start + self.large.as_ref().map_or(0, |large| large.len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer that small frames are appended to.
    pub(crate) fn small(&mut self) -> &mut Vec<u8> {
        &mut self.small
    }

    /// Replaces the buffer for small frames of an empty queue.
    pub(crate) fn lend(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.is_empty());
        (self.small, self.start) = (buffer, 0);
    }

    /// Takes that buffer back from an empty queue, which keeps none.
    pub(crate) fn give_back(&mut self) -> Vec<u8> {
        debug_assert!(self.is_empty());
        (self.start, self.large) = (0, None);
        std::mem::take(&mut self.small)
    }

    pub(crate) fn has_buffer(&self) -> bool {
        self.small.capacity() > 0
    }

    /// Appends a data frame.
    #[inline]
    pub(crate) fn push(&mut self, fin: bool, opcode: OpCode, payload: &[u8]) {
        encode::frame(&mut self.small, fin, opcode, payload);
    }

    /// Appends a whole data frame whose payload is at the front of `position`.
    #[inline]
    pub(crate) fn push_small(&mut self, opcode: OpCode, position: &[u8; INLINE], len: usize) {
        encode::small(&mut self.small, opcode, position, len);
    }

    /// Appends a data frame with a large payload, without copying it.
    pub(crate) fn push_shared(&mut self, fin: bool, opcode: OpCode, payload: Bytes) {
        encode::header(&mut self.small, fin, opcode, payload.len());
        self.push_encoded(payload);
    }

    /// Appends a large encoded frame, without copying it.
    pub(crate) fn push_encoded(&mut self, frame: Bytes) {
        self.large.get_or_insert_default().push(self.small.len(), frame);
    }

    /// Whether the small frames fill a block.
    #[inline]
    pub(crate) fn has_block(&self) -> bool {
        self.small.len() >= BLOCK
    }

    /// Begins another block of small frames, so that a growing queue is not copied repeatedly. Does nothing if there
    /// are large payloads between the small frames, because those record their position. Not for frames that are yet to
    /// be masked.
    #[cold]
    pub(crate) fn seal_block(&mut self) {
        if self.payloads().any(|(position, _)| *position > self.start) {
            return;
        }
        let mut block = Bytes::from(std::mem::replace(&mut self.small, Vec::with_capacity(BLOCK + MORE)));
        block.advance(self.start);
        let large = self.large.get_or_insert_default();
        large.payloads.iter_mut().for_each(|(position, _)| *position = 0);
        large.push(0, block);
        self.start = 0;
    }

    /// Moves everything of `other` to the end.
    pub(crate) fn append(&mut self, other: &mut Frames) {
        debug_assert_eq!(other.start, 0);
        let offset = self.small.len();
        self.small.extend_from_slice(&other.small);
        other.small.clear();
        if let Some(other) = other.large.take() {
            let large = self.large.get_or_insert_default();
            other.payloads.into_iter().for_each(|(position, payload)| large.push(offset + position, payload));
        }
    }

    /// Puts the rest of a partly written frame before everything else, of which nothing is written yet.
    pub(crate) fn prepend(&mut self, partial_frame: Vec<u8>) {
        debug_assert_eq!(self.start, 0);
        let mut rest = std::mem::replace(self, Self { small: partial_frame, ..Self::default() });
        self.append(&mut rest);
    }

    /// All remaining bytes, in one piece.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        let mut from = self.start;
        for (position, payload) in self.payloads() {
            bytes.extend_from_slice(&self.small[from..*position]);
            bytes.extend_from_slice(payload);
            from = *position;
        }
        bytes.extend_from_slice(&self.small[from..]);
        bytes
    }

    /// Keeps at most `capacity` bytes while it is empty.
    pub(crate) fn shrink(&mut self, capacity: usize) {
        debug_assert!(self.is_empty());
        if self.small.capacity() > capacity {
            self.small = Vec::new();
        }
        self.large = None;
    }

    /// The bytes to write next, at most `most`, if all of them lie in one piece.
    pub(crate) fn single(&self, most: usize) -> Option<&[u8]> {
        let bytes = &self.small[self.start..];
        self.payloads().next().is_none().then(|| &bytes[..bytes.len().min(most)])
    }

    pub(super) fn payloads(&self) -> impl Iterator<Item = &(usize, Bytes)> {
        self.large.iter().flat_map(|large| &large.payloads)
    }

    /// Fills `slices` with the segments to write next, at most `most` bytes. Returns the number of segments.
    pub(crate) fn segments<'a>(&'a self, slices: &mut [IoSlice<'a>; SEGMENTS], mut most: usize) -> usize {
        let (mut count, mut from) = (0, self.start);
        let mut add = |bytes: &'a [u8]| {
            let bytes = &bytes[..bytes.len().min(most)];
            if !bytes.is_empty() {
                slices[count] = IoSlice::new(bytes);
                count += 1;
                most -= bytes.len();
            }
            most > 0 && count < SEGMENTS
        };
        for (position, payload) in self.payloads() {
            if !add(&self.small[from..*position]) || !add(payload) {
                return count;
            }
            from = *position;
        }
        add(&self.small[from..]);
        count
    }

    /// An array for [`Frames::segments`].
    pub(crate) fn slices<'a>() -> [IoSlice<'a>; SEGMENTS] {
        [IoSlice::new(&[]); SEGMENTS]
    }

    /// Writes once to a plain socket, at most `most` bytes. Returns the number of bytes written, which remain here.
    pub(super) fn try_write(&self, socket: &OwnedWriteHalf, most: usize) -> io::Result<usize> {
        match self.single(most) {
            Some(bytes) => socket.try_write(bytes),
            None => {
                let mut slices = Frames::slices();
                let count = self.segments(&mut slices, most);
                socket.try_write_vectored(&slices[..count])
            }
        }
    }

    /// Discards the first `count` bytes, which were written.
    pub(crate) fn advance(&mut self, count: usize) {
        self.skip(count);
        // a peer that reads as fast as we write never lets the queue run empty
        if self.start >= RECLAIM && self.start * 2 >= self.small.len() {
            self.small.drain(..self.start);
            if let Some(large) = &mut self.large {
                large.payloads.iter_mut().for_each(|(position, _)| *position -= self.start);
                large.masked = large.masked.saturating_sub(self.start);
            }
            self.start = 0;
        }
    }

    fn skip(&mut self, mut count: usize) {
        if let Some(large) = &mut self.large {
            while let Some((position, payload)) = large.payloads.front_mut() {
                let before = *position - self.start;
                if count < before {
                    break;
                }
                self.start += before;
                count -= before;
                let taken = count.min(payload.len());
                payload.advance(taken);
                large.len -= taken;
                count -= taken;
                if !payload.is_empty() {
                    return;
                }
                large.payloads.pop_front();
            }
        }
        self.start += count;
        if self.start == self.small.len() && self.payloads().next().is_none() {
            self.small.clear();
            self.start = 0;
            if let Some(large) = &mut self.large {
                large.masked = 0;
            }
        }
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes that the next write would take, at most `limit`.
    fn next(frames: &Frames, limit: usize) -> Vec<u8> {
        match frames.single(limit) {
            Some(bytes) => bytes.to_vec(),
            None => {
                let mut slices = Frames::slices();
                let count = frames.segments(&mut slices, limit);
                slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
            }
        }
    }

    proptest! {
        #[test]
        fn short_writes_lose_double_and_reorder_nothing(
            first in proptest::collection::vec((any::<bool>(), 0usize..40), 0..120),
            second in proptest::collection::vec((any::<bool>(), 0usize..40), 0..20),
            writes in proptest::collection::vec(1usize..60, 1..12),
            moved_after in 0usize..30,
            sealed in any::<bool>(),
        ) {
            let fill = |sizes: &[(bool, usize)], expected: &mut Vec<u8>| {
                let mut frames = Frames::default();
                for (index, (shared, size)) in sizes.iter().enumerate() {
                    let payload = vec![index as u8; *size];
                    encode::frame(expected, true, OpCode::Binary, &payload);
                    if *shared {
                        frames.push_shared(true, OpCode::Binary, payload.into());
                    } else {
                        frames.push(true, OpCode::Binary, &payload);
                    }
                }
                frames
            };
            let (mut expected, mut written) = (Vec::new(), Vec::new());
            let mut frames = fill(&first, &mut expected);
            let mut more = fill(&second, &mut expected);
            for (turn, limit) in writes.iter().cycle().enumerate() {
                if turn == moved_after {
                    frames.append(&mut more);
                }
                if frames.is_empty() && turn > moved_after {
                    break;
                }
                if sealed && frames.has_block() {
                    frames.seal_block();
                }
                prop_assert_eq!(frames.len() + more.len() + written.len(), expected.len());
                let bytes = next(&frames, *limit);
                prop_assert!(bytes.len() <= *limit);
                prop_assert!(!bytes.is_empty() || frames.is_empty(), "a write of nothing");
                frames.advance(bytes.len());
                written.extend(bytes);
            }
            prop_assert_eq!(written, expected);
        }
    }
}
