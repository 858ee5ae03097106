//! What stands beside a method.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{LitStr, ReturnType, Type};

use crate::expand::argument::{is_slice, is_text, path_param, query_param, value};
use crate::expand::{at, event as events, runtime};
use crate::types::{Known, inside_option, inside_result, is_str, known};
use crate::validate::{Argument, Event, Handler, Role};

/// The hidden items beside the method.
pub(crate) fn handler(handler: &Handler) -> TokenStream {
    if !is_negotiated(handler) {
        return handler_of_one_kind(handler);
    }
    // it comes as either, and the rest of the handler does not see which
    let kinds = [Event::Text, Event::Binary].map(|event| handler_of_one_kind(&Handler { event, ..handler.clone() }));
    quote!(#(#kinds)*)
}

/// Whether the payload comes in the form that the subprotocol names.
fn is_negotiated(handler: &Handler) -> bool {
    let payload = handler.arguments.iter().find(|argument| matches!(argument.role, Role::Payload));
    payload.is_some_and(|payload| known(&payload.ty) == Known::Negotiated)
}

fn handler_of_one_kind(handler: &Handler) -> TokenStream {
    let about = about(handler);
    if let Some(event) = &handler.of_event {
        let call = event_call(handler, event);
        return quote!(#about #call);
    }
    // An ordinary `fn` for messages looks straight into the receive buffer; all others are called as a future.
    let now = !handler.is_async && matches!(handler.event, Event::Text | Event::Binary);
    let call = if now { call_now(handler) } else { call_later(handler) };
    quote!(#about #call)
}

/// `const __ENDPOINT_ON_X: Handler`, with the checks of compile time.
fn about(handler: &Handler) -> TokenStream {
    let rt = runtime();
    let name = handler.of_event.as_ref().map_or_else(|| handler.event.hidden_const(), events::hidden_const);
    let mode = if handler.is_async { quote!(Async) } else { quote!(Sync) };
    let streams = handler.streams;
    let parts = streams || handler.arguments.iter().any(|argument| matches!(argument.role, Role::Last));
    let feed = feed(handler);
    let parts = match &feed {
        Some(_) => quote!(::core::option::Option::is_some(&__feed)),
        None => quote!(#parts),
    };
    let feed = feed.unwrap_or_else(|| quote!(::core::option::Option::None));
    let limit = |limit: &Option<TokenStream>| match limit {
        Some(size) => quote!(::core::option::Option::Some(#size)),
        None => quote!(::core::option::Option::None),
    };
    let (max_size, max_total) = (limit(&handler.max_size), limit(&handler.max_total));
    let me = quote_spanned!(at(handler.receiver)=> Self);
    let in_template = handler.arguments.iter().filter_map(|argument| match &argument.role {
        Role::PathParam(variable) => {
            let exists = inside_option(&argument.ty).is_none().then(|| variable_exists(variable));
            let served = path_exists(variable);
            Some(quote!(#served #exists))
        }
        _ => None,
    });
    let parsed: Vec<_> = handler
        .arguments
        .iter()
        .filter_map(|argument| match &argument.role {
            Role::PathParam(variable) if !is_text(&argument.ty) => {
                let ty = &argument.ty;
                let value = path_param(variable, argument, &quote!(__params));
                Some(quote!(let _: #ty = #value;))
            }
            _ => None,
        })
        .collect();
    let params = if parsed.is_empty() { quote!(_) } else { quote!(__params) };
    let asked: Vec<_> = handler
        .arguments
        .iter()
        .filter_map(|argument| match &argument.role {
            Role::QueryParam(name) => {
                let ty = &argument.ty;
                let value = query_param(name, ty, &quote!(__request));
                Some(quote!(let _: #ty = #value;))
            }
            _ => None,
        })
        .collect();
    let method = handler.method.unraw().to_string();
    let states = handler.arguments.iter().filter_map(|argument| match &argument.role {
        Role::State(ty) => Some(quote_spanned!(at(ty.span())=> #rt::Wanted::of::<#ty>(#method))),
        _ => None,
    });
    let request = if asked.is_empty() { quote!(_) } else { quote!(__request) };
    quote! {
        #[doc(hidden)]
        pub const #name: #rt::Handler = {
            let __path = <#me as #rt::Annotated>::PATH;
            #(#in_template)*
            let __feed = #feed;
            #rt::Handler {
                mode: #rt::Mode::#mode,
                parts: #parts,
                streams: #streams,
                max_total: #max_total,
                feed: __feed,
                max_size: #max_size,
                check_path: |#params| {
                    #(#parsed)*
                    ::core::result::Result::Ok(())
                },
                check_query: |#request| {
                    #(#asked)*
                    ::core::result::Result::Ok(())
                },
                states: &[#(#states),*],
            }
        };
    }
}

/// A client has no path to take a variable from.
fn path_exists(variable: &LitStr) -> TokenStream {
    const SENTENCE: &str = "a client endpoint has no path parameters: take the &Session and ask for its uri(), or take \
                            a #[query_param]";
    quote_spanned!(at(variable.span())=> ::core::assert!(!__path.is_empty(), #SENTENCE);)
}

/// What is given the parts of messages if a decoder of the endpoint's list wants them as they come; `None` where no such
/// decoder can be.
fn feed(handler: &Handler) -> Option<TokenStream> {
    let rt = runtime();
    let choice = match handler.event {
        Event::Text if handler.of_event.is_none() => quote!(DecoderOfText),
        Event::Binary => quote!(DecoderOfBinary),
        _ => return None,
    };
    if handler.streams || handler.arguments.iter().any(|argument| matches!(argument.role, Role::Last)) {
        return None;
    }
    let payload = handler.arguments.iter().find(|argument| matches!(argument.role, Role::Payload))?;
    if is_str(&payload.ty) || is_slice(payload) || known(&payload.ty) == Known::Negotiated {
        return None;
    }
    let ty = &payload.ty;
    Some(quote!({
        use #rt::Fallback as _;
        #rt::taking(&|| #rt::#choice::<_, #ty>::among(Self::__ENDPOINT_DECODERS).taking())
    }))
}

fn variable_exists(variable: &LitStr) -> TokenStream {
    let rt = runtime();
    // The message of `assert!` is a format string, hence two braces for one.
    let message = format!(
        "the endpoint's path has no variable {{{{{}}}}}: name one it has, or take an Option",
        variable.value().replace('{', "{{").replace('}', "}}")
    );
    quote_spanned!(at(variable.span())=> ::core::assert!(#rt::template_has(__path, #variable), #message);)
}

/// The handler of one event: takes what came, with its data still as text.
fn event_call(handler: &Handler, event: &LitStr) -> TokenStream {
    let rt = runtime();
    let (hidden, listed) = (events::hidden_method(event), events::is_listed(event));
    let payload = handler.arguments.iter().find(|argument| matches!(argument.role, Role::Payload)).map(|payload| {
        let ty = &payload.ty;
        quote!(let __payload = <#ty as #rt::FromEvent>::from_event(__occurrence);)
    });
    let (permission, this) = (permission(handler), this(handler));
    let body = body(handler, !handler.is_async);
    let body = quote!(#permission #body);
    if handler.is_async {
        let place = at(handler.method.span());
        let returned = quote_spanned!(place=> impl #rt::Future<Output = #rt::Reply> + ::core::marker::Send + 'a);
        let block = quote_spanned!(place=> async move { #body });
        return quote! {
            #[doc(hidden)]
            pub fn #hidden<'a>(
                __this: #this,
                __session: &'a #rt::Session,
                __occurrence: &#rt::Occurrence<'_>,
            ) -> #returned {
                #listed
                #payload
                #block
            }
        };
    }
    let hidden = format_ident!("{hidden}_now");
    quote! {
        #[doc(hidden)]
        pub fn #hidden<'a>(
            __this: #this,
            __session: &#rt::Session,
            __occurrence: &#rt::Occurrence<'_>,
        ) -> #rt::Reply {
            #listed
            #payload
            #body
        }
    }
}

/// An ordinary `fn` that takes text or binary.
fn call_now(handler: &Handler) -> TokenStream {
    let rt = runtime();
    let name = format_ident!("{}_now", handler.event.hidden_method());
    let parameters = handler.event.borrowed_parameters();
    let (permission, body) = (permission(handler), body(handler, true));
    let this = this(handler);
    let body = quote!(#permission #body);
    quote! {
        #[doc(hidden)]
        pub fn #name<'a>(__this: #this, __session: &#rt::Session, #parameters) -> #rt::Reply {
            #body
        }
    }
}

/// Everything else.
fn call_later(handler: &Handler) -> TokenStream {
    let rt = runtime();
    let (name, parameters) = if handler.streams {
        let stream = handler.event.stream();
        (handler.event.hidden_stream(), quote!(__payload: #rt::#stream))
    } else {
        (handler.event.hidden_method(), handler.event.owned_parameters())
    };
    let output = handler.event.output();
    // A future that is not `Send` is shown at the method's name.
    let place = at(handler.method.span());
    let returned = quote_spanned!(place=> impl #rt::Future<Output = #output> + ::core::marker::Send + 'a);
    let is_message = matches!(handler.event, Event::Text | Event::Binary | Event::Pong);
    let (permission, this) = (permission(handler), this(handler));
    let block = if is_message && handler.is_async && !handler.arguments.iter().any(borrows_from_call) {
        let (call, conversion) = (call(handler, false), conversion(handler));
        quote_spanned!(place=> #rt::Call::new(
            move || {
                #permission
                ::core::result::Result::<_, #rt::Error>::Ok(#call)
            },
            #conversion,
        ))
    } else {
        let body = body(handler, false);
        quote_spanned!(place=> async move { #permission #body })
    };
    quote! {
        #[doc(hidden)]
        pub fn #name<'a>(__this: #this, __session: &'a #rt::Session, #parameters) -> #returned {
            #block
        }
    }
}

/// Nothing, or the question whether the peer has a role that the handler is for.
fn permission(handler: &Handler) -> Option<TokenStream> {
    let (rt, roles) = (runtime(), &handler.roles);
    (!roles.is_empty()).then(|| quote!(#rt::permit(__session, &[#(#roles),*])?;))
}

/// Whether what the method is given must be kept beside it while it runs.
fn borrows_from_call(argument: &Argument) -> bool {
    match argument.role {
        Role::Session | Role::Request | Role::State(_) | Role::QueryParam(_) | Role::Last => false,
        // those borrow from the session
        Role::PathParam(_) => argument.by_ref && !is_str(&argument.ty),
        Role::CloseReason | Role::Error | Role::Payload => argument.by_ref,
    }
}

/// The call of the user's method, and what its value becomes.
fn body(handler: &Handler, now: bool) -> TokenStream {
    let wait = if handler.is_async { quote_spanned!(at(handler.method.span())=> .await) } else { quote!() };
    let (call, conversion) = (call(handler, now), conversion(handler));
    quote!(#conversion(#call #wait))
}

/// The call alone.
fn call(handler: &Handler, now: bool) -> TokenStream {
    let method = &handler.method;
    let arguments = handler.arguments.iter().map(|argument| match (&handler.of_event, &argument.role) {
        (Some(_), Role::Payload) if argument.by_ref => quote_spanned!(at(argument.ty.span())=> &__payload?),
        (Some(_), Role::Payload) => quote_spanned!(at(argument.ty.span())=> __payload?),
        _ => value(handler.event, argument, now),
    });
    let reached = reached(handler);
    quote!(Self::#method(#reached, #(#arguments),*))
}

/// The type of what the method's `self` is reached by. It is no parameter: where clauses of their own would have the
/// compiler prove again for every handler that a `Session` may be shared.
fn this(handler: &Handler) -> TokenStream {
    let rt = runtime();
    // where `about` tells of a type that is no endpoint, so that it is told once
    quote_spanned!(at(handler.receiver)=> <Self as #rt::Annotated>::This<'a>)
}

/// The `self` of the method; a `&mut self` that a shared instance cannot give is shown here.
fn reached(handler: &Handler) -> TokenStream {
    let rt = runtime();
    let place = at(handler.receiver);
    if handler.by_mut {
        quote_spanned!(place=> <_ as #rt::ReachMut<'_, Self>>::reach(__this))
    } else {
        quote_spanned!(place=> __this)
    }
}

/// The function that turns what the method returns into what the connection takes.
fn conversion(handler: &Handler) -> TokenStream {
    let is_message = matches!(handler.event, Event::Text | Event::Binary | Event::Pong);
    let rt = runtime();
    match &handler.output {
        ReturnType::Default if is_message => quote!(<() as #rt::IntoReply>::into_reply),
        ReturnType::Default => quote!(<() as #rt::IntoOutcome>::into_outcome),
        ReturnType::Type(_, ty) if is_message => reply(ty, handler.of_event.as_ref()),
        ReturnType::Type(_, ty) => through(ty, "IntoOutcome", "into_outcome"),
    }
}

/// The function that makes a reply of a `ty`. An `Option` and a `Result` that are spelled as such are taken apart here,
/// so that what cannot be sent is shown inside them.
fn reply(ty: &Type, of_event: Option<&LitStr>) -> TokenStream {
    if let Some(inside) = inside_option(ty) {
        let inside = reply(inside, of_event);
        quote!((move |__option| match __option {
            ::core::option::Option::Some(__some) => #inside(__some),
            ::core::option::Option::None => ::core::result::Result::Ok(::core::option::Option::None),
        }))
    } else if let Some((inside, error)) = inside_result(ty) {
        let (inside, error) = (reply(inside, of_event), through(error, "IntoError", "into_error"));
        quote!((move |__result| match __result {
            ::core::result::Result::Ok(__ok) => #inside(__ok),
            ::core::result::Result::Err(__error) => ::core::result::Result::Err(#error(__error)),
        }))
    } else if let Some(event) = of_event {
        let into = through(ty, "IntoEventReply", "into_event_reply");
        quote!((move |__reply| #into(__reply, #event)))
    } else if known(ty) == Known::Negotiated {
        let rt = runtime();
        quote!((move |__reply: #ty| #rt::reply_for(__session, &__reply)))
    } else if has_impl(ty.to_token_stream()) {
        through(ty, "IntoReply", "into_reply")
    } else {
        let rt = runtime();
        let (list, session) = (quote!(Self::__ENDPOINT_ENCODERS), quote!(__session));
        // all at the type, so that what nobody encodes is shown there, and told once
        let conversion = quote_spanned!(ty.span()=> {
            let encoder = ::endpoint_runtime::__private::EncoderOfReply::<_, #ty>::among(#list).encoder();
            ::endpoint_runtime::__private::EncodesReply::<#ty>::conversion(encoder, #session)
        });
        quote!(({
            use #rt::Fallback as _;
            #conversion
        }))
    }
}

/// The function of a trait of the runtime for a `ty`.
fn through(ty: &Type, to: &str, into: &str) -> TokenStream {
    let rt = runtime();
    let (to, into) = (format_ident!("{to}"), format_ident!("{into}"));
    if has_impl(ty.to_token_stream()) {
        // `impl Trait` can only be named where it is returned
        quote_spanned!(at(ty.span())=> #rt::#to::#into)
    } else {
        quote_spanned!(at(ty.span())=> <#ty as #rt::#to>::#into)
    }
}

fn has_impl(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "impl",
        TokenTree::Group(group) => has_impl(group.stream()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use syn::parse::Parser;
    use syn::parse2;

    use super::*;
    use crate::parse::{self, Kind};
    use crate::validate;

    fn expanded(kind: Kind, settings: TokenStream, method: TokenStream) -> String {
        let settings = parse::settings.parse2(settings).unwrap();
        let valid = validate::handler::handler(kind, settings, &parse2(method).unwrap()).unwrap();
        handler(&valid).to_string()
    }

    #[test]
    fn an_ordinary_text_handler_borrows_and_an_async_one_owns() {
        let now = expanded(
            Kind::Message,
            quote!(),
            quote!(
                fn f(&self, text: &str) {}
            ),
        );
        assert!(now.contains("fn __endpoint_on_text_now") && !now.contains("async"), "{now}");
        let later = expanded(
            Kind::Message,
            quote!(),
            quote!(
                async fn f(&self, text: &str) {}
            ),
        );
        assert!(later.contains("fn __endpoint_on_text <") && later.contains("as_str"), "{later}");
    }

    #[test]
    fn only_required_variables_are_asserted_and_only_typed_ones_parsed() {
        let text = expanded(
            Kind::Open,
            quote!(),
            quote!(
                fn f(&self, #[path_param] a: u8, #[path_param] b: Option<u8>, #[path_param] c: &str) {}
            ),
        );
        assert_eq!(text.matches("template_has").count(), 2, "{text}");
        assert_eq!(text.matches("__params ,").count(), 2, "{text}");
    }
}
