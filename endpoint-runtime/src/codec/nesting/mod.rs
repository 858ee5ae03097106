//! Bounds the nesting of message data: a loop counts it on the bytes before a recursive decoder reads them. A decoder's
//! own bound, if it has one, counts other things; the stack must hold for any input.

#[cfg(feature = "cbor")]
pub(crate) mod cbor;
#[cfg(feature = "json")]
pub(crate) mod json;
#[cfg(feature = "msgpack")]
pub(crate) mod msgpack;

use std::cell::Cell;
#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
use std::fmt;

use crate::config::MAX_NESTING;

thread_local! {
    /// Nesting bound for decoding on this thread.
    static LIMIT: Cell<usize> = const { Cell::new(MAX_NESTING) };
}

/// Decodes with the bound of one endpoint. The bound is thread-local, because application types implement `DecodeText`
/// themselves and call one of our types inside.
#[inline]
pub(crate) fn within<T>(limit: usize, decode: impl FnOnce() -> T) -> T {
    /// Restores the bound even if a decoder panics, because other sessions use the thread.
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            LIMIT.set(self.0);
        }
    }
    let _restore = Restore(LIMIT.replace(limit));
    decode()
}

/// Nesting bound for decoding on this thread.
#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor", feature = "protobuf"))]
pub(crate) fn limit() -> usize {
    LIMIT.get()
}

/// Error: the data of a message is nested more deeply than the endpoint allows.
#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
#[derive(Debug)]
pub(crate) struct TooDeep {
    limit: usize,
}

#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
impl TooDeep {
    /// Fails if `exceeds` finds more levels than the current bound. A level takes at least one byte, so data with fewer
    /// bytes than allowed levels is not scanned.
    #[inline]
    pub(crate) fn check(data: &[u8], exceeds: fn(&[u8], usize) -> bool) -> Result<(), Self> {
        let limit = limit();
        if data.len() > limit && exceeds(data, limit) { Err(Self { limit }) } else { Ok(()) }
    }
}

#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its nesting exceeds {} levels (`max_nesting`)", self.limit)
    }
}

#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
impl std::error::Error for TooDeep {}

/// The open arrays, maps and tags, each as the number of values it still expects: a loop keeps these instead of using
/// the call stack. It grows with the depth of the data, up to the bound.
#[cfg(any(feature = "msgpack", feature = "cbor"))]
pub(crate) struct Open {
    /// The containers around the innermost, outermost first; the first is the message, which expects one value.
    outer: Vec<u64>,
    /// The innermost container.
    left: u64,
}

#[cfg(any(feature = "msgpack", feature = "cbor"))]
impl Open {
    pub(crate) fn new() -> Self {
        Self { outer: Vec::new(), left: 1 }
    }

    /// Starts a value that contains `values` values; false if it would exceed `limit` levels.
    #[inline]
    pub(crate) fn begin(&mut self, values: u64, limit: usize) -> bool {
        let fits = self.outer.len() < limit;
        if fits {
            self.outer.push(self.left);
            // one more, for the value's own head
            self.left = values.saturating_add(1);
        }
        fits
    }

    /// Mutable access to the number of values that the innermost container still expects.
    #[cfg(feature = "cbor")]
    pub(crate) fn innermost(&mut self) -> &mut u64 {
        &mut self.left
    }

    /// Records that a head, or a value without others inside, has been read; true if the message ends with it.
    #[inline]
    pub(crate) fn end(&mut self) -> bool {
        self.left -= 1;
        while self.left == 0 {
            let Some(left) = self.outer.pop() else { return true };
            self.left = left - 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_is_scoped_and_restored_even_after_a_panic() {
        assert_eq!(limit(), MAX_NESTING);
        within(3, || {
            assert_eq!(limit(), 3);
            let panic = std::panic::catch_unwind(|| within(2, || std::panic::panic_any(limit())));
            assert_eq!(panic.unwrap_err().downcast_ref(), Some(&2_usize));
            assert_eq!(limit(), 3);
        });
        assert_eq!(limit(), MAX_NESTING);
    }
}
