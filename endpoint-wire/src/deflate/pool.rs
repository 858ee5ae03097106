//! Buffers that a thread keeps and lends for one message.

use std::cell::RefCell;
use std::thread::LocalKey;

/// Number of deflaters and of inflaters that a thread keeps: connections with more different settings create their own.
pub(super) const KEEP: usize = 4;

/// A scratch buffer that grew beyond this size is not kept.
const KEEP_SCRATCH: usize = 256 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with a value of the thread; returns `None` if the thread is ending.
pub(super) fn with_thread<T, R>(place: &'static LocalKey<RefCell<T>>, f: impl FnOnce(&mut T) -> R) -> Option<R> {
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
