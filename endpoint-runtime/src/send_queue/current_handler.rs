//! The session whose handler runs on this thread: messages it sends on its own session join the batch without a wake.

use std::cell::Cell;

use super::SendQueue;
use crate::send_queue::sync::thread_local;

thread_local! {
    /// The queue of the session whose handler is being polled on this thread.
    static CURRENT_HANDLER: Cell<*const SendQueue> = const { Cell::new(std::ptr::null()) };
}

struct Restore(*const SendQueue);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT_HANDLER.with(|running| running.set(self.0));
    }
}

impl SendQueue {
    /// Polls a handler of this session: messages it sends meanwhile on this session join the batch without a wake.
    #[inline]
    pub(crate) fn enter_handler<T>(&self, poll: impl FnOnce() -> T) -> T {
        let _restore = Restore(CURRENT_HANDLER.with(|running| running.replace(self)));
        poll()
    }

    /// Runs `poll` as if no handler ran on this thread.
    pub(crate) fn outside_handler<T>(&self, poll: impl FnOnce() -> T) -> T {
        let _restore = Restore(CURRENT_HANDLER.with(|running| running.replace(std::ptr::null())));
        poll()
    }

    /// Whether a handler of any session is being polled on this thread.
    pub(crate) fn is_in_handler() -> bool {
        !CURRENT_HANDLER.with(Cell::get).is_null()
    }

    pub(super) fn is_running(&self) -> bool {
        std::ptr::eq(CURRENT_HANDLER.with(Cell::get), self)
    }
}
