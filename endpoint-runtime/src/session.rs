//! What a handler holds: one conversation with one peer, and the others at the same endpoint.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio::net::tcp::OwnedWriteHalf;

use crate::close::{CloseCode, CloseReason, Initiator};
use crate::codec::Encode;
use crate::config::Limits;
use crate::error::Error;
use crate::extension::Extension;
use crate::listed::{Agreed, Coders, Dialect};
use crate::message::{Binary, Message};
use crate::outbound::{Bounds, Moment, Outbound, Refused};
use crate::path::PathParams;
use crate::remote::{AsyncRemote, BasicRemote, Shared};
use crate::request::HandshakeRequest;
use crate::state::{State, States};
use crate::text::Text;
use crate::wire::deflate::Deflation;

/// The identity of a session: 128 random bits, unique and unguessable, printed as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u128);

impl SessionId {
    fn random() -> Self {
        // the thread's generator is a cryptographic one, seeded by the operating system
        Self(rand::random())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One conversation with one peer (Jakarta's `Session`).
///
/// A cheap clone that may be kept anywhere and used from any task or thread. What it knows stays readable after the
/// end; sending then fails with [`Error::is_closed`].
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    id: SessionId,
    request: HandshakeRequest,
    agreed: Agreed,
    outbound: Arc<Outbound>,
    endpoint: Arc<OpenSet>,
    /// The place in the open set, kept by it.
    place: AtomicUsize,
    max_message_size: AtomicUsize,
    idle_timeout: AtomicU64,
    properties: Mutex<Option<Box<TypeMap>>>,
}

type TypeMap = HashMap<TypeId, Box<dyn Any + Send + Sync>>;

/// An idle timeout that is off.
const OFF: u64 = 0;

impl Session {
    /// `writer` is the writing half of a plain socket.
    pub(crate) fn new(
        request: HandshakeRequest,
        subprotocol: Option<&'static str>,
        deflation: Option<Box<Deflation>>,
        endpoint: Arc<OpenSet>,
        writer: Option<OwnedWriteHalf>,
    ) -> Self {
        let (limits, bounds) = (endpoint.limits, endpoint.bounds.clone());
        Self(Arc::new(Inner {
            id: SessionId::random(),
            request,
            agreed: Agreed { subprotocol, coders: None },
            outbound: Arc::new(Outbound::new(bounds, deflation, writer)),
            endpoint,
            place: AtomicUsize::new(usize::MAX),
            max_message_size: AtomicUsize::new(limits.max_message_size),
            idle_timeout: AtomicU64::new(encode_timeout(limits.idle_timeout)),
            properties: Mutex::default(),
        }))
    }

    /// The same with room for the coders that its endpoint lists. For a session that nobody else has yet.
    pub(crate) fn with_coders(mut self) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.agreed.coders = Some(Box::default());
        }
        self
    }

    /// The same from `on_open` to the end, and no other session's.
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// Whether messages may still be sent: false from the first close on, whoever asked for it.
    pub fn is_open(&self) -> bool {
        self.0.outbound.is_open()
    }

    /// The URI of the opening handshake with scheme, host and query, such as `ws://example.org/chat/42?name=x`; a
    /// default port is left out (Jakarta's `getRequestURI`).
    pub fn uri(&self) -> &str {
        self.0.request.uri()
    }

    /// The value of a variable of the path template, percent-decoded.
    pub fn path_param(&self, name: &str) -> Option<&str> {
        self.path_params().get(name)
    }

    /// The variables of the path template and their values.
    pub fn path_params(&self) -> &PathParams {
        self.0.request.path_params()
    }

    /// The query as it was sent, without the question mark.
    pub fn query_string(&self) -> Option<&str> {
        self.0.request.query_string()
    }

    /// Name and value of each query parameter, decoded, in their order; a name may come more than once.
    pub fn query_params(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.0.request.query_params()
    }

    /// The request that opened this session.
    pub fn handshake_request(&self) -> &HandshakeRequest {
        &self.0.request
    }

    /// The headers of the opening handshake. Names are case-insensitive.
    ///
    /// They are kept in a compact form; the map is built when it is first asked for.
    pub fn headers(&self) -> &HeaderMap {
        self.0.request.headers()
    }

