//! How much a peer may send, and what happens to more.

use super::rate::Rate;

/// How much the peer of a session may send, and what happens to more: of each session on its own.
///
/// Set it for an endpoint with `rate(messages = "20/s burst 40", bytes = "64KiB/s", then = slow)` or
/// [`EndpointConfig::rate`](crate::EndpointConfig::rate), for all endpoints with
/// [`ContainerBuilder::rate`](crate::ContainerBuilder::rate). Default: no limit.
///
/// Text and binary messages count, also those that no handler takes. A message that arrives in parts, or that a handler reads
/// as a stream, counts as one message when it begins, and its bytes count as they come. Bytes are those of the payload after
/// decompression, so a compressed bomb counts with its full size. Pings, and pongs that answer no automatic ping, count as
/// messages too.
///
/// ```
/// use endpoint_runtime::{MessageRate, OverRate, Rate};
///
/// let rate = MessageRate::new()
///     .messages(Rate::per_second(20).burst(40))
///     .bytes(Rate::per_second(64 << 10))
///     .then(OverRate::Slow);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct MessageRate {
    pub(crate) messages: Option<Rate>,
    pub(crate) bytes: Option<Rate>,
    pub(crate) then: OverRate,
}

impl MessageRate {
    /// No limit yet.
    pub const fn new() -> Self {
        Self { messages: None, bytes: None, then: OverRate::Slow }
    }

    /// Limits the messages.
    pub const fn messages(mut self, rate: Rate) -> Self {
        self.messages = Some(rate);
        self
    }

    /// Limits the payload bytes. A message that is larger than the burst passes if nothing is owed, and what is missing is
    /// owed afterwards.
    pub const fn bytes(mut self, rate: Rate) -> Self {
        self.bytes = Some(rate);
        self
    }

    /// Sets what happens to more. Default: [`OverRate::Slow`].
    pub const fn then(mut self, then: OverRate) -> Self {
        self.then = then;
        self
    }

    /// Whether it limits nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.messages.is_none() && self.bytes.is_none()
    }
}

/// What happens when a peer sends more than its [`MessageRate`] allows.
///
/// Each message that is dropped counts, and with [`Slow`](Self::Slow) each one that is followed by a pause
/// ([`EndpointCounts::rate_limited`](crate::EndpointCounts)). A message that has begun is handled to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverRate {
    /// Nothing is lost: the message is handled, and then the socket is not read until the rate allows the next one, so TCP
    /// slows the peer down. Time limits that punish a silent peer do not run meanwhile. `on_error` is not called. The default.
    #[default]
    Slow,
    /// The message is dropped. `on_error` receives an error that [`is_rate_limited`](crate::Error::is_rate_limited), at most
    /// once a second.
    Drop,
    /// The message is dropped. `on_error` receives an error that [`is_rate_limited`](crate::Error::is_rate_limited) for each;
    /// without `on_error` it is logged, and the session continues.
    Error,
    /// The session ends with 1008, after `on_error` has received an error that
    /// [`is_rate_limited`](crate::Error::is_rate_limited).
    Close,
}
