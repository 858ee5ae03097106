//! Waiting for the end of a session, and tasks that end with it.

use std::future::Future;

use tokio::task::JoinHandle;

use super::rare;
use super::session::Session;
use crate::scheduling::session_tasks::End;

impl Session {
    /// Resolves when the session has ended, whichever side ended it, so that nothing more can be sent; at once if it
    /// has ended already. It does not wait for `on_close`.
    ///
    /// For a loop that serves a session from another task:
    ///
    /// ```
    /// # use endpoint_runtime::prelude::*;
    /// # use tokio::sync::mpsc::Receiver;
    /// async fn forward(session: Session, mut news: Receiver<String>) {
    ///     loop {
    ///         tokio::select! {
    ///             () = session.closed() => break,
    ///             Some(line) = news.recv() => drop(session.async_remote().send_text(line)),
    ///             else => break,
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn closed(&self) {
        self.end().reached().await;
    }

    /// Spawns a task that ends with the session: when the session has ended, its future is dropped at its next
    /// suspension, if it has not returned before. A shutdown of the container waits for the task, within its limit.
    ///
    /// The task runs beside the handlers, on the current tokio runtime. The handle resolves to what `future` returned,
    /// or to `None` if the session ended first; dropping the handle does not end the task. If the session has ended
    /// already, `future` is never polled.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use endpoint_runtime::prelude::*;
    ///
    /// #[server_endpoint("/clock")]
    /// #[derive(Default)]
    /// struct Clock;
    ///
    /// impl Clock {
    ///     #[on_open]
    ///     fn begin(&mut self, session: &Session) {
    ///         let clock = session.clone();
    ///         session.spawn(async move {
    ///             let mut seconds = tokio::time::interval(Duration::from_secs(1));
    ///             for second in 0.. {
    ///                 seconds.tick().await;
    ///                 clock.async_remote().send_text(format!("{second}"));
    ///             }
    ///         });
    ///     }
    /// }
    /// ```
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.groups().tasks.spawn(self.end(), future)
    }

    fn end(&self) -> End {
        let end = rare::of(&self.0.rare).end();
        // it may have come before there was anyone to wake
        if !self.0.send_queue.is_still_open() {
            end.reach();
        }
        end
    }
}