    /// The peer's address, if the transport has one.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.0.request.peer_addr()
    }

    /// Our own address on this connection, if the transport has one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.request.local_addr()
    }

    /// Whether the connection is encrypted.
    pub fn is_secure(&self) -> bool {
        self.0.request.is_secure()
    }

    /// The version of the protocol: always `"13"`.
    pub fn protocol_version(&self) -> &'static str {
        "13"
    }

    /// The subprotocol both sides agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.0.agreed.subprotocol
    }

    /// The extensions in use, with the parameters both sides agreed on (Jakarta's `getNegotiatedExtensions`): none, or
    /// permessage-deflate.
    pub fn extensions(&self) -> &[Extension] {
        self.0.outbound.deflation().map_or(&[], |deflation| std::slice::from_ref(deflation.extension()))
    }

    /// What the application provided for all sessions, by [`ContainerBuilder::state`](crate::ContainerBuilder::state);
    /// `None` if it provided no `T`. A handler may take it as a parameter, and is then sure of it.
    pub fn state<T: 'static>(&self) -> Option<&State<T>> {
        self.0.endpoint.states.get()
    }

    /// What the application attaches to this session: one value of each type.
    pub fn properties(&self) -> Properties<'_> {
        Properties(&self.0.properties)
    }

    /// The most bytes a whole message may have; a larger one ends the session with 1009. Holds from the next read on.
    pub fn set_max_message_size(&self, bytes: usize) {
        self.0.max_message_size.store(bytes, Ordering::Relaxed);
        self.0.outbound.wake();
    }

    /// The most bytes a whole message may have (1 MiB unless configured). A handler's own `max_size` goes before it.
    pub fn max_message_size(&self) -> usize {
        self.0.max_message_size.load(Ordering::Relaxed)
    }

    /// Ends the session after this long in which nothing was received and the application sent nothing; `None` never
    /// does. Kept in whole milliseconds, and noticed an eighth of itself late at most. The connection's own pings do not
    /// count, their pongs do. Nor is a peer idle that reads a large message slowly, or that is not listened to because
    /// a handler is behind.
    pub fn set_idle_timeout(&self, timeout: Option<Duration>) {
        self.0.idle_timeout.store(encode_timeout(timeout), Ordering::Relaxed);
        self.0.outbound.wake();
    }

    /// The time of silence after which the session ends (one minute unless configured).
    pub fn idle_timeout(&self) -> Option<Duration> {
        match self.0.idle_timeout.load(Ordering::Relaxed) {
            OFF => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }

    /// Bytes that were accepted for sending and are not written yet.
    pub fn queued_bytes(&self) -> usize {
        self.0.outbound.queued_bytes()
    }

    /// Sends and waits until it is written.
    pub fn basic_remote(&self) -> BasicRemote<'_> {
        BasicRemote::new(&self.0.outbound, self.dialect())
    }

    /// Hands over and returns at once.
    pub fn async_remote(&self) -> AsyncRemote<'_> {
        AsyncRemote::new(&self.0.outbound, self.dialect())
    }

    /// Ends the session with 1000. See [`close_with`](Self::close_with).
    pub fn close(&self) {
        self.close_with(CloseReason::from(CloseCode::NormalClosure));
    }

    /// Begins the closing handshake: what is queued is sent, then the close frame; nothing more is accepted. The
    /// first reason wins, and closing twice is harmless. `on_close` runs once the frame is written.
    ///
    /// A code that must not travel makes an empty close frame: [`CloseCode::NoStatusCode`] does so on purpose.
    pub fn close_with(&self, reason: CloseReason) {
        self.0.outbound.close(reason.by(Initiator::Application));
    }

    /// All sessions that are open at the same endpoint now, this one among them if it is open itself.
    pub fn open_sessions(&self) -> OpenSessions {
        OpenSessions { sessions: self.0.endpoint.snapshot(), except: None }
    }

    /// What objects are encoded for. What is to be sent to several sessions, or sent later, is encoded with it by
    /// [`Encode::encode_for`].
    pub fn dialect(&self) -> Dialect<'_> {
        Dialect(&self.0.agreed)
    }

    pub(crate) fn coders(&self) -> Option<&Coders> {
        self.0.agreed.coders.as_deref()
    }

    pub(crate) fn outbound(&self) -> &Arc<Outbound> {
        &self.0.outbound
    }

    pub(crate) fn endpoint(&self) -> &Arc<OpenSet> {
        &self.0.endpoint
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

/// The application's own data on a session, by type (Jakarta's user properties). Readable until the session's last
/// clone is gone, in `on_close` too; another connection never sees it.
#[derive(Clone, Copy)]
pub struct Properties<'a>(&'a Mutex<Option<Box<TypeMap>>>);

