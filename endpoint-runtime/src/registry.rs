//! What is known of an endpoint before anything is served: path, type, place in the source, options, and how a
//! connection is handed to it.

use std::any::TypeId;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::config::EndpointOptions;
use crate::connection::Connection;
use crate::endpoint::{Annotated, Endpoint, Handler};
use crate::error::{Error, Kind};
use crate::handshake::refusal::Refusal;
use crate::path::PathParams;
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
    pub(crate) prepare: Option<PrepareDefault>,
}

inventory::collect!(Registration);

/// An annotated endpoint type. Implemented by `#[server_endpoint]`, not by hand.
pub trait ServerEndpoint: Endpoint + Annotated {
    /// What the registry is told.
    const REGISTRATION: Registration;
    /// `Default::default`, if the type has it.
    const CONSTRUCT: Option<fn() -> Self>;
}

/// Makes an instance by `Default`.
pub(crate) type PrepareDefault = fn(&HandshakeRequest) -> Result<Prepared, Refusal>;

/// An endpoint instance that waits for its socket. The type is erased here, once per connection; below, everything
/// knows it.
pub(crate) type Prepared = Box<dyn FnOnce(Opening) + Send>;

/// Resolves to the socket and the octets that came early; to none if the upgrade was not completed.
pub(crate) type Upgrade = Pin<Box<dyn Future<Output = Option<(Upgraded, Bytes)>> + Send>>;

/// A connection that was accepted, and is to be served as soon as HTTP lets go of its socket.
pub(crate) struct Opening {
    pub(crate) upgrade: Upgrade,
    pub(crate) request: HandshakeRequest,
    pub(crate) subprotocol: Option<&'static str>,
    pub(crate) deflation: Option<Box<Deflation>>,
    pub(crate) sessions: Arc<OpenSet>,
    /// A shutdown waits until it is gone.
    pub(crate) token: TaskTrackerToken,
}

/// What HTTP leaves behind.
pub(crate) enum Upgraded {
    Tcp(TcpStream),
    Other(Box<dyn Io>),
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
            handlers: || [&[E::OPEN, E::TEXT, E::BINARY, E::PONG, E::CLOSE, E::ERROR], E::EVENTS].concat(),
            prepare: if E::CONSTRUCT.is_some() { Some(prepare_default::<E>) } else { None },
        }
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

fn prepare_default<E: ServerEndpoint>(_: &HandshakeRequest) -> Result<Prepared, Refusal> {
    let construct = E::CONSTRUCT
        .ok_or_else(|| Refusal::construction_failed(&Error::new(Kind::Deploy, "the type has no Default")))?;
    prepare(|| Ok(construct()))
}

/// Makes an instance; a panic there refuses the handshake like an error.
pub(crate) fn prepare<E: Endpoint>(construct: impl FnOnce() -> Result<E, Refusal>) -> Result<Prepared, Refusal> {
    let endpoint = catch_unwind(AssertUnwindSafe(construct))
        .unwrap_or_else(|panic| Err(Refusal::construction_failed(&Error::panic(&*panic))))?;
    Ok(Box::new(move |opening| {
        tokio::spawn(serve(Box::new((opening, endpoint))));
    }))
}

/// The task of a connection.
async fn serve<E: Endpoint>(beginning: Box<(Opening, E)>) {
    if let Some(connection) = begin(beginning).await {
        connection.live().await;
    }
}

/// Waits for the socket. What is needed for that is in a place of its own, which is gone afterwards.
async fn begin<E: Endpoint>(mut beginning: Box<(Opening, E)>) -> Option<Box<Connection<E>>> {
    let (upgraded, early) = beginning.0.upgrade.as_mut().await?;
    let (Opening { mut request, subprotocol, deflation, sessions, token, .. }, endpoint) = *beginning;
    let (socket, writer) = match upgraded {
        Upgraded::Tcp(tcp) => {
            request.learn_addresses(|| tcp.peer_addr().ok(), || tcp.local_addr().ok());
            let (socket, writer) = Socket::tcp(tcp);
            (socket, Some(writer))
        }
        Upgraded::Other(io) => (Socket::Other(io), None),
    };
    let mut session = Session::new(request, subprotocol, deflation, sessions, writer);
    if E::LISTS_CODERS {
        session = session.with_coders();
    }
    Some(Connection::new(socket, early, endpoint, session, token))
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}:{})", self.path, self.name, self.file, self.line)
    }
}
