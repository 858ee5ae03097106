//! Registration of an endpoint before it serves: path, type, source location, options, and the functions that start its
//! connections.

use std::any::TypeId;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
#[cfg(any(feature = "client", feature = "adopted"))]
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::config::EndpointOptions;
use crate::connection::Connection;
pub use crate::container::erased_configurator::Configured;
use crate::endpoint::contract::{Annotated, EndpointHandlers, Handler};
use crate::endpoint::programmatic::{Endpoint, Programmatic};
use crate::error::{Error, Kind};
use crate::handshake::path::PathParams;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::HandshakeRequest;
use crate::scheduling::coarse_timer::{SWEEP, Sweep};
use crate::session::state::{StateRequirement, States};
use crate::session::{OpenSet, Session, SessionInit};
use crate::transport::socket::{Io, Socket};
use endpoint_wire::close::CloseReason;

/// Registry entry of an annotated endpoint.
pub struct Registration {
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) options: EndpointOptions,
    pub(crate) type_id: fn() -> TypeId,
    /// A function, so that the compiler reports an error in a handler at the handler, and not here.
    handlers: fn() -> Handlers,
    /// Makes instances for connections that are about to open; `None` if the type has no `Default`.
    pub(crate) prepare: Option<fn() -> Result<Prepare, Error>>,
    /// Makes the configurator that the annotation names.
    pub(crate) configured: Option<fn() -> Configured>,
}

inventory::collect!(Registration);

/// An annotated endpoint type. Implemented by `#[server_endpoint]`, not by hand.
pub trait ServerEndpoint: Annotated + Sized + 'static {
    /// Serves one connection: the type itself, or a handle to the shared instance.
    #[doc(hidden)]
    type Instance: EndpointHandlers;
    /// Converts a value of the endpoint type to `Instance`.
    #[doc(hidden)]
    const SHARING: Sharing<Self>;
    /// The registry entry.
    const REGISTRATION: Registration;
    /// `Default::default`, if the type has it.
    const CONSTRUCT: Option<fn() -> Self>;
}

/// Number of connections that an instance serves.
#[allow(missing_debug_implementations)]
pub enum Sharing<E: ServerEndpoint> {
    /// One connection.
    PerConnection(fn(E) -> E::Instance),
    /// All connections: each gets a handle to the one instance.
    Shared(fn(E) -> SharedFactory<E::Instance>),
}

/// Makes a handle to the shared instance for each connection.
pub type SharedFactory<I> = Box<dyn Fn() -> I + Send + Sync>;

/// Shares `instance`; `part` makes the handle of a connection.
pub fn lend<E: Send + Sync + 'static, I: 'static>(instance: E, part: fn(Arc<E>) -> I) -> SharedFactory<I> {
    let instance = Arc::new(instance);
    Box::new(move || part(instance.clone()))
}

/// Makes the instance for a connection, as specified when mounting.
pub(crate) type Prepare = Arc<dyn Fn(&HandshakeRequest) -> Result<Prepared, Refusal> + Send + Sync>;

/// An endpoint instance that waits for its socket. Its type is erased here, once per connection; the code of the
/// connection itself is generic.
pub(crate) type Prepared = Box<dyn FnOnce(PendingConnection) + Send>;

/// Resolves to the socket and the bytes that were read ahead; to `None` if the upgrade was not completed.
pub(crate) type Upgrade = Pin<Box<dyn Future<Output = Option<(Upgraded, Bytes)>> + Send>>;

/// An accepted connection, to be served as soon as HTTP releases its socket.
pub(crate) struct PendingConnection {
    pub(crate) upgrade: Upgrade,
    pub(crate) init: SessionInit,
    /// A shutdown waits until the token is dropped.
    pub(crate) token: TaskTrackerToken,
    /// Receives the close reason after `on_close` has returned.
    #[cfg(feature = "adopted")]
    pub(crate) ends: Option<oneshot::Sender<CloseReason>>,
}

