//! Per-send options, and the methods of both remotes that set them.

use std::future::poll_fn;
use std::time::Duration;

use crate::config::Overflow;
use crate::error::Error;
use crate::send_queue::{SendQueue, WaitGuard, Waiting};

/// Per-send options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendOptions {
    pub(crate) compressed: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) overflow: Option<Overflow>,
}

impl SendOptions {
    pub(crate) const DEFAULT: Self = Self { compressed: true, timeout: None, overflow: None };
}

pub(super) async fn flush_batch(send_queue: &SendQueue, timeout: Option<Duration>) -> Result<(), Error> {
    let ticket = send_queue.flush_batch();
    let mut wait = WaitGuard { send_queue, waiting: Waiting::within(timeout) };
    Ok(poll_fn(|cx| wait.send_queue.poll_flushed(cx, ticket, &mut wait.waiting)).await?)
}

/// The options of a remote with the fields `options` and `send_queue`.
macro_rules! remote_options {
    ($remote:ty) => {
        /// Options of the sends.
        impl $remote {
            /// Disables compression for the sends of this remote: for messages that hold a secret beside text that
            /// others choose, and for messages that are compressed already.
            #[must_use]
            pub fn uncompressed(mut self) -> Self {
                self.options.compressed = false;
                self
            }

            /// Limits how long a send of this remote may take until it is written, instead of the send timeout. Counted
            /// from the send, or from this call for a writer. A late send fails with
            /// [`Error::is_timeout`](crate::Error::is_timeout); once queued, its message may still be delivered.
            #[must_use]
            pub fn timeout(mut self, limit: std::time::Duration) -> Self {
                self.options.timeout = Some(limit);
                self
            }

            /// Sets the overflow policy: what a send of this remote does if the queue is full. Does not apply to
            /// messages in parts.
            #[must_use]
            pub fn on_overflow(mut self, overflow: $crate::config::Overflow) -> Self {
                self.options.overflow = Some(overflow);
                self
            }

            /// Sets whether messages are batched before they are written (Jakarta's `setBatchingAllowed`); off by
            /// default. Applies to all sends on the session. While on, a send resolves once its message is in the
            /// batch. The batch is written when it reaches 64 KiB, by [`flush_batch`](Self::flush_batch), or when the
            /// connection has anything else to do. Switching it off writes the batch at once; so does closing the
            /// session, before the close frame.
            pub fn set_batching_allowed(self, allowed: bool) {
                self.send_queue.set_batching(allowed);
            }

            /// Whether messages are batched before they are written.
            pub fn batching_allowed(self) -> bool {
                self.send_queue.batches()
            }

            /// Writes all messages sent so far, and waits until they are written.
            ///
            /// # Errors
            /// [`Error::is_closed`](crate::Error::is_closed) or [`Error::is_timeout`](crate::Error::is_timeout).
            ///
            /// # Cancel safety
            /// The messages are written even if the future is dropped.
            pub async fn flush_batch(self) -> Result<(), $crate::error::Error> {
                $crate::session::send_options::flush_batch(self.send_queue, self.options.timeout).await
            }
        }
    };
}
pub(crate) use remote_options;
