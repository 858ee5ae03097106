//! The tasks of connections: the endpoint's type is known here for the last time.

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

use super::guards::Guards;
use crate::connection::token::ConnectionToken;
use crate::connection::{Connection, Gate};
use crate::endpoint::contract::EndpointHandlers;
use crate::endpoint::dispatch::Dispatch;
use crate::endpoint::outbound;
use crate::error::Error;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::HandshakeRequest;
use crate::limits::connections::ConnectionGuard;
use crate::limits::sessions::Places;
use crate::scheduling::coarse_timer::{SWEEP, Sweep};
use crate::session::{OpenSet, Session, SessionInit};
use crate::transport::socket::{Io, Socket};
use endpoint_wire::close::CloseReason;

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
    pub(crate) guards: Guards,
    /// A shutdown waits until the token is dropped.
    pub(crate) token: TaskTrackerToken,
    /// What the session counts for, until the connection has ended.
    pub(crate) places: Places,
    /// Receives the close reason after `on_close` has returned.
    #[cfg(feature = "adopted")]
    pub(crate) ends: Option<oneshot::Sender<CloseReason>>,
}

impl PendingConnection {
    /// Whether something is left to do when the connection has ended.
    fn has_end(&self) -> bool {
        #[cfg(feature = "adopted")]
        if self.ends.is_some() {
            return true;
        }
        !self.places.is_empty()
    }
}

/// The socket that HTTP releases.
pub(crate) enum Upgraded {
    /// Plain TCP; with a guard if the limits of a server count it.
    Tcp(TcpStream, Option<ConnectionGuard>),
    Other(Box<dyn Io>),
    /// A transport that takes whole messages only.
    #[cfg(feature = "adopted")]
    Whole(Box<dyn Io>),
}

/// Makes an instance; a panic in `construct` refuses the handshake like an error.
pub(crate) fn prepare<E: EndpointHandlers>(
    construct: impl FnOnce() -> Result<E, Refusal>,
) -> Result<Prepared, Refusal> {
    let endpoint = catch_unwind(AssertUnwindSafe(construct))
        .unwrap_or_else(|panic| Err(Refusal::construction_failed(&Error::panic(&*panic))))?;
    Ok(Box::new(move |opening: PendingConnection| {
        if opening.has_end() {
            tokio::spawn(serve_to_the_end(Box::new((opening, endpoint))));
        } else {
            tokio::spawn(serve(Box::new((opening, endpoint))));
        }
    }))
}

/// The task of a connection; returns its close reason.
async fn serve<E: EndpointHandlers>(beginning: Box<(PendingConnection, E)>) -> Option<CloseReason> {
    let mut connection = begin(beginning).await?;
    Box::pin(connection.open()).await;
    Some(connection.live().await)
}

/// Serves a connection, then gives back its places, and sends its close reason to `ends`. The future holds them, so that a
/// session without them is no larger.
async fn serve_to_the_end<E: EndpointHandlers>(mut beginning: Box<(PendingConnection, E)>) {
    let places = std::mem::take(&mut beginning.0.places);
    #[cfg(feature = "adopted")]
    let ends = beginning.0.ends.take();
    let reason = serve(beginning).await;
    drop(places);
    #[cfg(not(feature = "adopted"))]
    drop(reason);
    #[cfg(feature = "adopted")]
    if let (Some(reason), Some(ends)) = (reason, ends) {
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
    let (PendingConnection { init, guards, token, .. }, endpoint) = *beginning;
    Some(connect(upgraded, early, init, guards, endpoint, token))
}

/// Assembles a connection, for a server or a client.
fn connect<E: EndpointHandlers>(
    upgraded: Upgraded,
    early: Bytes,
    mut init: SessionInit,
    guards: Guards,
    endpoint: E,
    token: TaskTrackerToken,
) -> Box<Connection<E>> {
    #[cfg(feature = "adopted")]
    let whole = matches!(upgraded, Upgraded::Whole(_));
    let (socket, writer, guard) = halves(upgraded, &mut init.request);
    ensure_sweep(&init.endpoint);
    let mut session = Session::new(init, writer);
    if E::LISTS_CODERS {
        session = session.with_coders();
    }
    let Guards { interceptors, rate } = guards;
    if let Some(interceptors) = &interceptors {
        session = outbound::watch(session, interceptors);
    }
    let gate = Gate::of::<E>(interceptors.as_deref(), rate);
    #[cfg(feature = "adopted")]
    if whole {
        session.send_queue().takes_whole_messages();
    }
    let dispatch = Dispatch::new(endpoint, session, interceptors);
    Connection::new(socket, early, dispatch, ConnectionToken::new(token, guard), gate)
}

/// Spawns the sweep of the endpoint's deadlines, unless one is running.
fn ensure_sweep(sessions: &Arc<OpenSet>) {
    if let Some(started) = sessions.begin_sweep() {
        tokio::spawn(sweep(sessions.clone(), started));
    }
}

/// The socket; the write half of a plain TCP socket, and what counts it.
fn halves(
    upgraded: Upgraded,
    request: &mut HandshakeRequest,
) -> (Socket, Option<OwnedWriteHalf>, Option<ConnectionGuard>) {
    match upgraded {
        Upgraded::Tcp(tcp, guard) => {
            request.learn_addresses(|| tcp.peer_addr().ok(), || tcp.local_addr().ok());
            let (socket, writer) = Socket::tcp(tcp);
            (socket, Some(writer), guard)
        }
        Upgraded::Other(io) => (Socket::Other(io), None, None),
        #[cfg(feature = "adopted")]
        Upgraded::Whole(io) => (Socket::Other(io), None, None),
    }
}

/// Runs a shutdown; without a result, in a task of its own, if a handler waits for it, because it waits for handlers.
pub(super) async fn detached_if<T: Send + 'static>(
    is_in_handler: bool,
    shutdown: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    if is_in_handler {
        tokio::spawn(shutdown);
        return None;
    }
    Some(shutdown.await)
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
        let mut connection = connect(self.upgraded, self.early, self.init, Guards::default(), endpoint, self.token);
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
