//! Constants of RFC 7692 §7.2: the end of a message, and the window.

use crate::extension::MAX_WINDOW_BITS;

/// The end of a sync flush, which is not sent (RFC 7692 §7.2.1): an empty stored block without its header.
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// An empty final block: it ends the stream only where a message is complete.
pub(super) const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// How far back a block can refer.
pub(super) const MAX_WINDOW: usize = window(MAX_WINDOW_BITS);

/// The window in bytes.
pub(super) const fn window(bits: u8) -> usize {
    1 << bits
}
