//! The call into application code: which handler takes an event, and how its result is used.

pub(crate) mod call;
pub(crate) mod coder_selection;
pub(crate) mod coders;
pub(crate) mod contract;
pub(crate) mod dispatch;
pub(crate) mod interceptor;
pub(crate) mod invocation;
pub(crate) mod listed_coders;
mod observation;
pub(crate) mod outbound;
pub(crate) mod programmatic;
pub(crate) mod replies;
