//! Completion of a queued send: await it, or pass a callback.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use crate::error::Error;
use crate::send_queue::{Refused, SendQueue, Ticket, Waiting};

/// Handle to the send of a queued message: a future that resolves when the message is written, or with the reason why
/// it will not be. Dropping it does not cancel the send.
///
/// A message that an [`Overflow`](crate::Overflow) policy or an interceptor dropped is not an error.
#[derive(Debug)]
pub struct Sent {
    send_queue: Arc<SendQueue>,
    ticket: Result<Ticket, Refused>,
    waiting: Waiting,
}

impl Sent {
    pub(crate) fn new(send_queue: Arc<SendQueue>, ticket: Result<Ticket, Refused>, waiting: Waiting) -> Self {
        Self { send_queue, ticket, waiting }
    }

    /// Whether the message was queued, or the reason why not, at once. Does not report a message that is dropped later
    /// ([`Overflow::DropOldest`](crate::Overflow::DropOldest)).
    ///
    /// # Errors
    /// [`Error::is_closed`] or [`Error::is_queue_full`].
    pub fn queued(&self) -> Result<(), Error> {
        self.ticket.map(drop).map_err(Error::from)
    }

    /// Calls `callback` once the send has completed (Jakarta's `SendHandler`), with the result that awaiting it would
    /// return.
    ///
    /// The callback runs where the send completes: in this call if it has completed already, otherwise on the session's
    /// task or on that of another sender, never under a lock. So it must not block, and it may send. A panic in it is
    /// caught and logged.
    pub fn on_complete(self, callback: impl FnOnce(Result<(), Error>) + Send + 'static) {
        let completion = Completion(Mutex::new(Some((self, Box::new(callback)))));
        Arc::new(completion).look();
    }
}

impl Future for Sent {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let ticket = match this.ticket {
            Err(Refused::Dropped | Refused::Discarded) => return Poll::Ready(Ok(())),
            ticket => ticket?,
        };
        let written = ready!(this.send_queue.poll_written(cx, ticket, &mut this.waiting));
        Poll::Ready(written.map_err(Error::from))
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.send_queue.stop_waiting(&mut self.waiting);
    }
}

type Callback = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// A future that its own waker polls, so it needs no task.
struct Completion(Mutex<Option<(Sent, Callback)>>);

impl Completion {
    fn look(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        let (done, result) = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((written, _)) = &mut *state else { return };
            let send_queue = written.send_queue.clone();
            // inside a handler, its own sends resolve before they are written; the callback waits for the socket
            match send_queue.outside_handler(|| Pin::new(written).poll(&mut Context::from_waker(&waker))) {
                Poll::Pending => return,
                Poll::Ready(result) => (state.take(), result),
            }
        };
        let Some((written, callback)) = done else { return };
        let send_queue = &written.send_queue;
        if catch_unwind(AssertUnwindSafe(|| callback(result))).is_err() {
            if let Some(not_logged) = send_queue.log().callbacks.due() {
                tracing::error!(not_logged, "the callback of a sent message panicked");
            }
        }
    }
}

impl Wake for Completion {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}
