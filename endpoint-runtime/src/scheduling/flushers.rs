//! Tasks that write queued broadcasts: in chunks, on all workers of a runtime, and only while there is something to
//! write.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;

use crate::scheduling::per_runtime::PerRuntime;
use crate::send_queue::SendQueue;

/// How long a flusher runs before it yields to other tasks.
const CHUNK: Duration = Duration::from_micros(400);

/// Number of sessions taken from the list at a time.
const STEP: usize = 16;

/// Number of listed sessions for each flusher; there is at most one flusher for each worker.
const SHARE: usize = 64;

/// The flushers of a container.
#[derive(Debug, Default)]
pub(crate) struct Flushers {
    lists: PerRuntime<List>,
    tasks: TaskTracker,
}

/// The sessions to flush on one runtime.
#[derive(Debug)]
struct List {
    todo: Mutex<Todo>,
    workers: usize,
}

#[derive(Debug, Default)]
struct Todo {
    /// Contains each session at most once.
    sessions: VecDeque<Arc<SendQueue>>,
    flushers: usize,
}

/// Claimed sessions. For those that are not handed over to flushers, the connections are woken.
#[derive(Debug, Default)]
pub(crate) struct Owed(Vec<Arc<SendQueue>>);

impl Owed {
    pub(crate) fn push(&mut self, session: &Arc<SendQueue>) {
        self.0.push(session.clone());
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.0.iter().for_each(|session| session.abandon_flush());
    }
}

impl Flushers {
    /// Registers the caller's runtime as one that serves connections of the container, so that flushers may run there.
    pub(crate) fn serve_here(&self) {
        if let Ok(runtime) = Handle::try_current() {
            self.list_of(&runtime);
        }
    }

    fn list_of(&self, runtime: &Handle) -> Arc<List> {
        self.lists.of(runtime, || List { todo: Mutex::default(), workers: runtime.metrics().num_workers() })
    }

    /// Hands the sessions to flushers. A runtime that serves no connections may run nothing for long; there, the
    /// sessions' connections are woken instead.
    pub(crate) fn hand_over(&self, owed: &mut Owed) {
        let list = match Handle::try_current() {
            Ok(runtime) if SendQueue::is_in_handler() => Some(self.list_of(&runtime)),
            Ok(runtime) => self.lists.get(&runtime),
            Err(_) => None,
        };
        match list {
            Some(list) => {
                for _ in 0..list.push(owed) {
                    self.tasks.spawn(flush(Flusher(Some(list.clone()))));
                }
            }
            None => drop(std::mem::take(owed)),
        }
    }

    /// Waits for the running flushers; others may start meanwhile.
    pub(crate) async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl List {
    /// Takes the sessions over. Returns the number of flushers to start.
    fn push(&self, owed: &mut Owed) -> usize {
        let mut todo = self.lock();
        todo.sessions.extend(owed.0.drain(..));
        let wanted = todo.sessions.len().div_ceil(SHARE).min(self.workers);
        let missing = wanted.saturating_sub(todo.flushers);
        todo.flushers += missing;
        missing
    }

    fn lock(&self) -> MutexGuard<'_, Todo> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn flush(mut flusher: Flusher) {
    while flusher.flush_chunk() {
        yield_now().await;
    }
}

/// A flusher of a list; `None` once it has found nothing more to do.
struct Flusher(Option<Arc<List>>);

impl Flusher {
    /// Flushes sessions for one chunk of time. Returns false if none are left.
    fn flush_chunk(&mut self) -> bool {
        let started = Instant::now();
        let mut owed = Owed(Vec::with_capacity(STEP));
        while started.elapsed() < CHUNK {
            let Some(list) = &self.0 else { return false };
            let mut todo = list.lock();
            let count = todo.sessions.len().min(STEP);
            if count == 0 {
                // under the same lock, so that a task that adds more sessions knows that another flusher is needed
                todo.flushers -= 1;
                drop(todo);
                self.0 = None;
                return false;
            }
            owed.0.extend(todo.sessions.drain(..count));
            drop(todo);
            owed.0.iter().for_each(|session| session.prefetch());
            owed.0.drain(..).for_each(|session| session.flush());
        }
        true
    }
}

/// The flusher's runtime may shut down before the list is empty, while sessions of other runtimes go on.
impl Drop for Flusher {
    fn drop(&mut self) {
        let Some(list) = self.0.take() else { return };
        let mut todo = list.lock();
        todo.flushers -= 1;
        let left = if todo.flushers == 0 { std::mem::take(&mut todo.sessions) } else { VecDeque::new() };
        drop(todo);
        drop(Owed(left.into()));
    }
}
