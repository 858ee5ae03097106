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
//! A thread that waits for ever is found as a deadlock, and that is how a lost wake-up shows. What takes too long to
//! try in full is limited to a number of preemptions, which the model names.

mod send_queue;
mod session_sets;

/// Tries every interleaving of `program`, or those with at most so many preemptions.
fn check(preemptions: Option<usize>, program: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(program);
}
