//! What is known of an endpoint before anything is served: path, type, place in the source, options, and how a
//! connection is handed to it.

mod configured;

use std::any::TypeId;
use std::borrow::Cow;
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

pub use self::configured::Configured;
use crate::close::CloseReason;
use crate::config::EndpointOptions;
use crate::connection::Connection;
use crate::deadlines::{SWEEP, Sweep};
use crate::endpoint::{Annotated, Contract, Handler};
use crate::error::{Error, Kind};
use crate::handshake::refusal::Refusal;
use crate::path::PathParams;
use crate::programmatic::{Endpoint, Programmatic};
use crate::rare::MaybeRare;
use crate::request::HandshakeRequest;
use crate::session::{OpenSet, Session};
use crate::socket::{Io, Socket};
use crate::state::{States, Wanted};
use crate::wire::deflate::Deflation;

/// An annotated endpoint as the registry knows it.
pub struct Registration {
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) options: EndpointOptions,
    pub(crate) type_id: fn() -> TypeId,
    /// A function, so that a mistake in a handler is told where it was made, and not here.
    handlers: fn() -> Vec<Handler>,
    /// Makes an instance for a connection that is about to open; none if the type has no `Default`.
    pub(crate) prepare: Option<fn() -> Result<Prepare, Error>>,
    /// Makes the configurator that the annotation names.
    pub(crate) configured: Option<fn() -> Configured>,
}

inventory::collect!(Registration);

/// An annotated endpoint type. Implemented by `#[server_endpoint]`, not by hand.
pub trait ServerEndpoint: Annotated + Sized + 'static {
    /// What serves one connection: the type itself, or its part of an instance that is shared.
    #[doc(hidden)]
    type Instance: Contract;
    /// How an instance becomes that.
    #[doc(hidden)]
    const SHARING: Sharing<Self>;
    /// What the registry is told.
    const REGISTRATION: Registration;
    /// `Default::default`, if the type has it.
    const CONSTRUCT: Option<fn() -> Self>;
}

/// How many connections an instance serves.
#[allow(missing_debug_implementations)]
pub enum Sharing<E: ServerEndpoint> {
    /// One.
    PerConnection(fn(E) -> E::Instance),
    /// All: each is lent its part of the one.
    Shared(fn(E) -> Lender<E::Instance>),
}

/// Gives each connection its part of an instance that all of them share.
pub type Lender<I> = Box<dyn Fn() -> I + Send + Sync>;

/// Lends `instance` as `part` of it.
pub fn lend<E: Send + Sync + 'static, I: 'static>(instance: E, part: fn(Arc<E>) -> I) -> Lender<I> {
    let instance = Arc::new(instance);
    Box::new(move || part(instance.clone()))
}

/// Makes an instance as the mount says.
pub(crate) type Prepare = Arc<dyn Fn(&HandshakeRequest) -> Result<Prepared, Refusal> + Send + Sync>;

/// An endpoint instance that waits for its socket. The type is erased here, once per connection; below, everything
/// knows it.
pub(crate) type Prepared = Box<dyn FnOnce(Opening) + Send>;

/// Resolves to the socket and the octets that came early; to none if the upgrade was not completed.
pub(crate) type Upgrade = Pin<Box<dyn Future<Output = Option<(Upgraded, Bytes)>> + Send>>;

/// A connection that was accepted, and is to be served as soon as HTTP lets go of its socket.
pub(crate) struct Opening {
    pub(crate) upgrade: Upgrade,
    pub(crate) request: HandshakeRequest,
    pub(crate) subprotocol: Option<Cow<'static, str>>,
    pub(crate) deflation: Option<Box<Deflation>>,
    pub(crate) sessions: Arc<OpenSet>,
    pub(crate) rare: MaybeRare,
    /// A shutdown waits until it is gone.
    pub(crate) token: TaskTrackerToken,
    /// Is told when all is over, `on_close` too.
    #[cfg(feature = "adopted")]
    pub(crate) ends: Option<oneshot::Sender<CloseReason>>,
}

/// What HTTP leaves behind.
pub(crate) enum Upgraded {
    Tcp(TcpStream),
    Other(Box<dyn Io>),
    /// What takes whole messages only.
    #[cfg(feature = "adopted")]
    Whole(Box<dyn Io>),
}

