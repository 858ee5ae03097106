//! The end of a link: the first reason counts, and everyone who waits learns it.

use std::sync::Arc;

use endpoint_runtime::BoxError;
use tokio::sync::watch;

/// Whether a link is lost, and why. A clone is the same state.
#[derive(Clone, Debug)]
pub(crate) struct Loss(Arc<watch::Sender<Option<Arc<str>>>>);

impl Loss {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Marks the link as lost. Later reasons are consequences of the first one and are dropped.
    pub(crate) fn mark(&self, reason: impl Into<Arc<str>>) {
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(reason.into());
            }
            first
        });
    }

    /// An error if the link is lost.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        match &*self.0.borrow() {
            Some(reason) => Err(reason.as_ref().into()),
            None => Ok(()),
        }
    }

    /// Waits for the loss and returns its reason.
    pub(crate) async fn reason(&self) -> BoxError {
        let mut changes = self.0.subscribe();
        let reason = match changes.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone(),
            // the sender is `self`
            Err(_) => None,
        };
        reason.as_deref().unwrap_or("the link is lost").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn first_reason_is_the_one_that_is_reported() {
        let loss = Loss::new();
        assert!(loss.check().is_ok());
        let waiting = tokio::spawn({
            let loss = loss.clone();
            async move { loss.reason().await.to_string() }
        });
        loss.mark("connection reset");
        loss.mark("channel closed");
        assert_eq!(waiting.await.unwrap(), "connection reset");
        assert_eq!(loss.reason().await.to_string(), "connection reset");
        assert_eq!(loss.check().unwrap_err().to_string(), "connection reset");
    }
}
