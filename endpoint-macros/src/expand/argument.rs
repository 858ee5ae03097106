//! What a method is given.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{LitStr, Type};

use crate::expand::{at, runtime};
use crate::types::{Known, inside_option, inside_vec, is_str, known};
use crate::validate::{Argument, Event, Role};

/// What the method is given for `argument`.
pub(super) fn value(event: Event, argument: &Argument, now: bool) -> TokenStream {
    let rt = runtime();
    let ty = &argument.ty;
    let place = at(ty.span());
    let borrow = if argument.by_ref { quote_spanned!(place=> &) } else { quote!() };
    match &argument.role {
        Role::Session if argument.by_ref => quote_spanned!(place=> __session),
        Role::Session => quote_spanned!(place=> <#rt::Session as ::core::clone::Clone>::clone(__session)),
        Role::Last => quote_spanned!(place=> __last),
        Role::PathParam(variable) => path_param(variable, argument, &quote!(#rt::Session::path_params(__session))),
        Role::QueryParam(name) => query_param(name, ty, &quote!(#rt::Session::handshake_request(__session))),
        Role::State(inside) => {
            let state = quote_spanned!(place=> #rt::state::<#inside>(__session)?);
            if argument.by_ref {
                state
            } else {
                quote_spanned!(place=> <#rt::State<#inside> as ::core::clone::Clone>::clone(#state))
            }
        }
        Role::Request => quote_spanned!(place=> #rt::Session::handshake_request(__session)),
        Role::CloseReason | Role::Error => quote_spanned!(place=> #borrow __payload),
        Role::Payload if is_stream(ty) => quote_spanned!(place=> __payload),
        Role::Payload => match event {
            Event::Pong => quote_spanned!(place=> #borrow __payload),
            _ if known(ty) == Known::Negotiated => {
                let message = quote!(<#rt::Message as ::core::convert::From<_>>::from(__payload));
                let decode = quote!(|| <#ty>::decode(#message, &#rt::Session::dialect(__session)));
                quote!(#borrow #rt::decoding(__session, #decode)?)
            }
            Event::Binary if is_slice(argument) && now => quote_spanned!(place=> __payload),
            Event::Binary if is_slice(argument) => quote_spanned!(place=> #rt::Binary::as_slice(&__payload)),
            Event::Binary => {
                let data = if now {
                    quote!(<#rt::Binary as ::core::convert::From<_>>::from(__payload))
                } else {
                    quote!(__payload)
                };
                let decoded = decoded(ty, "DecoderOfBinary", "binary", "BINARY", data);
                quote!(#borrow #decoded)
            }
            _ if is_str(ty) && now => quote_spanned!(place=> __payload),
            _ if is_str(ty) => quote_spanned!(place=> #rt::Text::as_str(&__payload)),
            _ => {
                let how = if now { "str" } else { "text" };
                let decoded = decoded(ty, "DecoderOfText", how, "TEXT", quote!(__payload));
                quote!(#borrow #decoded)
            }
        },
    }
}

fn is_stream(ty: &Type) -> bool {
    matches!(known(ty), Known::TextStream | Known::BinaryStream)
}

/// The payload of type `ty`, made of a `message` by whoever is chosen for it.
fn decoded(ty: &Type, choice: &str, how: &str, by_itself: &str, message: TokenStream) -> TokenStream {
    let rt = runtime();
    let (choice, by_itself) = (format_ident!("{choice}"), format_ident!("{by_itself}"));
    // what nobody decodes is shown here
    let how = Ident::new(how, ty.span());
    quote!({
        use #rt::{Fallback as _, NotByItself as _};
        #rt::#choice::<_, #ty>::among(Self::__ENDPOINT_DECODERS)
            .#how(__session, #message, #rt::ByItself::<#ty>::#by_itself)?
    })
}

pub(super) fn is_slice(argument: &Argument) -> bool {
    argument.by_ref && matches!(argument.ty, Type::Slice(_))
}

/// The value of `variable` in `params`.
pub(super) fn path_param(variable: &LitStr, argument: &Argument, params: &TokenStream) -> TokenStream {
    let rt = runtime();
    let ty = &argument.ty;
    match inside_option(ty) {
        // The template has the variable, or the handler would not have compiled.
        None if is_str(ty) => quote!(::core::option::Option::unwrap_or(#rt::PathParams::get(#params, #variable), "")),
        None => quote!(#rt::PathParams::parse::<#ty>(#params, #variable)?),
        Some(_) if is_text(ty) => quote!(#rt::PathParams::get(#params, #variable)),
        Some(ty) => quote!(#rt::PathParams::parse_optional::<#ty>(#params, #variable)?),
    }
}

/// The value of the parameter `name` in the query of `request`.
pub(super) fn query_param(name: &LitStr, ty: &Type, request: &TokenStream) -> TokenStream {
    let rt = runtime();
    if let Some(ty) = inside_option(ty) {
        quote!(#rt::HandshakeRequest::parse_optional_query_param::<#ty>(#request, #name)?)
    } else if let Some(ty) = inside_vec(ty) {
        quote!(#rt::HandshakeRequest::parse_query_params::<#ty>(#request, #name)?)
    } else {
        quote!(#rt::HandshakeRequest::parse_query_param::<#ty>(#request, #name)?)
    }
}

/// Whether it is `str` or `Option<&str>`, which take every value.
pub(super) fn is_text(ty: &Type) -> bool {
    is_str(ty) || matches!(inside_option(ty), Some(Type::Reference(reference)) if is_str(&reference.elem))
}
