//! Compresses messages (RFC 7692 §7.2.1).

use std::cell::RefCell;

use flate2::{Compress, FlushCompress};

use crate::deflate::format::TAIL;
use crate::deflate::pool::{KEEP, with_thread};
use crate::extension::MAX_WINDOW_BITS;

/// Memory of a [`Deflater`] with the full window, as measured: a little more than 380 KB at any level.
pub(super) const DEFLATER_BYTES: usize = 384 << 10;

/// The smallest window that zlib compresses with.
pub(super) const MIN_WINDOW_BITS: u8 = 9;

/// Minimum bytes that a buffer grows by at a time.
const ROOM: usize = 128;

thread_local! {
    static DEFLATERS: RefCell<Vec<Deflater>> = const { RefCell::new(Vec::new()) };
}

/// Compresses messages.
#[derive(Debug)]
pub(super) struct Deflater {
    stream: Box<Compress>,
    level: u32,
    window_bits: u8,
}

impl Deflater {
    /// `window_bits` is from 9 to 15: zlib supports no other window, and no other is negotiated.
    pub(super) fn new(level: u32, window_bits: u8) -> Self {
        let level = level.min(9);
        let stream = Compress::new_with_window_bits(
            flate2::Compression::new(level),
            false,
            window_bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS),
        );
        Self { stream: Box::new(stream), level, window_bits }
    }

    /// Takes a deflater of the thread with these settings.
    pub(super) fn lend(level: u32, window_bits: u8) -> Self {
        let is_alike = |deflater: &Self| (deflater.level, deflater.window_bits) == (level, window_bits);
        let lent = with_thread(&DEFLATERS, |kept| kept.iter().position(is_alike).map(|at| kept.remove(at)));
        lent.flatten().unwrap_or_else(|| Self::new(level, window_bits))
    }

    /// Returns the deflater to the thread for reuse.
    pub(super) fn give_back(mut self) {
        self.reset();
        with_thread(&DEFLATERS, |kept| {
            // the most recently used one stays longest
            if kept.len() == KEEP {
                kept.remove(0);
            }
            kept.push(self);
        });
    }

    /// Forgets the messages so far: the next one does not refer to them.
    pub(super) fn reset(&mut self) {
        self.stream.reset();
    }

    /// Compresses a whole message to the end of `out`. Returns false on failure; then the deflater must not be used
    /// again.
    pub(super) fn message(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        if payload.is_empty() {
            // the header of an empty stored block (§7.2.3.6); zlib produces nothing for an empty flush after a flush
            out.push(0);
            return true;
        }
        out.reserve(payload.len() / 2 + ROOM);
        let mut rest = payload;
        loop {
            let read = self.stream.total_in();
            if self.stream.compress_vec(rest, out, FlushCompress::Sync).is_err() {
                return false;
            }
            let read = usize::try_from(self.stream.total_in() - read).unwrap_or(usize::MAX);
            rest = rest.get(read..).unwrap_or_default();
            // with capacity left the flush is complete
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
            out.reserve(rest.len().max(ROOM));
        }
        if !out.ends_with(&TAIL) {
            return false;
        }
        out.truncate(out.len() - TAIL.len());
        true
    }

    /// Compresses a part of a message to the end of `out`, flushed so that the peer can decode all of it.
    pub(super) fn part(&mut self, payload: &[u8], last: bool, out: &mut Vec<u8>) -> bool {
        let done = self.message(payload, out);
        if !last {
            out.extend_from_slice(&TAIL);
        }
        done
    }
}
