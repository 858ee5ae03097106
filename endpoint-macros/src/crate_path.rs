//! The path to the runtime in generated code.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

/// The only path from generated code into the runtime.
pub(crate) fn runtime() -> TokenStream {
    quote!(::endpoint_runtime::__private)
}

/// [`runtime`], with the location of `span` and its names: for tokens whose error must have one place.
pub(crate) fn runtime_at(span: Span) -> TokenStream {
    quote_spanned!(span=> ::endpoint_runtime::__private)
}

/// Whether a path that begins with `ident` leads into the runtime.
pub(crate) fn begins_with(ident: &Ident) -> bool {
    ident == "endpoint_runtime"
}
