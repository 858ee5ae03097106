//! From the valid model to tokens. Cannot fail; names only `::endpoint_runtime::__private` and `::core`.
//!
//! Two kinds of spans: what the user may hear about stands where he wrote the cause; everything resolves at the
//! attribute, so that neither lints nor names of the surrounding code reach it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use crate::validate::Event;

mod argument;
pub(crate) mod endpoint;
mod event;
pub(crate) mod handler;

/// The only way from generated code into the runtime.
pub(crate) fn runtime() -> TokenStream {
    quote!(::endpoint_runtime::__private)
}

/// The place of `span` with the names of the attribute.
pub(crate) fn at(span: Span) -> Span {
    span.resolved_at(Span::call_site())
}

impl Event {
    /// The last word of every name.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Pong => "pong",
            Self::Close => "close",
            Self::Error => "error",
        }
    }

    pub(super) fn method(self) -> String {
        format!("on_{}", self.word())
    }

    pub(super) fn hidden_method(self) -> Ident {
        format_ident!("__endpoint_on_{}", self.word())
    }

    /// The hidden method for a message that is read while it arrives.
    pub(super) fn hidden_stream(self) -> Ident {
        format_ident!("{}_stream", self.hidden_method())
    }

    /// What such a message is.
    pub(super) fn stream(self) -> Ident {
        format_ident!("{}", if self == Self::Text { "TextStream" } else { "BinaryStream" })
    }

    pub(super) fn hidden_const(self) -> Ident {
        format_ident!("__ENDPOINT_ON_{}", self.word().to_uppercase())
    }

    pub(super) fn parameter_names(self) -> TokenStream {
        match self {
            Self::Open => quote!(),
            Self::Text | Self::Binary => quote!(__payload, __last),
            Self::Pong | Self::Close | Self::Error => quote!(__payload),
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
        }
    }

    pub(super) fn borrowed_parameters(self) -> TokenStream {
        match self {
            Self::Text => quote!(__payload: &::core::primitive::str, __last: ::core::primitive::bool),
            _ => quote!(__payload: &[::core::primitive::u8], __last: ::core::primitive::bool),
        }
    }

    pub(super) fn output(self) -> TokenStream {
        let rt = runtime();
        match self {
            Self::Text | Self::Binary | Self::Pong => quote!(#rt::Reply),
            Self::Open | Self::Close | Self::Error => {
                quote!(::core::result::Result<(), #rt::Error>)
            }
        }
    }
}