/// The socket that HTTP releases.
pub(crate) enum Upgraded {
    Tcp(TcpStream),
    Other(Box<dyn Io>),
    /// A transport that takes whole messages only.
    #[cfg(feature = "adopted")]
    Whole(Box<dyn Io>),
}

impl Registration {
    /// The registration of `E`. `name` is its full path, `file` and `line` locate its annotation.
    pub const fn of<E: ServerEndpoint>(
        name: &'static str,
        file: &'static str,
        line: u32,
        options: EndpointOptions,
    ) -> Self {
        Self {
            path: E::PATH,
            name,
            file,
            line,
            options,
            type_id: TypeId::of::<E>,
            handlers: Handlers::of::<E::Instance>,
            prepare: if E::CONSTRUCT.is_some() { Some(prepare_default::<E>) } else { None },
            configured: None,
        }
    }

    /// Adds a configurator, which is made once for each mounted endpoint.
    pub const fn configured_by(mut self, configured: fn() -> Configured) -> Self {
        self.configured = Some(configured);
        self
    }

    /// The handlers of the endpoint.
    pub(crate) fn handlers(&self) -> Handlers {
        (self.handlers)()
    }
}

/// The handlers of an endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Handlers {
    /// In this order: open, text, binary, pong, close, error.
    own: [Handler; 6],
    of_events: &'static [Handler],
}

impl Handlers {
    pub(crate) fn of<E: EndpointHandlers>() -> Self {
        Self { own: [E::OPEN, E::TEXT, E::BINARY, E::PONG, E::CLOSE, E::ERROR], of_events: E::EVENTS }
    }

    /// Whether there is a handler for text, binary and pong messages.
    pub(crate) fn message_kinds(&self) -> [bool; 3] {
        let [_, messages @ .., _, _] = &self.own;
        messages.each_ref().map(Handler::exists)
    }

    /// The first message kind whose handler does not take whole messages, and how it takes them.
    #[cfg(feature = "adopted")]
    pub(crate) fn in_parts(&self) -> Option<(&'static str, &'static str)> {
        let [_, text, binary, ..] = &self.own;
        // a stream decoder also works with a single part
        let in_parts = |handler: &Handler| handler.parts && handler.feed.is_none();
        let (kind, handler) = [("text", text), ("binary", binary)].into_iter().find(|(_, it)| in_parts(it))?;
        Some((kind, if handler.streams { "as a stream" } else { "in parts (`last: bool`)" }))
    }

    /// Fails if a typed path parameter of a handler does not parse.
    pub(crate) fn check_path(&self, params: &PathParams) -> Result<(), Error> {
        self.ask(|handler| (handler.check_path)(params))
    }

    /// Fails if a query parameter of a handler is missing or does not parse.
    pub(crate) fn check_query(&self, request: &HandshakeRequest) -> Result<(), Error> {
        self.ask(|handler| (handler.check_query)(request))
    }

    /// Runs a check for each handler; a panic in it becomes an error, because the parsers are application code.
    fn ask(&self, question: impl FnMut(&Handler) -> Result<(), Error>) -> Result<(), Error> {
        catch_unwind(AssertUnwindSafe(|| self.own.iter().chain(self.of_events).try_for_each(question)))
            .unwrap_or_else(|panic| Err(Error::panic(&*panic)))
    }

    /// The states that handlers require and `states` lacks.
    pub(crate) fn missing(self, states: &States) -> impl Iterator<Item = &'static StateRequirement> {
        let all = self.own.into_iter().chain(self.of_events.iter().copied());
        all.flat_map(|handler| handler.states).filter(|wanted| !states.have(wanted))
    }
}

/// Makes instances with `Default`: one for each connection, or immediately the shared one.
fn prepare_default<E: ServerEndpoint>() -> Result<Prepare, Error> {
    let Some(construct) = E::CONSTRUCT else { return Ok(Arc::new(no_constructor)) };
    match E::SHARING {
        Sharing::PerConnection(_) => prepare_each(move |_| Ok(construct())),
        Sharing::Shared(_) => prepare_shared(catch_unwind(construct).map_err(|panic| Error::panic(&*panic))?),
    }
}

