//! The hidden items of events: those of `events(…)` on the endpoint and of `#[on_message(event = …)]`.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::LitStr;

use crate::crate_path::runtime;
use crate::expand::{located_at, sync_method};
use crate::validate::{Endpoint, HandlerKind};

/// The event's name in characters that are legal in an identifier: `chat.say` is `chat_2esay`.
fn identifier(event: &LitStr) -> String {
    event
        .value()
        .bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
            other => format!("_{other:02x}"),
        })
        .collect()
}

/// The constant beside an event's handler.
pub(super) fn hidden_const(event: &LitStr) -> Ident {
    format_ident!("__AN_ENDPOINT_HAS_ONE_HANDLER_FOR_EVENT_{}", identifier(event))
}

/// The constant of an event whose handler has errors, so that the endpoint does not report that it is missing.
pub(crate) fn failed(event: &LitStr) -> TokenStream {
    let (rt, name) = (runtime(), hidden_const(event));
    quote! {
        #[doc(hidden)]
        pub const #name: #rt::Handler = #rt::Handler::SYNC;
    }
}

/// The method beside an event's handler; its `sync_method` if the handler is an ordinary `fn`.
pub(super) fn hidden_method(event: &LitStr) -> Ident {
    format_ident!("__an_endpoint_has_one_handler_for_event_{}", identifier(event))
}

/// Asserts that the endpoint lists the event of a handler. The assertion is the length of an array, which the compiler
/// evaluates although the array is not used.
pub(super) fn assert_listed(event: &LitStr) -> TokenStream {
    let rt = runtime();
    let message = format!("the endpoint does not list the event {:?}: add it to `events(…)`", event.value());
    let message = message.replace('{', "{{").replace('}', "}}");
    quote_spanned!(located_at(event.span())=> let _: [(); 0] = [(); {
        use #rt::Fallback as _;
        ::core::assert!(#rt::lists_event(Self::__ENDPOINT_EVENTS, #event), #message);
        0
    }];)
}

/// The constants of an endpoint's text handler, which dispatches to the handlers of its events.
pub(super) fn text_consts(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    let (rt, text) = (runtime(), HandlerKind::Text.hidden_const());
    let events = endpoint.events.iter().map(hidden_const);
    quote! {
        const TEXT: #rt::Handler = <#ident>::#text.with_events(<Self as #rt::EndpointHandlers>::EVENTS);
        const EVENTS: &'static [#rt::Handler] = &[#(<#ident>::#events),*];
    }
}

/// The items beside an endpoint with events: stand-ins for missing handlers, and the assertions that none is missing.
pub(super) fn stand_ins(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    let rt = runtime();
    if endpoint.events.is_empty() {
        return TokenStream::new();
    }
    let stand_ins = endpoint.events.iter().map(|event| {
        let (constant, method) = (hidden_const(event), hidden_method(event));
        let sync = sync_method(&method);
        quote! {
            const #constant: #rt::Handler = #rt::Handler::MISSING;
            fn #method<__R>(_: __R, _: &#rt::Session, _: &#rt::Occurrence<'_>) -> ::core::future::Ready<#rt::Reply> {
                ::core::future::ready(::core::result::Result::Ok(::core::option::Option::None))
            }
            fn #sync<__R>(_: __R, _: &#rt::Session, _: &#rt::Occurrence<'_>) -> #rt::Reply {
                ::core::result::Result::Ok(::core::option::Option::None)
            }
        }
    });
    let assertions = endpoint.events.iter().map(|event| {
        let constant = hidden_const(event);
        let message =
            format!("this event has no handler: write `#[on_message(event = {:?})]` on a method", event.value());
        let message = message.replace('{', "{{").replace('}', "}}");
        quote_spanned!(located_at(event.span())=>
            const _: () = ::core::assert!(<#ident>::#constant.exists(), #message);)
    });
    quote! {
        /// Inherent items take precedence over these.
        #[allow(non_upper_case_globals, non_snake_case)]
        trait __Events: ::core::marker::Sized {
            #(#stand_ins)*
        }
        impl<__T> __Events for __T {}

        #(#assertions)*
    }
}

/// `on_text` of an endpoint with events, which is called if one of the handlers is an `async fn`.
pub(super) fn on_text(endpoint: &Endpoint, ident: &Ident, receiver: &TokenStream) -> TokenStream {
    let rt = runtime();
    let arms = endpoint.events.iter().map(|event| {
        let (constant, method) = (hidden_const(event), hidden_method(event));
        let sync = sync_method(&method);
        quote! {
            #event => return match <#ident>::#constant.mode {
                #rt::Mode::Sync => <#ident>::#sync(#receiver, __session, &__occurrence),
                _ => <#ident>::#method(#receiver, __session, &__occurrence).await,
            },
        }
    });
    let events = &endpoint.events;
    let (text_const, text) = (HandlerKind::Text.hidden_const(), HandlerKind::Text.hidden_method());
    let text_sync = sync_method(&text);
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
                match <#ident>::#text_const.mode {
                    #rt::Mode::Missing => {
                        ::core::result::Result::Err(#rt::no_event(__session, &__payload, &[#(#events),*]))
                    }
                    #rt::Mode::Sync => <#ident>::#text_sync(#receiver, __session, &__payload, __last),
                    #rt::Mode::Async => <#ident>::#text(#receiver, __session, __payload, __last).await,
                }
            }
        }
    }
}

/// `on_text_sync` of an endpoint with events, which is called if all of the handlers are ordinary `fn`s.
pub(super) fn on_text_sync(endpoint: &Endpoint, ident: &Ident, receiver: &TokenStream) -> TokenStream {
    let rt = runtime();
    let arms = endpoint.events.iter().map(|event| {
        let sync = sync_method(&hidden_method(event));
        quote!(#event => return <#ident>::#sync(#receiver, __session, &__occurrence),)
    });
    let events = &endpoint.events;
    let text_const = HandlerKind::Text.hidden_const();
    let text_sync = sync_method(&HandlerKind::Text.hidden_method());
    quote! {
        fn on_text_sync(
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
            match <#ident>::#text_const.mode {
                #rt::Mode::Missing => ::core::result::Result::Err(#rt::no_event(__session, __payload, &[#(#events),*])),
                _ => <#ident>::#text_sync(#receiver, __session, __payload, __last),
            }
        }
    }
}
