//! What stands between the messages of endpoints and their handlers: interceptors and rates.

use std::sync::Arc;

use crate::endpoint::interceptor::{Interceptors, SharedInterceptor};
use crate::limits::message_rate::MessageRate;
use crate::observe::observing::Observing;

/// What stands between the messages of a mounted endpoint and their handlers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guards {
    pub(crate) interceptors: Option<Arc<Interceptors>>,
    pub(crate) rate: Option<MessageRate>,
}

/// Interceptors and a rate, as they were set on a builder: for all endpoints, or for one.
#[derive(Debug, Default)]
pub(crate) struct GuardSettings {
    pub(crate) interceptors: Vec<SharedInterceptor>,
    pub(crate) rate: Option<MessageRate>,
}

impl GuardSettings {
    /// The guards of one endpoint: these settings are for all endpoints, those of its annotation and
    /// its `own` for this one. `observing` sees messages before all others.
    pub(super) fn of(&self, annotated: Self, own: Self, observing: Option<Observing>) -> Guards {
        let all = self.interceptors.iter().cloned().chain(annotated.interceptors).chain(own.interceptors);
        let rate = own.rate.or(annotated.rate).or(self.rate);
        Guards { interceptors: Interceptors::of(observing.map(SharedInterceptor::new), all.collect()), rate }
    }
}
