//! DEFLATE for messages (RFC 7692 §7.2): each message ends with a sync flush whose trailing `00 00 FF FF` is not sent.
//!
//! Compressors and decompressors are large, so each thread keeps some and lends one for one message. With context
//! takeover a connection owns its own, from the first message that needs it. No socket, no clock; the bytes of a
//! message are never kept.

mod history;

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::LocalKey;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use self::history::History;
use crate::budget::{Budget, Reservation};
use crate::compression::Compression;
use crate::encode;
use crate::extension::{Extension, MAX_WINDOW_BITS};
use crate::frame::OpCode;
use crate::role::Role;
use crate::violation::Violation;

/// Memory of a [`Deflater`] with the full window, as measured: a little more than 380 KB at any level.
const DEFLATER_BYTES: usize = 384 << 10;

/// Memory of an [`Inflater`] without its history, which is counted as it grows: few sessions fill it.
const INFLATER_BYTES: usize = 48 << 10;

/// A byte of input counts as this many bytes of output: blocks without output take that long, headers with dynamic
/// codes about half of it.
const INPUT_WORK: usize = 16;

/// Maximum input to decompress before other connections run: half a millisecond if it produces no output.
pub(crate) const INPUT_AT_ONCE: usize = 8 << 10;

/// A compressed message may be twice as large as the limit of its output, plus this: stored blocks, and flushes of a
/// peer that sends small parts, are larger than their content, but never by much.
const INPUT_OVERHEAD: u64 = 1 << 10;

/// The smallest window that zlib compresses with.
const MIN_WINDOW_BITS: u8 = 9;

/// The end of a sync flush, which is not sent (RFC 7692 §7.2.1): an empty stored block without its header.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// An empty final block: it ends the stream only where a message is complete.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// Number of deflaters and of inflaters that a thread keeps: connections with more different settings create their own.
const KEEP: usize = 4;

/// A scratch buffer that grew beyond this size is not kept.
const KEEP_SCRATCH: usize = 256 << 10;

/// Minimum and maximum bytes that a buffer grows by at a time.
const ROOM: (usize, usize) = (128, 64 << 10);

/// How far back a block can refer.
const MAX_WINDOW: usize = window(MAX_WINDOW_BITS);

/// The window in bytes.
const fn window(bits: u8) -> usize {
    1 << bits
}

