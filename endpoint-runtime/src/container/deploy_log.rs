//! The log's lines about the mounted endpoints, and warnings about those that look like a mistake.

use std::sync::Arc;

use super::mounted::{About, Mounted};
use super::service::ServerContainer;

/// The warning if nothing is mounted.
const NO_ENDPOINT: &str = "no endpoint is mounted: the linker drops a crate that nothing refers to; refer to it, or \
                           register its endpoints";

impl ServerContainer {
    /// Logs each mounted endpoint, and the warnings.
    pub(crate) fn log_deployment(&self) {
        let mounted = self.by_path();
        mounted.iter().for_each(|mounted| mounted.log());
        if mounted.is_empty() {
            tracing::warn!("{NO_ENDPOINT}");
        }
    }

    /// The paths of the mounted endpoints, sorted.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.by_path().iter().map(|mounted| mounted.sessions.path.to_string()).collect()
    }

    /// The warnings about the mounted endpoints, one sentence each.
    pub(crate) fn deployment_warnings(&self) -> Vec<String> {
        match &self.by_path()[..] {
            [] => vec![NO_ENDPOINT.to_owned()],
            mounted => mounted.iter().filter_map(|mounted| mounted.warning()).collect(),
        }
    }

    /// The mounted endpoints, sorted by path, so that the log has the same order after each start.
    fn by_path(&self) -> Vec<Arc<Mounted>> {
        let mut mounted: Vec<_> = self.0.table().mounted().cloned().collect();
        mounted.sort_unstable_by(|a, b| a.sessions.path.cmp(&b.sessions.path));
        mounted
    }
}

impl Mounted {
    /// Logs that the endpoint is mounted, and the warning about it.
    pub(super) fn log(&self) {
        let About { name, file, line, .. } = self.about;
        let path = &*self.sessions.path;
        let handlers = self.handler_names().map(|names| names.join(", "));
        tracing::info!(path, endpoint = name, handlers, "mounted (defined at {file}:{line})");
        self.log_warning();
    }

    /// Logs the warning about an endpoint that serves, mounted or not.
    pub(super) fn log_warning(&self) {
        if let Some(warning) = self.warning() {
            tracing::warn!(path = &*self.sessions.path, endpoint = self.about.name, "{warning}");
        }
    }

    /// The warning about a likely mistake: without a handler, messages are dropped. An endpoint that only sends says so
    /// with an empty one.
    fn warning(&self) -> Option<String> {
        let (names, about) = (self.handler_names()?, &self.about);
        let takes_messages = ["text", "binary", "pong"].iter().any(|kind| names.contains(kind));
        match names[..] {
            [] => Some(format!(
                "{about} has no handlers: annotate its methods with #[on_open], #[on_message], #[on_close] or #[on_error]"
            )),
            _ if !takes_messages => Some(format!(
                "{about} has no message handler, so every message to it is dropped: annotate a method with \
                 #[on_message], an empty one if the endpoint only sends"
            )),
            _ => None,
        }
    }
}
