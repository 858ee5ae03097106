//! One conversation with one peer: its identity, its handshake, its limits, its remotes.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::net::tcp::OwnedWriteHalf;

use super::endpoint_info::EndpointInfo;
use super::id::SessionId;
use super::member::{Member, NOWHERE};
use super::remote::{AsyncRemote, BasicRemote};
use super::state::State;
use super::{open_set, rare, rooms};
use crate::codec::nesting;
use crate::codec::session_coders::{Agreed, Coders, EncodeContext};
use crate::error::Error;
use crate::handshake::path::PathParams;
use crate::handshake::request::HandshakeRequest;
#[cfg(feature = "otel")]
use crate::observe::otel::Link;
use crate::observe::tally::{Tally, Traffic};
use crate::send_queue::{SendHook, SendQueue, WaitGuard, Waiting};
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::deflate::Deflation;
use endpoint_wire::extension::Extension;
use endpoint_wire::role::Role;

// These are parts of a session that refer to sessions: they are generic over the session's type.

/// The sessions of one mounted endpoint.
pub(crate) type OpenSet = open_set::OpenSet<Session>;
/// All groups of one container.
pub(crate) type Groups = rooms::Groups<Session>;
/// The rare part of a session, if it was needed.
pub(crate) type MaybeRare = rare::MaybeRare<Session>;

/// One conversation with one peer (Jakarta's `Session`).
///
/// Cheap to clone; a clone may be kept anywhere and used from any task or thread. The handshake data stays readable
/// after the session ends; sending then fails with [`Error::is_closed`].
///
/// The application's message handlers, [properties](Self::properties) and [principal](Self::principal) are dropped
/// when `on_close` has returned, outside every lock. So each of them may hold this or any other `Session`. A struct
/// that lives longer than a session should remove it in `on_close`, or hold a [`WeakSession`](crate::WeakSession): a
/// [`State`] that holds sessions keeps them alive, and a session keeps the states of its container alive.
#[derive(Clone)]
pub struct Session(pub(super) Arc<Inner>);

pub(super) struct Inner {
    id: SessionId,
    handshake: Box<Handshake>,
    agreed: Agreed,
    pub(super) send_queue: Arc<SendQueue>,
    pub(super) endpoint: Arc<OpenSet>,
    /// Index in the open set, which maintains it.
    pub(super) place: AtomicU32,
    /// Round-trip time in microseconds; zero if unknown.
    pub(super) rtt: AtomicU32,
    max_message_size: AtomicUsize,
    idle_timeout: AtomicU64,
    tally: Tally,
    pub(super) rare: MaybeRare,
}

/// The opening handshake. It is rarely read again, so it is boxed to keep the hot fields of the session together.
struct Handshake {
    request: HandshakeRequest,
    /// The server's response, if this side is the client.
    response: Option<Box<http::Response<()>>>,
}

/// The parts of a session, known once its handshake is complete.
pub(crate) struct SessionInit {
    pub(crate) request: HandshakeRequest,
    /// The server's response, if this side is the client.
    pub(crate) response: Option<Box<http::Response<()>>>,
    pub(crate) subprotocol: Option<Cow<'static, str>>,
    pub(crate) deflation: Option<Box<Deflation>>,
    pub(crate) endpoint: Arc<OpenSet>,
    /// Values that the handshake has already set.
    pub(crate) rare: MaybeRare,
}

/// The idle timeout is off.
const OFF: u64 = 0;

impl Session {
    /// `writer` is the write half of a plain socket.
    pub(crate) fn new(init: SessionInit, writer: Option<OwnedWriteHalf>) -> Self {
        let SessionInit { request, response, subprotocol, deflation, endpoint, rare } = init;
        let (limits, bounds) = (endpoint.limits, endpoint.bounds.clone());
        let role = if response.is_some() { Role::Client } else { Role::Server };
        let (id, is_logged) = (SessionId::random(), bounds.traffic.is_some());
        let mut send_queue = SendQueue::new(bounds, role, deflation, writer);
        if is_logged {
            send_queue.set_label(id.to_string());
        }
        let send_queue = Arc::new(send_queue);
        Self(Arc::new(Inner {
            id,
            handshake: Box::new(Handshake { request, response }),
            agreed: Agreed { subprotocol: subprotocol.map(Into::into), coders: None },
            send_queue,
            endpoint,
            place: AtomicU32::new(NOWHERE),
            rtt: AtomicU32::new(0),
            max_message_size: AtomicUsize::new(limits.max_message_size),
            idle_timeout: AtomicU64::new(encode_timeout(limits.idle_timeout)),
            tally: Tally::default(),
            rare,
        }))
    }

