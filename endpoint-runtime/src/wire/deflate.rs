//! DEFLATE as messages use it (RFC 7692 §7.2): each ends with a flush whose last four octets stay at home.
//!
//! What compresses and decompresses is large, so it belongs to the thread and is lent for one message, unless the
//! context is taken over from message to message: then a connection owns its own, from the first message that needs
//! it. No socket, no clock; the octets of a message are never kept.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::LocalKey;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::OpCode;
use super::{Violation, encode};
use crate::config::Compression;
use crate::extension::{Extension, MAX_WINDOW_BITS};

/// What a [`Deflater`] takes with the full window, as measured: a little more than 380 KB at any level.
const DEFLATER_BYTES: usize = 384 << 10;

/// What an [`Inflater`] takes.
const INFLATER_BYTES: usize = 48 << 10;

/// The end of a flush, which is not sent (RFC 7692 §7.2.1): an empty stored block without its header.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// An empty block that is the last: where a message is complete it ends the stream, and nowhere else.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// How much of each a thread keeps: connections of more settings than this make their own.
const KEEP: usize = 4;

/// A scratch buffer that grew beyond this is not kept.
const KEEP_SCRATCH: usize = 256 << 10;

/// The least and the most room that is made at a time.
const ROOM: (usize, usize) = (128, 64 << 10);