/// Makes an instance for each connection.
///
/// # Errors
/// `E` is shared by all connections.
pub(crate) fn prepare_each<E: ServerEndpoint>(
    construct: impl Fn(&HandshakeRequest) -> Result<E, Refusal> + Send + Sync + 'static,
) -> Result<Prepare, Error> {
    match E::SHARING {
        Sharing::PerConnection(own) => Ok(Arc::new(move |request| prepare(|| construct(request).map(own)))),
        Sharing::Shared(_) => {
            let sentence = "it has `instance = shared`, but a constructor creates an instance for each connection: \
                            mount it with endpoint_shared";
            Err(Error::new(Kind::Deploy, sentence))
        }
    }
}

/// Shares one instance among all connections.
///
/// # Errors
/// `E` has one instance for each connection.
pub(crate) fn prepare_shared<E: ServerEndpoint>(instance: E) -> Result<Prepare, Error> {
    match E::SHARING {
        Sharing::Shared(lender) => {
            let lender = lender(instance);
            Ok(Arc::new(move |_| prepare(|| Ok(lender()))))
        }
        Sharing::PerConnection(_) => {
            let sentence = "each connection has its own instance: mount it with endpoint_with, or annotate it with \
                            `instance = shared`";
            Err(Error::new(Kind::Deploy, sentence))
        }
    }
}

/// Makes an instance of an endpoint without annotations for each connection.
pub(crate) fn prepare_programmatic<E: Endpoint>(construct: impl Fn() -> E + Send + Sync + 'static) -> Prepare {
    Arc::new(move |_| prepare(|| Ok(Programmatic(construct()))))
}

/// Refuses the handshake: there is no constructor for the instance.
pub(crate) fn no_constructor(_: &HandshakeRequest) -> Result<Prepared, Refusal> {
    let error =
        Error::new(Kind::Deploy, "the type does not implement Default, and its configurator created no instance");
    Err(Refusal::construction_failed(&error))
}

/// Makes an instance; a panic in `construct` refuses the handshake like an error.
pub(crate) fn prepare<E: EndpointHandlers>(
    construct: impl FnOnce() -> Result<E, Refusal>,
) -> Result<Prepared, Refusal> {
    let endpoint = catch_unwind(AssertUnwindSafe(construct))
        .unwrap_or_else(|panic| Err(Refusal::construction_failed(&Error::panic(&*panic))))?;
    Ok(Box::new(move |opening: PendingConnection| {
        #[cfg(feature = "adopted")]
        if opening.ends.is_some() {
            tokio::spawn(serve_and_report(Box::new((opening, endpoint))));
            return;
        }
        tokio::spawn(serve(Box::new((opening, endpoint))));
    }))
}

/// The task of a connection; returns its close reason.
async fn serve<E: EndpointHandlers>(beginning: Box<(PendingConnection, E)>) -> Option<CloseReason> {
    let mut connection = begin(beginning).await?;
    Box::pin(connection.open()).await;
    Some(connection.live().await)
}

/// Serves a connection and sends its close reason to `ends`.
#[cfg(feature = "adopted")]
async fn serve_and_report<E: EndpointHandlers>(mut beginning: Box<(PendingConnection, E)>) {
    let ends = beginning.0.ends.take();
    if let (Some(reason), Some(ends)) = (serve(beginning).await, ends) {
        // the receiver may be gone
        let _ = ends.send(reason);
    }
}

/// Wakes the sessions of an endpoint at their deadlines, until no session is left.
async fn sweep(sessions: Arc<OpenSet>, sweep: Sweep) {
    /// Ends the sweep on drop: its runtime may shut down while sessions on another runtime continue.
    struct BreakOff(Arc<OpenSet>, Sweep);
    impl Drop for BreakOff {
        fn drop(&mut self) {
            self.0.break_off(self.1);
        }
    }
    let BreakOff(sessions, sweep) = &BreakOff(sessions, sweep);
    while timeout(SWEEP, poll_fn(|cx| sessions.poll_end_of(*sweep, cx))).await.is_err() {
        sessions.sweep(Instant::now());
    }
}

