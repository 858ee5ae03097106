//! The application's tasks that end with a session.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of all sessions of a container.
#[derive(Debug, Default)]
pub(crate) struct SessionTasks(TaskTracker);

impl SessionTasks {
    /// Spawns a task whose future is dropped at its next suspension once `end` is reached.
    pub(crate) fn spawn<F>(&self, end: End, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(async move {
            let (mut ended, mut future) = (pin!(end.reached()), pin!(future));
            // the end first: the future must not run after it
            poll_fn(|cx| match ended.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => future.as_mut().poll(cx).map(Some),
            })
            .await
        })
    }

    /// Resolves when no task is left.
    pub(crate) async fn wait(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

/// The end of a session, for those that wait for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct End(CancellationToken);

impl End {
    /// Ends the wait of all.
    pub(crate) fn reach(&self) {
        self.0.cancel();
    }

    pub(crate) async fn reached(self) {
        self.0.cancelled_owned().await;
    }
}
