//! Decompresses messages (RFC 7692 §7.2.2).

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

use crate::deflate::format::{LAST_BLOCK, MAX_WINDOW, TAIL};
use crate::deflate::history::History;
use crate::deflate::pool::{KEEP, with_thread};
use crate::extension::MAX_WINDOW_BITS;
use crate::violation::Violation;

/// Memory of an [`Inflater`] without its history, which is counted as it grows: few sessions fill it.
pub(super) const INFLATER_BYTES: usize = 48 << 10;

/// Minimum and maximum bytes that a buffer grows by at a time.
const ROOM: (usize, usize) = (128, 64 << 10);

thread_local! {
    static INFLATERS: RefCell<Vec<Inflater>> = const { RefCell::new(Vec::new()) };
}

/// Decompresses the messages of one side, in order.
#[derive(Debug)]
pub(super) struct Inflater {
    stream: Box<Decompress>,
    /// Whether bytes of the message were fed after its last final block.
    fed: bool,
    /// The bytes that a block may refer to.
    history: History,
}

impl Inflater {
    /// Creates an inflater for a peer that refers back by at most `window` bytes.
    pub(super) fn new(window: usize) -> Self {
        // a larger window than the compressor's works with every compressor
        let stream = Box::new(Decompress::new_with_window_bits(false, MAX_WINDOW_BITS));
        Self { stream, fed: false, history: History::new(window) }
    }

    /// Takes one of the thread's inflaters.
    pub(super) fn lend() -> Self {
        with_thread(&INFLATERS, Vec::pop).flatten().unwrap_or_else(|| Self::new(MAX_WINDOW))
    }

    /// Returns the inflater to the thread for reuse.
    pub(super) fn give_back(mut self) {
        self.stream.reset(false);
        self.fed = false;
        self.history.clear();
        with_thread(&INFLATERS, |kept| {
            if kept.len() < KEEP {
                kept.push(self);
            }
        });
    }

    /// Decompresses a piece of a message to the end of `out`, until that holds `full` bytes, or its capacity if that is
    /// more. Returns how much of the piece was used, and whether all output of those bytes is in `out`.
    pub(super) fn inflate(&mut self, piece: &[u8], out: &mut Vec<u8>, full: usize) -> Result<(usize, bool), Violation> {
        let mut remembered = out.len();
        let inflated = self.inflate_blocks(piece, out, full, &mut remembered)?;
        self.history.push(&out[remembered..]);
        Ok(inflated)
    }

    /// Implements [`inflate`](Self::inflate); the first `remembered` bytes of `out` are in the history.
    fn inflate_blocks(
        &mut self,
        piece: &[u8],
        out: &mut Vec<u8>,
        full: usize,
        remembered: &mut usize,
    ) -> Result<(usize, bool), Violation> {
        let mut used = 0;
        loop {
            if out.len() == out.capacity() {
                if out.len() >= full {
                    return Ok((used, false));
                }
                let room = out.len().max(piece.len().clamp(ROOM.0, ROOM.1));
                out.reserve_exact(room.min(full - out.len()));
            }
            let (read, written) = (self.stream.total_in(), out.len());
            let status = self.stream.decompress_vec(&piece[used..], out, FlushDecompress::None);
            let status = status.map_err(|_| Violation::NotDeflate)?;
            let read = usize::try_from(self.stream.total_in() - read).map_err(|_| Violation::NotDeflate)?;
            used += read;
            self.fed |= read > 0;
            if status == Status::StreamEnd {
                self.history.push(&out[*remembered..]);
                *remembered = out.len();
                self.go_on()?;
                if used == piece.len() {
                    return Ok((used, true));
                }
            } else if out.len() < out.capacity() {
                if used == piece.len() {
                    return Ok((used, true));
                }
                if read == 0 && out.len() == written {
                    return Err(Violation::NotDeflate);
                }
            }
        }
    }

    /// Bytes allocated for the history.
    pub(super) fn history_bytes(&self) -> usize {
        self.history.capacity()
    }

    /// Ends a message, which must end at the end of a block. Without context takeover the inflater must be given back
    /// afterwards.
    pub(super) fn finish(&mut self, no_context_takeover: bool) -> Result<(), Violation> {
        // after a final block there is nothing to end, nor in a message without bytes
        if self.fed {
            self.end(&TAIL)?;
            if no_context_takeover && self.fed {
                self.end(&LAST_BLOCK)?;
                if self.fed {
                    return Err(Violation::NotDeflate);
                }
            }
        }
        self.fed = false;
        Ok(())
    }

    /// Feeds bytes that must produce no output.
    fn end(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut nothing = [0];
        let (read, written) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(bytes, &mut nothing, FlushDecompress::None);
        let status = status.map_err(|_| Violation::NotDeflate)?;
        if self.stream.total_in() - read != bytes.len() as u64 || self.stream.total_out() != written {
            return Err(Violation::NotDeflate);
        }
        if status == Status::StreamEnd {
            self.go_on()?;
        }
        Ok(())
    }

    /// Continues after a final block: it ends only itself (RFC 7692 §7.2.3.4), and later blocks may refer to the bytes
    /// before it (§7.2.2). For zlib a final block is the end of a stream, and of its window.
    fn go_on(&mut self) -> Result<(), Violation> {
        self.stream.reset(false);
        self.fed = false;
        for part in self.history.parts().into_iter().filter(|part| !part.is_empty()) {
            self.stream.set_dictionary(part).map_err(|_| Violation::NotDeflate)?;
        }
        Ok(())
    }
}
