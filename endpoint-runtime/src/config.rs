//! Every default number, with the reason it is what it is, and the options that change it.

use std::time::Duration;

pub use endpoint_wire::compression::Compression;

/// 1 MiB: far above what messages of browsers are, far below what hurts; Tomcat's 8 KiB surprises its users.
pub(crate) const MAX_MESSAGE_SIZE: usize = 1 << 20;

/// 128 arrays and objects inside of each other: far more than programs exchange, and what a decoder that calls itself for
/// each fits into the 2 MiB that a thread of tokio has, without optimisation too. `serde_json` has the same.
pub(crate) const MAX_NESTING: usize = 128;

/// One minute without a frame in either direction: a vanished peer is noticed within it, since a ping is due before.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection on which one side was silent this long is pinged: half of [`IDLE_TIMEOUT`], so that a living peer always
/// answers in time, and half of the minute after which proxies (nginx, HAProxy) cut a connection without bytes.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long the answer to a ping may take: together with [`PING_INTERVAL`] as long as [`IDLE_TIMEOUT`], so a peer that
/// vanished is noticed within a minute in a busy room as well as in a silent one. A mobile network that changes cells
/// is away for some seconds.
pub(crate) const PONG_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a message may wait for a peer that does not read: the 20 s of Tomcat's blocking send, rounded up.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The least bytes per second that a peer has to take while it is behind: a modem takes five times as much, and a peer
/// that reads a byte now and then would otherwise keep its queue for ever.
pub(crate) const MIN_SEND_RATE: usize = 1 << 10;

/// How long a message that is taken whole may take, beside its size at [`MIN_RECEIVE_RATE`]: a few times what a mobile
/// network is away for, so that nobody's small message is ended by it.
pub(crate) const RECEIVE_GRACE: Duration = Duration::from_secs(30);

/// The least bytes per second of such a message: a modem sends five times as much. A message of 1 MiB may take 17 minutes.
pub(crate) const MIN_RECEIVE_RATE: usize = 1 << 10;

/// 256 MiB of messages whose end has not come: 256 of the largest at a time, or 65,536 that have come to 4 KiB.
pub(crate) const RECEIVE_BUDGET: usize = 256 << 20;

/// 1 GiB of messages that wait for peers that do not keep up: 64 full queues, and what a small server has.
pub(crate) const SEND_BUDGET: usize = 1 << 30;

/// How long the closing handshake may take, and how long a handler may go on after its connection has ended.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take to send its request head: hyper's own default, a guard against Slowloris.
pub(crate) const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Two minutes until TCP gives a machine up that is silent: below the 15 minutes of Linux for data without an
/// acknowledgement and its two hours without data, and above what pings notice first, with whom they are on.
pub(crate) const TCP_KEEPALIVE: Duration = Duration::from_secs(120);

/// Linux applies the same limit to a peer that reads nothing, however alive: four send timeouts, so that ours ends the
/// session first.
pub(crate) const TCP_SEND_TIMEOUTS: u32 = 4;

/// The same where the send timeout is short: a slow peer with a receive buffer of 6 MiB, the most by default, opens its
/// window once a sixteenth is free, at 3 KB/s in two minutes.
pub(crate) const TCP_USER_TIMEOUT_LEAST: Duration = Duration::from_secs(120);

/// About what Linux takes by itself (`tcp_retries2`): a longer limit would only delay it.
pub(crate) const TCP_USER_TIMEOUT_MOST: Duration = Duration::from_secs(15 * 60);

/// 16 KiB of request line and headers: browsers send one or two, nginx takes 8 KiB in a line and Tomcat 8 KiB in all. A
/// session keeps its head until it ends, so hyper's 400 KiB would be the size of an idle session.
pub(crate) const MAX_REQUEST_HEAD: usize = 16 << 10;

/// Browsers send about 20 headers, and a chain of proxies adds a few.
pub(crate) const MAX_REQUEST_HEADERS: usize = 64;

/// How long a configurator may wait for others, such as a database: what browsers and proxies wait for an answer.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client takes to connect, with name, proxy, TLS and handshake: as long as a server gives it.
#[cfg(feature = "client")]
pub(crate) const CONNECT_TIMEOUT: Duration = HANDSHAKE_TIMEOUT;

/// Time that one address of a host has before the next is tried beside it: RFC 8305 §8, what browsers do.
#[cfg(feature = "client")]
pub(crate) const ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// The same if the deadline leaves less: RFC 8305 §8 has it as the least, so that addresses are not flooded.
#[cfg(feature = "client")]
pub(crate) const ADDRESS_DELAY_LEAST: Duration = Duration::from_millis(10);

