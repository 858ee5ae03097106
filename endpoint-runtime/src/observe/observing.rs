//! What is observed of each message of an endpoint, beyond counting.

use std::sync::Arc;

use super::traffic::{EndpointTraffic, TrafficLog};

/// The settings of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObserveSettings {
    pub(crate) measures_handlers: bool,
    pub(crate) traces_messages: bool,
    pub(crate) traffic: Option<TrafficLog>,
}

/// What is observed of the messages of one endpoint.
#[derive(Debug)]
pub(crate) struct Observing {
    pub(crate) measures_handlers: bool,
    pub(crate) traces_messages: bool,
    pub(crate) traffic: Option<Arc<EndpointTraffic>>,
}

impl Observing {
    /// The settings for the endpoint with this path; `None` if nothing is observed.
    pub(crate) fn of(settings: &ObserveSettings, path: &str) -> Option<Self> {
        let ObserveSettings { measures_handlers, traces_messages, .. } = *settings;
        let traffic = settings.traffic.clone().map(|log| Arc::new(EndpointTraffic { log, path: path.into() }));
        let is_used = measures_handlers || traces_messages || traffic.is_some();
        is_used.then_some(Self { measures_handlers, traces_messages, traffic })
    }
}
