//! Buffers that belong to the thread and are lent to the connection that runs on it, so that an idle one owns none.
//!
//! A buffer is taken out while it is lent, never borrowed: whoever asks meanwhile gets a new one.

use std::cell::Cell;

/// How many bytes one read may bring: large enough that a burst is one system call, small enough for the L2 cache.
const READ: usize = 128 << 10;

/// How much room a new buffer for writing has.
const WRITE: usize = 4 << 10;

/// A buffer for writing that grew beyond this is not kept.
const KEEP_WRITE: usize = 256 << 10;

thread_local! {
    static FOR_READING: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static FOR_WRITING: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer of full length, its content arbitrary.
pub(crate) fn lend_for_reading() -> Vec<u8> {
    let buffer = FOR_READING.try_with(Cell::take).unwrap_or_default();
    if buffer.is_empty() { vec![0; READ] } else { buffer }
}

/// Gives back what [`lend_for_reading`] lent.
pub(crate) fn return_from_reading(buffer: Vec<u8>) {
    // a thread that is ending has no place for it any more
    let _ = FOR_READING.try_with(|place| place.set(buffer));
}

/// An empty buffer with room: that it has some tells whoever has it from whoever has none.
pub(crate) fn lend_for_writing() -> Vec<u8> {
    let buffer = FOR_WRITING.try_with(Cell::take).unwrap_or_default();
    if buffer.capacity() == 0 { Vec::with_capacity(WRITE) } else { buffer }
}

/// Gives back what [`lend_for_writing`] lent.
pub(crate) fn return_from_writing(mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEEP_WRITE {
        buffer.clear();
        let _ = FOR_WRITING.try_with(|place| place.set(buffer));
    }
}