thread_local! {
    static DEFLATERS: RefCell<Vec<Deflater>> = const { RefCell::new(Vec::new()) };
    static INFLATERS: RefCell<Vec<Inflater>> = const { RefCell::new(Vec::new()) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Decompresses the messages of one side, one after the other.
#[derive(Debug)]
pub(crate) struct Inflater {
    stream: Decompress,
    /// Octets of the message were fed behind its last block that was marked as the last.
    fed: bool,
}

impl Inflater {
    pub(crate) fn new() -> Self {
        // a larger window than the compressor's will do for every compressor
        Self { stream: Decompress::new_with_window_bits(false, MAX_WINDOW_BITS), fed: false }
    }

    /// One of the thread's.
    fn lend() -> Self {
        with_thread(&INFLATERS, Vec::pop).flatten().unwrap_or_else(Self::new)
    }

    fn give_back(mut self) {
        self.stream.reset(false);
        self.fed = false;
        with_thread(&INFLATERS, |kept| {
            if kept.len() < KEEP {
                kept.push(self);
            }
        });
    }

    /// Decompresses a piece of a message to the end of `out`, until that holds `full` octets, or its capacity if that is
    /// more. Returns how much of the piece was used, and whether everything that can be said of that is in `out`.
    pub(crate) fn inflate(&mut self, piece: &[u8], out: &mut Vec<u8>, full: usize) -> Result<(usize, bool), Violation> {
        let mut used = 0;
        loop {
            if out.len() == out.capacity() {
                if out.len() >= full {
                    return Ok((used, false));
                }
                let room = out.len().max(piece.len().saturating_mul(4)).clamp(ROOM.0, ROOM.1.max(out.len()));
                out.reserve_exact(room.min(full - out.len()));
            }
            let (read, written) = (self.stream.total_in(), out.len());
            let status = self.stream.decompress_vec(&piece[used..], out, FlushDecompress::None);
            let status = status.map_err(|_| Violation::NotDeflate)?;
            let read = usize::try_from(self.stream.total_in() - read).map_err(|_| Violation::NotDeflate)?;
            used += read;
            self.fed |= read > 0;
            if status == Status::StreamEnd {
                // a block that is marked as the last ends nothing but itself (RFC 7692 §7.2.3.4)
                self.stream.reset(false);
                self.fed = false;
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

    /// Ends a message: what was fed must end where a block does. If the context is forgotten, this one must be given
    /// back afterwards.
    pub(crate) fn finish(&mut self, forgets: bool) -> Result<(), Violation> {
        // behind a block that was marked as the last there is nothing to end, nor in a message without octets
        if self.fed {
            self.end(&TAIL)?;
            if forgets && self.fed {
                self.end(&LAST_BLOCK)?;
                if self.fed {
                    return Err(Violation::NotDeflate);
                }
            }
        }
        self.fed = false;
        Ok(())
    }

    /// Feeds octets that carry nothing.
    fn end(&mut self, octets: &[u8]) -> Result<(), Violation> {
        let mut nothing = [0];
        let (read, written) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(octets, &mut nothing, FlushDecompress::None);
        let status = status.map_err(|_| Violation::NotDeflate)?;
        if self.stream.total_in() - read != octets.len() as u64 || self.stream.total_out() != written {
            return Err(Violation::NotDeflate);
        }
        if status == Status::StreamEnd {
            self.stream.reset(false);
            self.fed = false;
        }
        Ok(())
    }
}

/// The receiving side of a connection that negotiated compression.
#[derive(Debug)]
pub(crate) struct Inbound {
    forgets: bool,
    /// Its own if the context is taken over, else lent while a message is not complete.
    inflater: Option<Inflater>,
    budget: Arc<Budget>,
    /// Counts the one that is lent to a message whose rest has not come.
    waiting: Option<Reservation>,
}

impl Inbound {
    /// Whether a message may be passed over without a look, because none after it refers to it.
    pub(crate) fn forgets(&self) -> bool {
        self.forgets
    }

    /// As [`Inflater::inflate`].
    pub(crate) fn inflate(&mut self, piece: &[u8], out: &mut Vec<u8>, full: usize) -> Result<(usize, bool), Violation> {
        let forgets = self.forgets;
        let make = || if forgets { Inflater::lend() } else { Inflater::new() };
        self.inflater.get_or_insert_with(make).inflate(piece, out, full)
    }

    /// Ends a message, which may have no rest.
    pub(crate) fn finish(&mut self) -> Result<(), Violation> {
        let Some(inflater) = &mut self.inflater else { return Ok(()) };
        inflater.finish(self.forgets)?;
        if self.forgets {
            self.waiting = None;
            self.inflater.take().into_iter().for_each(Inflater::give_back);
        }
        Ok(())
    }

    /// The rest of a message is waited for.
    pub(crate) fn wait(&mut self) {
        if self.forgets && self.inflater.is_some() && self.waiting.is_none() {
            self.waiting = Some(self.budget.count(INFLATER_BYTES));
        }
    }
}

/// Compresses messages.
#[derive(Debug)]
struct Deflater {
    stream: Compress,
    level: u32,
    window_bits: u8,
}

impl Deflater {
    /// `window_bits` is from 9 to 15: no other window can be made, nor is one negotiated.
    fn new(level: u32, window_bits: u8) -> Self {
        let level = level.min(9);
        let stream = Compress::new_with_window_bits(
            flate2::Compression::new(level),
            false,
            window_bits.clamp(9, MAX_WINDOW_BITS),
        );
        Self { stream, level, window_bits }
    }

    /// Compresses a whole message to the end of `out`; false if that failed, and this one is not to be used again.
    fn message(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        if payload.is_empty() {
            // the header of an empty stored block (§7.2.3.6); a flush of nothing after a flush says nothing
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
            // with room left the flush is complete
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
}

/// What a session does about compression: the agreement, and the sending side.
pub(crate) struct Deflation {
    extension: Extension,
    level: u32,
    threshold: usize,
    budget: Arc<Budget>,
    own: Mutex<Own>,
}

/// What only a session that takes its contexts over has.
#[derive(Default)]
struct Own {
    deflater: Option<Box<Deflater>>,
    _reservation: Option<Reservation>,
}

impl Deflation {
    /// `None` if the budget has no room for what such a session may own.
    pub(crate) fn new(extension: Extension, compression: &Compression, budget: &Arc<Budget>) -> Option<Self> {
        let deflater = if extension.server_forgets() { 0 } else { DEFLATER_BYTES };
        let inflater = if extension.client_forgets() { 0 } else { INFLATER_BYTES };
        let own = Own { deflater: None, _reservation: Some(budget.reserve(deflater + inflater)?) };
        let (level, threshold) = compression.effort();
        Some(Self { extension, level, threshold, budget: budget.clone(), own: Mutex::new(own) })
    }

    pub(crate) fn extension(&self) -> &Extension {
        &self.extension
    }

    /// The receiving side, which is to be made once.
    pub(crate) fn inbound(&self) -> Inbound {
        let budget = self.budget.clone();
        Inbound { forgets: self.extension.client_forgets(), inflater: None, budget, waiting: None }
    }

    /// Whether a message of so many octets is worth it.
    #[inline]
    pub(crate) fn is_for(&self, size: usize) -> bool {
        size >= self.threshold
    }

    /// Whether a message is compressed by itself: then the order of compressing does not matter, and the result will do
    /// for every session with the same [`kind`](Self::kind).
    #[inline]
    pub(crate) fn forgets(&self) -> bool {
        self.extension.server_forgets()
    }

    /// Sessions of one kind that forget compress to the same octets.
    pub(crate) fn kind(&self) -> (u32, u8) {
        (self.level, self.extension.server_window_bits())
    }

    /// Appends a message by itself, as a frame, unless it would not become smaller.
    pub(crate) fn frame_afresh(&self, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let (level, window_bits) = self.kind();
        let is_alike = |deflater: &Deflater| (deflater.level, deflater.window_bits) == (level, window_bits);
        let lent = with_thread(&DEFLATERS, |kept| kept.iter().position(is_alike).map(|at| kept.remove(at)));
        let mut deflater = lent.flatten().unwrap_or_else(|| Deflater::new(level, window_bits));
        with_scratch(|scratch| {
            if !deflater.message(payload, scratch) {
                return false;
            }
            deflater.stream.reset();
            with_thread(&DEFLATERS, |kept| {
                // the one that was used last stays longest
                if kept.len() == KEEP {
                    kept.remove(0);
                }
                kept.push(deflater);
            });
            let smaller = scratch.len() < payload.len();
            if smaller {
                encode::deflated(out, opcode, scratch);
            }
            smaller
        })
    }

    /// Appends a message that refers to those before it, as a frame. The order of calls is the order on the wire.
    pub(crate) fn frame_in_order(&self, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, window_bits) = self.kind();
        let deflater = own.deflater.get_or_insert_with(|| Box::new(Deflater::new(level, window_bits)));
        let done = with_scratch(|scratch| {
            let done = deflater.message(payload, scratch);
            if done {
                encode::deflated(out, opcode, scratch);
            }
            done
        });
        if !done {
            // what was made is lost, so the next one must not refer to it: it starts afresh
            own.deflater = None;
            encode::frame(out, true, opcode, payload);
        }
    }

    /// Gives up what the session owns: it sends nothing more.
    pub(crate) fn end(&self) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Own::default();
    }
}

impl fmt::Debug for Deflation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflation").field("extension", &self.extension).finish_non_exhaustive()
    }
}

/// Calls `f` with something of the thread's; a thread that is ending has nothing any more.
fn with_thread<T, R>(place: &'static LocalKey<RefCell<T>>, f: impl FnOnce(&mut T) -> R) -> Option<R> {
    place.try_with(|place| f(&mut place.borrow_mut())).ok()
}

/// Calls `f` with an empty buffer that the thread keeps.
fn with_scratch<T>(f: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut scratch = with_thread(&SCRATCH, std::mem::take).unwrap_or_default();
    scratch.clear();
    let result = f(&mut scratch);
    if scratch.capacity() <= KEEP_SCRATCH {
        with_thread(&SCRATCH, |place| *place = scratch);
    }
    result
}

/// The memory that the connections of a container own for compression, and how much it may be.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

/// A part of a budget, until it is dropped.
#[derive(Debug)]
struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    /// Takes so many bytes, if there is room; for none there is as long as the budget is not used up.
    fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let fits = |used: usize| {
            let sum = used.checked_add(bytes)?;
            (sum <= self.limit && used < self.limit).then_some(sum)
        };
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(Reservation { budget: self.clone(), bytes })
    }

    /// Takes so many bytes in any case.
    fn count(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Reservation { budget: self.clone(), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
