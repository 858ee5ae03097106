//! All default values, each with its reason, and the options that change them.

use std::time::Duration;

pub use endpoint_wire::compression::Compression;

/// 1 MiB: far above the messages of browsers, far below a harmful size; Tomcat's 8 KiB surprises its users.
pub(crate) const MAX_MESSAGE_SIZE: usize = 1 << 20;

/// 128 nested arrays and objects: far more than programs exchange, and few enough that a recursive decoder fits into
/// the 2 MiB stack of a tokio thread, even without optimisation. `serde_json` has the same limit.
pub(crate) const MAX_NESTING: usize = 128;

/// One minute without a frame in either direction: it detects a vanished peer, because a ping is due before.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Silence of one side after which a ping is sent: half of [`IDLE_TIMEOUT`], so that a live peer always answers in
/// time, and half of the minute after which proxies (nginx, HAProxy) close a connection without traffic.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Maximum time until the answer to a ping: [`PING_INTERVAL`] plus this equals [`IDLE_TIMEOUT`], so a vanished peer is
/// detected within a minute in a busy room as well as in a silent one. A mobile network that changes cells is
/// unavailable for some seconds.
pub(crate) const PONG_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum time that a message waits for a peer that does not read: the 20 s of Tomcat's blocking send, rounded up.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Minimum bytes per second that a peer reads while it is behind: a modem reads five times as much, and without the
/// limit a peer that reads a byte now and then would keep its queue forever.
pub(crate) const MIN_SEND_RATE: usize = 1 << 10;

/// Time that a message taken whole may take in addition to its size at [`MIN_RECEIVE_RATE`]: a few times the outage of
/// a mobile network, so that no small message exceeds it.
pub(crate) const RECEIVE_GRACE: Duration = Duration::from_secs(30);

/// Minimum bytes per second of a message taken whole: a modem sends five times as much. A message of 1 MiB may take 17
/// minutes.
pub(crate) const MIN_RECEIVE_RATE: usize = 1 << 10;

/// 256 MiB of incomplete messages: 256 of the largest at a time, or 65,536 of 4 KiB each.
pub(crate) const RECEIVE_BUDGET: usize = 256 << 20;

/// 1 GiB of messages that wait for slow peers: 64 full queues, and the memory of a small server.
pub(crate) const SEND_BUDGET: usize = 1 << 30;

/// Maximum time for the closing handshake, and for a handler that continues after its connection has ended.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time for a client to send its request head: hyper's own default, a protection against Slowloris.
pub(crate) const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// 8,192 connections of which no request has been read yet. Each holds a file and, with TLS, some 40 KiB: together at most
/// 320 MiB and well below the 20,000 files that many systems allow a process. Clients that reconnect all at once stay far
/// below it, because each is pending for a few round trips.
pub(crate) const MAX_PENDING_HANDSHAKES: usize = 8192;

/// Number of connections over a limit that are closed gently at a time, so that their clients see the answer: each holds a
/// file. Further ones are closed at once.
pub(crate) const LINGERING: usize = 256;

/// Maximum time for which such a connection is read, until its client has seen the answer: a few round trips.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// Maximum number of bytes read meanwhile: as many as a request's head may have, and a body that follows at once.
pub(crate) const LINGER_BYTES: usize = 64 << 10;

/// 4 KiB for a header of the PROXY protocol: addresses take at most 232 bytes, and proxies add a few hundred of TLS and
/// identifiers. The format allows 64 KiB.
pub(crate) const PROXY_HEADER_BYTES: usize = 4 << 10;

/// Connections that wait to be accepted: as tokio's own listeners. The system may allow fewer (`net.core.somaxconn`).
pub(crate) const LISTEN_BACKLOG: u32 = 1024;

/// Maximum number of accept loops of one listener: each is a socket and a task, and more than workers are of no use.
pub(crate) const MAX_ACCEPT_LOOPS: usize = 1024;

/// 200 streams of an HTTP/2 connection, as hyper has it: RFC 9113 §6.5.2 recommends at least 100, and an open WebSocket
/// is a stream.
#[cfg(feature = "http2")]
pub(crate) const HTTP2_MAX_STREAMS: u32 = 200;

