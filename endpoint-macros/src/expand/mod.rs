//! From the valid model to tokens. Cannot fail; names only `::endpoint_runtime::__private` and `::core`.
//!
//! Tokens that may appear in a compile error have the span of their cause in the user's code. All names resolve at the
//! attribute, so that neither lints nor names of the surrounding code apply to them.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use crate::crate_path::runtime;
use crate::validate::HandlerKind;

mod argument;
mod conversion;
pub(crate) mod endpoint;
pub(crate) mod event;
pub(crate) mod handler;
mod replies;
pub(crate) mod state_pattern;

/// The location of `span`, with names resolved at the attribute.
pub(crate) fn located_at(span: Span) -> Span {
    span.resolved_at(Span::call_site())
}

/// The name of the hidden method that calls a handler without a future.
pub(super) fn sync_method(method: &Ident) -> Ident {
    format_ident!("{method}_sync")
}

impl HandlerKind {
    /// The last word of the names below.
    fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Pong => "pong",
            Self::Close => "close",
            Self::Error => "error",
            Self::Presence => "presence",
        }
    }

    /// The method of the trait that the connection calls.
    pub(super) fn trait_method(self) -> Ident {
        format_ident!("on_{}", self.word())
    }

    /// The constant of that trait.
    pub(super) fn trait_const(self) -> Ident {
        format_ident!("{}", self.word().to_uppercase())
    }

    /// The method of that trait for a message that the handler reads as a stream.
    pub(super) fn trait_stream_method(self) -> Ident {
        format_ident!("on_{}_stream", self.word())
    }

    /// The rule that the names of the hidden items spell out. The compiler prints such a name for the second handler of a
    /// kind.
    fn sentence(self) -> &'static str {
        match self {
            Self::Open => "an_endpoint_has_one_on_open",
            Self::Text => "an_endpoint_has_one_handler_for_text",
            Self::Binary => "an_endpoint_has_one_handler_for_binary",
            Self::Pong => "an_endpoint_has_one_handler_for_pong",
            Self::Close => "an_endpoint_has_one_on_close",
            Self::Error => "an_endpoint_has_one_on_error",
            Self::Presence => "an_endpoint_has_one_on_presence",
        }
    }

    /// The method beside the handler.
    pub(super) fn hidden_method(self) -> Ident {
        format_ident!("__{}", self.sentence())
    }

    /// The method beside a handler that reads its message as a stream.
    pub(super) fn hidden_stream_method(self) -> Ident {
        format_ident!("{}_stream", self.hidden_method())
    }

    /// The constant beside the handler.
    pub(super) fn hidden_const(self) -> Ident {
        format_ident!("__{}", self.sentence().to_uppercase())
    }

    /// The type of such a stream.
    pub(super) fn stream_type(self) -> Ident {
        format_ident!("{}", if self == Self::Text { "TextStream" } else { "BinaryStream" })
    }

    pub(super) fn parameter_names(self) -> TokenStream {
        match self {
            Self::Open => quote!(),
            Self::Text | Self::Binary => quote!(__payload, __last),
            Self::Pong | Self::Close | Self::Error | Self::Presence => quote!(__payload),
        }
    }

    pub(super) fn owned_parameters(self) -> TokenStream {
        let rt = runtime();
        match self {
            Self::Open => quote!(),
            Self::Text => quote!(__payload: #rt::Text, __last: ::core::primitive::bool),
            Self::Binary => quote!(__payload: #rt::Binary, __last: ::core::primitive::bool),
            Self::Pong => quote!(__payload: #rt::Pong),
            Self::Close => quote!(__payload: #rt::CloseReason),
            Self::Error => quote!(__payload: #rt::Error),
            Self::Presence => quote!(__payload: #rt::PresenceChange),
        }
    }

    pub(super) fn borrowed_parameters(self) -> TokenStream {
        match self {
            Self::Text => quote!(__payload: &::core::primitive::str, __last: ::core::primitive::bool),
            _ => quote!(__payload: &[::core::primitive::u8], __last: ::core::primitive::bool),
        }
    }

    pub(super) fn is_message(self) -> bool {
        matches!(self, Self::Text | Self::Binary | Self::Pong)
    }

    /// Whether the value that the method returns is sent to the peer.
    pub(super) fn replies(self) -> bool {
        self.is_message() || matches!(self, Self::Open | Self::Presence)
    }

    pub(super) fn output(self) -> TokenStream {
        let rt = runtime();
        if self.replies() { quote!(#rt::Reply) } else { quote!(::core::result::Result<(), #rt::Error>) }
    }
}
