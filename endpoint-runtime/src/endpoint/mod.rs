pub(crate) mod coder_selection;
pub(crate) mod coders;
pub(crate) mod contract;
pub(crate) mod dispatch;
pub(crate) mod programmatic;