/// 64 KiB that a peer may send on a stream before they are read: the window of HTTP/2 itself (RFC 9113 §6.5.2), and of
/// what a session reads ahead. With [`HTTP2_MAX_STREAMS`] a connection holds at most 12.5 MiB of unread data.
#[cfg(feature = "http2")]
pub(crate) const HTTP2_STREAM_WINDOW: u32 = 64 << 10;

/// One minute without a stream: a page that was just loaded opens its WebSocket within seconds.
#[cfg(feature = "http2")]
pub(crate) const HTTP2_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Silence of a client after which an HTTP/2 ping is sent, as for a session.
#[cfg(feature = "http2")]
pub(crate) const HTTP2_PING_INTERVAL: Duration = PING_INTERVAL;

/// Maximum time until the answer to an HTTP/2 ping, as for a session.
#[cfg(feature = "http2")]
pub(crate) const HTTP2_PING_TIMEOUT: Duration = PONG_TIMEOUT;

/// 20 streams that the client has reset before they were looked at: the default of the h2 crate, against floods of
/// requests that are reset at once (CVE-2023-44487).
#[cfg(feature = "http2")]
pub(crate) const HTTP2_MAX_PENDING_RESETS: usize = 20;

/// Maximum time for a client to answer GOAWAY once it has no stream, as for the closing handshake of a session.
#[cfg(feature = "http2")]
pub(crate) const HTTP2_GOAWAY_TIMEOUT: Duration = CLOSE_TIMEOUT;

/// Two minutes until TCP drops a silent peer: below the 15 minutes of Linux for unacknowledged data and its two hours
/// without data, and above the time in which pings, where enabled, detect it first.
pub(crate) const TCP_KEEPALIVE: Duration = Duration::from_secs(120);

/// Linux applies the same limit to a live peer that reads nothing: at least four send timeouts, so that our send
/// timeout ends the session first.
pub(crate) const TCP_SEND_TIMEOUTS: u32 = 4;

/// Minimum of that limit where the send timeout is short: a slow peer with a receive buffer of 6 MiB, the default
/// maximum, opens its window once a sixteenth is free, at 3 KB/s in two minutes.
pub(crate) const TCP_USER_TIMEOUT_LEAST: Duration = Duration::from_secs(120);

/// About the default of Linux (`tcp_retries2`): a longer limit would only delay it.
pub(crate) const TCP_USER_TIMEOUT_MOST: Duration = Duration::from_secs(15 * 60);

/// 100 messages of each room: what a chat's window shows, and more than a node misses in a short break.
pub const HISTORY_LAST: usize = 100;

/// Five minutes: longer than the failover of an engine or the restart of a network.
pub const HISTORY_WITHIN: Duration = Duration::from_secs(300);

/// 8 MiB of messages that wait for the engine of a cluster: a second of a busy node, and little beside its sessions.
pub(crate) const CLUSTER_QUEUE_BYTES: usize = 8 << 20;

/// Ten seconds that messages wait for an engine that is away: longer than the failover of an engine takes, and short
/// enough that no chat line appears as news a minute later.
pub(crate) const CLUSTER_QUEUE_FOR: Duration = Duration::from_secs(10);

/// Maximum time for answers of other nodes: that of Socket.IO, and just below [`CLUSTER_DEAD`] plus a check, after which
/// nobody waits for a dead node anyway.
pub(crate) const CLUSTER_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between the signs of life of a node: three fit into [`CLUSTER_DEAD`].
pub(crate) const CLUSTER_BEAT: Duration = Duration::from_millis(1500);

/// Silence after which a node is declared dead: with [`CLUSTER_CHECK`] it is less than the six seconds that are promised.
pub(crate) const CLUSTER_DEAD: Duration = Duration::from_secs(5);

/// Time between two checks for dead nodes.
pub(crate) const CLUSTER_CHECK: Duration = Duration::from_millis(250);

/// Maximum time for one call to the engine, and for the return of a node's own sign of life: as [`CLUSTER_DEAD`], because
/// then the others take this node for dead.
pub(crate) const CLUSTER_ENGINE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time after a new link in which every message is published: all nodes have introduced themselves by then.
pub(crate) const CLUSTER_SETTLING: Duration = Duration::from_secs(3);