/// The most attempts at once to connect to one host: with one more the oldest, which had 4 s, is given up.
#[cfg(feature = "client")]
pub(crate) const ADDRESSES_AT_ONCE: usize = 16;

/// The bound of the delay before the first attempt to connect again: soon, but not all at once.
#[cfg(feature = "client")]
pub(crate) const RECONNECT_FIRST: Duration = Duration::from_millis(500);

/// The largest bound of that delay.
#[cfg(feature = "client")]
pub(crate) const RECONNECT_MOST: Duration = Duration::from_secs(30);

/// The least delay before an attempt to connect again, whatever the policy: one that fails at once must not make a loop
/// that takes a processor.
#[cfg(feature = "client")]
pub(crate) const RECONNECT_LEAST: Duration = Duration::from_millis(1);

/// A session that was open so long shows that the server is well, so the next attempt is a first one again.
#[cfg(feature = "client")]
pub(crate) const RECONNECT_STABLE: Duration = Duration::from_secs(10);

/// 16 KiB of status line and headers, as for a request: more than servers send, and the session keeps it.
#[cfg(feature = "client")]
pub(crate) const MAX_RESPONSE_HEAD: usize = MAX_REQUEST_HEAD;

/// As many headers as a request may have.
#[cfg(feature = "client")]
pub(crate) const MAX_RESPONSE_HEADERS: usize = MAX_REQUEST_HEADERS;

/// How long a shutdown waits, after its limit, for tasks that have nothing left to wait for.
#[cfg(feature = "client")]
pub(crate) const SHUTDOWN_REST: Duration = Duration::from_secs(1);

/// How long a client waits for the body of a refusal: it may say why, but the status alone is an answer.
#[cfg(feature = "client")]
pub(crate) const ANSWER_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// The most bytes of the body that are kept of a server's refusal: a page that says why.
#[cfg(feature = "client")]
pub(crate) const ANSWER_BODY: usize = 64 << 10;

/// How long a client may take for the TLS handshake: a few round trips, and a guard against those who never end it.
#[cfg(feature = "tls")]
pub(crate) const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most messages that wait in one session's outbound queue.
pub(crate) const SEND_QUEUE_MESSAGES: usize = 65_536;

/// The most bytes that wait in one session's outbound queue; one message more than this is let through when the
/// queue is empty, so that large messages can be sent at all.
pub(crate) const SEND_QUEUE_BYTES: usize = 16 << 20;

/// The most rooms that one session is in: far more than an application needs for one user, and little memory, some
/// 500 bytes each, where a client names the rooms and joins without an end.
pub(crate) const MAX_ROOMS_PER_SESSION: usize = 10_000;

/// The most messages that wait while a handler runs; then the connection stops reading and TCP slows the peer down.
pub(crate) const INBOX_MESSAGES: usize = 64;

/// The most bytes of messages that wait while a handler runs.
pub(crate) const INBOX_BYTES: usize = 256 << 10;

/// 256 MiB of the memory that sessions with context takeover hold: some 600 of them.
pub(crate) const COMPRESSION_BUDGET: usize = 256 << 20;

/// What is done with a message for which the outbound queue has no room, because the peer reads too slowly.
///
/// Said for one message by `on_overflow`, for an endpoint by `overflow = …`, for all by
/// [`ContainerBuilder::overflow`](crate::ContainerBuilder::overflow). Control frames, parts of messages and what a
/// handler returns are never dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The sender waits for room, up to the send timeout: the default of the [`BasicRemote`](crate::BasicRemote). What
    /// never waits, the [`AsyncRemote`](crate::AsyncRemote) and broadcasts, takes it for [`Error`](Self::Error).
    Wait,
    /// The send fails with [`is_queue_full`](crate::Error::is_queue_full): the default of the
    /// [`AsyncRemote`](crate::AsyncRemote). A broadcast leaves the peer out, and counts it as dropped.
    Error,
    /// The oldest message that was sent in this way and waits in the queue is dropped for the new one, as often as it
    /// takes. What the connection has taken over already, about 64 KiB, is not dropped any more; if nothing else is
    /// left, the new message is dropped itself. Dropping is no error, and is counted
    /// ([`Session::dropped_messages`](crate::Session::dropped_messages)). With context takeover such messages are
    /// compressed when they leave the queue, so that none refers to one that was dropped.
    DropOldest,
    /// The message is dropped; that is no error, and is counted.
    DropNewest,
    /// The session ends: the peer is told 1013, what is queued is still sent, and the send fails with
    /// [`is_closed`](crate::Error::is_closed).
    Close,
}

