//! Locks and atomics of the modules that are model-checked: those of `std`, or of `loom` in a model check.
//!
//! A model check runs with `--cfg model_check` and tries every interleaving of a few threads; see `models`. Other
//! builds use the types of `std`, and do not compile `loom`.

pub(crate) use std::sync::PoisonError;

#[cfg(not(all(test, model_check)))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    sync::{Mutex, MutexGuard},
    thread_local,
};

#[cfg(all(test, model_check))]
pub(crate) use loom::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    sync::{Mutex, MutexGuard},
};

/// `std`'s form with a constant, which loom lacks.
#[cfg(all(test, model_check))]
macro_rules! loom_thread_local {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const { $init:expr };) => {
        loom::thread_local! { $(#[$attribute])* static $name: $type = $init; }
    };
}

#[cfg(all(test, model_check))]
pub(crate) use loom_thread_local as thread_local;