/// First pause before the engine is tried again; it doubles up to [`CLUSTER_LONGEST_PAUSE`].
pub(crate) const CLUSTER_FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause before the engine is tried again. With [`CLUSTER_DEAD`] and [`PRESENCE_AFTER_DEATH`] it is less than the
/// ten seconds after which presence is right.
pub(crate) const CLUSTER_LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Time that messages which waited for the engine wait for the other nodes' links: the longest pause and an attempt, and
/// less than [`CLUSTER_DEAD`].
pub(crate) const CLUSTER_RETURN: Duration = Duration::from_secs(4);

/// Time after which a second attempt to connect starts beside one that has no result. Once the engine can be reached, a node
/// starts an attempt that works within this time or [`CLUSTER_LONGEST_PAUSE`], whichever is longer.
pub(crate) const CLUSTER_NEXT_ATTEMPT: Duration = Duration::from_millis(1500);

/// Maximum time in which a node that leaves publishes what waits, and again that it leaves.
pub(crate) const CLUSTER_LAST_WORDS: Duration = Duration::from_secs(1);

/// Time for which a bucket without sessions stays subscribed: a room that is left and joined again needs no subscription.
pub(crate) const CLUSTER_LINGER: Duration = Duration::from_secs(10);

/// Time for which the users of a dead node stay present, at most: long enough to come back elsewhere, and with
/// [`CLUSTER_DEAD`] well below the ten seconds after which presence is right.
pub(crate) const PRESENCE_AFTER_DEATH: Duration = Duration::from_secs(2);

/// Maximum time to fetch missing messages from a history, while later messages of that node wait.
pub(crate) const CLUSTER_RECOVERY: Duration = Duration::from_secs(3);

/// 16 KiB of request line and headers: browsers send one or two KiB, nginx accepts 8 KiB per line and Tomcat 8 KiB in
/// total. A session keeps its head until it ends, so with hyper's 400 KiB an idle session could be that large.
pub(crate) const MAX_REQUEST_HEAD: usize = 16 << 10;

/// Browsers send about 20 headers, and a chain of proxies adds a few.
pub(crate) const MAX_REQUEST_HEADERS: usize = 64;

/// The bits of an IPv6 address that name a network: one subscriber has at least the 64 bits below to choose from (RFC 6177).
pub(crate) const IPV6_PREFIX: u8 = 64;

/// `Retry-After` of a handshake beyond a cap of sessions: sessions end all the time, and a client that is refused costs little.
pub(crate) const SESSIONS_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Maximum time that a configurator may wait, for example for a database: as long as browsers and proxies wait for a
/// response.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum time for a client to connect, including name lookup, proxy, TLS and handshake: the server's limit.
#[cfg(feature = "client")]
pub(crate) const CONNECT_TIMEOUT: Duration = HANDSHAKE_TIMEOUT;

/// Delay before the next address of a host is tried in parallel: RFC 8305 §8, as in browsers.
#[cfg(feature = "client")]
pub(crate) const ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// Minimum of that delay, if the deadline leaves less: the minimum of RFC 8305 §8, so that addresses are not flooded.
#[cfg(feature = "client")]
pub(crate) const ADDRESS_DELAY_LEAST: Duration = Duration::from_millis(10);

/// Maximum parallel attempts to connect to one host: one more aborts the oldest, which has had 4 s.
#[cfg(feature = "client")]
pub(crate) const ADDRESSES_AT_ONCE: usize = 16;

/// Upper bound of the delay before the first reconnection attempt: soon, but not all clients at once.
#[cfg(feature = "client")]
pub(crate) const RECONNECT_FIRST: Duration = Duration::from_millis(500);

/// Maximum of that bound, which grows with each attempt.
#[cfg(feature = "client")]
pub(crate) const RECONNECT_MOST: Duration = Duration::from_secs(30);

/// Minimum delay before a reconnection attempt, whatever the policy: attempts that fail at once must not become a busy
/// loop.
#[cfg(feature = "client")]
pub(crate) const RECONNECT_LEAST: Duration = Duration::from_millis(1);

