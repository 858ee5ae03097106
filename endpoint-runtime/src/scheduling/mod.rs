pub(crate) mod coarse_timer;
pub(crate) mod fairness;
pub(crate) mod flushers;
mod per_runtime;
