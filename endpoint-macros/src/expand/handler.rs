//! The items beside a handler's method.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::LitStr;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::crate_path::runtime;
use crate::expand::argument::{accepts_any_text, argument, borrows_from_call, is_slice, path_param, query_param};
use crate::expand::conversion::conversion;
use crate::expand::{event, located_at, replies, sync_method};
use crate::types::{KnownType, is_str, option_inner};
use crate::validate::{Argument, Handler, HandlerKind, Source};

/// The hidden items beside the method.
pub(crate) fn expand(handler: &Handler) -> TokenStream {
    if !is_negotiated(handler) {
        return expand_one_kind(handler, false);
    }
    // the message may be of either kind, and the method does not see which
    let kinds = [(HandlerKind::Text, false), (HandlerKind::Binary, true)];
    let kinds = kinds.map(|(kind, is_second)| expand_one_kind(&Handler { kind, ..handler.clone() }, is_second));
    quote!(#(#kinds)*)
}

fn expand_one_kind(handler: &Handler, is_second_kind: bool) -> TokenStream {
    let constant = handler_const(handler);
    let method = match &handler.event {
        Some(event) => event_method(handler, event),
        // an ordinary `fn` for messages borrows from the receive buffer; all others are called as a future
        None if is_sync_message(handler) => sync_call(handler),
        None => async_call(handler),
    };
    let (conditions, lints) = (&handler.conditions, deprecated_calls(handler));
    // a name that the compiler shows in an `impl` block of a trait
    let method_name = handler.method.unraw().to_string().to_uppercase();
    let place = format_ident!("__HANDLERS_STAND_IN_AN_IMPL_BLOCK_WITHOUT_A_TRAIT_{method_name}");
    let place = (!is_second_kind).then(|| {
        quote! {
            #(#conditions)*
            #[doc(hidden)]
            pub const #place: () = ();
        }
    });
    quote! {
        #place
        #(#conditions)*
        #constant
        #(#conditions)*
        #lints
        #method
    }
}

/// Allows the generated call of a deprecated method: it is not the user's.
fn deprecated_calls(handler: &Handler) -> Option<TokenStream> {
    handler.is_deprecated.then(|| quote!(#[allow(deprecated)]))
}

/// Whether the method is called as a future: it is one, or its replies are sent one by one.
fn is_async(handler: &Handler) -> bool {
    handler.is_async || replies::are_several(handler)
}

fn is_sync_message(handler: &Handler) -> bool {
    !is_async(handler) && matches!(handler.kind, HandlerKind::Text | HandlerKind::Binary)
}

fn payload(handler: &Handler) -> Option<&Argument> {
    handler.arguments.iter().find(|argument| matches!(argument.source, Source::Payload))
}

/// Whether the subprotocol decides the kind of the message.
fn is_negotiated(handler: &Handler) -> bool {
    payload(handler).is_some_and(|payload| payload.known == KnownType::Negotiated)
}

fn takes_parts(handler: &Handler) -> bool {
    handler.arguments.iter().any(|argument| matches!(argument.source, Source::Last))
}

/// `const __ENDPOINT_ON_X: Handler`, with the assertions about the path.
fn handler_const(handler: &Handler) -> TokenStream {
    let rt = runtime();
    let name = handler.event.as_ref().map_or_else(|| handler.kind.hidden_const(), event::hidden_const);
    let mode = if is_async(handler) { quote!(Async) } else { quote!(Sync) };
    let streams = handler.streams;
    let feed = feed(handler);
    let parts = match &feed {
        Some(_) => quote!(::core::option::Option::is_some(&__feed)),
        None => (streams || takes_parts(handler)).to_token_stream(),
    };
    let feed = feed.unwrap_or_else(|| quote!(::core::option::Option::None));
    let (max_size, max_total) = (option_tokens(&handler.max_size), option_tokens(&handler.max_total));
    let endpoint = quote_spanned!(located_at(handler.receiver)=> Self);
    let (path_assertions, presence_assertion) = (path_assertions(handler), presence_assertion(handler));
    let (check_path, check_query) = (check_path(handler), check_query(handler));
    let rate = option_tokens(&handler.rate);
    let method = handler.method.unraw().to_string();
    let event = handler.event.as_ref().map_or_else(String::new, LitStr::value);
    let states = handler.arguments.iter().filter_map(|argument| match &argument.source {
        Source::State(ty) => Some(quote_spanned!(located_at(ty.span())=> #rt::StateRequirement::of::<#ty>(#method))),
        _ => None,
    });
    quote! {
        #[doc(hidden)]
        pub const #name: #rt::Handler = {
            let __path = <#endpoint as #rt::Annotated>::PATH;
            #path_assertions
            #presence_assertion
            let __feed = #feed;
            #rt::Handler {
                mode: #rt::Mode::#mode,
                parts: #parts,
                streams: #streams,
                max_total: #max_total,
                feed: __feed,
                max_size: #max_size,
                check_path: #check_path,
                check_query: #check_query,
                states: &[#(#states),*],
                name: #method,
                event: #event,
                rate: #rate,
            }
        };
    }
}

fn option_tokens(value: &Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// Asserts that the path has the variables that the handler takes.
fn path_assertions(handler: &Handler) -> TokenStream {
    let assertions = handler.arguments.iter().filter_map(|argument| match &argument.source {
        Source::PathParam(variable) => {
            let has_variable = option_inner(&argument.ty).is_none().then(|| assert_variable(variable));
            let has_path = assert_path(variable);
            Some(quote!(#has_path #has_variable))
        }
        _ => None,
    });
    quote!(#(#assertions)*)
}

/// Asserts that there is a path; the endpoint of a client has none.
fn assert_path(variable: &LitStr) -> TokenStream {
    const MESSAGE: &str =
        "a client endpoint has no path parameters: take a #[query_param], or take the &Session and call uri()";
    quote_spanned!(located_at(variable.span())=> ::core::assert!(!__path.is_empty(), #MESSAGE);)
}

fn assert_variable(variable: &LitStr) -> TokenStream {
    let rt = runtime();
    quote_spanned!(located_at(variable.span())=>
        if !#rt::template_has(__path, #variable) {
            ::core::panic!("{}", #rt::MissingVariable::of(__path, #variable).as_str());
        }
    )
}

/// Asserts that the endpoint of a handler for presence has the option.
fn presence_assertion(handler: &Handler) -> Option<TokenStream> {
    const MESSAGE: &str =
        "`#[on_presence]` is for endpoints with presence: write `#[server_endpoint(\"/path\", presence)]`";
    let rt = runtime();
    (handler.kind == HandlerKind::Presence).then(|| {
        quote_spanned!(located_at(handler.method.span())=> {
            use #rt::Fallback as _;
            ::core::assert!(Self::__ENDPOINT_HAS_PRESENCE, #MESSAGE);
        })
    })
}

/// A closure that parses the path parameters, for the check before the handshake is accepted.
fn check_path(handler: &Handler) -> TokenStream {
    let parsed: Vec<_> = handler
        .arguments
        .iter()
        .filter_map(|argument| match &argument.source {
            Source::PathParam(variable) if !accepts_any_text(&argument.ty) => {
                let ty = &argument.ty;
                let value = path_param(variable, argument, &quote!(__params));
                Some(quote!(let _: #ty = #value;))
            }
            _ => None,
        })
        .collect();
    let params = if parsed.is_empty() { quote!(_) } else { quote!(__params) };
    quote!(|#params| {
        #(#parsed)*
        ::core::result::Result::Ok(())
    })
}

/// A closure that parses the query parameters, for the same check.
fn check_query(handler: &Handler) -> TokenStream {
    let parsed: Vec<_> = handler
        .arguments
        .iter()
        .filter_map(|argument| match &argument.source {
            Source::QueryParam(name) => {
                let ty = &argument.ty;
                let value = query_param(name, ty, &quote!(__request));
                Some(quote!(let _: #ty = #value;))
            }
            _ => None,
        })
        .collect();
    let request = if parsed.is_empty() { quote!(_) } else { quote!(__request) };
    quote!(|#request| {
        #(#parsed)*
        ::core::result::Result::Ok(())
    })
}

/// The function that feeds parts of a message to a stream decoder; `None` if no listed decoder can apply.
fn feed(handler: &Handler) -> Option<TokenStream> {
    let rt = runtime();
    let choice = match handler.kind {
        HandlerKind::Text if handler.event.is_none() => quote!(DecoderOfText),
        HandlerKind::Binary => quote!(DecoderOfBinary),
        _ => return None,
    };
    if handler.streams || takes_parts(handler) {
        return None;
    }
    let payload = payload(handler)?;
    if is_str(&payload.ty) || is_slice(payload) || payload.borrows || payload.known == KnownType::Negotiated {
        return None;
    }
    let ty = &payload.ty;
    Some(quote!({
        use #rt::Fallback as _;
        #rt::taking(&|| #rt::#choice::<_, #ty>::among(Self::__ENDPOINT_DECODERS).taking())
    }))
}

/// The method beside an event's handler. The data of the event is not decoded yet when it is called.
fn event_method(handler: &Handler, event: &LitStr) -> TokenStream {
    let rt = runtime();
    let (hidden, listed) = (event::hidden_method(event), event::assert_listed(event));
    let borrows = payload(handler).is_some_and(|payload| payload.borrows);
    let payload = payload(handler).map(|payload| {
        let ty = &payload.ty;
        quote!(let __payload = <#ty as #rt::FromEvent<'_>>::from_event(__occurrence);)
    });
    let (role_check, receiver_type) = (role_check(handler), receiver_type(handler));
    let body = body(handler, !is_async(handler));
    let body = quote!(#role_check #body);
    if is_async(handler) {
        let place = located_at(handler.method.span());
        let returned = quote_spanned!(place=> impl #rt::Future<Output = #rt::Reply> + ::core::marker::Send + 'a);
        let block = quote_spanned!(place=> async move { #body });
        let message = if borrows { quote!('a) } else { quote!('_) };
        return quote! {
            #[doc(hidden)]
            pub fn #hidden<'a>(
                __this: #receiver_type,
                __session: &'a #rt::Session,
                __occurrence: &#rt::Occurrence<#message>,
            ) -> #returned {
                #listed
                #payload
                #block
            }
        };
    }
    let hidden = sync_method(&hidden);
    quote! {
        #[doc(hidden)]
        pub fn #hidden<'a>(
            __this: #receiver_type,
            __session: &#rt::Session,
            __occurrence: &#rt::Occurrence<'_>,
        ) -> #rt::Reply {
            #listed
            #payload
            #body
        }
    }
}

/// The method beside an ordinary `fn` that takes text or binary.
fn sync_call(handler: &Handler) -> TokenStream {
    let rt = runtime();
    let name = sync_method(&handler.kind.hidden_method());
    let parameters = handler.kind.borrowed_parameters();
    let (role_check, body) = (role_check(handler), body(handler, true));
    let receiver_type = receiver_type(handler);
    let body = quote!(#role_check #body);
    quote! {
        #[doc(hidden)]
        pub fn #name<'a>(__this: #receiver_type, __session: &#rt::Session, #parameters) -> #rt::Reply {
            #body
        }
    }
}

/// The method beside every other handler.
fn async_call(handler: &Handler) -> TokenStream {
    let rt = runtime();
    let (name, parameters) = if handler.streams {
        let stream = handler.kind.stream_type();
        (handler.kind.hidden_stream_method(), quote!(__payload: #rt::#stream))
    } else {
        (handler.kind.hidden_method(), handler.kind.owned_parameters())
    };
    let output = handler.kind.output();
    // the error about a future that is not `Send` points to the method's name
    let place = located_at(handler.method.span());
    let returned = quote_spanned!(place=> impl #rt::Future<Output = #output> + ::core::marker::Send + 'a);
    let (role_check, receiver_type) = (role_check(handler), receiver_type(handler));
    let is_lazy = handler.kind.is_message()
        && handler.is_async
        && !replies::are_several(handler)
        && !handler.arguments.iter().any(borrows_from_call);
    let block = if is_lazy {
        let (call, conversion) = (call(handler, false), conversion(handler));
        quote_spanned!(place=> #rt::LazyHandlerFuture::new(
            move || {
                #role_check
                ::core::result::Result::<_, #rt::Error>::Ok(#call)
            },
            #conversion,
        ))
    } else {
        let body = body(handler, false);
        quote_spanned!(place=> async move { #role_check #body })
    };
    quote! {
        #[doc(hidden)]
        pub fn #name<'a>(__this: #receiver_type, __session: &'a #rt::Session, #parameters) -> #returned {
            #block
        }
    }
}

/// The check that the peer has one of the handler's roles, if it has any.
fn role_check(handler: &Handler) -> Option<TokenStream> {
    let (rt, roles) = (runtime(), &handler.roles);
    (!roles.is_empty()).then(|| quote!(#rt::permit(__session, &[#(#roles),*])?;))
}

/// The call of the user's method, with its value converted.
fn body(handler: &Handler, is_sync: bool) -> TokenStream {
    let wait = if handler.is_async { quote_spanned!(located_at(handler.method.span())=> .await) } else { quote!() };
    let call = call(handler, is_sync);
    if let Some(several) = replies::several(handler, &quote!(#call #wait)) {
        return several;
    }
    let conversion = conversion(handler);
    quote!(#conversion(#call #wait))
}

/// The call of the user's method.
fn call(handler: &Handler, is_sync: bool) -> TokenStream {
    let method = &handler.method;
    let arguments = handler.arguments.iter().map(|this| match (&handler.event, &this.source) {
        (Some(_), Source::Payload) if this.by_ref => quote_spanned!(located_at(this.ty.span())=> &__payload?),
        (Some(_), Source::Payload) => quote_spanned!(located_at(this.ty.span())=> __payload?),
        _ => argument(handler.kind, this, is_sync),
    });
    let receiver = receiver(handler);
    quote!(Self::#method(#receiver, #(#arguments),*))
}

/// The type of `__this`. It is no type parameter: with where clauses of its own the compiler would prove again for each
/// handler that a `Session` may be shared.
fn receiver_type(handler: &Handler) -> TokenStream {
    let rt = runtime();
    // the span of `handler_const`, so that the error about a type that is no endpoint appears once
    quote_spanned!(located_at(handler.receiver)=> <Self as #rt::Annotated>::Receiver<'a>)
}

/// The `self` of the method. The error about a `&mut self` of a shared instance points here.
fn receiver(handler: &Handler) -> TokenStream {
    let rt = runtime();
    let place = located_at(handler.receiver);
    if handler.by_mut {
        quote_spanned!(place=> <_ as #rt::AsMutReceiver<'_, Self>>::reach(__this))
    } else {
        quote_spanned!(place=> __this)
    }
}

#[cfg(test)]
mod tests {
    use syn::parse::Parser;
    use syn::parse2;

    use super::*;
    use crate::parse::{self, HandlerAttr};
    use crate::validate;

    fn expanded(attribute: HandlerAttr, options: TokenStream, method: TokenStream) -> String {
        let options = parse::options.parse2(options).unwrap();
        let valid = validate::handler::validate(attribute, &options, &parse2(method).unwrap()).unwrap();
        expand(&valid).to_string()
    }

    #[test]
    fn an_ordinary_text_handler_borrows_and_an_async_one_owns() {
        let now = expanded(
            HandlerAttr::Message,
            quote!(),
            quote!(
                fn f(&self, text: &str) {}
            ),
        );
        assert!(now.contains("fn __an_endpoint_has_one_handler_for_text_sync") && !now.contains("async"), "{now}");
        let later = expanded(
            HandlerAttr::Message,
            quote!(),
            quote!(
                async fn f(&self, text: &str) {}
            ),
        );
        assert!(later.contains("fn __an_endpoint_has_one_handler_for_text <") && later.contains("as_str"), "{later}");
    }

    #[test]
    fn only_required_variables_are_asserted_and_only_typed_ones_parsed() {
        let text = expanded(
            HandlerAttr::Open,
            quote!(),
            quote!(
                fn f(&self, #[path_param] a: u8, #[path_param] b: Option<u8>, #[path_param] c: &str) {}
            ),
        );
        assert_eq!(text.matches("template_has").count(), 2, "{text}");
        assert_eq!(text.matches("__params ,").count(), 2, "{text}");
    }
}
