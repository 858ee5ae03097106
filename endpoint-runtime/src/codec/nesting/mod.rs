//! How deeply the data of a message may be nested: counted on its bytes, by a loop, before a decoder that calls itself
//! reads them. A decoder's own bound, if it has one, counts other things; the stack must hold for any input.

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
    /// The bound for what is decoded on this thread now.
    static LIMIT: Cell<usize> = const { Cell::new(MAX_NESTING) };
}

/// Decodes with the bound of one endpoint. A thread-local carries it, because types of the application implement
/// `DecodeText` themselves and call one of ours inside.
#[inline]
pub(crate) fn within<T>(limit: usize, decode: impl FnOnce() -> T) -> T {
    /// A decoder that panics leaves the thread to other sessions.
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            LIMIT.set(self.0);
        }
    }
    let _restore = Restore(LIMIT.replace(limit));
    decode()
}

/// The bound for what is decoded on this thread now.
#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor", feature = "protobuf"))]
pub(crate) fn limit() -> usize {
    LIMIT.get()
}

/// The data of a message is nested more deeply than the endpoint allows.
#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
#[derive(Debug)]
pub(crate) struct TooDeep {
    limit: usize,
}

#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
impl TooDeep {
    /// An error if `exceeds` finds more levels than are allowed now. A level takes at least one byte, so a message of
    /// fewer bytes than levels is not looked at.
    #[inline]
    pub(crate) fn check(data: &[u8], exceeds: fn(&[u8], usize) -> bool) -> Result<(), Self> {
        let limit = limit();
        if data.len() > limit && exceeds(data, limit) { Err(Self { limit }) } else { Ok(()) }
    }
}

#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is nested more than {} levels deep (`max_nesting`)", self.limit)
    }
}

#[cfg(any(feature = "json", feature = "msgpack", feature = "cbor"))]
impl std::error::Error for TooDeep {}

/// The arrays, maps and tags that are open, by how many values each is still to get: what a loop keeps instead of the call
/// stack. It grows with the depth of the data, up to the bound.
#[cfg(any(feature = "msgpack", feature = "cbor"))]
pub(crate) struct Open {
    /// Those around the innermost, from the outermost on; the first is the message, which gets one value.
    outer: Vec<u64>,
    /// The innermost.
    left: u64,
}

#[cfg(any(feature = "msgpack", feature = "cbor"))]
impl Open {
    pub(crate) fn new() -> Self {
        Self { outer: Vec::new(), left: 1 }
    }

    /// A value begins that has `values` inside of it. False if that would be a level more than `limit`.
    #[inline]
    pub(crate) fn begin(&mut self, values: u64, limit: usize) -> bool {
        let fits = self.outer.len() < limit;
        if fits {
            self.outer.push(self.left);
            // its own head is one of what it is to get
            self.left = values.saturating_add(1);
        }
        fits
    }

    /// Mutable access to the number of values that the innermost is still to get.
    #[cfg(feature = "cbor")]
    pub(crate) fn innermost(&mut self) -> &mut u64 {
        &mut self.left
    }

    /// The head of a value, or a value without others inside, has been read. True if the message ends with it.
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
    fn a_bound_holds_inside_and_the_one_before_it_afterwards_even_after_a_panic() {
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