thread_local! {
    static DEFLATERS: RefCell<Vec<Deflater>> = const { RefCell::new(Vec::new()) };
    static INFLATERS: RefCell<Vec<Inflater>> = const { RefCell::new(Vec::new()) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Decompresses the messages of one side, in order.
#[derive(Debug)]
pub(crate) struct Inflater {
    stream: Box<Decompress>,
    /// Whether bytes of the message were fed after its last final block.
    fed: bool,
    /// The bytes that a block may refer to.
    history: History,
}

impl Inflater {
    /// Creates an inflater for a peer that refers back by at most `window` bytes.
    pub(crate) fn new(window: usize) -> Self {
        // a larger window than the compressor's works with every compressor
        let stream = Box::new(Decompress::new_with_window_bits(false, MAX_WINDOW_BITS));
        Self { stream, fed: false, history: History::new(window) }
    }

    /// Takes one of the thread's inflaters.
    fn lend() -> Self {
        with_thread(&INFLATERS, Vec::pop).flatten().unwrap_or_else(|| Self::new(MAX_WINDOW))
    }

    fn give_back(mut self) {
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
    pub(crate) fn inflate(&mut self, piece: &[u8], out: &mut Vec<u8>, full: usize) -> Result<(usize, bool), Violation> {
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

    /// Ends a message, which must end at the end of a block. Without context takeover the inflater must be given back
    /// afterwards.
    pub(crate) fn finish(&mut self, no_context_takeover: bool) -> Result<(), Violation> {
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

/// The receiving side of a connection that negotiated compression.
#[derive(Debug)]
pub struct Inbound {
    no_context_takeover: bool,
    /// Owned with context takeover, otherwise lent while a message is incomplete.
    inflater: Option<Inflater>,
    budget: Arc<Budget>,
    /// Counts an inflater that is lent to an incomplete message; of an owned inflater, its history.
    counted: Option<Reservation>,
    /// Work done since the last `take_work`.
    work: usize,
    /// Bytes fed of the current message.
    fed: u64,
    /// How far back the peer refers, in bytes.
    window: usize,
}

impl Inbound {
    #[cfg(any(test, fuzzing))]
    /// Creates the receiving side for a peer with the full window.
    pub fn new(no_context_takeover: bool) -> Self {
        Self::with(no_context_takeover, MAX_WINDOW, Arc::default())
    }

    fn with(no_context_takeover: bool, window: usize, budget: Arc<Budget>) -> Self {
        Self { no_context_takeover, inflater: None, budget, counted: None, work: 0, fed: 0, window }
    }

    /// Whether a message may be skipped without decompressing it, because no later message refers to it.
    pub(crate) fn no_context_takeover(&self) -> bool {
        self.no_context_takeover
    }

    /// See [`Inflater::inflate`].
    pub(crate) fn inflate(&mut self, piece: &[u8], out: &mut Vec<u8>, full: usize) -> Result<(usize, bool), Violation> {
        let (no_context_takeover, window) = (self.no_context_takeover, self.window);
        let make = || if no_context_takeover { Inflater::lend() } else { Inflater::new(window) };
        let before = out.len();
        let inflater = self.inflater.get_or_insert_with(make);
        let inflated = inflater.inflate(piece, out, full);
        let remembers = inflater.history.capacity();
        if !no_context_takeover && self.counted.as_ref().map_or(0, Reservation::bytes) < remembers {
            self.reserve(remembers)?;
        }
        let used = inflated.as_ref().map_or(piece.len(), |(used, _)| *used);
        self.fed += used as u64;
        self.work += out.len() - before + INPUT_WORK * used;
        inflated
    }

    /// Bytes fed of the current message.
    pub(crate) fn fed(&self) -> u64 {
        self.fed
    }

    /// Work done since the last call, in bytes of output.
    pub(crate) fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }

    /// Fails if the message, with a frame of `payload` bytes, is larger than any message whose output is at most
    /// `limit`: blocks without output would otherwise have no limit.
    pub(crate) fn admit(&self, payload: u64, limit: usize) -> Result<(), Violation> {
        let size = self.fed.saturating_add(payload);
        let most = (limit as u64).saturating_mul(2).saturating_add(INPUT_OVERHEAD);
        if size > most { Err(Violation::TooBig { limit, size }) } else { Ok(()) }
    }

    /// Ends a message, which may have no further bytes.
    pub(crate) fn finish(&mut self) -> Result<(), Violation> {
        self.fed = 0;
        let Some(inflater) = &mut self.inflater else { return Ok(()) };
        inflater.finish(self.no_context_takeover)?;
        if self.no_context_takeover {
            self.counted = None;
            self.inflater.take().into_iter().for_each(Inflater::give_back);
        }
        Ok(())
    }

    /// Counts a lent inflater while the rest of its message is awaited.
    pub(crate) fn wait(&mut self) -> Result<(), Violation> {
        if self.no_context_takeover && self.inflater.is_some() && self.counted.is_none() {
            self.reserve(INFLATER_BYTES + MAX_WINDOW)?;
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Violation> {
        let fits = match &mut self.counted {
            Some(counted) => counted.grow_to(bytes),
            none => {
                *none = self.budget.reserve(bytes);
                none.is_some()
            }
        };
        if fits { Ok(()) } else { Err(Violation::NoRoom) }
    }
}

/// Compresses messages.
#[derive(Debug)]
struct Deflater {
    stream: Box<Compress>,
    level: u32,
    window_bits: u8,
}

impl Deflater {
    /// `window_bits` is from 9 to 15: zlib supports no other window, and no other is negotiated.
    fn new(level: u32, window_bits: u8) -> Self {
        let level = level.min(9);
        let stream = Compress::new_with_window_bits(
            flate2::Compression::new(level),
            false,
            window_bits.clamp(9, MAX_WINDOW_BITS),
        );
        Self { stream: Box::new(stream), level, window_bits }
    }

    /// Compresses a whole message to the end of `out`. Returns false on failure; then the deflater must not be used
    /// again.
    fn message(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        if payload.is_empty() {
            // the header of an empty stored block (§7.2.3.6); zlib produces nothing for an empty flush after a flush
            out.push(0);
            return true;
        }
        out.reserve(payload.len() / 2 + ROOM.0);
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
            out.reserve(rest.len().max(ROOM.0));
        }
        if !out.ends_with(&TAIL) {
            return false;
        }
        out.truncate(out.len() - TAIL.len());
        true
    }

    /// Compresses a part of a message to the end of `out`, flushed so that the peer can decode all of it.
    fn part(&mut self, payload: &[u8], last: bool, out: &mut Vec<u8>) -> bool {
        let done = self.message(payload, out);
        if !last {
            out.extend_from_slice(&TAIL);
        }
        done
    }
}

/// Returns a deflater to the thread for reuse.
fn give_back(mut deflater: Deflater) {
    deflater.stream.reset();
    with_thread(&DEFLATERS, |kept| {
        // the most recently used one stays longest
        if kept.len() == KEEP {
            kept.remove(0);
        }
        kept.push(deflater);
    });
}

/// Compresses a message in parts; lent until the last part.
pub struct PartDeflater {
    deflater: Deflater,
    _counted: Reservation,
}

impl fmt::Debug for PartDeflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartDeflater").finish_non_exhaustive()
    }
}

/// Compression of a session: the agreed extension, and the sending side.
pub struct Deflation {
    extension: Extension,
    role: Role,
    level: u32,
    /// The window of our messages: the smaller of our setting and the peer's limit.
    window_bits: u8,
    threshold: usize,
    budget: Arc<Budget>,
    own: Mutex<Own>,
}

/// State of a session with context takeover.
#[derive(Default)]
struct Own {
    deflater: Option<Deflater>,
    _reservation: Option<Reservation>,
}

impl Deflation {
    /// Returns `None` if the budget has no space for the session's compressor and decompressor.
    pub fn new(extension: Extension, role: Role, compression: &Compression, budget: &Arc<Budget>) -> Option<Self> {
        let deflater = if extension.no_context_takeover(role) { 0 } else { DEFLATER_BYTES };
        let inflater = if extension.no_context_takeover(role.other()) { 0 } else { INFLATER_BYTES };
        let own = Own { deflater: None, _reservation: Some(budget.reserve(deflater + inflater)?) };
        let (level, threshold) = compression.effort();
        let window_bits = extension.window_bits(role).min(compression.max_window_bits());
        // a server may ask a client for the smallest window, which zlib does not support: then nothing is compressed
        let threshold = if window_bits < MIN_WINDOW_BITS { usize::MAX } else { threshold };
        Some(Self { extension, role, level, window_bits, threshold, budget: budget.clone(), own: Mutex::new(own) })
    }

    /// The agreed extension with its parameters.
    pub fn extension(&self) -> &Extension {
        &self.extension
    }

    /// Creates the receiving side; call it once.
    pub fn inbound(&self) -> Inbound {
        let peer = self.role.other();
        Inbound::with(
            self.extension.no_context_takeover(peer),
            window(self.extension.window_bits(peer)),
            self.budget.clone(),
        )
    }

    /// Whether a message of `size` bytes is large enough to compress.
    #[inline]
    pub fn is_for(&self, size: usize) -> bool {
        size >= self.threshold
    }

    /// Whether each message is compressed by itself: then the order of compressing does not matter, and every session
    /// with the same [`kind`](Self::kind) can share the result.
    #[inline]
    pub fn no_context_takeover(&self) -> bool {
        self.extension.no_context_takeover(self.role)
    }

    /// Sessions of one kind without context takeover compress to the same bytes.
    pub fn kind(&self) -> (u32, u8) {
        (self.level, self.window_bits)
    }

    /// Takes a matching deflater of the thread.
    fn lend(&self) -> Deflater {
        let (level, window_bits) = self.kind();
        let is_alike = |deflater: &Deflater| (deflater.level, deflater.window_bits) == (level, window_bits);
        let lent = with_thread(&DEFLATERS, |kept| kept.iter().position(is_alike).map(|at| kept.remove(at)));
        lent.flatten().unwrap_or_else(|| Deflater::new(level, window_bits))
    }

    /// Compresses a part of a message and passes the result to `hand_on`. The parts of a message follow one another
    /// without another message between them. Their deflater is kept in `own` until the last part, unless it is the
    /// session's. Returns false on failure; then the message cannot continue.
    pub fn part(
        &self,
        own: &mut Option<PartDeflater>,
        payload: &[u8],
        last: bool,
        hand_on: impl FnOnce(&[u8]),
    ) -> bool {
        with_scratch(|scratch| {
            let done = if self.no_context_takeover() {
                let lent = own.get_or_insert_with(|| PartDeflater {
                    deflater: self.lend(),
                    _counted: self.budget.count(DEFLATER_BYTES),
                });
                let done = lent.deflater.part(payload, last, scratch);
                if last {
                    own.take().filter(|_| done).into_iter().for_each(|lent| give_back(lent.deflater));
                }
                done
            } else {
                let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
                let (level, window_bits) = self.kind();
                own.deflater.get_or_insert_with(|| Deflater::new(level, window_bits)).part(payload, last, scratch)
            };
            if done {
                hand_on(scratch);
            }
            done
        })
    }

    /// Appends a message, compressed by itself, as a frame. Returns false and appends nothing if it would not become
    /// smaller.
    pub fn frame_afresh(&self, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let mut deflater = self.lend();
        with_scratch(|scratch| {
            if !deflater.message(payload, scratch) {
                return false;
            }
            give_back(deflater);
            let smaller = scratch.len() < payload.len();
            if smaller {
                encode::deflated(out, opcode, scratch);
            }
            smaller
        })
    }

    /// Appends a message that may refer to those before it, as a frame. The order of calls is the order on the wire.
    pub fn frame_in_order(&self, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, window_bits) = self.kind();
        let deflater = own.deflater.get_or_insert_with(|| Deflater::new(level, window_bits));
        let done = with_scratch(|scratch| {
            let done = deflater.message(payload, scratch);
            if done {
                encode::deflated(out, opcode, scratch);
            }
            done
        });
        if !done {
            // the output is lost, so no later message may refer to it: the next one starts afresh
            own.deflater = None;
            encode::frame(out, true, opcode, payload);
        }
    }

    /// Frees the session's compressor: it sends nothing more.
    pub fn end(&self) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Own::default();
    }
}

impl fmt::Debug for Deflation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflation").field("extension", &self.extension).finish_non_exhaustive()
    }
}

