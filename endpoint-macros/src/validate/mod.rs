//! From what was written to a valid model, or all errors at once: one rule, one function, one message.
//!
//! The model is here; `expand` cannot fail on it.

use proc_macro2::{Ident, Span, TokenStream};
use syn::{Attribute, LitStr, ReturnType, Type};

use crate::options::Configurator;
use crate::types::KnownType;

pub(crate) mod endpoint;
pub(crate) mod handler;
mod parameter;

/// A valid `#[server_endpoint]` or `#[client_endpoint]`.
pub(crate) struct Endpoint {
    /// `None` for a client.
    pub(crate) path: Option<LitStr>,
    pub(crate) subprotocols: Vec<LitStr>,
    /// A principal needs one of these roles; empty admits everybody.
    pub(crate) roles: Vec<LitStr>,
    pub(crate) configurator: Option<Configurator>,
    pub(crate) interceptors: Vec<Configurator>,
    /// An expression of type `MessageRate`.
    pub(crate) rate: Option<TokenStream>,
    /// The place of `instance = shared`, if all connections share one instance.
    pub(crate) shared: Option<Span>,
    /// Fields of `EndpointOptions`, each with an expression for the value inside its `Some`.
    pub(crate) options: Vec<(&'static str, TokenStream)>,
    pub(crate) decoders: Vec<Type>,
    pub(crate) encoders: Vec<Type>,
    /// Types of properties that other nodes may ask for.
    pub(crate) shared_properties: Vec<Type>,
    pub(crate) events: Vec<LitStr>,
    /// Whether sessions are present in their rooms, even if the option has errors.
    pub(crate) has_presence: bool,
}

/// A valid handler.
#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) kind: HandlerKind,
    pub(crate) is_async: bool,
    pub(crate) method: Ident,
    /// In the order of the method's parameters.
    pub(crate) arguments: Vec<Argument>,
    /// An expression of type `usize`.
    pub(crate) max_size: Option<TokenStream>,
    /// An expression of type `u64`.
    pub(crate) max_total: Option<TokenStream>,
    /// An expression of type `Rate`.
    pub(crate) rate: Option<TokenStream>,
    /// The peer's principal needs one of these roles; empty allows everybody.
    pub(crate) roles: Vec<LitStr>,
    /// Whether it reads its message as a stream.
    pub(crate) streams: bool,
    /// The event that it handles, if it handles one of `events(…)`.
    pub(crate) event: Option<LitStr>,
    /// With `'_` for the lifetimes of the method.
    pub(crate) output: ReturnType,
    /// The `#[cfg]` attributes of the method.
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) is_deprecated: bool,
    /// The place of `self`.
    pub(crate) receiver: Span,
    /// Whether it takes `&mut self`.
    pub(crate) by_mut: bool,
}

impl Handler {
    /// Whether the parameter at this position after `self` is a state.
    pub(crate) fn takes_state(&self, index: usize) -> bool {
        self.arguments.get(index).is_some_and(|argument| matches!(argument.source, Source::State(_)))
    }
}

/// The kind of a handler. An endpoint has at most one handler of each kind, and one for each of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandlerKind {
    Open,
    Text,
    Binary,
    Pong,
    Close,
    Error,
    Presence,
}

/// The value that is passed for a parameter.
#[derive(Clone)]
pub(crate) struct Argument {
    pub(crate) source: Source,
    /// The parameter's type, without the `&` if it has one, and with `'_` for the lifetimes of the method.
    pub(crate) ty: Type,
    /// Whether it has one.
    pub(crate) by_ref: bool,
    /// The type, judged by its name.
    pub(crate) known: KnownType,
    /// Whether the value borrows from the message, as `Json<Say<'_>>` does.
    pub(crate) borrows: bool,
}

/// Where the value of an argument comes from.
#[derive(Clone)]
pub(crate) enum Source {
    Session,
    CloseReason,
    Error,
    /// Whether this part of a message is the last one.
    Last,
    /// The path variable of this name.
    PathParam(LitStr),
    /// The query parameter of this name.
    QueryParam(LitStr),
    HandshakeRequest,
    /// The value of this type that the application provides.
    State(Box<Type>),
    /// The change of presence.
    Presence,
    Payload,
}
