//! How many, and how often: counts and rates for each address, principal and session. Those who enforce a limit ask here.

pub(crate) mod address;
pub(crate) mod bucket;
pub(crate) mod connections;
pub(crate) mod counts;
pub(crate) mod message_rate;
pub(crate) mod meter;
pub(crate) mod rate;
pub(crate) mod rate_text;
pub(crate) mod sessions;
pub(crate) mod slots;
