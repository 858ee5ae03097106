//! Tasks that do something at fixed intervals, and only while there is something to do.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a task does after a part of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It lets other tasks run, and goes on at once.
    Yield,
    /// It waits for the next tick.
    Wait,
    /// It ends.
    End,
}

/// The tasks of a container that tick.
#[derive(Debug, Default)]
pub(crate) struct Ticks {
    /// A runtime that serves connections of the container.
    runtime: Mutex<Option<Handle>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Ticks {
    /// Notes the caller's runtime as one that serves connections, where tasks may run.
    pub(crate) fn serve_here(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut known = self.lock();
        if known.as_ref().is_none_or(|known| known.id() != runtime.id()) {
            *known = Some(runtime);
        }
    }

    /// Spawns a task that calls `tick` after each `period`. Without a runtime, `tick` is dropped.
    pub(crate) fn start(&self, period: Duration, mut tick: impl FnMut() -> Next + Send + 'static) {
        let Some(runtime) = self.lock().clone().or_else(|| Handle::try_current().ok()) else { return };
        let stop = self.stop.clone();
        let ticking = async move {
            sleep(period).await;
            loop {
                match tick() {
                    Next::Yield => yield_now().await,
                    Next::Wait => sleep(period).await,
                    Next::End => break,
                }
            }
        };
        self.tasks.spawn_on(async move { stop.run_until_cancelled_owned(ticking).await }, &runtime);
    }

    /// Ends all tasks, also those spawned later, and waits for them.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Handle>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
