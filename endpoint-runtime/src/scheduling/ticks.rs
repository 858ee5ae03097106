//! Tasks that do something at fixed intervals, and only while there is something to do.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Number of runtimes that are remembered: enough for one per core. Runtimes may come and go while the container lives.
const MOST: usize = 64;

/// The runtime of a task.
pub(crate) type RuntimeId = Id;

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
    /// The runtimes that serve connections of the container.
    runtimes: Mutex<Vec<Handle>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Ticks {
    /// Notes the caller's runtime as one that serves connections, where tasks may run.
    pub(crate) fn serve_here(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut known = self.lock();
        if known.iter().all(|known| known.id() != runtime.id()) {
            if known.len() >= MOST {
                known.remove(0);
            }
            known.push(runtime);
        }
    }

    /// Forgets a runtime that has shut down.
    pub(crate) fn forget(&self, runtime: RuntimeId) {
        self.lock().retain(|known| known.id() != runtime);
    }

    /// Spawns a task that calls what `make` returns after each `period`, on a runtime that serves connections, or else on
    /// the caller's if `here` allows it. Returns false if there is no runtime, or all tasks were ended.
    pub(crate) fn start<F>(&self, period: Duration, here: bool, make: impl FnOnce(RuntimeId) -> F) -> bool
    where
        F: FnMut() -> Next + Send + 'static,
    {
        let runtime = self.lock().last().cloned();
        let Some(runtime) = runtime.or_else(|| Handle::try_current().ok().filter(|_| here)) else { return false };
        if self.stop.is_cancelled() {
            return false;
        }
        let (stop, mut tick) = (self.stop.clone(), make(runtime.id()));
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
        true
    }

    /// Ends all tasks, also those spawned later, and waits for them.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.runtimes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