impl Registration {
    /// The registration of `E`. `name` is its full path, `file` and `line` are where its annotation stands.
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
            handlers: handlers::<E::Instance>,
            prepare: if E::CONSTRUCT.is_some() { Some(prepare_default::<E>) } else { None },
            configured: None,
        }
    }

    /// With a configurator, which is made once for each mounted endpoint.
    pub const fn configured_by(mut self, configured: fn() -> Configured) -> Self {
        self.configured = Some(configured);
        self
    }

    /// For which kinds of messages there is a handler: text, binary, pongs.
    pub(crate) fn message_kinds(&self) -> [bool; 3] {
        message_kinds(&(self.handlers)())
    }

    /// The kind of messages whose handler takes them otherwise than whole, and how it does.
    #[cfg(feature = "adopted")]
    pub(crate) fn in_parts(&self) -> Option<(&'static str, &'static str)> {
        let how = |handler: &Handler| if handler.streams { "as a stream" } else { "in parts (`last: bool`)" };
        // a decoder of streams does not mind that there is one part
        let in_parts = |handler: &Handler| handler.parts && handler.feed.is_none();
        ["text", "binary"]
            .into_iter()
            .zip((self.handlers)().iter().skip(1))
            .find(|(_, handler)| in_parts(handler))
            .map(|(kind, handler)| (kind, how(handler)))
    }

    /// Fails if a typed path parameter of any handler does not parse.
    pub(crate) fn check_path(&self, params: &PathParams) -> Result<(), Error> {
        self.ask(|handler| (handler.check_path)(params))
    }

    /// Fails if a query parameter of any handler is missing or does not parse.
    pub(crate) fn check_query(&self, request: &HandshakeRequest) -> Result<(), Error> {
        self.ask(|handler| (handler.check_query)(request))
    }

    /// Asks every handler; what parses is the application's code.
    fn ask(&self, question: impl FnMut(&Handler) -> Result<(), Error>) -> Result<(), Error> {
        catch_unwind(AssertUnwindSafe(|| (self.handlers)().iter().try_for_each(question)))
            .unwrap_or_else(|panic| Err(Error::panic(&*panic)))
    }

    /// What the handlers ask for and is not among `states`.
    pub(crate) fn missing<'a>(&'a self, states: &'a States) -> impl Iterator<Item = &'a Wanted> {
        (self.handlers)().into_iter().flat_map(|handler| handler.states).filter(|wanted| !states.have(wanted))
    }
}

/// By `Default`: an instance for each connection, or here and now the one for all.
fn prepare_default<E: ServerEndpoint>() -> Result<Prepare, Error> {
    let Some(construct) = E::CONSTRUCT else { return Ok(Arc::new(no_constructor)) };
    match E::SHARING {
        Sharing::PerConnection(_) => prepare_each(move |_| Ok(construct())),
        Sharing::Shared(_) => prepare_shared(catch_unwind(construct).map_err(|panic| Error::panic(&*panic))?),
    }
}

/// An instance for each connection.
///
/// # Errors
/// `E` has one for all.
pub(crate) fn prepare_each<E: ServerEndpoint>(
    construct: impl Fn(&HandshakeRequest) -> Result<E, Refusal> + Send + Sync + 'static,
) -> Result<Prepare, Error> {
    match E::SHARING {
        Sharing::PerConnection(own) => Ok(Arc::new(move |request| prepare(|| construct(request).map(own)))),
        Sharing::Shared(_) => {
            let sentence = "its instance is shared, and a constructor makes one for each connection: mount it with \
                            endpoint_shared";
            Err(Error::new(Kind::Deploy, sentence))
        }
    }
}

/// One instance for all connections.
///
/// # Errors
/// `E` has one for each.
pub(crate) fn prepare_shared<E: ServerEndpoint>(instance: E) -> Result<Prepare, Error> {
    match E::SHARING {
        Sharing::Shared(lender) => {
            let lender = lender(instance);
            Ok(Arc::new(move |_| prepare(|| Ok(lender()))))
        }
        Sharing::PerConnection(_) => {
            let sentence = "each connection has an instance of its own: mount it with endpoint_with, or annotate it \
                            with `instance = shared`";
            Err(Error::new(Kind::Deploy, sentence))
        }
    }
}

/// An instance of an endpoint without annotations for each connection.
pub(crate) fn prepare_programmatic<E: Endpoint>(construct: impl Fn() -> E + Send + Sync + 'static) -> Prepare {
    Arc::new(move |_| prepare(|| Ok(Programmatic(construct()))))
}

/// Nobody says how to make an instance.
pub(crate) fn no_constructor(_: &HandshakeRequest) -> Result<Prepared, Refusal> {
    let error = Error::new(Kind::Deploy, "the type has no Default, and its configurator made none");
    Err(Refusal::construction_failed(&error))
}

/// Makes an instance; a panic there refuses the handshake like an error.
pub(crate) fn prepare<E: Contract>(construct: impl FnOnce() -> Result<E, Refusal>) -> Result<Prepared, Refusal> {
    let endpoint = catch_unwind(AssertUnwindSafe(construct))
        .unwrap_or_else(|panic| Err(Refusal::construction_failed(&Error::panic(&*panic))))?;
    Ok(Box::new(move |opening: Opening| {
        #[cfg(feature = "adopted")]
        if opening.ends.is_some() {
            tokio::spawn(serve_and_tell(Box::new((opening, endpoint))));
            return;
        }
        tokio::spawn(serve(Box::new((opening, endpoint))));
    }))
}