/// Waits for the socket. The state for this wait is in its own box, which is freed afterwards.
async fn begin<E: EndpointHandlers>(mut beginning: Box<(PendingConnection, E)>) -> Option<Box<Connection<E>>> {
    let (upgraded, early) = beginning.0.upgrade.as_mut().await?;
    let (PendingConnection { init, token, .. }, endpoint) = *beginning;
    Some(connect(upgraded, early, init, endpoint, token))
}

/// Assembles a connection, for a server or a client.
fn connect<E: EndpointHandlers>(
    upgraded: Upgraded,
    early: Bytes,
    mut init: SessionInit,
    endpoint: E,
    token: TaskTrackerToken,
) -> Box<Connection<E>> {
    #[cfg(feature = "adopted")]
    let whole = matches!(upgraded, Upgraded::Whole(_));
    let (socket, writer) = halves(upgraded, &mut init.request);
    ensure_sweep(&init.endpoint);
    let mut session = Session::new(init, writer);
    if E::LISTS_CODERS {
        session = session.with_coders();
    }
    #[cfg(feature = "adopted")]
    if whole {
        session.send_queue().takes_whole_messages();
    }
    Connection::new(socket, early, endpoint, session, token)
}

/// Spawns the sweep of the endpoint's deadlines, unless one is running.
fn ensure_sweep(sessions: &Arc<OpenSet>) {
    if let Some(started) = sessions.begin_sweep() {
        tokio::spawn(sweep(sessions.clone(), started));
    }
}

/// The socket, and the write half of a plain TCP socket.
fn halves(upgraded: Upgraded, request: &mut HandshakeRequest) -> (Socket, Option<OwnedWriteHalf>) {
    match upgraded {
        Upgraded::Tcp(tcp) => {
            request.learn_addresses(|| tcp.peer_addr().ok(), || tcp.local_addr().ok());
            let (socket, writer) = Socket::tcp(tcp);
            (socket, Some(writer))
        }
        Upgraded::Other(io) => (Socket::Other(io), None),
        #[cfg(feature = "adopted")]
        Upgraded::Whole(io) => (Socket::Other(io), None),
    }
}

/// An annotated client endpoint type. Implemented by `#[client_endpoint]`, not by hand.
#[cfg(feature = "client")]
pub trait ClientEndpoint: EndpointHandlers {
    /// The full path of the type.
    fn name() -> &'static str;
    /// The options of the attribute.
    const OPTIONS: EndpointOptions;
}

/// A client connection that the server has accepted.
#[cfg(feature = "client")]
pub(crate) struct Opened {
    pub(crate) upgraded: Upgraded,
    pub(crate) early: Bytes,
    pub(crate) init: SessionInit,
    /// A shutdown waits until the token is dropped.
    pub(crate) token: TaskTrackerToken,
}

#[cfg(feature = "client")]
impl Opened {
    /// Serves the connection in its own task.
    pub(crate) fn serve<E: EndpointHandlers>(self, endpoint: E) -> Serving {
        let mut connection = connect(self.upgraded, self.early, self.init, endpoint, self.token);
        let session = connection.session().clone();
        let (opens, opened) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        tokio::spawn(async move {
            Box::pin(connection.open()).await;
            // the receiver may be gone
            let _ = opens.send(());
            let _ = ends.send(connection.live().await);
        });
        Serving { session, opened, ended }
    }
}

/// A client connection that is being served.
#[cfg(feature = "client")]
pub(crate) struct Serving {
    pub(crate) session: Session,
    /// Resolves when `on_open` has returned.
    pub(crate) opened: oneshot::Receiver<()>,
    /// Resolves after `on_close` has returned.
    pub(crate) ended: oneshot::Receiver<CloseReason>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}:{})", self.path, self.name, self.file, self.line)
    }
}
