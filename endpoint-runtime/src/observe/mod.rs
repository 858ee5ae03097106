//! Rate limits for the log, and destructors that may panic.

pub(crate) mod destructors;
pub(crate) mod log_rate;