/// The task of a connection; why it ended.
async fn serve<E: Contract>(beginning: Box<(Opening, E)>) -> Option<CloseReason> {
    let mut connection = begin(beginning).await?;
    Box::pin(connection.open()).await;
    Some(connection.live().await)
}

/// The same for somebody who waits for the end.
#[cfg(feature = "adopted")]
async fn serve_and_tell<E: Contract>(mut beginning: Box<(Opening, E)>) {
    let ends = beginning.0.ends.take();
    if let (Some(reason), Some(ends)) = (serve(beginning).await, ends) {
        // nobody may wait any more
        let _ = ends.send(reason);
    }
}

/// Wakes the sessions of an endpoint at their deadlines, until none is left.
async fn sweep(sessions: Arc<OpenSet>, sweep: Sweep) {
    /// Its runtime may shut down while sessions of another one go on.
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

/// Waits for the socket. What is needed for that is in a place of its own, which is gone afterwards.
async fn begin<E: Contract>(mut beginning: Box<(Opening, E)>) -> Option<Box<Connection<E>>> {
    let (upgraded, early) = beginning.0.upgrade.as_mut().await?;
    let (Opening { mut request, subprotocol, deflation, sessions, rare, token, .. }, endpoint) = *beginning;
    #[cfg(feature = "adopted")]
    let whole = matches!(upgraded, Upgraded::Whole(_));
    let (socket, writer) = halves(upgraded, &mut request);
    see_to_deadlines(&sessions);
    let session = Session::new(request, None, subprotocol, deflation, sessions, writer, rare);
    let session = if E::LISTS_CODERS { session.with_coders() } else { session };
    #[cfg(feature = "adopted")]
    if whole {
        session.outbound().takes_whole_messages();
    }
    Some(Connection::new(socket, early, endpoint, session, token))
}

/// Makes sure that somebody does.
fn see_to_deadlines(sessions: &Arc<OpenSet>) {
    if let Some(begun) = sessions.begin_sweep() {
        tokio::spawn(sweep(sessions.clone(), begun));
    }
}

/// The socket, and the writing half of a plain one.
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

/// Which of text, binary data and pongs there is a handler for.
pub(crate) fn message_kinds(handlers: &[Handler]) -> [bool; 3] {
    [1, 2, 3].map(|kind| handlers.get(kind).is_some_and(Handler::exists))
}

/// The handlers of an endpoint: of what opens, text, binary data, pongs, what closes, errors; then those of its events.
pub(crate) fn handlers<E: Contract>() -> Vec<Handler> {
    [&[E::OPEN, E::TEXT, E::BINARY, E::PONG, E::CLOSE, E::ERROR], E::EVENTS].concat()
}

/// An annotated client endpoint type. Implemented by `#[client_endpoint]`, not by hand.
#[cfg(feature = "client")]
pub trait ClientEndpoint: Contract {
    /// Its full path in the program.
    fn name() -> &'static str;
    /// What the attribute says.
    const OPTIONS: EndpointOptions;
}

/// A connection that we opened, and that the server has accepted.
#[cfg(feature = "client")]
pub(crate) struct Opened {
    pub(crate) upgraded: Upgraded,
    pub(crate) early: Bytes,
    pub(crate) request: HandshakeRequest,
    pub(crate) response: http::Response<()>,
    pub(crate) deflation: Option<Box<Deflation>>,
    pub(crate) sessions: Arc<OpenSet>,
    /// A shutdown waits until it is gone.
    pub(crate) token: TaskTrackerToken,
}

#[cfg(feature = "client")]
impl Opened {
    /// Serves it in a task of its own.
    pub(crate) fn serve<E: Contract>(self, endpoint: E) -> Serving {
        let Self { upgraded, early, mut request, response, deflation, sessions, token } = self;
        let (socket, writer) = halves(upgraded, &mut request);
        let subprotocol =
            response.headers().get(http::header::SEC_WEBSOCKET_PROTOCOL).and_then(|name| name.to_str().ok());
        let subprotocol = subprotocol.map(|name| Cow::Owned(name.to_owned()));
        see_to_deadlines(&sessions);
        let session =
            Session::new(request, Some(Box::new(response)), subprotocol, deflation, sessions, writer, <_>::default());
        let session = if E::LISTS_CODERS { session.with_coders() } else { session };
        let mut connection = Connection::new(socket, early, endpoint, session.clone(), token);
        let (opens, opened) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        tokio::spawn(async move {
            Box::pin(connection.open()).await;
            // nobody may wait any more
            let _ = opens.send(());
            let _ = ends.send(connection.live().await);
        });
        Serving { session, opened, ended }
    }
}

/// A connection of a client that is being served.
#[cfg(feature = "client")]
pub(crate) struct Serving {
    pub(crate) session: Session,
    /// Resolves when `on_open` has returned.
    pub(crate) opened: oneshot::Receiver<()>,
    /// Resolves when all is over, `on_close` too.
    pub(crate) ended: oneshot::Receiver<CloseReason>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}:{})", self.path, self.name, self.file, self.line)
    }
}
