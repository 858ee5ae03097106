//! The arguments with which generated code calls a handler's method.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{LitStr, Type};

use crate::crate_path::runtime;
use crate::expand::located_at;
use crate::types::{KnownType, is_str, option_inner, vec_inner};
use crate::validate::{Argument, HandlerKind, Source};

/// An expression for `argument`. `is_sync` tells whether the message is borrowed.
pub(super) fn argument(kind: HandlerKind, argument: &Argument, is_sync: bool) -> TokenStream {
    let rt = runtime();
    let ty = &argument.ty;
    let place = located_at(ty.span());
    match &argument.source {
        Source::Session => {
            let clone = quote_spanned!(place=> <#rt::Session as ::core::clone::Clone>::clone(__session));
            ours(argument, &quote!(#rt::Session), &quote_spanned!(place=> __session), &clone)
        }
        Source::Last => quote_spanned!(place=> __last),
        Source::PathParam(variable) => path_param(variable, argument, &quote!(#rt::Session::path_params(__session))),
        Source::QueryParam(name) => query_param(name, ty, &quote!(#rt::Session::handshake_request(__session))),
        Source::State(inner) => {
            let state = quote_spanned!(place=> #rt::state::<#inner>(__session)?);
            let clone = quote_spanned!(place=> <#rt::State<#inner> as ::core::clone::Clone>::clone(#state));
            ours(argument, &quote!(#rt::State<#inner>), &state, &clone)
        }
        Source::HandshakeRequest => {
            let request = quote_spanned!(place=> #rt::Session::handshake_request(__session));
            ours(argument, &quote!(#rt::HandshakeRequest), &request, &request)
        }
        Source::CloseReason => ours_of_call(argument, &quote!(#rt::CloseReason)),
        Source::Error => ours_of_call(argument, &quote!(#rt::Error)),
        Source::Presence => {
            let borrow = borrow(argument);
            quote_spanned!(place=> #borrow <#ty as #rt::FromPresence>::from_change(__session, &__payload))
        }
        Source::Payload => payload(kind, argument, is_sync),
    }
}

/// A value of our type `own` for a parameter that is named like it. The error about a type that only has the same name
/// points to that type.
fn ours(argument: &Argument, own: &TokenStream, borrowed: &TokenStream, owned: &TokenStream) -> TokenStream {
    let rt = runtime();
    let ty = &argument.ty;
    let place = located_at(ty.span());
    if argument.by_ref {
        quote_spanned!(place=> <#ty as #rt::NamedLike<#own>>::borrowed(#borrowed))
    } else {
        quote_spanned!(place=> <#ty as #rt::NamedLike<#own>>::owned(#owned))
    }
}

/// [`ours`], for the value that the hidden method is given.
fn ours_of_call(argument: &Argument, own: &TokenStream) -> TokenStream {
    let place = located_at(argument.ty.span());
    ours(argument, own, &quote_spanned!(place=> &__payload), &quote_spanned!(place=> __payload))
}

/// `&`, if the parameter has one.
fn borrow(argument: &Argument) -> TokenStream {
    if argument.by_ref { quote_spanned!(located_at(argument.ty.span())=> &) } else { quote!() }
}

fn payload(kind: HandlerKind, argument: &Argument, is_sync: bool) -> TokenStream {
    let rt = runtime();
    let ty = &argument.ty;
    let place = located_at(ty.span());
    let borrow = borrow(argument);
    match (kind, argument.known) {
        (_, KnownType::TextStream) => ours_of_call(argument, &quote!(#rt::TextStream)),
        (_, KnownType::BinaryStream) => ours_of_call(argument, &quote!(#rt::BinaryStream)),
        (HandlerKind::Pong, _) => ours_of_call(argument, &quote!(#rt::Pong)),
        _ if argument.borrows => {
            let message = match (kind, is_sync) {
                (_, true) => quote!(__payload),
                (HandlerKind::Binary, false) => quote!(#rt::Binary::as_slice(&__payload)),
                (_, false) => quote!(#rt::Text::as_str(&__payload)),
            };
            quote_spanned!(place=> #borrow #rt::borrow_message::<_, #ty>(__session, #message)?)
        }
        (_, KnownType::Negotiated) => {
            let message = quote!(<#rt::Message as ::core::convert::From<_>>::from(__payload));
            let decode = quote!(|| <#ty>::decode(#message, &#rt::Session::encode_context(__session)));
            quote!(#borrow #rt::decoding(__session, #decode)?)
        }
        (HandlerKind::Binary, _) if is_slice(argument) && is_sync => quote_spanned!(place=> __payload),
        (HandlerKind::Binary, _) if is_slice(argument) => quote_spanned!(place=> #rt::Binary::as_slice(&__payload)),
        (HandlerKind::Binary, _) => {
            let data = if is_sync {
                quote!(<#rt::Binary as ::core::convert::From<_>>::from(__payload))
            } else {
                quote!(__payload)
            };
            let decoded = decoded(ty, "DecoderOfBinary", "binary", "BINARY", data);
            quote!(#borrow #decoded)
        }
        _ if is_str(ty) && is_sync => quote_spanned!(place=> __payload),
        _ if is_str(ty) => quote_spanned!(place=> #rt::Text::as_str(&__payload)),
        _ => {
            let method = if is_sync { "str" } else { "text" };
            let decoded = decoded(ty, "DecoderOfText", method, "TEXT", quote!(__payload));
            quote!(#borrow #decoded)
        }
    }
}

/// The payload of type `ty`, decoded by a listed decoder or by the type itself.
fn decoded(ty: &Type, choice: &str, method: &str, by_itself: &str, message: TokenStream) -> TokenStream {
    let rt = runtime();
    let (choice, by_itself) = (format_ident!("{choice}"), format_ident!("{by_itself}"));
    // the error about a missing decoder points to the type
    let method = Ident::new(method, ty.span());
    quote!({
        use #rt::{Fallback as _, NotByItself as _};
        #rt::#choice::<_, #ty>::among(Self::__ENDPOINT_DECODERS)
            .#method(__session, #message, #rt::ByItself::<#ty>::#by_itself)?
    })
}

pub(super) fn is_slice(argument: &Argument) -> bool {
    argument.by_ref && matches!(argument.ty, Type::Slice(_))
}

/// Whether the argument borrows from what the hidden method is given, which must then live as long as the call.
pub(super) fn borrows_from_call(argument: &Argument) -> bool {
    match argument.source {
        Source::Session | Source::HandshakeRequest | Source::State(_) | Source::QueryParam(_) | Source::Last => false,
        Source::Presence => argument.by_ref,
        // text of the path is borrowed from the session
        Source::PathParam(_) => argument.by_ref && !is_str(&argument.ty),
        Source::CloseReason | Source::Error | Source::Payload => argument.by_ref || argument.borrows,
    }
}

/// The value of `variable` in `params`.
pub(super) fn path_param(variable: &LitStr, argument: &Argument, params: &TokenStream) -> TokenStream {
    let rt = runtime();
    let ty = &argument.ty;
    match option_inner(ty) {
        // the handler does not compile unless the template has the variable
        None if is_str(ty) => quote!(::core::option::Option::unwrap_or(#rt::PathParams::get(#params, #variable), "")),
        None => quote!(#rt::PathParams::parse::<#ty>(#params, #variable)?),
        Some(_) if accepts_any_text(ty) => quote!(#rt::PathParams::get(#params, #variable)),
        Some(ty) => quote!(#rt::PathParams::parse_optional::<#ty>(#params, #variable)?),
    }
}

/// The value of the parameter `name` in the query of `request`.
pub(super) fn query_param(name: &LitStr, ty: &Type, request: &TokenStream) -> TokenStream {
    let rt = runtime();
    if let Some(ty) = option_inner(ty) {
        quote!(#rt::HandshakeRequest::parse_optional_query_param::<#ty>(#request, #name)?)
    } else if let Some(ty) = vec_inner(ty) {
        quote!(#rt::HandshakeRequest::parse_query_params::<#ty>(#request, #name)?)
    } else {
        quote!(#rt::HandshakeRequest::parse_query_param::<#ty>(#request, #name)?)
    }
}

/// Whether it is `str` or `Option<&str>`, so that no value fails to parse.
pub(super) fn accepts_any_text(ty: &Type) -> bool {
    is_str(ty) || matches!(option_inner(ty), Some(Type::Reference(reference)) if is_str(&reference.elem))
}