impl Properties<'_> {
    /// Sets the value of type `T`; returns the one before it.
    pub fn insert<T: Send + Sync + 'static>(self, value: T) -> Option<T> {
        let before = self.lock().get_or_insert_default().insert(TypeId::of::<T>(), Box::new(value));
        before.and_then(|before| before.downcast().ok()).map(|before| *before)
    }

    /// A clone of the value of type `T`.
    pub fn get<T: Clone + Send + Sync + 'static>(self) -> Option<T> {
        self.with(|value: &mut T| value.clone())
    }

    /// Takes the value of type `T` away.
    pub fn remove<T: Send + Sync + 'static>(self) -> Option<T> {
        let value = self.lock().as_mut()?.remove(&TypeId::of::<T>());
        value.and_then(|value| value.downcast().ok()).map(|value| *value)
    }

    /// Calls `f` with the value of type `T` where it lies. A lock is held meanwhile: `f` must not use the properties
    /// of the same session.
    pub fn with<T: Send + Sync + 'static, R>(self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.lock().as_mut()?.get_mut(&TypeId::of::<T>())?.downcast_mut().map(f)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<TypeMap>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Properties").field("len", &self.lock().as_ref().map_or(0, |map| map.len())).finish()
    }
}

/// The sessions of one mounted endpoint.
#[derive(Debug)]
pub(crate) struct OpenSet {
    pub(crate) path: Box<str>,
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    bounds: Arc<Bounds>,
    states: Arc<States>,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    /// Every session with a connection, open or about to end.
    list: Vec<Session>,
    /// The list as it was handed out last, until it changes.
    snapshot: Option<Arc<[Session]>>,
    /// Why no session may stay open any more.
    closing: Option<CloseReason>,
}

impl OpenSet {
    pub(crate) fn new(path: impl Into<Box<str>>, name: &'static str, limits: Limits) -> Self {
        let bounds = Bounds {
            messages: limits.send_queue_messages,
            bytes: limits.send_queue_bytes,
            send_timeout: limits.send_timeout,
        };
        let (path, bounds) = (path.into(), Arc::new(bounds));
        Self { path, name, limits, bounds, states: Arc::default(), members: Mutex::default() }
    }

    /// With what the application provides.
    pub(crate) fn with(mut self, states: Arc<States>) -> Self {
        self.states = states;
        self
    }

    /// A session that comes after the shutdown began is told so at once.
    fn add(&self, session: &Session) {
        let mut members = self.lock();
        session.0.place.store(members.list.len(), Ordering::Relaxed);
        members.list.push(session.clone());
        members.snapshot = None;
        if let Some(reason) = &members.closing {
            session.outbound().close(reason.clone());
        }
    }

    /// It is no longer open, though its connection has not come to its end.
    pub(crate) fn hide(&self) {
        self.lock().snapshot = None;
    }

    /// Its connection is gone. Harmless if it is not in.
    fn remove(&self, session: &Session) {
        let mut members = self.lock();
        let place = session.0.place.swap(usize::MAX, Ordering::Relaxed);
        if place < members.list.len() {
            members.list.swap_remove(place);
            if let Some(moved) = members.list.get(place) {
                moved.0.place.store(place, Ordering::Relaxed);
            }
            members.snapshot = None;
        }
    }

    /// Closes every session, and those to come.
    pub(crate) fn close(&self, reason: CloseReason) {
        let mut members = self.lock();
        members.list.iter().for_each(|session| session.outbound().close(reason.clone()));
        members.closing = Some(reason);
    }

    /// Gives every connection up, those too that are about to end.
    pub(crate) fn cut(&self) {
        self.lock().list.iter().for_each(|session| session.outbound().cut());
    }

