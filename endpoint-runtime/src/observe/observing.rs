//! What is observed of each message of an endpoint, beyond counting.

use std::sync::Arc;

use super::traffic::{EndpointTraffic, TrafficLog, use_observation};

/// The settings of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObserveSettings {
    pub(crate) measures_handlers: bool,
    pub(crate) traces_messages: bool,
    pub(crate) traffic: Option<TrafficLog>,
}

/// What is observed of the messages of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Observing {
    pub(crate) measures_handlers: bool,
    pub(crate) traces_messages: bool,
    pub(crate) traffic: Option<Arc<EndpointTraffic>>,
}

impl Observing {
    /// The settings for the endpoint with this path.
    pub(crate) fn of(settings: &ObserveSettings, path: &str) -> Self {
        let ObserveSettings { measures_handlers, traces_messages, .. } = *settings;
        if measures_handlers || traces_messages || settings.traffic.is_some() {
            use_observation();
        }
        let traffic = settings.traffic.clone().map(|log| Arc::new(EndpointTraffic { log, path: path.into() }));
        Self { measures_handlers, traces_messages, traffic }
    }
}
