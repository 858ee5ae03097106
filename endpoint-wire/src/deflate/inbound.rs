//! The receiving side of a session: whose inflater decompresses a message, what that costs, and what it may cost.

use std::sync::Arc;

use crate::budget::{Budget, Reservation};
use crate::deflate::format::MAX_WINDOW;
use crate::deflate::inflater::{INFLATER_BYTES, Inflater};
use crate::violation::Violation;

/// A byte of input counts as this many bytes of output: blocks without output take that long, headers with dynamic
/// codes about half of it.
const INPUT_WORK: usize = 16;

/// Maximum input to decompress before other connections run: half a millisecond if it produces no output.
pub(crate) const INPUT_AT_ONCE: usize = 8 << 10;

/// A compressed message may be twice as large as the limit of its output, plus this: stored blocks, and flushes of a
/// peer that sends small parts, are larger than their content, but never by much.
const INPUT_OVERHEAD: u64 = 1 << 10;

/// The receiving side of a connection that negotiated compression: made by
/// [`Deflation::inbound`](crate::deflate::Deflation::inbound), for one decoder.
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
    /// Creates the receiving side for a peer with the full window.
    #[cfg(test)]
    pub(crate) fn new(no_context_takeover: bool) -> Self {
        Self::with(no_context_takeover, MAX_WINDOW, Arc::default())
    }

    pub(super) fn with(no_context_takeover: bool, window: usize, budget: Arc<Budget>) -> Self {
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
        let remembers = inflater.history_bytes();
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