    /// Those that are open.
    pub(crate) fn snapshot(&self) -> Arc<[Session]> {
        let mut members = self.lock();
        if let Some(snapshot) = &members.snapshot {
            return snapshot.clone();
        }
        let snapshot: Arc<[Session]> = members.list.iter().filter(|session| session.is_open()).cloned().collect();
        members.snapshot = Some(snapshot.clone());
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a session among those of its endpoint, given back when it is dropped.
pub(crate) struct Place(Session);

impl Place {
    pub(crate) fn of(session: &Session) -> Self {
        Self(session.clone())
    }

    /// Enters it; a shutdown finds it from now on.
    pub(crate) fn take(&self) {
        self.0.endpoint().add(&self.0);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.outbound().detach();
        self.0.endpoint().remove(&self.0);
    }
}

/// The sessions that were open at an endpoint when it was asked (Jakarta's `getOpenSessions`).
///
/// A snapshot: some may have closed since.
#[derive(Clone, Debug)]
pub struct OpenSessions {
    sessions: Arc<[Session]>,
    except: Option<SessionId>,
}

impl OpenSessions {
    /// The sessions of several endpoints together.
    pub(crate) fn of<'a>(sets: impl Iterator<Item = &'a OpenSet>) -> Self {
        let sessions: Vec<Session> = sets.flat_map(|set| set.snapshot().to_vec()).collect();
        Self { sessions: sessions.into(), except: None }
    }

    /// Leaves one session out.
    #[must_use]
    pub fn except(mut self, session: &Session) -> Self {
        self.except = Some(session.id());
        self
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().filter(|session| Some(session.id()) != self.except)
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Speaks to all of them; never waits for a peer.
    pub fn async_remote(&self) -> Broadcast<'_> {
        Broadcast { sessions: self, compressed: true }
    }
}

/// A broadcast writes to so many sockets itself; the rest wake their connections. Each write costs a few microseconds,
/// in which the thread does nothing else.
const AT_ONCE: usize = 2048;

/// Speaks to many: a message is encoded once, compressed once where it is, and nobody waits for anybody.
#[derive(Clone, Copy, Debug)]
pub struct Broadcast<'a> {
    sessions: &'a OpenSessions,
    compressed: bool,
}

impl Broadcast<'_> {
    /// Sends what follows as it is; see [`BasicRemote::uncompressed`].
    #[must_use]
    pub fn uncompressed(self) -> Self {
        Self { compressed: false, ..self }
    }

    /// Queues a text message for each session.
    pub fn send_text(self, text: impl Into<Text>) -> Report {
        self.send(Message::Text(text.into()))
    }

    /// Queues a binary message for each session.
    pub fn send_binary(self, data: impl Into<Binary>) -> Report {
        self.send(Message::Binary(data.into()))
    }

    /// Queues the message that `object` becomes, such as [`Json`](crate::Json), for each session. It is encoded once,
    /// for the first of them: by its subprotocol, and by its encoders if their endpoint lists any.
    ///
    /// # Errors
    /// [`Error::is_encode`] if it cannot be encoded; then nobody is sent anything.
    pub fn send_object<T: Encode + ?Sized>(self, object: &T) -> Result<Report, Error> {
        let message = match self.sessions.iter().next() {
            Some(first) => object.encode_for(&first.dialect())?,
            None => object.encode()?,
        };
        Ok(self.send(message))
    }

    fn send(self, message: Message) -> Report {
        let (mut shared, mut report) = (Shared::new(message, self.compressed), Report::default());
        let moment = Moment::now();
        for (index, session) in self.sessions.iter().enumerate() {
            let at_once = (index < AT_ONCE).then_some(moment);
            match shared.offer(session.outbound(), at_once) {
                Ok(()) => report.sent += 1,
                Err(Refused::Closed) => report.closed += 1,
                Err(_) => report.dropped += 1,
            }
        }
        if report.dropped > 0 {
            tracing::warn!(report.dropped, "a broadcast left out peers whose outbound queue is full");
        }
        report
    }
}

/// What became of a broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Queued for so many sessions.
    pub sent: usize,
    /// Left out because their queue was full.
    pub dropped: usize,
    /// Left out because they had closed.
    pub closed: usize,
}

impl Report {
    /// Whether every open session was reached.
    ///
    /// # Errors
    /// [`Error::is_queue_full`] if one was left out.
    pub fn complete(&self) -> Result<(), Error> {
        if self.dropped == 0 { Ok(()) } else { Err(Refused::Full.into()) }
    }
}
