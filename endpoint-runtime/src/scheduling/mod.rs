//! When each connection runs: a quantum of work for each turn, and timers that many connections share.

pub(crate) mod coarse_timer;
pub(crate) mod fairness;
pub(crate) mod flushers;
mod per_runtime;
pub(crate) mod session_tasks;
pub(crate) mod ticks;
