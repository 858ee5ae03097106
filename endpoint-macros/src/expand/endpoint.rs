//! What stands beside the type.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{DeriveInput, LitStr};

use crate::expand::{at, event as events, runtime};
use crate::options::Configurator;
use crate::validate::{Endpoint, Event};

/// What makes the type an endpoint.
pub(crate) fn endpoint(endpoint: &Endpoint, item: &DeriveInput) -> TokenStream {
    let rt = runtime();
    let ident = &item.ident;
    let annotated = annotated(endpoint.path.as_ref(), endpoint.shared.is_some(), item);
    let lists = lists(endpoint, ident);
    let coders = coders(endpoint);
    let name = ident.unraw().to_string();
    let options = options(endpoint);
    let configured = endpoint.configurator.as_ref().map(configured);
    // a shared instance is reached through what each connection holds of it
    let shared = endpoint.shared;
    let (instance, me) = match shared {
        None => (quote!(#ident), quote!(self)),
        Some(place) => (quote!(__Shared), quote_spanned!(at(place)=> &*self.0)),
    };
    let (definition, sharing) = match shared {
        None => (None, quote!(PerConnection(|__instance| __instance))),
        Some(_) => (
            Some(quote! {
                #[doc(hidden)]
                #[allow(missing_docs, missing_debug_implementations, unreachable_pub, unnameable_types)]
                pub struct __Shared(#rt::Arc<#ident>);
            }),
            quote!(Shared(|__instance| #rt::lend(__instance, __Shared))),
        ),
    };
    let handlers = [
        (quote!(OPEN), quote!(__ENDPOINT_ON_OPEN)),
        (quote!(TEXT), quote!(__ENDPOINT_ON_TEXT)),
        (quote!(BINARY), quote!(__ENDPOINT_ON_BINARY)),
        (quote!(PONG), quote!(__ENDPOINT_ON_PONG)),
        (quote!(CLOSE), quote!(__ENDPOINT_ON_CLOSE)),
        (quote!(ERROR), quote!(__ENDPOINT_ON_ERROR)),
    ]
    .map(|(name, hidden)| match name.to_string().as_str() {
        "TEXT" if !endpoint.events.is_empty() => events::text(endpoint, ident),
        _ => quote!(const #name: #rt::Handler = <#ident>::#hidden;),
    });
    let events = events::endpoint(endpoint, ident);
    let methods = [Event::Open, Event::Text, Event::Binary, Event::Pong, Event::Close, Event::Error].map(|event| {
        let (method, hidden) = (format_ident!("{}", event.method()), event.hidden_method());
        let (parameter, parameters) = (event.parameter_names(), event.owned_parameters());
        let output = event.output();
        if event == Event::Text && !endpoint.events.is_empty() {
            return events::on_text(endpoint, ident, &me);
        }
        quote! {
            fn #method<'a>(&'a mut self, __session: &'a #rt::Session, #parameters)
                -> impl #rt::Future<Output = #output> + ::core::marker::Send + 'a
            {
                <#ident>::#hidden(#me, __session, #parameter)
            }
        }
    });
    let methods_of_streams = [Event::Text, Event::Binary].map(|event| {
        let (method, hidden) = (format_ident!("{}_stream", event.method()), event.hidden_stream());
        let stream = event.stream();
        quote! {
            fn #method<'a>(&'a mut self, __session: &'a #rt::Session, __payload: #rt::#stream)
                -> impl #rt::Future<Output = #rt::Reply> + ::core::marker::Send + 'a
            {
                <#ident>::#hidden(#me, __session, __payload)
            }
        }
    });
    let methods_now = [Event::Text, Event::Binary].map(|event| {
        let (method, hidden) =
            (format_ident!("{}_now", event.method()), format_ident!("{}_now", event.hidden_method()));
        let (parameter, parameters) = (event.parameter_names(), event.borrowed_parameters());
        if event == Event::Text && !endpoint.events.is_empty() {
            return events::on_text_now(endpoint, ident, &me);
        }
        quote! {
            fn #method(&mut self, __session: &#rt::Session, #parameters) -> #rt::Reply {
                <#ident>::#hidden(#me, __session, #parameter)
            }
        }
    });
    let registered = if endpoint.path.is_some() {
        quote! {
            #[automatically_derived]
            impl #rt::ServerEndpoint for #ident {
                type Instance = #instance;
                const SHARING: #rt::Sharing<Self> = #rt::Sharing::#sharing;
                const REGISTRATION: #rt::Registration = #rt::Registration::of::<Self>(
                    ::core::concat!(::core::module_path!(), "::", #name),
                    ::core::file!(),
                    ::core::line!(),
                    #options,
                )
                #configured;
                const CONSTRUCT: ::core::option::Option<fn() -> Self> = #rt::Construct::<Self>::DEFAULT;
            }

            #rt::inventory::submit! { <#ident as #rt::ServerEndpoint>::REGISTRATION }
        }
    } else {
        quote! {
            #[automatically_derived]
            impl #rt::ClientEndpoint for #ident {
                fn name() -> &'static ::core::primitive::str {
                    ::core::concat!(::core::module_path!(), "::", #name)
                }
                const OPTIONS: #rt::EndpointOptions = #options;
            }
        }
    };
    quote! {
        #annotated
        #lists
        const _: () = {
            // Inherent items win over these.
            use #rt::{Fallback as _, NoDefault as _};

            #definition
            #events

            #[automatically_derived]
            impl #rt::Contract for #instance {
                #(#handlers)*
                #coders
                #(#methods)*
                #(#methods_now)*
                #(#methods_of_streams)*
            }

            #registered
        };
    }
}

/// `.configured_by(…)`
fn configured(configurator: &Configurator) -> TokenStream {
    let rt = runtime();
    let (place, value) = match configurator {
        Configurator::Type(ty) => (at(ty.span()), quote!(<#ty as ::core::default::Default>::default())),
        Configurator::Value(value) => (at(value.span()), value.to_token_stream()),
    };
    let made = quote_spanned!(place=> #rt::Configured::new::<Self>(#value));
    quote!(.configured_by(|| #made))
}

/// An expression of type `EndpointOptions`.
fn options(endpoint: &Endpoint) -> TokenStream {
    let rt = runtime();
    let (subprotocols, roles) = (&endpoint.subprotocols, &endpoint.roles);
    if endpoint.options.is_empty() && subprotocols.is_empty() && roles.is_empty() {
        return quote!(#rt::EndpointOptions::DEFAULT);
    }
    let said = endpoint.options.iter().map(|(field, value)| {
        let field = format_ident!("{field}");
        quote!(__options.#field = ::core::option::Option::Some(#value);)
    });
    quote! {{
        let mut __options = #rt::EndpointOptions::DEFAULT;
        __options.subprotocols = &[#(#subprotocols),*];
        __options.roles = &[#(#roles),*];
        #(#said)*
        __options
    }}
}

/// That the type has an annotation. Said also of a type that cannot be an endpoint, so that its handlers do not
/// complain in their turn.
pub(crate) fn annotated(path: Option<&LitStr>, shared: bool, item: &DeriveInput) -> TokenStream {
    let rt = runtime();
    let mutable = (!shared).then(|| quote!(mut));
    // a path is never empty
    let path = path.map_or_else(|| quote!(""), ToTokens::to_token_stream);
    let ident = &item.ident;
    let (impl_generics, ty_generics, where_clause) = item.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #impl_generics #rt::Annotated for #ident #ty_generics #where_clause {
            const PATH: &'static ::core::primitive::str = #path;
            type This<'a> = &'a #mutable Self where Self: 'a;
        }
    }
}

/// The lists of coders where the handlers find them: as types, `(A, (B, ()))`.
fn lists(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    let rt = runtime();
    let lists = [(quote!(__ENDPOINT_DECODERS), &endpoint.decoders), (quote!(__ENDPOINT_ENCODERS), &endpoint.encoders)];
    let lists = lists.into_iter().filter(|(_, types)| !types.is_empty()).map(|(name, types)| {
        let list = types.iter().rev().fold(quote!(()), |rest, ty| quote!((#ty, #rest)));
        quote! {
            #[automatically_derived]
            #[allow(private_interfaces)]
            impl #ident {
                #[doc(hidden)]
                pub const #name: #rt::List<#list> = #rt::List::NEW;
            }
        }
    });
    let events = &endpoint.events;
    let events = (!events.is_empty()).then(|| {
        quote! {
            #[automatically_derived]
            impl #ident {
                #[doc(hidden)]
                pub const __ENDPOINT_EVENTS: &'static [&'static ::core::primitive::str] = &[#(#events),*];
            }
        }
    });
    quote!(#(#lists)* #events)
}

/// How the endpoint's coders are made for a session; nothing if it lists none.
fn coders(endpoint: &Endpoint) -> TokenStream {
    let rt = runtime();
    if endpoint.decoders.is_empty() && endpoint.encoders.is_empty() {
        return TokenStream::new();
    }
    let decoders = endpoint.decoders.iter().map(|ty| quote_spanned!(at(ty.span())=> #rt::list_decoder::<#ty, _>));
    let encoders = endpoint.encoders.iter().map(|ty| quote_spanned!(at(ty.span())=> #rt::list_encoder::<#ty, _>));
    quote! {
        const LISTS_CODERS: ::core::primitive::bool = true;
        fn list_coders(__session: &#rt::Session) {
            #(#decoders(__session);)*
            #(#encoders(__session);)*
        }
    }
}
