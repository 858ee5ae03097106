//! Thread-local buffers, lent to the connection that runs on the thread, so that an idle connection owns none.
//!
//! A buffer is moved out while it is lent, never borrowed: another borrower meanwhile gets a new one.

use std::cell::Cell;

/// Maximum bytes of one read: large enough that a burst is one system call, small enough for the L2 cache.
const READ: usize = 128 << 10;

/// Capacity of a new buffer for writing, in bytes.
const WRITE: usize = 4 << 10;

/// A buffer for writing that grew beyond this size is not kept.
const KEEP_WRITE: usize = 256 << 10;

/// Size of a buffer for TLS records: four of the largest, which have 16 KiB and at most 2 KiB more (RFC 5246 §6.2.3).
#[cfg(feature = "tls")]
const RECORDS: usize = 4 * (18 << 10);

thread_local! {
    static FOR_READING: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static FOR_WRITING: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    #[cfg(feature = "tls")]
    static FOR_RECORDS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends a buffer of full length, with arbitrary content.
pub(crate) fn lend_for_reading() -> Vec<u8> {
    let buffer = FOR_READING.try_with(Cell::take).unwrap_or_default();
    if buffer.is_empty() { vec![0; READ] } else { buffer }
}

/// Returns the buffer that [`lend_for_reading`] lent.
pub(crate) fn return_from_reading(buffer: Vec<u8>) {
    // a thread that is ending can no longer keep it
    let _ = FOR_READING.try_with(|place| place.set(buffer));
}

/// Lends an empty buffer with capacity: nonzero capacity marks a borrower that has one.
pub(crate) fn lend_for_writing() -> Vec<u8> {
    let buffer = FOR_WRITING.try_with(Cell::take).unwrap_or_default();
    if buffer.capacity() == 0 { Vec::with_capacity(WRITE) } else { buffer }
}

/// Returns the buffer that [`lend_for_writing`] lent.
pub(crate) fn return_from_writing(mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEEP_WRITE {
        buffer.clear();
        let _ = FOR_WRITING.try_with(|place| place.set(buffer));
    }
}

/// Lends a buffer for TLS records, of full length, with arbitrary content. The buffer of
/// [`lend_for_reading`] is lent meanwhile.
#[cfg(feature = "tls")]
pub(crate) fn lend_for_records() -> Vec<u8> {
    let buffer = FOR_RECORDS.try_with(Cell::take).unwrap_or_default();
    if buffer.is_empty() { vec![0; RECORDS] } else { buffer }
}

/// Returns the buffer that [`lend_for_records`] lent.
#[cfg(feature = "tls")]
pub(crate) fn return_from_records(mut buffer: Vec<u8>) {
    buffer.truncate(RECORDS);
    let _ = FOR_RECORDS.try_with(|place| place.set(buffer));
}