/// Calls `f` with a value of the thread; returns `None` if the thread is ending.
fn with_thread<T, R>(place: &'static LocalKey<RefCell<T>>, f: impl FnOnce(&mut T) -> R) -> Option<R> {
    place.try_with(|place| f(&mut place.borrow_mut())).ok()
}

/// Calls `f` with an empty scratch buffer of the thread.
pub(crate) fn with_scratch<T>(f: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut scratch = with_thread(&SCRATCH, std::mem::take).unwrap_or_default();
    scratch.clear();
    let result = f(&mut scratch);
    if scratch.capacity() <= KEEP_SCRATCH {
        with_thread(&SCRATCH, |place| *place = scratch);
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::extension::Parameter;

    fn compressed(messages: &[&[u8]], level: u32, window_bits: u8, no_context_takeover: bool) -> Vec<Vec<u8>> {
        let mut deflater = Deflater::new(level, window_bits);
        let compressed = |message: &&[u8]| {
            let mut out = Vec::new();
            assert!(deflater.message(message, &mut out));
            if no_context_takeover {
                deflater.stream.reset();
            }
            out
        };
        messages.iter().map(compressed).collect()
    }

    /// The output of one inflater for messages that are fed in pieces of `size` bytes.
    fn inflated(messages: &[Vec<u8>], size: usize, no_context_takeover: bool) -> Result<Vec<Vec<u8>>, Violation> {
        let mut inbound = Inbound::new(no_context_takeover);
        let inflate = |message: &Vec<u8>| {
            let mut out = Vec::new();
            for piece in message.chunks(size) {
                inbound.inflate(piece, &mut out, usize::MAX)?;
            }
            inbound.finish().map(|()| out)
        };
        messages.iter().map(inflate).collect()
    }

    #[test]
    fn examples_of_the_rfc_are_read() {
        // RFC 7692 §7.2.3.1, .3, .4, .5, and .6
        for (message, text) in [
            (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], "Hello"),
            (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello"),
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello"),
            (&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
            (&[0x00], ""),
            // without the byte that §7.2.3.4 adds after a final block, two final blocks, a final block of a flush
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], "Hello"),
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "HelloHello"),
            (&[0x01], ""),
            (&[], ""),
        ] {
            let messages = [message.to_vec(), message.to_vec()];
            for (size, no_context_takeover) in [(1, true), (1, false), (usize::MAX, true), (usize::MAX, false)] {
                let expected = Ok(vec![text.as_bytes().to_vec(); 2]);
                assert_eq!(
                    inflated(&messages, size, no_context_takeover),
                    expected,
                    "{message:02x?} by {size}, {no_context_takeover}"
                );
            }
        }
        // §7.2.3.2: the second message refers to the first
        let messages = [vec![0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], vec![0xf2, 0x00, 0x11, 0x00, 0x00]];
        assert_eq!(inflated(&messages, 1, false), Ok(vec![b"Hello".to_vec(); 2]));
        assert_eq!(inflated(&messages, 1, true), Err(Violation::NotDeflate));
    }

    #[test]
    fn what_is_not_deflate_is_refused() {
        for message in [
            // a block of the reserved type, a wrong length of a stored block, a distance before the beginning
            &[0x07][..],
            &[0x00, 0x05, 0x00, 0x00, 0x00],
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            // cut off in a block with codes, in a stored one, in the header of one with codes of its own
            &[0xf2, 0x48, 0xcd],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48],
            &[0x04, 0xc0],
            b"not deflate at all",
        ] {
            assert_eq!(inflated(&[message.to_vec()], usize::MAX, true), Err(Violation::NotDeflate), "{message:02x?}");
            assert_eq!(inflated(&[message.to_vec()], 1, true), Err(Violation::NotDeflate), "{message:02x?}");
        }
    }

    #[test]
    fn what_comes_behind_a_last_block_refers_to_what_came_before_it() {
        /// Compresses like a peer that ends a stream with each message, and continues with its window.
        fn ended(message: &[u8], before: &[u8]) -> Vec<u8> {
            let mut stream = Compress::new(flate2::Compression::new(6), false);
            if !before.is_empty() {
                stream.set_dictionary(&before[before.len().saturating_sub(MAX_WINDOW)..]).unwrap();
            }
            let mut out = Vec::with_capacity(2 * message.len() + 100);
            assert_eq!(stream.compress_vec(message, &mut out, FlushCompress::Finish).unwrap(), Status::StreamEnd);
            out
        }
        let mut state = 1u64;
        let mut noise = |len: usize| -> Vec<u8> {
            let next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            };
            std::iter::repeat_with(next).take(len).collect()
        };
        let (long, short) = (noise(100_000), noise(300));
        let again = [&long[70_000..], &short[..]].concat();
        let messages = [&long[..], &short, b"", &again, &short, &again, &long[99_000..]];
        let (mut before, mut wire) = (Vec::new(), Vec::new());
        for message in messages {
            wire.push(ended(message, &before));
            before.extend_from_slice(message);
        }
        assert!(wire[3].len() < 1000, "it refers back");
        let expected: Vec<_> = messages.iter().map(|message| message.to_vec()).collect();
        for size in [1, 1000, usize::MAX] {
            let padded: Vec<_> = wire.iter().map(|message| [message, &[0][..]].concat()).collect();
            assert_eq!(inflated(&wire, size, false).as_ref(), Ok(&expected), "by {size}");
            assert_eq!(inflated(&padded, size, false).as_ref(), Ok(&expected), "by {size}");
            // all of it as one message, which a peer without context takeover may send as well
            assert_eq!(inflated(&[wire.concat()], size, true).unwrap(), [expected.concat()], "by {size}");
        }
        assert_eq!(inflated(&wire, usize::MAX, true), Err(Violation::NotDeflate));
        // a final block without output, and one that the end of the message completes
        let hello = vec![0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        for last in [&[0x03, 0x00][..], &[0x01, 0x00, 0x00, 0xff, 0xff], &[0x01]] {
            let messages = [hello.clone(), last.to_vec(), vec![0xf2, 0x00, 0x11, 0x00, 0x00]];
            let expected = [&b"Hello"[..], b"", b"Hello"].map(<[u8]>::to_vec).to_vec();
            assert_eq!(inflated(&messages, 1, false), Ok(expected), "{last:02x?}");
        }
    }

    #[test]
    fn no_more_is_made_than_there_is_room_for() {
        let zeros = vec![0; 10 << 20];
        let bomb = &compressed(&[&zeros], 9, 15, true)[0];
        let (mut inflater, mut out, mut used, mut total) = (Inflater::new(MAX_WINDOW), Vec::new(), 0, 0);
        loop {
            let (count, drained) = inflater.inflate(&bomb[used..], &mut out, 1000).unwrap();
            (used, total) = (used + count, total + out.len());
            assert!(out.len() <= 1000 && out.capacity() <= 1000);
            out.clear();
            if drained {
                break;
            }
        }
        assert_eq!((used, total), (bomb.len(), zeros.len()));
    }

    #[test]
    fn a_budget_is_kept_and_given_back() {
        let budget = Arc::new(Budget::new(DEFLATER_BYTES + INFLATER_BYTES + MAX_WINDOW));
        let open = |keep: bool| {
            let compression = Compression::ON.context_takeover(keep);
            let no_context_takeover = [Parameter::ServerNoContextTakeover, Parameter::ClientNoContextTakeover];
            let extension = Extension::permessage_deflate(no_context_takeover.into_iter().filter(|_| !keep));
            Deflation::new(extension, Role::Server, &compression, &budget)
        };
        let (first, forgetting) = (open(false).unwrap(), open(false).unwrap());
        let mut inbound = forgetting.inbound();
        inbound.inflate(&[0xf2], &mut Vec::new(), 1).unwrap();
        inbound.wait().unwrap();
        inbound.wait().unwrap();
        assert_eq!(budget.used(), INFLATER_BYTES + MAX_WINDOW);
        assert!(open(true).is_none());
        drop(inbound);
        let keeping = open(true).unwrap();
        assert!(open(true).is_none());
        let mut another = forgetting.inbound();
        another.inflate(&[0xf2], &mut Vec::new(), 1).unwrap();
        assert_eq!(another.wait(), Err(Violation::NoRoom));
        // the history of a session is counted as it fills
        let used = || budget.used() - DEFLATER_BYTES - INFLATER_BYTES;
        let mut inbound = keeping.inbound();
        inbound.inflate(&compressed(&[&[7; 1000]], 1, 15, false)[0], &mut Vec::new(), 1000).unwrap();
        inbound.finish().unwrap();
        assert!((1000..2000).contains(&used()), "{}", used());
        inbound.inflate(&compressed(&[&[7; 100_000]], 1, 15, false)[0], &mut Vec::new(), 100_000).unwrap();
        assert_eq!(used(), MAX_WINDOW);
        drop(inbound);
        keeping.end();
        assert_eq!(budget.used(), 0);
        drop((first, keeping));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_message_that_would_not_become_smaller_is_left() {
        let budget = Arc::new(Budget::new(1));
        let no_context_takeover =
            Extension::permessage_deflate([Parameter::ServerNoContextTakeover, Parameter::ClientNoContextTakeover]);
        let deflation = Deflation::new(no_context_takeover, Role::Server, &Compression::ON, &budget).unwrap();
        let mut out = Vec::new();
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(600)
        .collect();
        assert!(!deflation.frame_afresh(OpCode::Binary, &noise, &mut out));
        assert!(!deflation.frame_afresh(OpCode::Binary, b"", &mut out));
        assert_eq!(out, [0; 0]);
        assert!(deflation.frame_afresh(OpCode::Binary, &[7; 600], &mut out));
        assert_eq!((out[0], usize::from(out[1])), (0xc2, out.len() - 2));
    }

    proptest! {
        #[test]
        fn what_is_compressed_is_read_again(
            messages in proptest::collection::vec(proptest::collection::vec(0u8..6, 0..3000), 1..5),
            size in 1usize..2000,
            level in 0u32..=9,
            window_bits in 9u8..=15,
            no_context_takeover: bool,
        ) {
            let slices: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
            let wire = compressed(&slices, level, window_bits, no_context_takeover);
            for (message, bytes) in messages.iter().zip(&wire) {
                prop_assert!(!message.is_empty() || bytes == &[0]);
            }
            prop_assert_eq!(inflated(&wire, size, no_context_takeover), Ok(messages));
        }

        #[test]
        fn arbitrary_bytes_never_panic(messages: Vec<Vec<u8>>, size in 1usize..40, no_context_takeover: bool) {
            let whole = inflated(&messages, usize::MAX, no_context_takeover);
            prop_assert_eq!(inflated(&messages, size, no_context_takeover), whole);
        }
    }
}