/// The options of one endpoint: what `#[server_endpoint("/path", …)]` says, laid over what the container says.
///
/// `None` means not said: the container's setting holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointOptions {
    /// The subprotocols the endpoint speaks.
    pub subprotocols: &'static [&'static str],
    /// Only for principals with one of these roles; empty is for everybody.
    pub roles: &'static [&'static str],
    /// The most bytes of a whole message.
    pub max_message_size: Option<usize>,
    /// The deepest nesting of data in a message.
    pub max_nesting: Option<usize>,
    /// Close after this long without a frame; `Some(None)` is `off`.
    pub idle_timeout: Option<Option<Duration>>,
    /// Ping when one side was silent this long; `Some(None)` is `off`.
    pub ping_interval: Option<Option<Duration>>,
    /// Close when nothing came this long after a ping; `Some(None)` is `off`.
    pub pong_timeout: Option<Option<Duration>>,
    /// How long a message may wait to be written.
    pub send_timeout: Option<Duration>,
    /// The least bytes per second of a message that is taken whole; zero is `off`.
    pub min_receive_rate: Option<usize>,
    /// The least bytes per second that a peer has to take while it is behind; zero is `off`.
    pub min_send_rate: Option<usize>,
    /// Whether and how messages are compressed.
    pub compression: Option<Compression>,
    /// What is done when the outbound queue is full.
    pub overflow: Option<Overflow>,
}

impl EndpointOptions {
    /// Nothing said.
    pub const DEFAULT: Self = Self {
        subprotocols: &[],
        roles: &[],
        max_message_size: None,
        max_nesting: None,
        idle_timeout: None,
        ping_interval: None,
        pong_timeout: None,
        send_timeout: None,
        min_receive_rate: None,
        min_send_rate: None,
        compression: None,
        overflow: None,
    };
}

/// The limits that hold for one session, all of them resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_message_size: usize,
    pub(crate) max_nesting: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) pong_timeout: Option<Duration>,
    pub(crate) send_timeout: Duration,
    pub(crate) min_receive_rate: usize,
    pub(crate) min_send_rate: usize,
    pub(crate) close_timeout: Duration,
    pub(crate) send_queue_messages: usize,
    pub(crate) send_queue_bytes: usize,
    pub(crate) max_rooms_per_session: usize,
    pub(crate) compression: Compression,
    /// None: as each remote has it.
    pub(crate) overflow: Option<Overflow>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: MAX_MESSAGE_SIZE,
            max_nesting: MAX_NESTING,
            idle_timeout: Some(IDLE_TIMEOUT),
            ping_interval: Some(PING_INTERVAL),
            pong_timeout: Some(PONG_TIMEOUT),
            send_timeout: SEND_TIMEOUT,
            min_receive_rate: MIN_RECEIVE_RATE,
            min_send_rate: MIN_SEND_RATE,
            close_timeout: CLOSE_TIMEOUT,
            send_queue_messages: SEND_QUEUE_MESSAGES,
            send_queue_bytes: SEND_QUEUE_BYTES,
            max_rooms_per_session: MAX_ROOMS_PER_SESSION,
            compression: Compression::OFF,
            overflow: None,
        }
    }
}

impl Limits {
    /// These limits with an endpoint's own laid over them.
    pub(crate) fn with(mut self, options: &EndpointOptions) -> Self {
        self.max_message_size = options.max_message_size.unwrap_or(self.max_message_size);
        self.max_nesting = options.max_nesting.unwrap_or(self.max_nesting);
        self.idle_timeout = options.idle_timeout.unwrap_or(self.idle_timeout);
        self.ping_interval = options.ping_interval.unwrap_or(self.ping_interval);
        self.pong_timeout = options.pong_timeout.unwrap_or(self.pong_timeout);
        self.send_timeout = options.send_timeout.unwrap_or(self.send_timeout);
        self.min_receive_rate = options.min_receive_rate.unwrap_or(self.min_receive_rate);
        self.min_send_rate = options.min_send_rate.unwrap_or(self.min_send_rate);
        self.compression = options.compression.unwrap_or(self.compression);
        self.overflow = options.overflow.or(self.overflow);
        self
    }
}
