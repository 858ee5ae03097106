//! Compression settings of an endpoint (permessage-deflate, RFC 7692).

use crate::extension::MAX_WINDOW_BITS;

/// Smaller messages are sent uncompressed: a fresh compressor spends microseconds on each, and saves little where
/// little repeats.
const COMPRESSION_THRESHOLD: usize = 512;

/// The fastest level: higher levels take five to ten times as long and save only a few percent of the size.
const COMPRESSION_LEVEL: u32 = 1;

/// Whether and how messages are compressed (permessage-deflate, RFC 7692), if the client offers it.
///
/// The default is [`OFF`](Self::OFF), for two reasons. Compressing a message of 1 KiB takes more than twice the
/// processor time of receiving and sending it. And the length of a compressed message reveals something about its
/// content: where a secret is compressed together with text that an attacker chooses, the length leaks the secret bit
/// by bit (BREACH). Send such messages with `uncompressed()`.
///
/// ```
/// # use endpoint_wire::compression::Compression;
/// const CHAT: Compression = Compression::ON.level(6).threshold(1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    on: bool,
    level: u32,
    threshold: usize,
    context_takeover: bool,
    window_bits: u8,
}

impl Compression {
    /// Compression is not negotiated.
    pub const OFF: Self = Self { on: false, ..Self::ON };

    /// Level 1, a threshold of 512 bytes, no context takeover, the full window.
    pub const ON: Self = Self {
        on: true,
        level: COMPRESSION_LEVEL,
        threshold: COMPRESSION_THRESHOLD,
        context_takeover: false,
        window_bits: MAX_WINDOW_BITS,
    };

    /// The compression level: 0 stores, 1 is the fastest, 9 compresses most. Default: 1.
    pub const fn level(self, level: u32) -> Self {
        Self { level, ..self }
    }

    /// Messages of fewer bytes are sent uncompressed. Default: 512.
    pub const fn threshold(self, bytes: usize) -> Self {
        Self { threshold: bytes, ..self }
    }

    /// Whether a message may refer to those before it, in either direction. Default: `false`.
    ///
    /// Small messages that resemble each other shrink to a fraction of their size. The price is memory: about 380 KB
    /// for each such session once it has sent a message, and 48 to 80 KB once it has received one. The container's
    /// `compression_budget` limits it. A client may still decline context takeover.
    pub const fn context_takeover(self, keep: bool) -> Self {
        Self { context_takeover: keep, ..self }
    }

    /// The window as a power of two, from 9 (512 bytes) to 15 (32 KiB): how far back a message may refer. A client may
    /// request a smaller one. Default: 15.
    pub const fn window_bits(self, bits: u8) -> Self {
        Self { window_bits: bits, ..self }
    }

    /// Whether compression is enabled.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Whether a message may refer to those before it.
    pub fn takes_over(&self) -> bool {
        self.context_takeover
    }

    /// The window as a power of two.
    pub fn max_window_bits(&self) -> u8 {
        self.window_bits
    }

    /// The compression level and the threshold in bytes.
    pub(crate) fn effort(&self) -> (u32, usize) {
        (self.level, self.threshold)
    }

    /// The first invalid setting, described for the user.
    pub fn mistake(&self) -> Option<String> {
        if self.level > 9 {
            return Some(format!("the compression level {} is not between 0 and 9", self.level));
        }
        if !(9..=MAX_WINDOW_BITS).contains(&self.window_bits) {
            return Some(format!("the window size of {} bits is not between 9 and 15", self.window_bits));
        }
        None
    }
}