    /// Adds space for the coders that the endpoint lists. The session must not have been cloned yet.
    pub(crate) fn with_coders(mut self) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.agreed.coders = Some(Box::default());
        }
        self
    }

    /// Has `hook` see each message to be sent. The session must not have been cloned yet.
    pub(crate) fn with_send_hook(mut self, hook: Box<dyn SendHook>) -> Self {
        if let Some(queue) = Arc::get_mut(&mut self.0).and_then(|inner| Arc::get_mut(&mut inner.send_queue)) {
            queue.set_hook(hook);
        }
        self
    }

    /// The session's unique ID, unchanged from `on_open` to the end.
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// Whether messages may still be sent: false from the first close on, regardless of its initiator.
    pub fn is_open(&self) -> bool {
        self.0.send_queue.is_open()
    }

    /// The URI of the opening handshake with scheme, host and query, such as `ws://example.org/chat/42?name=x`, without
    /// a default port (Jakarta's `getRequestURI`).
    pub fn uri(&self) -> &str {
        self.0.handshake.request.uri()
    }

    /// The value of a variable of the path template, percent-decoded.
    pub fn path_param(&self, name: &str) -> Option<&str> {
        self.path_params().get(name)
    }

    /// The variables of the path template and their values.
    pub fn path_params(&self) -> &PathParams {
        self.0.handshake.request.path_params()
    }

    /// The query as it was sent, without the question mark.
    pub fn query_string(&self) -> Option<&str> {
        self.0.handshake.request.query_string()
    }

    /// Name and value of each query parameter, decoded, in order; a name may occur more than once.
    pub fn query_params(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.0.handshake.request.query_params()
    }

    /// The request that opened this session.
    pub fn handshake_request(&self) -> &HandshakeRequest {
        &self.0.handshake.request
    }

    /// The server's 101 response to the opening handshake, if this side is the client (Jakarta's
    /// `HandshakeResponse`); `None` in a server.
    pub fn handshake_response(&self) -> Option<&http::Response<()>> {
        self.0.handshake.response.as_deref()
    }

    /// The request headers of the opening handshake, on either side. Names are case-insensitive.
    ///
    /// The headers are stored in a compact form; the first call builds the map.
    pub fn headers(&self) -> &HeaderMap {
        self.0.handshake.request.headers()
    }

    /// The peer's address, if the transport has one; behind
    /// [`trusted_proxies`](crate::ContainerBuilder::trusted_proxies) that of the client, with port 0 if they tell none.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.0.handshake.request.peer_addr()
    }

    /// The local address of this connection, if the transport has one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.handshake.request.local_addr()
    }

    /// Whether the connection is encrypted: by this server, or by one of the
    /// [`trusted_proxies`](crate::ContainerBuilder::trusted_proxies) in front of it.
    pub fn is_secure(&self) -> bool {
        self.0.handshake.request.is_secure()
    }

    /// The WebSocket protocol version: always `"13"`.
    pub fn protocol_version(&self) -> &'static str {
        "13"
    }

    /// The subprotocol both sides agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.0.agreed.subprotocol.as_deref()
    }

    /// The extensions in use, with the negotiated parameters (Jakarta's `getNegotiatedExtensions`): none, or
    /// permessage-deflate.
    pub fn extensions(&self) -> &[Extension] {
        self.0.send_queue.deflation().map_or(&[], |deflation| std::slice::from_ref(deflation.extension()))
    }

    /// The endpoint that serves this session: its path or template, its type, and where it is defined.
    pub fn endpoint(&self) -> EndpointInfo<'_> {
        self.0.endpoint.info()
    }

    /// The value that the application shares with all sessions by
    /// [`ContainerBuilder::state`](crate::ContainerBuilder::state); `None` if there is no `T`. A handler that takes it
    /// as a parameter always gets it.
    pub fn state<T: 'static>(&self) -> Option<&State<T>> {
        self.0.endpoint.states.get()
    }

    /// Sets the largest size of a whole message in bytes; a larger one ends the session with 1009. Applies from the
    /// next read on.
    pub fn set_max_message_size(&self, bytes: usize) {
        self.0.max_message_size.store(bytes, Ordering::Relaxed);
        self.0.send_queue.wake();
    }

    /// The largest size of a whole message in bytes (1 MiB unless configured). A handler's own `max_size` overrides it.
    pub fn max_message_size(&self) -> usize {
        self.0.max_message_size.load(Ordering::Relaxed)
    }

    /// Ends the session when nothing was received and the application sent nothing for this long; `None` disables the
    /// timeout. Stored in whole milliseconds; noticed at most an eighth of its length late. The connection's own pings
    /// do not count, their pongs do. A peer that reads a large message slowly is not idle, nor is one whose messages
    /// are not read because a handler is behind.
    pub fn set_idle_timeout(&self, timeout: Option<Duration>) {
        self.0.idle_timeout.store(encode_timeout(timeout), Ordering::Relaxed);
        self.0.send_queue.wake();
    }

    /// The idle time after which the session ends (one minute unless configured).
    pub fn idle_timeout(&self) -> Option<Duration> {
        match self.0.idle_timeout.load(Ordering::Relaxed) {
            OFF => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }

    /// Number of bytes that were accepted for sending and are neither written nor dropped yet. While the peer does not
    /// keep up, replies and pongs count as well. Zero once the connection has ended.
    pub fn queued_bytes(&self) -> usize {
        self.0.send_queue.queued_bytes()
    }

    /// Number of messages that were accepted for sending and are neither written nor dropped yet. A message in parts
    /// counts as one from the moment it requests its place. Zero once the connection has ended.
    pub fn queued_messages(&self) -> usize {
        self.0.send_queue.queued_messages()
    }

    /// Number of messages dropped because the send queue was full, since the session opened: by a broadcast, or by an
    /// [`Overflow`](crate::Overflow) policy that drops.
    pub fn dropped_messages(&self) -> u32 {
        self.0.send_queue.dropped()
    }

    /// Waits, without a timeout, until the send queue has space for a message. Another task may fill that space first.
    ///
    /// # Errors
    /// [`Error::is_closed`].
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn writable(&self) -> Result<(), Error> {
        let mut wait = WaitGuard { send_queue: &self.0.send_queue, waiting: Waiting::without_limit() };
        Ok(poll_fn(|cx| wait.send_queue.poll_capacity(cx, 1, &mut wait.waiting)).await?)
    }

    /// Sets how long a message may wait to be written, and how long the peer may read nothing before the session ends,
    /// for sends that begin from now on; `None` means no limit. A send's own `timeout` overrides it.
    pub fn set_send_timeout(&self, timeout: Option<Duration>) {
        self.0.send_queue.set_send_timeout(timeout);
    }

    /// How long a message may wait to be written (30 seconds unless configured).
    pub fn send_timeout(&self) -> Option<Duration> {
        self.0.send_queue.send_timeout()
    }

    /// A remote whose sends wait until the message is written.
    pub fn basic_remote(&self) -> BasicRemote<'_> {
        BasicRemote::new(&self.0.send_queue, self.encode_context())
    }

    /// A remote whose sends queue the message and return at once.
    pub fn async_remote(&self) -> AsyncRemote<'_> {
        AsyncRemote::new(&self.0.send_queue, self.encode_context())
    }

    /// Closes the session with 1000; see [`close_with`](Self::close_with).
    pub fn close(&self) {
        self.close_with(CloseReason::from(CloseCode::NormalClosure));
    }

    /// Starts the closing handshake: the queued messages are sent, then the close frame; no more sends are accepted.
    /// The first reason wins; closing twice is harmless. `on_close` runs once the frame is written.
    ///
    /// A code that must not be sent produces an empty close frame: [`CloseCode::NoStatusCode`] does so on purpose.
    pub fn close_with(&self, reason: CloseReason) {
        self.0.send_queue.close(reason.by(Initiator::Application));
    }

    /// The encode context of this session. To send an object to several sessions, or later, encode it with this context
    /// by [`Encode::encode_for`](crate::Encode::encode_for).
    pub fn encode_context(&self) -> EncodeContext<'_> {
        EncodeContext(&self.0.agreed)
    }

    /// Decodes a message of this session within the nesting limit of its endpoint.
    #[inline]
    pub(crate) fn decoding<T>(&self, decode: impl FnOnce() -> T) -> T {
        nesting::within(self.0.endpoint.limits.max_nesting, decode)
    }

    pub(crate) fn coders(&self) -> Option<&Coders> {
        self.0.agreed.coders.as_deref()
    }

    pub(crate) fn send_queue(&self) -> &Arc<SendQueue> {
        &self.0.send_queue
    }

    /// The span of the opening handshake, if it was recorded.
    #[cfg(feature = "otel")]
    pub(crate) fn trace_link(&self) -> Option<&Link> {
        self.0.rare.get()?.trace_link()
    }

    /// The counts that the connection alone writes.
    #[inline]
    pub(crate) fn tally(&self) -> &Tally {
        &self.0.tally
    }

    pub(crate) fn open_set(&self) -> &Arc<OpenSet> {
        &self.0.endpoint
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.0.endpoint.groups
    }
}

fn encode_timeout(timeout: Option<Duration>) -> u64 {
    timeout.map_or(OFF, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1))
}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Session {}

/// Hashes the [`id`](Session::id), which never changes. Clippy cannot see that: for a set of sessions, allow
/// `clippy::mutable_key_type`, or use the ID as the key.
impl Hash for Session {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("endpoint", &self.0.endpoint.path)
            .field("peer", &self.peer_addr())
            .field("open", &self.is_open())
            .finish()
    }
}

impl Member for Session {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn id(&self) -> SessionId {
        self.0.id
    }

    fn place(&self) -> &AtomicU32 {
        &self.0.place
    }

    fn send_queue(&self) -> &SendQueue {
        &self.0.send_queue
    }

    fn traffic(&self) -> Traffic {
        self.0.tally.with(self.0.send_queue.counts())
    }
}
