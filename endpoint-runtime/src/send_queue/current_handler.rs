//! The queue of the session whose handler runs on this thread.

use std::cell::Cell;

use crate::send_queue::sync::thread_local;

thread_local! {
    /// The address of the queue of the session whose handler is being polled on this thread.
    static CURRENT_HANDLER: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
}

struct Restore(*const ());

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT_HANDLER.with(|current| current.set(self.0));
    }
}

/// Polls a handler of the session whose queue is at this address; with null, runs `poll` as if no handler ran.
#[inline]
pub(super) fn enter<T>(queue: *const (), poll: impl FnOnce() -> T) -> T {
    let _restore = Restore(CURRENT_HANDLER.with(|current| current.replace(queue)));
    poll()
}

/// The address of the queue of the session whose handler is being polled on this thread, or null.
#[inline]
pub(super) fn current() -> *const () {
    CURRENT_HANDLER.with(Cell::get)
}
