//! A search among the sources of an error, for `endpoint-runtime`.
//!
//! An error enum that is transparent (`#[error(transparent)]` of thiserror) passes on the source of the error that it
//! contains, and so hides that error. While a search runs, an error of ours therefore names itself, in another type, as
//! its source: then it is found there. At any other time its source is its cause, and printing the chain shows each
//! error once.

use std::cell::Cell;

thread_local! {
    static RUNS: Cell<bool> = const { Cell::new(false) };
}

struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        RUNS.with(|runs| runs.set(self.0));
    }
}

/// Runs a search on this thread.
pub fn run<T>(search: impl FnOnce() -> T) -> T {
    let _restore = Restore(RUNS.with(|runs| runs.replace(true)));
    search()
}

/// Whether a search runs on this thread.
pub fn runs() -> bool {
    RUNS.with(Cell::get)
}