/// Largest range of the random time that a server may ask for when it closes a session: longer than servers take to
/// drain, and a hostile server gains nothing, since it could refuse the client as well.
#[cfg(feature = "client")]
pub(crate) const RECONNECT_SPREAD_MOST: Duration = Duration::from_secs(300);

/// A session that was open this long shows that the server is healthy, so the next attempt counts as the first again.
#[cfg(feature = "client")]
pub(crate) const RECONNECT_STABLE: Duration = Duration::from_secs(10);

/// 16 KiB of status line and headers, as for a request: more than servers send, and the session keeps the head.
#[cfg(feature = "client")]
pub(crate) const MAX_RESPONSE_HEAD: usize = MAX_REQUEST_HEAD;

/// As many headers as a request may have.
#[cfg(feature = "client")]
pub(crate) const MAX_RESPONSE_HEADERS: usize = MAX_REQUEST_HEADERS;

/// `Retry-After` of a 503: the handshake came during a shutdown, or its hooks timed out.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Maximum time of a graceful shutdown: the close timeout twice.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// What remains of a shutdown after a second signal: the close frames are written, and most peers answer.
pub(crate) const SECOND_SIGNAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest step of a drain: clients that come back do so in steps this small, which their own range smooths.
pub(crate) const DRAIN_STEP: Duration = Duration::from_millis(100);

/// Longest time that a drain watches who is idle.
pub(crate) const DRAIN_WATCH: Duration = Duration::from_secs(1);

/// Time after which a client of a drained server should come back: a page does not notice, and a load balancer whose
/// health check has just failed has forgotten the server.
pub(crate) const DRAIN_RETRY: Duration = Duration::from_millis(500);

/// Range of a random time after it: ten steps, so that the steps do not show. The drain itself spreads the clients.
pub(crate) const DRAIN_SPREAD: Duration = Duration::from_secs(1);

/// Time that a shutdown waits, after its limit, for tasks that have nothing left to wait for.
#[cfg(feature = "client")]
pub(crate) const SHUTDOWN_REST: Duration = Duration::from_secs(1);

/// Maximum time that a client waits for the body of a refusal: it may give the reason, but the status is enough.
#[cfg(feature = "client")]
pub(crate) const ANSWER_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum bytes kept of the body of a server's refusal: a page that gives the reason.
#[cfg(feature = "client")]
pub(crate) const ANSWER_BODY: usize = 64 << 10;

/// Maximum time for a client's TLS handshake: a few round trips, and a protection against clients that never finish it.
#[cfg(feature = "tls")]
pub(crate) const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// One minute between two looks at the files of certificates: they are renewed days before they expire, and two small
/// reads a minute cost nothing.
#[cfg(feature = "tls")]
pub(crate) const TLS_WATCH_INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of messages in one session's send queue.
pub(crate) const SEND_QUEUE_MESSAGES: usize = 65_536;

/// Maximum number of bytes in one session's send queue; an empty queue accepts one larger message, so that large
/// messages can be sent at all.
pub(crate) const SEND_QUEUE_BYTES: usize = 16 << 20;

/// Maximum number of rooms that one session is in: far more than an application needs for one user, and little memory,
/// some 500 bytes each, if a client chooses the names and joins ever more rooms.
pub(crate) const MAX_ROOMS_PER_SESSION: usize = 10_000;

/// Time from a change of presence until the sessions in the room hear of it: too short to notice, and long enough that a
/// room that fills after a restart hears of many users at once.
pub(crate) const PRESENCE_TICK: Duration = Duration::from_millis(100);

/// Time that a user stays present after a session has ended: a mobile network that changes cells, a page that is loaded
/// again, and a client that waits before it reconnects are not worth a message to everyone in the room.
pub const PRESENCE_GRACE: Duration = Duration::from_secs(15);

/// 4 KiB of JSON for the meta of a device: far more than a status and a cursor need. Everyone in the room gets it with
/// each change.
#[cfg(feature = "json")]
pub(crate) const PRESENCE_META_BYTES: usize = 4 << 10;

/// Maximum number of messages that wait while a handler runs; then the connection stops reading and TCP backpressure
/// slows the peer down.
pub(crate) const INBOX_MESSAGES: usize = 64;

