//! What is counted, measured, traced and logged about sessions, and how often the log says it; destructors that may panic.

pub(crate) mod closes;
pub(crate) mod counters;
pub(crate) mod destructors;
pub(crate) mod endpoint;
pub(crate) mod histogram;
pub(crate) mod log_rate;
pub(crate) mod metrics;
pub(crate) mod observing;
#[cfg(feature = "otel")]
pub(crate) mod otel;
pub(crate) mod redaction;
pub(crate) mod statuses;
pub(crate) mod tally;
pub(crate) mod trace_context;
pub(crate) mod traffic;
