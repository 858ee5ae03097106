//! Model checks: small programs of two or three threads, of which `loom` tries every interleaving.
//!
//! They are unit tests that exist only under `cfg(model_check)`. The modules that they check take their locks and
//! atomics from `sync`. `tests/run.sh` runs them; alone, with a target folder of their own because the flag makes
//! cargo compile everything again:
//!
//! ```console
//! $ RUSTFLAGS='--cfg model_check' cargo test --package endpoint-runtime --lib --target-dir target/models models::
//! ```
//!
//! A thread that waits for ever is found as a deadlock, or as too many branches where another one polls, and that is how
//! a lost wake-up shows. What takes too long to
//! try in full is limited to a number of preemptions, which the model names.

mod flusher;
mod send_queue;
mod session_sets;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};

/// Tries every interleaving of `program`, or those with at most so many preemptions.
fn check(preemptions: Option<usize>, program: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(program);
}

/// Runs a future on this thread, which sleeps until the future's waker is called. Nothing else ends that sleep, unlike in
/// loom's own executor: what wakes for no reason would hide a wake-up that is lost.
fn block_on<F: Future>(future: F) -> F::Output {
    let (signal, mut future) = (Arc::new(Signal { is_set: Mutex::new(false), set: Condvar::new() }), pin!(future));
    let waker = Waker::from(signal.clone());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut is_set = signal.is_set.lock().unwrap();
        while !std::mem::take(&mut *is_set) {
            is_set = signal.set.wait(is_set).unwrap();
        }
    }
}

struct Signal {
    is_set: Mutex<bool>,
    set: Condvar,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.is_set.lock().unwrap() = true;
        self.set.notify_one();
    }
}
