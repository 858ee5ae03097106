//! Handlers with several replies: a stream or an iterator, whose items are sent one by one.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{LitStr, ReturnType, Type};

use crate::crate_path::runtime;
use crate::expand::handler::{reply_conversion, trait_function};
use crate::types::{Several, option_inner, result_inner, several_items};
use crate::validate::Handler;

/// Whether the handler returns several replies.
pub(super) fn are_several(handler: &Handler) -> bool {
    output(handler).is_some_and(|ty| items(ty).is_some())
}

/// The expression that sends the items of `value`, if the handler returns several replies.
pub(super) fn several(handler: &Handler, value: &TokenStream) -> Option<TokenStream> {
    let rt = runtime();
    let ty = output(handler)?;
    let (conversion, send) = match items(ty)? {
        Several::Stream(item) => (item_conversion(item, handler.event.as_ref()), quote!(send_each)),
        Several::List(item) => (item_conversion(item, handler.event.as_ref()), quote!(send_all)),
    };
    let opened = opened(ty);
    Some(quote!(#rt::#send(__session, #opened(#value), #conversion).await))
}

fn output(handler: &Handler) -> Option<&Type> {
    match &handler.output {
        ReturnType::Type(_, ty) if handler.kind.replies() => Some(ty),
        _ => None,
    }
}

fn item_conversion(item: &Type, event: Option<&LitStr>) -> TokenStream {
    reply_conversion(item, event)
}

/// The items of the stream or list in `ty`, perhaps inside `Option` and `Result`.
fn items(ty: &Type) -> Option<Several<'_>> {
    match (option_inner(ty), result_inner(ty)) {
        (Some(inner), _) | (_, Some((inner, _))) => items(inner),
        (None, None) => several_items(ty),
    }
}

/// A function that converts a `ty` to a `Result<Option<_>, Error>` of the stream or list in it.
fn opened(ty: &Type) -> TokenStream {
    if let Some(inner) = option_inner(ty) {
        let inner = opened(inner);
        quote!((move |__option| match __option {
            ::core::option::Option::Some(__some) => #inner(__some),
            ::core::option::Option::None => ::core::result::Result::Ok(::core::option::Option::None),
        }))
    } else if let Some((inner, error)) = result_inner(ty) {
        let (inner, error) = (opened(inner), trait_function(error, "IntoError", "into_error"));
        quote!((move |__result| match __result {
            ::core::result::Result::Ok(__ok) => #inner(__ok),
            ::core::result::Result::Err(__error) => ::core::result::Result::Err(#error(__error)),
        }))
    } else {
        quote!((move |__replies| ::core::result::Result::Ok(::core::option::Option::Some(__replies))))
    }
}
