//! How an endpoint compresses its messages (permessage-deflate, RFC 7692): a value that its options carry.

use crate::extension::MAX_WINDOW_BITS;

/// Smaller messages are sent as they are: a compressor that starts afresh spends microseconds on each, and saves
/// little where there is little to repeat.
const COMPRESSION_THRESHOLD: usize = 512;

/// The fastest level: the higher ones cost five to ten times the time for a few hundredths of the size.
const COMPRESSION_LEVEL: u32 = 1;

/// Whether and how messages are compressed (permessage-deflate, RFC 7692), if the client offers it.
///
/// The default is [`OFF`](Self::OFF), for two reasons. To compress a message of 1 KiB takes more than twice the
/// processor time that receiving and sending it takes. And the length of a compressed message tells something of its
/// content: where a secret is compressed together with text that an attacker chooses, the length betrays the secret
/// bit by bit (BREACH). Send such messages with `uncompressed()`.
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
    /// None is negotiated.
    pub const OFF: Self = Self { on: false, ..Self::ON };

    /// Level 1, a threshold of 512 bytes, no context takeover, the full window.
    pub const ON: Self = Self {
        on: true,
        level: COMPRESSION_LEVEL,
        threshold: COMPRESSION_THRESHOLD,
        context_takeover: false,
        window_bits: MAX_WINDOW_BITS,
    };

    /// How much work is spent on a smaller result: from 0, which stores, over 1, the fastest, to 9. Default: 1.
    pub const fn level(self, level: u32) -> Self {
        Self { level, ..self }
    }

    /// Messages of fewer bytes are sent as they are. Default: 512.
    pub const fn threshold(self, bytes: usize) -> Self {
        Self { threshold: bytes, ..self }
    }

    /// Whether a message may refer to those before it, in either direction. Default: it may not.
    ///
    /// Small messages that resemble each other become a fraction of their size. The price is memory: about 380 KB for
    /// each such session once it has sent a message, and 48 to 80 KB once it has received one. The container's
    /// `compression_budget` bounds it. A client may still say that it wants none.
    pub const fn context_takeover(self, keep: bool) -> Self {
        Self { context_takeover: keep, ..self }
    }

    /// The window as a power of two, from 9 (512 bytes) to 15 (32 KiB): how far back a message may refer. A client may
    /// ask for a smaller one. Default: 15.
    pub const fn window_bits(self, bits: u8) -> Self {
        Self { window_bits: bits, ..self }
    }

    /// Whether there is any.
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

    /// How hard to try, and from which size on.
    pub(crate) fn effort(&self) -> (u32, usize) {
        (self.level, self.threshold)
    }

    /// What is wrong with it.
    pub fn mistake(&self) -> Option<String> {
        if self.level > 9 {
            return Some(format!("the compression level {} is not from 0 to 9", self.level));
        }
        if !(9..=MAX_WINDOW_BITS).contains(&self.window_bits) {
            return Some(format!("the window of {} bits is not from 9 to 15", self.window_bits));
        }
        None
    }
}
