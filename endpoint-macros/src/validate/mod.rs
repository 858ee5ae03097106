//! From what was written to what can be expanded, or to every mistake at once: one rule, one function, one sentence.

use proc_macro2::{Ident, Span, TokenStream};
use syn::{LitStr, ReturnType, Type};

use crate::options::Configurator;

pub(crate) mod endpoint;
pub(crate) mod handler;
mod parameter;

/// What `#[server_endpoint]` or `#[client_endpoint]` says, checked.
pub(crate) struct Endpoint {
    /// None of a client's.
    pub(crate) path: Option<LitStr>,
    pub(crate) subprotocols: Vec<LitStr>,
    /// One of them is needed, unless there are none.
    pub(crate) roles: Vec<LitStr>,
    pub(crate) configurator: Option<Configurator>,
    /// Where it says that all connections share one instance.
    pub(crate) shared: Option<Span>,
    /// Expressions of the types the fields of `EndpointOptions` have, inside their outermost `Some`.
    pub(crate) options: Vec<(&'static str, TokenStream)>,
    pub(crate) decoders: Vec<Type>,
    pub(crate) encoders: Vec<Type>,
    pub(crate) events: Vec<LitStr>,
}

/// What happens, as the hidden items are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Open,
    Text,
    Binary,
    Pong,
    Close,
    Error,
}

/// A handler that can be expanded.
#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) event: Event,
    pub(crate) is_async: bool,
    pub(crate) method: Ident,
    /// In the order of the method.
    pub(crate) arguments: Vec<Argument>,
    /// Of type `usize`.
    pub(crate) max_size: Option<TokenStream>,
    /// The message is for principals with one of these, unless there are none.
    pub(crate) roles: Vec<LitStr>,
    /// Of type `u64`.
    pub(crate) max_total: Option<TokenStream>,
    /// It reads its message while that arrives.
    pub(crate) streams: bool,
    /// The one event whose data it takes.
    pub(crate) of_event: Option<LitStr>,
    pub(crate) output: ReturnType,
    /// Where `self` stands.
    pub(crate) receiver: Span,
    /// Whether it is `&mut self`.
    pub(crate) by_mut: bool,
}

/// What a parameter is given.
#[derive(Clone)]
pub(crate) struct Argument {
    pub(crate) role: Role,
    /// The parameter's type, without the `&` if there is one.
    pub(crate) ty: Type,
    /// Whether there is one.
    pub(crate) by_ref: bool,
}

#[derive(Clone)]
pub(crate) enum Role {
    Session,
    CloseReason,
    Error,
    /// The `bool` that says whether a part is the last.
    Last,
    /// The value of the variable of this name.
    PathParam(LitStr),
    /// The value of the query's parameter of this name.
    QueryParam(LitStr),
    /// The opening request.
    Request,
    /// The value that the application provides, of this type.
    State(Box<Type>),
    Payload,
}
