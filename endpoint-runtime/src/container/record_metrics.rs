//! The container's metrics for the recorder of the crate `metrics`.

use metrics::{Label, counter, gauge};

use super::service::ServerContainer;
use crate::observe::metrics::{MetricKind, Sample};

impl ServerContainer {
    /// Hands the current value of every metric to the recorder that the program has installed for the crate `metrics`,
    /// under the names and labels of [`metrics_service`](Self::metrics_service). Call it before the recorder is read, or
    /// now and then: nothing is handed over by itself, so messages cost nothing more.
    ///
    /// Counters are set to their absolute values. Histograms are handed over as counters with the names that Prometheus
    /// gives their samples, `_bucket` with a label `le` and `_count`; `_sum` is a gauge, because a counter of that crate is
    /// an integer.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use endpoint_runtime::ServerContainer;
    /// async fn report(container: ServerContainer) {
    ///     let mut every = tokio::time::interval(Duration::from_secs(10));
    ///     loop {
    ///         every.tick().await;
    ///         container.record_metrics();
    ///     }
    /// }
    /// ```
    pub fn record_metrics(&self) {
        for family in self.stats().metrics().families() {
            for Sample { suffix, labels, value } in &family.samples {
                let name = format!("{}{suffix}", family.name);
                let labels: Vec<_> = labels.iter().map(|(key, value)| Label::new(*key, value.clone())).collect();
                match family.kind {
                    MetricKind::Gauge => gauge!(name, labels).set(*value),
                    // a counter is an integer
                    MetricKind::Histogram if *suffix == "_sum" => gauge!(name, labels).set(*value),
                    // no count is negative, and each is far below 2⁵³
                    MetricKind::Counter | MetricKind::Histogram => counter!(name, labels).absolute(*value as u64),
                }
            }
        }
    }
}
