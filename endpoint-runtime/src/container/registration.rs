//! Registration of an endpoint before it serves: path, type, source location, options, and the functions that make its
//! instances.

use std::any::TypeId;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::erased_configurator::{Configurable, Configured};
use super::guards::GuardSettings;
use super::serving::{Prepare, Prepared, prepare};
use crate::config::EndpointOptions;
use crate::container::configurator::Configurator;
use crate::endpoint::contract::{Annotated, EndpointHandlers, Handler};
use crate::endpoint::interceptor::SharedInterceptor;
use crate::endpoint::programmatic::{Endpoint, Programmatic};
use crate::error::{Error, Kind};
use crate::handshake::path::PathParams;
use crate::handshake::refusal::Refusal;
use crate::handshake::request::HandshakeRequest;
use crate::limits::message_rate::MessageRate;
use crate::session::shared_properties::SharedProperty;
use crate::session::state::{StateRequirement, States};

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
    /// Properties that other nodes may ask for.
    pub(crate) shared: &'static [SharedProperty],
    /// Makes the configurator that the annotation names.
    pub(crate) configured: Option<fn() -> Configured>,
    /// Makes the interceptors that the annotation names.
    pub(crate) intercepted: Option<fn() -> Vec<SharedInterceptor>>,
    /// How much a peer may send.
    pub(crate) rate: Option<MessageRate>,
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
            shared: &[],
            configured: None,
            intercepted: None,
            rate: None,
        }
    }

    /// Sets which properties other nodes may ask for.
    pub const fn sharing(mut self, shared: &'static [SharedProperty]) -> Self {
        self.shared = shared;
        self
    }

    /// Adds a configurator, which is made once for each mounted endpoint.
    pub const fn configured_by(mut self, configured: fn() -> Configured) -> Self {
        self.configured = Some(configured);
        self
    }

    /// Adds interceptors, which are made once for each mounted endpoint.
    pub const fn intercepted_by(mut self, intercepted: fn() -> Vec<SharedInterceptor>) -> Self {
        self.intercepted = Some(intercepted);
        self
    }

    /// Sets how much a peer may send.
    pub const fn rated(mut self, rate: MessageRate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// The interceptors and the rate of the annotation.
    pub(super) fn guards(&self) -> GuardSettings {
        let interceptors = self.intercepted.map(|make| make()).unwrap_or_default();
        GuardSettings { interceptors, rate: self.rate }
    }

    /// The handlers of the endpoint.
    pub(crate) fn handlers(&self) -> Handlers {
        (self.handlers)()
    }
}

/// The handlers of an endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Handlers {
    /// In this order: open, text, binary, pong, close, error, presence.
    own: [Handler; 7],
    of_events: &'static [Handler],
}

impl Handlers {
    pub(crate) fn of<E: EndpointHandlers>() -> Self {
        Self { own: [E::OPEN, E::TEXT, E::BINARY, E::PONG, E::CLOSE, E::ERROR, E::PRESENCE], of_events: E::EVENTS }
    }

    /// Whether there is a handler for text, binary and pong messages.
    pub(crate) fn message_kinds(&self) -> [bool; 3] {
        let [_, messages @ .., _, _, _] = &self.own;
        messages.each_ref().map(Handler::exists)
    }

    /// Whether there is a handler for changes of presence.
    pub(crate) fn hears_presence(&self) -> bool {
        let [.., presence] = &self.own;
        presence.exists()
    }

    /// The kinds of events that have handlers. Those of listed events are handlers of text.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let kinds = ["open", "text", "binary", "pong", "close", "error", "presence"];
        kinds.into_iter().zip(self.own).filter(|(_, handler)| handler.exists()).map(|(kind, _)| kind)
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

impl<E: ServerEndpoint> Configurable for E {
    fn configured(configurator: impl Configurator<Self>) -> Configured {
        let prepare: Option<fn(E) -> Result<Prepared, Refusal>> = match E::SHARING {
            Sharing::PerConnection(_) => Some(|endpoint| match E::SHARING {
                Sharing::PerConnection(own) => prepare(|| Ok(own(endpoint))),
                Sharing::Shared(lender) => prepare(|| Ok(lender(endpoint)())),
            }),
            Sharing::Shared(_) => None,
        };
        Configured::of(configurator, prepare)
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

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}:{})", self.path, self.name, self.file, self.line)
    }
}
