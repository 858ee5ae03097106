//! Calls to the engine, each with a limit.

use std::convert::Infallible;
use std::future::Future;

use tokio::time::timeout;

use crate::config::CLUSTER_ENGINE_TIMEOUT;
use crate::error::BoxError;

/// Result of a loop that ends only with the link.
pub(super) type Lost = Result<Infallible, BoxError>;

/// Waits for a call.
pub(super) async fn within<T>(call: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    timeout(CLUSTER_ENGINE_TIMEOUT, call).await.unwrap_or_else(|_| Err("it does not answer".into()))
}
