//! What the log reports, and how often.

pub(crate) mod destructors;
pub(crate) mod log_rate;
