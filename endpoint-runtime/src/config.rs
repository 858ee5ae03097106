//! Every default number, with the reason it is what it is, and the options that change it.

use std::time::Duration;

/// 1 MiB: far above what messages of browsers are, far below what hurts; Tomcat's 8 KiB surprises its users.
pub(crate) const MAX_MESSAGE_SIZE: usize = 1 << 20;

/// One minute without a frame in either direction: a vanished peer is noticed within it, since a ping is due before.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A peer that was silent this long is pinged: half of [`IDLE_TIMEOUT`], so that a living one always answers in time.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long a message may wait for a peer that does not read: the 20 s of Tomcat's blocking send, rounded up.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the closing handshake may take, and how long a handler may go on after its connection has ended.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take to send its request head: hyper's own default, a guard against Slowloris.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// The most messages that wait in one session's outbound queue.
pub(crate) const SEND_QUEUE_MESSAGES: usize = 65_536;

/// The most bytes that wait in one session's outbound queue; one message more than this is let through when the
/// queue is empty, so that large messages can be sent at all.
pub(crate) const SEND_QUEUE_BYTES: usize = 16 << 20;

/// The most messages that wait while a handler runs; then the connection stops reading and TCP slows the peer down.
pub(crate) const INBOX_MESSAGES: usize = 64;

/// The most bytes of messages that wait while a handler runs.
pub(crate) const INBOX_BYTES: usize = 256 << 10;

/// How much of one peer is taken before others have their turn, in octets: some tens of microseconds of work, so that
/// a hundred peers that never pause delay the next one by milliseconds.
pub(crate) const TURN: usize = 256 << 10;

/// What a frame counts in a turn beside its octets: small ones are about as much work as a kilobyte.
pub(crate) const TURN_FRAME: usize = 1 << 10;

/// The options of one endpoint: what `#[server_endpoint("/path", …)]` says, laid over what the container says.
///
/// `None` means not said: the container's setting holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointOptions {
    /// The subprotocols the endpoint speaks.
    pub subprotocols: &'static [&'static str],
    /// The most bytes of a whole message.
    pub max_message_size: Option<usize>,
    /// Close after this long without a frame; `Some(None)` is `off`.
    pub idle_timeout: Option<Option<Duration>>,
    /// Ping a peer that was silent this long; `Some(None)` is `off`.
    pub ping_interval: Option<Option<Duration>>,
    /// How long a message may wait to be written.
    pub send_timeout: Option<Duration>,
}

impl EndpointOptions {
    /// Nothing said.
    pub const DEFAULT: Self =
        Self { subprotocols: &[], max_message_size: None, idle_timeout: None, ping_interval: None, send_timeout: None };
}

/// The limits that hold for one session, all of them resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_message_size: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) send_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) send_queue_messages: usize,
    pub(crate) send_queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: MAX_MESSAGE_SIZE,
            idle_timeout: Some(IDLE_TIMEOUT),
            ping_interval: Some(PING_INTERVAL),
            send_timeout: SEND_TIMEOUT,
            close_timeout: CLOSE_TIMEOUT,
            send_queue_messages: SEND_QUEUE_MESSAGES,
            send_queue_bytes: SEND_QUEUE_BYTES,
        }
    }
}

impl Limits {
    /// These limits with an endpoint's own laid over them.
    pub(crate) fn with(mut self, options: &EndpointOptions) -> Self {
        self.max_message_size = options.max_message_size.unwrap_or(self.max_message_size);
        self.idle_timeout = options.idle_timeout.unwrap_or(self.idle_timeout);
        self.ping_interval = options.ping_interval.unwrap_or(self.ping_interval);
        self.send_timeout = options.send_timeout.unwrap_or(self.send_timeout);
        self
    }
}
