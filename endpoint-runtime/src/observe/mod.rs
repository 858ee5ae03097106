//! Rate limits for the log, counters, and destructors that may panic.

pub(crate) mod counters;
pub(crate) mod destructors;
pub(crate) mod log_rate;
