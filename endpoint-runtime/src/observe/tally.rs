//! What one connection has read and written. Only its own task writes, so counting takes neither a lock nor an atomic
//! operation that other processors wait for; any thread reads.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counts of one connection, written by its task alone.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    received: OwnCount,
    received_bytes: OwnCount,
    /// Replies that did not go through the send queue, which counts the other messages.
    replied: OwnCount,
    written_bytes: OwnCount,
}

/// A count with one writer: reading and writing it is cheaper than adding to it atomically.
#[derive(Debug, Default)]
struct OwnCount(AtomicU64);

impl OwnCount {
    #[inline(always)]
    fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Tally {
    /// Counts a data frame's event: a message if it is the last part of one.
    #[inline(always)]
    pub(crate) fn note_received(&self, is_last: bool) {
        self.received.add(u64::from(is_last));
    }

    /// Counts bytes that were read from the socket.
    #[inline]
    pub(crate) fn note_read(&self, bytes: usize) {
        self.received_bytes.add(bytes as u64);
    }

    /// Counts a reply that did not go through the send queue.
    #[inline]
    pub(crate) fn note_reply(&self) {
        self.replied.add(1);
    }

    /// Counts bytes that the connection wrote to the socket.
    #[inline]
    pub(crate) fn note_written(&self, bytes: usize) {
        self.written_bytes.add(bytes as u64);
    }

    /// The counts, with those of the send queue.
    pub(crate) fn with(&self, queued: QueueCounts) -> Traffic {
        Traffic {
            messages_received: self.received.get(),
            bytes_received: self.received_bytes.get(),
            messages_sent: self.replied.get() + queued.written,
            bytes_sent: self.written_bytes.get() + queued.direct_bytes,
            messages_dropped: queued.dropped,
        }
    }
}

/// The counts of a send queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueCounts {
    /// Messages that went through the queue and are written.
    pub(crate) written: u64,
    /// Bytes that broadcasts and flushers wrote beside the connection.
    pub(crate) direct_bytes: u64,
    /// Messages that a full queue dropped.
    pub(crate) dropped: u64,
}

/// What sessions have exchanged, in messages and in bytes.
///
/// A message in several frames is one message. Bytes are those of the socket: frames with their headers, after
/// compression, with pings and close frames, without TLS and without the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Text and binary messages that arrived whole, also those that no handler takes.
    pub messages_received: u64,
    /// Bytes that were read.
    pub bytes_received: u64,
    /// Text and binary messages that were written to the socket.
    pub messages_sent: u64,
    /// Bytes that were written to the socket.
    pub bytes_sent: u64,
    /// Messages that were dropped because a send queue was full.
    pub messages_dropped: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.messages_received += other.messages_received;
        self.bytes_received += other.bytes_received;
        self.messages_sent += other.messages_sent;
        self.bytes_sent += other.bytes_sent;
        self.messages_dropped += other.messages_dropped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_message_count_once() {
        let tally = Tally::default();
        [false, false, true, true].into_iter().for_each(|last| tally.note_received(last));
        tally.note_read(10);
        tally.note_reply();
        tally.note_written(7);
        let traffic = tally.with(QueueCounts { written: 2, direct_bytes: 5, dropped: 1 });
        let expected =
            Traffic { messages_received: 2, bytes_received: 10, messages_sent: 3, bytes_sent: 12, messages_dropped: 1 };
        assert_eq!(traffic, expected);
        let mut sum = traffic;
        sum += traffic;
        assert_eq!((sum.messages_received, sum.bytes_sent, sum.messages_dropped), (4, 24, 2));
    }
}
