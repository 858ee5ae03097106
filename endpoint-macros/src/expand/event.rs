//! Messages by event: what `events(…)` and `#[on_message(event = …)]` agree on. A part of `expand`.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::LitStr;

use crate::expand::{at, runtime};
use crate::validate::Endpoint;

/// The event's name in letters that an identifier may have: `chat.say` is `chat_2esay`.
fn letters(event: &LitStr) -> String {
    event
        .value()
        .bytes()
        .map(|octet| match octet {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(octet).to_string(),
            other => format!("_{other:02x}"),
        })
        .collect()
}

/// What is known of an event's handler.
pub(crate) fn hidden_const(event: &LitStr) -> Ident {
    format_ident!("__ENDPOINT_EVENT_{}", letters(event))
}

/// Calls an event's handler; with `_now` behind it if that is an ordinary `fn`.
pub(crate) fn hidden_method(event: &LitStr) -> Ident {
    format_ident!("__endpoint_event_{}", letters(event))
}

/// That the endpoint lists the event of a handler: as the length of an array, which is evaluated though nobody uses it.
pub(crate) fn is_listed(event: &LitStr) -> TokenStream {
    let rt = runtime();
    let message = format!("the endpoint lists no event {event:?}: add it to `events(…)`", event = event.value());
    let message = message.replace('{', "{{").replace('}', "}}");
    quote_spanned!(at(event.span())=> let _: [(); 0] = [(); {
        use #rt::Fallback as _;
        ::core::assert!(#rt::lists_event(Self::__ENDPOINT_EVENTS, #event), #message);
        0
    }];)
}

/// The handler of text, which calls those of events.
pub(crate) fn text(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    let rt = runtime();
    let events = endpoint.events.iter().map(hidden_const);
    quote! {
        const TEXT: #rt::Handler = <#ident>::__ENDPOINT_ON_TEXT.with_events(<Self as #rt::Contract>::EVENTS);
        const EVENTS: &'static [#rt::Handler] = &[#(<#ident>::#events),*];
    }
}

/// What stands beside the endpoint: what an event is called without a handler, and that each has one.
pub(crate) fn endpoint(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    let rt = runtime();
    if endpoint.events.is_empty() {
        return TokenStream::new();
    }
    let missing = endpoint.events.iter().map(|event| {
        let (about, method) = (hidden_const(event), hidden_method(event));
        let now = format_ident!("{method}_now");
        quote! {
            const #about: #rt::Handler = #rt::Handler::MISSING;
            fn #method<__R>(_: __R, _: &#rt::Session, _: &#rt::Occurrence<'_>) -> ::core::future::Ready<#rt::Reply> {
                ::core::future::ready(::core::result::Result::Ok(::core::option::Option::None))
            }
            fn #now<__R>(_: __R, _: &#rt::Session, _: &#rt::Occurrence<'_>) -> #rt::Reply {
                ::core::result::Result::Ok(::core::option::Option::None)
            }
        }
    });
    let handled = endpoint.events.iter().map(|event| {
        let about = hidden_const(event);
        let message =
            format!("no handler for this event: write `#[on_message(event = {:?})]` above a method", event.value());
        let message = message.replace('{', "{{").replace('}', "}}");
        quote_spanned!(at(event.span())=> const _: () = ::core::assert!(<#ident>::#about.exists(), #message);)
    });
    quote! {
        /// Inherent items win over these, too.
        #[allow(non_upper_case_globals, non_snake_case)]
        trait __Events: ::core::marker::Sized {
            #(#missing)*
        }
        impl<__T> __Events for __T {}

        #(#handled)*
    }
}

/// `on_text` of an endpoint with events; then some handler is an `async fn`.
pub(crate) fn on_text(endpoint: &Endpoint, ident: &Ident, me: &TokenStream) -> TokenStream {
    let rt = runtime();
    let arms = endpoint.events.iter().map(|event| {
        let (about, method) = (hidden_const(event), hidden_method(event));
        let now = format_ident!("{method}_now");
        quote! {
            #event => return match <#ident>::#about.mode {
                #rt::Mode::Sync => <#ident>::#now(#me, __session, &__occurrence),
                _ => <#ident>::#method(#me, __session, &__occurrence).await,
            },
        }
    });
    let events = &endpoint.events;
    quote! {
        fn on_text<'a>(&'a mut self, __session: &'a #rt::Session, __payload: #rt::Text, __last: ::core::primitive::bool)
            -> impl #rt::Future<Output = #rt::Reply> + ::core::marker::Send + 'a
        {
            async move {
                if let ::core::result::Result::Ok(__occurrence) = #rt::occurrence(__session, &__payload) {
                    match #rt::Occurrence::name(&__occurrence) {
                        #(#arms)*
                        _ => {}
                    }
                }
                match <#ident>::__ENDPOINT_ON_TEXT.mode {
                    #rt::Mode::Missing => {
                        ::core::result::Result::Err(#rt::no_event(__session, &__payload, &[#(#events),*]))
                    }
                    #rt::Mode::Sync => <#ident>::__endpoint_on_text_now(#me, __session, &__payload, __last),
                    #rt::Mode::Async => <#ident>::__endpoint_on_text(#me, __session, __payload, __last).await,
                }
            }
        }
    }
}

/// `on_text_now` of an endpoint with events; then all of their handlers are ordinary.
pub(crate) fn on_text_now(endpoint: &Endpoint, ident: &Ident, me: &TokenStream) -> TokenStream {
    let rt = runtime();
    let arms = endpoint.events.iter().map(|event| {
        let now = format_ident!("{}_now", hidden_method(event));
        quote!(#event => return <#ident>::#now(#me, __session, &__occurrence),)
    });
    let events = &endpoint.events;
    quote! {
        fn on_text_now(
            &mut self,
            __session: &#rt::Session,
            __payload: &::core::primitive::str,
            __last: ::core::primitive::bool,
        ) -> #rt::Reply {
            if let ::core::result::Result::Ok(__occurrence) = #rt::occurrence(__session, __payload) {
                match #rt::Occurrence::name(&__occurrence) {
                    #(#arms)*
                    _ => {}
                }
            }
            match <#ident>::__ENDPOINT_ON_TEXT.mode {
                #rt::Mode::Missing => ::core::result::Result::Err(#rt::no_event(__session, __payload, &[#(#events),*])),
                _ => <#ident>::__endpoint_on_text_now(#me, __session, __payload, __last),
            }
        }
    }
}
