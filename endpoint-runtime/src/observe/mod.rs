pub(crate) mod destructors;
pub(crate) mod log_rate;
