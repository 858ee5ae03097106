//! The items that generated code names. Not public API: they change without notice.

pub use std::future::Future;
use std::marker::PhantomData;
pub use std::sync::Arc;

pub use inventory;

pub use crate::codec::error_kind::{BoxedKind, ReportKind};
#[cfg(feature = "json")]
pub use crate::codec::event::{FromEvent, IntoEventReply, Occurrence};
#[cfg(feature = "json")]
pub use crate::codec::negotiated::Negotiated;
pub use crate::codec::session_coders::EncodeContext;
pub use crate::codec::{BorrowMessage, DecodeBinary, DecodeText, Encode, IntoError, IntoOutcome, IntoReply, Object};
pub use crate::config::{Compression, EndpointOptions, HISTORY_LAST, HISTORY_WITHIN, Overflow, PRESENCE_GRACE};
pub use crate::container::erased_configurator::Configured;
#[cfg(feature = "client")]
pub use crate::container::registration::ClientEndpoint;
pub use crate::container::registration::{Registration, ServerEndpoint, SharedFactory, Sharing, lend};
pub use crate::endpoint::coder_selection::{
    ByItself, DecoderOfBinary, DecoderOfText, EncoderOfReply, EncodesReply, List, NotByItself, taking,
};
pub use crate::endpoint::contract::{
    Annotated, AsMutReceiver, EndpointHandlers, Fallback, Handler, LazyHandlerFuture, Mode, Reply,
};
pub use crate::endpoint::interceptor::SharedInterceptor;
pub use crate::endpoint::listed_coders::{
    Encodes, Has, HasNot, If, Select, encode_listed, encoder_kind, list_decoder, list_encoder,
};
pub use crate::endpoint::replies::{send_all, send_each};
pub use crate::error::Error;
use crate::error::Kind;
pub use crate::handshake::path::{MissingVariable, PathParam, PathParams, template_has};
pub use crate::handshake::request::{HandshakeRequest, QueryParam};
pub use crate::limits::message_rate::{MessageRate, OverRate};
pub use crate::limits::rate::Rate;
pub use crate::session::Session;
pub use crate::session::heard::PresenceChange;
pub use crate::session::present::FromPresence;
pub use crate::session::shared_properties::SharedProperty;
pub use crate::session::state::{State, StateRequirement};
pub use crate::session::stream::{BinaryStream, TextStream};
pub use endpoint_wire::close::CloseReason;
pub use endpoint_wire::message::{Binary, Message, Pong};
pub use endpoint_wire::text::Text;

/// The attributes of methods.
pub mod attributes {
    pub use endpoint_macros::{on_close, on_error, on_message, on_open, on_presence};
}

/// Detects whether a type implements `Default`: if so, `Construct::<T>::DEFAULT` is the inherent constant, otherwise
/// that of [`NoDefault`].
#[derive(Debug)]
pub struct Construct<T>(PhantomData<T>);

impl<T: Default> Construct<T> {
    /// `T::default`.
    pub const DEFAULT: Option<fn() -> T> = Some(T::default);
}

/// Fallback of [`Construct`] for a type without `Default`.
pub trait NoDefault<T> {
    /// No constructor.
    const DEFAULT: Option<fn() -> T> = None;
}

impl<T> NoDefault<T> for Construct<T> {}

/// The state that a handler takes; deployment fails if it is not provided.
pub fn state<T: 'static>(session: &Session) -> Result<&State<T>, Error> {
    session
        .state()
        .ok_or_else(|| Error::new(Kind::Deploy, format!("no State<{}> was provided", std::any::type_name::<T>())))
}

/// Parses a message of a session as an event.
#[cfg(feature = "json")]
pub fn occurrence<'a>(session: &Session, message: &'a str) -> Result<Occurrence<'a>, crate::error::BoxError> {
    session.decoding(|| Occurrence::of(message))
}

/// The error for a message of a session that matches no listed event, if there is no other text handler.
#[cfg(feature = "json")]
pub fn no_event(session: &Session, message: &str, listed: &[&str]) -> Error {
    session.decoding(|| crate::codec::event::no_event(message, listed))
}

/// Decodes a message of a session, within the nesting bound of its endpoint.
#[cfg(feature = "json")]
pub fn decoding<T>(session: &Session, decode: impl FnOnce() -> T) -> T {
    session.decoding(decode)
}

/// A parameter type that is named like our type `T`: it is `T`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `{T}`, only named like it",
    label = "a handler takes a parameter of this name as `{T}`",
    note = "import endpoint_runtime's type, or give this parameter's type another name; if it is the message, write `#[on_message(text)]` or `#[on_message(binary)]`"
)]
pub trait NamedLike<T>: Sized {
    /// The value itself.
    fn owned(value: T) -> Self;
    /// The value itself, borrowed.
    fn borrowed(value: &T) -> &Self;
}

impl<T> NamedLike<T> for T {
    #[inline]
    fn owned(value: T) -> T {
        value
    }

    #[inline]
    fn borrowed(value: &T) -> &T {
        value
    }
}

/// Decodes a message of a session into a payload that borrows from it, within the nesting bound of its endpoint.
pub fn borrow_message<'m, M: ?Sized, T: BorrowMessage<'m, M>>(session: &Session, message: &'m M) -> Result<T, Error> {
    session.decoding(|| T::borrow_message(message))
}

/// Encodes `object` for one session as a reply.
pub fn reply_for<T: Encode>(session: &Session, object: &T) -> Reply {
    object.encode_for(&session.encode_context()).map(Some)
}

/// Whether `events` contains `name`.
pub const fn lists_event(events: &[&str], name: &str) -> bool {
    let mut index = 0;
    while index < events.len() {
        let (event, name) = (events[index].as_bytes(), name.as_bytes());
        let mut same = 0;
        while same < event.len() && same < name.len() && event[same] == name[same] {
            same += 1;
        }
        if same == event.len() && same == name.len() {
            return true;
        }
        index += 1;
    }
    false
}

/// Fails unless the principal of the session has one of `roles`.
pub fn permit(session: &Session, roles: &[&str]) -> Result<(), Error> {
    if roles.iter().any(|role| session.is_user_in_role(role)) {
        return Ok(());
    }
    let text = format!("the message requires one of the roles {roles:?}, and the peer has none of them");
    Err(Error::new(Kind::Forbidden, text))
}