/// Maximum number of bytes of messages that wait while a handler runs.
pub(crate) const INBOX_BYTES: usize = 256 << 10;

/// 256 MiB of memory for compression: enough for some 600 sessions with context takeover.
pub(crate) const COMPRESSION_BUDGET: usize = 256 << 20;

/// Policy for a message that finds the send queue full, because the peer reads too slowly.
///
/// Specify it for one message with `on_overflow`, for an endpoint with `overflow = …`, for all endpoints with
/// [`ContainerBuilder::overflow`](crate::ContainerBuilder::overflow). Control frames, parts of messages and the replies
/// that a handler returns are never dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The sender waits for space, up to the send timeout: the default of the [`BasicRemote`](crate::BasicRemote). The
    /// [`AsyncRemote`](crate::AsyncRemote) and broadcasts, which never wait, treat it as [`Error`](Self::Error).
    Wait,
    /// The send fails with [`is_queue_full`](crate::Error::is_queue_full): the default of the
    /// [`AsyncRemote`](crate::AsyncRemote). A broadcast skips the peer, and counts it as dropped.
    Error,
    /// Drops the oldest queued messages that were sent with this policy, until the new one fits. Data that the
    /// connection has already taken from the queue, about 64 KiB, is not dropped; if nothing else is left, the new
    /// message itself is dropped. Dropping is not an error, and is counted
    /// ([`Session::dropped_messages`](crate::Session::dropped_messages)). With context takeover such messages are
    /// compressed when they leave the queue, so that none refers to a dropped one.
    DropOldest,
    /// Drops the new message. Dropping is not an error, and is counted.
    DropNewest,
    /// Ends the session with 1013: queued messages are still sent, and the send fails with
    /// [`is_closed`](crate::Error::is_closed).
    Close,
}

/// The options of one endpoint, from `#[server_endpoint("/path", …)]`. They override the container's settings.
///
/// `None` means not specified: the container's setting applies.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointOptions {
    /// The subprotocols that the endpoint supports.
    pub subprotocols: &'static [&'static str],
    /// Roles of which the principal must have one; empty admits every peer.
    pub roles: &'static [&'static str],
    /// Maximum size of a whole message in bytes.
    pub max_message_size: Option<usize>,
    /// Maximum nesting depth of the data of a message.
    pub max_nesting: Option<usize>,
    /// Close after this long without a frame; `Some(None)` is `off`.
    pub idle_timeout: Option<Option<Duration>>,
    /// Ping when either side was silent for this long; `Some(None)` is `off`.
    pub ping_interval: Option<Option<Duration>>,
    /// Close when the peer sends nothing for this long after a ping; `Some(None)` is `off`.
    pub pong_timeout: Option<Option<Duration>>,
    /// Maximum time that a message waits to be written.
    pub send_timeout: Option<Duration>,
    /// Minimum bytes per second of a message taken whole; zero is `off`.
    pub min_receive_rate: Option<usize>,
    /// Minimum bytes per second that a peer reads while it is behind; zero is `off`.
    pub min_send_rate: Option<usize>,
    /// Compression of messages.
    pub compression: Option<Compression>,
    /// Policy for a full send queue.
    pub overflow: Option<Overflow>,
    /// The grace period of presence; `None` means that sessions are not present.
    pub presence: Option<Duration>,
    /// How many messages of each room are kept in a cluster, and for how long; `None` keeps none.
    pub history: Option<(usize, Duration)>,
    /// Maximum number of open sessions.
    pub max_sessions: Option<usize>,
    /// Maximum number of open sessions of one address, and of one principal.
    pub max_sessions_per: Option<(Option<usize>, Option<usize>)>,
}

impl EndpointOptions {
    /// No option specified.
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
        presence: None,
        history: None,
        max_sessions: None,
        max_sessions_per: None,
    };
}

/// The limits of one session, after the endpoint's options are applied.
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
    /// `None` uses the default of each remote.
    pub(crate) overflow: Option<Overflow>,
    /// The grace period of presence; `None` if sessions are not present.
    pub(crate) presence: Option<Duration>,
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
            presence: None,
        }
    }
}

impl Limits {
    /// These limits, overridden by the options of an endpoint.
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
        self.presence = options.presence;
        self
    }
}
