//! The functions that convert the value of a handler's method.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{LitStr, ReturnType, Type};

use crate::crate_path::{runtime, runtime_at};
use crate::expand::located_at;
use crate::types::{KnownType, ResultType, known_type, option_inner, result_type};
use crate::validate::Handler;

/// The function that converts the value of the method for the connection.
pub(super) fn conversion(handler: &Handler) -> TokenStream {
    let rt = runtime();
    let replies = handler.kind.replies();
    match &handler.output {
        ReturnType::Default if replies => quote!(<() as #rt::IntoReply>::into_reply),
        ReturnType::Default => quote!(<() as #rt::IntoOutcome>::into_outcome),
        ReturnType::Type(_, ty) if replies => reply_conversion(ty, handler.event.as_ref()),
        ReturnType::Type(_, ty) => outcome_conversion(ty),
    }
}

/// The function that converts a `ty` to a reply. `Option` and `Result` are taken apart here, so that an error about the
/// type in them points to that type.
pub(super) fn reply_conversion(ty: &Type, event: Option<&LitStr>) -> TokenStream {
    if let Some(inner) = option_inner(ty) {
        return some_conversion(&reply_conversion(inner, event));
    }
    if let Some(result) = result_type(ty) {
        return ok_conversion(&reply_conversion(result.value, event), &result);
    }
    if let Some(event) = event {
        let into = trait_function(ty, "IntoEventReply", "into_event_reply");
        return quote!((move |__reply| #into(__reply, #event)));
    }
    let rt = runtime();
    if known_type(ty) == KnownType::Negotiated {
        return quote!((move |__reply: #ty| #rt::reply_for(__session, &__reply)));
    }
    if has_impl_trait(ty.to_token_stream()) {
        return trait_function(ty, "IntoReply", "into_reply");
    }
    let (list, session) = (quote!(Self::__ENDPOINT_ENCODERS), quote!(__session));
    // all with the span of the type, so that the error about a missing encoder points there, once
    let place = ty.span();
    let rt_there = runtime_at(place);
    let conversion = quote_spanned!(place=> {
        let encoder = #rt_there::EncoderOfReply::<_, #ty>::among(#list).encoder();
        #rt_there::EncodesReply::<#ty>::conversion(encoder, #session)
    });
    quote!(({
        use #rt::Fallback as _;
        #conversion
    }))
}

/// The function that converts a `ty` to the result of a handler that cannot reply.
fn outcome_conversion(ty: &Type) -> TokenStream {
    match result_type(ty) {
        Some(result) => ok_conversion(&outcome_conversion(result.value), &result),
        None => trait_function(ty, "IntoOutcome", "into_outcome"),
    }
}

/// A function that converts the value in an `Option`.
pub(super) fn some_conversion(inner: &TokenStream) -> TokenStream {
    quote!((move |__option| match __option {
        ::core::option::Option::Some(__some) => #inner(__some),
        ::core::option::Option::None => ::core::result::Result::Ok(::core::option::Option::None),
    }))
}

/// A function that converts the value in a `Result`, and its error. The error is converted by what it is, because an
/// error that hides another one must keep it.
pub(super) fn ok_conversion(inner: &TokenStream, result: &ResultType<'_>) -> TokenStream {
    let (rt, ty) = (runtime(), result.with_any_value());
    let place = located_at(result.error.map_or_else(|| result.ty.span(), Spanned::span));
    if has_impl_trait(ty.to_token_stream()) {
        // what it is, is not known
        let into_error = quote_spanned!(place=> #rt::IntoError::into_error);
        return quote!((move |__result| match __result {
            ::core::result::Result::Ok(__ok) => #inner(__ok),
            ::core::result::Result::Err(__error) => ::core::result::Result::Err(#into_error(__error)),
        }));
    }
    let converted = quote_spanned!(place=> (&__error).__endpoint_error_kind().into_error(__error));
    quote!((move |__result: #ty| match __result {
        ::core::result::Result::Ok(__ok) => #inner(__ok),
        ::core::result::Result::Err(__error) => {
            use #rt::{BoxedKind as _, ReportKind as _};
            ::core::result::Result::Err(#converted)
        }
    }))
}

/// A function of a trait of the runtime, for a `ty`.
fn trait_function(ty: &Type, name: &str, function: &str) -> TokenStream {
    let rt = runtime();
    let (name, function) = (format_ident!("{name}"), format_ident!("{function}"));
    if has_impl_trait(ty.to_token_stream()) {
        // `impl Trait` can be named only where it is returned
        quote_spanned!(located_at(ty.span())=> #rt::#name::#function)
    } else {
        quote_spanned!(located_at(ty.span())=> <#ty as #rt::#name>::#function)
    }
}

fn has_impl_trait(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "impl",
        TokenTree::Group(group) => has_impl_trait(group.stream()),
        _ => false,
    })
}
