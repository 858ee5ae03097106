//! Handlers with several replies: a stream or an iterator, whose items are sent one by one.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ReturnType, Type};

use crate::crate_path::runtime;
use crate::expand::conversion::{ok_conversion, reply_conversion, some_conversion};
use crate::types::{Several, option_inner, result_type, several_items};
use crate::validate::Handler;

/// Whether the handler returns several replies.
pub(super) fn are_several(handler: &Handler) -> bool {
    output(handler).is_some_and(|ty| items(ty).is_some())
}

/// The expression that sends the items of `value`, if the handler returns several replies.
pub(super) fn several(handler: &Handler, value: &TokenStream) -> Option<TokenStream> {
    let rt = runtime();
    let ty = output(handler)?;
    let (item, send) = match items(ty)? {
        Several::Stream(item) => (item, quote!(send_each)),
        Several::List(item) => (item, quote!(send_all)),
    };
    let (opened, conversion) = (opened(ty), reply_conversion(item, handler.event.as_ref()));
    Some(quote!(#rt::#send(__session, #opened(#value), #conversion).await))
}

fn output(handler: &Handler) -> Option<&Type> {
    match &handler.output {
        ReturnType::Type(_, ty) if handler.kind.replies() => Some(ty),
        _ => None,
    }
}

/// The items of the stream or list in `ty`, perhaps inside `Option` and `Result`.
fn items(ty: &Type) -> Option<Several<'_>> {
    match (option_inner(ty), result_type(ty)) {
        (Some(inner), _) => items(inner),
        (None, Some(result)) => items(result.value),
        (None, None) => several_items(ty),
    }
}

/// A function that converts a `ty` to a `Result<Option<_>, Error>` of the stream or list in it.
fn opened(ty: &Type) -> TokenStream {
    if let Some(inner) = option_inner(ty) {
        some_conversion(&opened(inner))
    } else if let Some(result) = result_type(ty) {
        ok_conversion(&opened(result.value), &result)
    } else {
        quote!((move |__replies| ::core::result::Result::Ok(::core::option::Option::Some(__replies))))
    }
}
