//! Compression of a session: the agreed extension, and the sending side.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::budget::{Budget, Reservation};
use crate::compression::Compression;
use crate::deflate::deflater::{DEFLATER_BYTES, Deflater, MIN_WINDOW_BITS};
use crate::deflate::format::window;
use crate::deflate::inbound::Inbound;
use crate::deflate::inflater::INFLATER_BYTES;
use crate::deflate::pool::with_scratch;
use crate::encode;
use crate::extension::Extension;
use crate::frame::OpCode;
use crate::role::Role;

/// Compresses a message in parts ([`Deflation::part`]); lent until the last part.
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
    /// Compression with an agreed extension; `role` is our side. Returns `None` if the budget has no space for the
    /// compressor and decompressor of the session's own, which it has with context takeover (RFC 7692 §7.1.1).
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

    /// Level and window bits. Sessions of one kind without context takeover compress to the same bytes.
    pub fn kind(&self) -> (u32, u8) {
        (self.level, self.window_bits)
    }

    /// Takes a matching deflater of the thread.
    fn lend(&self) -> Deflater {
        let (level, window_bits) = self.kind();
        Deflater::lend(level, window_bits)
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
                    own.take().filter(|_| done).into_iter().for_each(|lent| lent.deflater.give_back());
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

    /// Appends a message, compressed by itself, as an unmasked frame. Returns false and appends nothing if it would not
    /// become smaller.
    pub fn frame_afresh(&self, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let mut deflater = self.lend();
        with_scratch(|scratch| {
            if !deflater.message(payload, scratch) {
                return false;
            }
            deflater.give_back();
            let smaller = scratch.len() < payload.len();
            if smaller {
                encode::deflated(out, opcode, scratch);
            }
            smaller
        })
    }

    /// Appends a message that may refer to those before it, as an unmasked frame. The order of calls is the order on
    /// the wire.
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
