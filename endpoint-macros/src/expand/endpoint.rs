//! The items beside an endpoint's type.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{DeriveInput, LitStr, Type};

use crate::crate_path::runtime;
use crate::expand::{event, located_at, sync_method};
use crate::options::Configurator;
use crate::validate::{Endpoint, HandlerKind};

/// The items that make `item` an endpoint.
pub(crate) fn expand(endpoint: &Endpoint, item: &DeriveInput) -> TokenStream {
    let rt = runtime();
    let ident = &item.ident;
    let annotated = annotated_impl(endpoint.path.as_ref(), endpoint.shared.is_some(), item);
    let lists = lists(endpoint, ident);
    let shared_wrapper = endpoint.shared.map(|_| shared_wrapper(ident));
    let event_stand_ins = event::stand_ins(endpoint, ident);
    let contract = contract_impl(endpoint, ident);
    let objects = objects(endpoint, ident);
    let registration =
        if endpoint.path.is_some() { server_impl(endpoint, ident) } else { client_impl(endpoint, ident) };
    quote! {
        #annotated
        #lists
        const _: () = {
            // Inherent items take precedence over these.
            use #rt::{Fallback as _, NoDefault as _};

            #shared_wrapper
            #event_stand_ins
            #contract
            #objects
            #registration
        };
    }
}

/// The type that the connections of a shared instance hold.
fn shared_wrapper(ident: &Ident) -> TokenStream {
    let rt = runtime();
    quote! {
        #[doc(hidden)]
        #[allow(missing_docs, missing_debug_implementations, unreachable_pub, unnameable_types)]
        pub struct __Shared(#rt::Arc<#ident>);
    }
}

/// The type that a connection calls: the endpoint, or the wrapper of its shared instance.
fn instance_type(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    if endpoint.shared.is_some() { quote!(__Shared) } else { quote!(#ident) }
}

/// The implementation of the trait that the connection calls.
fn contract_impl(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    let rt = runtime();
    let instance = instance_type(endpoint, ident);
    // a shared instance is reached through the wrapper
    let receiver = match endpoint.shared {
        None => quote!(self),
        Some(place) => quote_spanned!(located_at(place)=> &*self.0),
    };
    let handlers = handler_consts(endpoint, ident);
    let coders = coders(endpoint);
    let methods = async_methods(endpoint, ident, &receiver);
    let sync_methods = sync_methods(endpoint, ident, &receiver);
    let stream_methods = stream_methods(ident, &receiver);
    quote! {
        #[automatically_derived]
        impl #rt::EndpointHandlers for #instance {
            #handlers
            #coders
            #methods
            #sync_methods
            #stream_methods
        }
    }
}

fn handler_consts(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    use HandlerKind::{Binary, Close, Error, Open, Pong, Presence, Text};
    let rt = runtime();
    let consts = [Open, Text, Binary, Pong, Close, Error, Presence].map(|kind| {
        if kind == Text && !endpoint.events.is_empty() {
            return event::text_consts(endpoint, ident);
        }
        let (name, hidden) = (kind.trait_const(), kind.hidden_const());
        quote!(const #name: #rt::Handler = <#ident>::#hidden;)
    });
    quote!(#(#consts)*)
}

/// The methods that return a future.
fn async_methods(endpoint: &Endpoint, ident: &Ident, receiver: &TokenStream) -> TokenStream {
    use HandlerKind::{Binary, Close, Error, Open, Pong, Presence, Text};
    let rt = runtime();
    let methods = [Open, Text, Binary, Pong, Close, Error, Presence].map(|kind| {
        if kind == Text && !endpoint.events.is_empty() {
            return event::on_text(endpoint, ident, receiver);
        }
        let (method, hidden) = (kind.trait_method(), kind.hidden_method());
        let (names, parameters) = (kind.parameter_names(), kind.owned_parameters());
        let output = kind.output();
        quote! {
            fn #method<'a>(&'a mut self, __session: &'a #rt::Session, #parameters)
                -> impl #rt::Future<Output = #output> + ::core::marker::Send + 'a
            {
                <#ident>::#hidden(#receiver, __session, #names)
            }
        }
    });
    quote!(#(#methods)*)
}

/// The methods for ordinary `fn`s, which borrow the message.
fn sync_methods(endpoint: &Endpoint, ident: &Ident, receiver: &TokenStream) -> TokenStream {
    let rt = runtime();
    let methods = [HandlerKind::Text, HandlerKind::Binary].map(|kind| {
        if kind == HandlerKind::Text && !endpoint.events.is_empty() {
            return event::on_text_sync(endpoint, ident, receiver);
        }
        let (method, hidden) = (sync_method(&kind.trait_method()), sync_method(&kind.hidden_method()));
        let (names, parameters) = (kind.parameter_names(), kind.borrowed_parameters());
        quote! {
            fn #method(&mut self, __session: &#rt::Session, #parameters) -> #rt::Reply {
                <#ident>::#hidden(#receiver, __session, #names)
            }
        }
    });
    quote!(#(#methods)*)
}

/// The methods for handlers that read their message as a stream.
fn stream_methods(ident: &Ident, receiver: &TokenStream) -> TokenStream {
    let rt = runtime();
    let methods = [HandlerKind::Text, HandlerKind::Binary].map(|kind| {
        let (method, hidden, stream) = (kind.trait_stream_method(), kind.hidden_stream_method(), kind.stream_type());
        quote! {
            fn #method<'a>(&'a mut self, __session: &'a #rt::Session, __payload: #rt::#stream)
                -> impl #rt::Future<Output = #rt::Reply> + ::core::marker::Send + 'a
            {
                <#ident>::#hidden(#receiver, __session, __payload)
            }
        }
    });
    quote!(#(#methods)*)
}

fn server_impl(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    let rt = runtime();
    let name = ident.unraw().to_string();
    let instance = instance_type(endpoint, ident);
    let sharing = match endpoint.shared {
        None => quote!(PerConnection(|__instance| __instance)),
        Some(_) => quote!(Shared(|__instance| #rt::lend(__instance, __Shared))),
    };
    let options = options(endpoint);
    let configured = endpoint.configurator.as_ref().map(configured_by);
    let intercepted = intercepted_by(&endpoint.interceptors);
    let rated = endpoint.rate.as_ref().map(|rate| quote!(.rated(#rate)));
    let sharing_properties = sharing_properties(&endpoint.shared_properties);
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
            #configured
            #intercepted
            #rated
            #sharing_properties;
            const CONSTRUCT: ::core::option::Option<fn() -> Self> = #rt::Construct::<Self>::DEFAULT;
        }

        #rt::inventory::submit! { <#ident as #rt::ServerEndpoint>::REGISTRATION }
    }
}

fn client_impl(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    let rt = runtime();
    let name = ident.unraw().to_string();
    let options = options(endpoint);
    quote! {
        #[automatically_derived]
        impl #rt::ClientEndpoint for #ident {
            fn name() -> &'static ::core::primitive::str {
                ::core::concat!(::core::module_path!(), "::", #name)
            }
            const OPTIONS: #rt::EndpointOptions = #options;
        }
    }
}

/// The location and the value of a configurator or an interceptor.
fn made(configurator: &Configurator) -> (Span, TokenStream) {
    match configurator {
        Configurator::Type(ty) => (located_at(ty.span()), quote!(<#ty as ::core::default::Default>::default())),
        Configurator::Value(value) => (located_at(value.span()), value.to_token_stream()),
    }
}

/// `.intercepted_by(…)`
fn intercepted_by(interceptors: &[Configurator]) -> Option<TokenStream> {
    let rt = runtime();
    let all = interceptors.iter().map(|interceptor| {
        let (place, value) = made(interceptor);
        quote_spanned!(place=> #rt::SharedInterceptor::new(#value))
    });
    (!interceptors.is_empty()).then(|| quote!(.intercepted_by(|| ::core::convert::Into::into([#(#all),*]))))
}

/// `.configured_by(…)`
fn configured_by(configurator: &Configurator) -> TokenStream {
    let rt = runtime();
    let (place, value) = made(configurator);
    let configured = quote_spanned!(place=> #rt::Configured::new::<Self>(#value));
    quote!(.configured_by(|| #configured))
}

/// `.sharing(…)`: each property has the last name of its type, which nodes of different builds agree on.
fn sharing_properties(types: &[Type]) -> Option<TokenStream> {
    let rt = runtime();
    let properties = types.iter().map(|ty| {
        let written = ty.to_token_stream().to_string();
        let name = written.rsplit("::").next().unwrap_or(&written).trim();
        quote_spanned!(located_at(ty.span())=> #rt::SharedProperty::of::<#ty>(#name))
    });
    (!types.is_empty()).then(|| quote!(.sharing(&[#(#properties),*])))
}

/// An expression of type `EndpointOptions`.
fn options(endpoint: &Endpoint) -> TokenStream {
    let rt = runtime();
    let (subprotocols, roles) = (&endpoint.subprotocols, &endpoint.roles);
    if endpoint.options.is_empty() && subprotocols.is_empty() && roles.is_empty() {
        return quote!(#rt::EndpointOptions::DEFAULT);
    }
    let assignments = endpoint.options.iter().map(|(field, value)| {
        let field = format_ident!("{field}");
        quote!(__options.#field = ::core::option::Option::Some(#value);)
    });
    quote! {{
        let mut __options = #rt::EndpointOptions::DEFAULT;
        __options.subprotocols = &[#(#subprotocols),*];
        __options.roles = &[#(#roles),*];
        #(#assignments)*
        __options
    }}
}

/// Marks the type as annotated. A type that cannot be an endpoint is marked, too, so that its handlers do not report
/// follow-up errors.
pub(crate) fn annotated_impl(path: Option<&LitStr>, shared: bool, item: &DeriveInput) -> TokenStream {
    let rt = runtime();
    let mutable = (!shared).then(|| quote!(mut));
    // the path of a server endpoint is never empty
    let path = path.map_or_else(|| quote!(""), ToTokens::to_token_stream);
    let ident = &item.ident;
    let (impl_generics, ty_generics, where_clause) = item.generics.split_for_impl();
    quote! {
        // the attributes of handlers, where only the one of the type is imported
        use #rt::attributes::*;

        #[automatically_derived]
        impl #impl_generics #rt::Annotated for #ident #ty_generics #where_clause {
            const PATH: &'static ::core::primitive::str = #path;
            type Receiver<'a> = &'a #mutable Self where Self: 'a;
        }
    }
}

/// The constants that the handlers use at compile time: coders as types, `(A, (B, ()))`, the names of events, and whether
/// sessions are present.
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
    let presence = endpoint.has_presence.then(|| {
        quote! {
            #[automatically_derived]
            impl #ident {
                #[doc(hidden)]
                pub const __ENDPOINT_HAS_PRESENCE: ::core::primitive::bool = true;
            }
        }
    });
    quote!(#(#lists)* #events #presence)
}

/// The function that creates the endpoint's coders for a session; no tokens if it lists none.
fn coders(endpoint: &Endpoint) -> TokenStream {
    let rt = runtime();
    if endpoint.decoders.is_empty() && endpoint.encoders.is_empty() {
        return TokenStream::new();
    }
    let decoders =
        endpoint.decoders.iter().map(|ty| quote_spanned!(located_at(ty.span())=> #rt::list_decoder::<#ty, _>));
    let encoders =
        endpoint.encoders.iter().map(|ty| quote_spanned!(located_at(ty.span())=> #rt::list_encoder::<#ty, _>));
    quote! {
        const LISTS_CODERS: ::core::primitive::bool = true;
        fn list_coders(__session: &#rt::Session) {
            #(#decoders(__session);)*
            #(#encoders(__session);)*
        }
    }
}

/// Makes objects of the types for which the endpoint lists an encoder, for `send_object`. A type that encodes itself is
/// one already, and of a type with two encoders the first counts: then the implementation is for a type of no use.
fn objects(endpoint: &Endpoint, ident: &Ident) -> TokenStream {
    let rt = runtime();
    let kind = |ty: &Type| {
        quote!(#rt::encoder_kind(
            #rt::Has::<#ty>::TEXT,
            #rt::Has::<#ty>::BINARY,
            #rt::Has::<#ty>::TEXT_STREAM,
            #rt::Has::<#ty>::BINARY_STREAM,
        ))
    };
    let object = |index: usize| format_ident!("__Object{index}");
    let objects = endpoint.encoders.iter().enumerate().map(|(index, ty)| {
        let (object_type, kind) = (object(index), kind(ty));
        let other = format_ident!("__Other{index}");
        let earlier = (0..index).map(object);
        let is_object = quote!(!#rt::Has::<#object_type>::ENCODING #(&& !#rt::Has::<(#object_type, #earlier)>::SAME)*);
        quote! {
            type #object_type = <#ty as #rt::Encodes<{
                use #rt::HasNot as _;
                #kind
            }>>::Object;
            enum #other {}
            #[automatically_derived]
            impl #rt::Object<#ident> for <#rt::If<{
                use #rt::HasNot as _;
                #is_object
            }> as #rt::Select<#object_type, #other>>::Type {
                fn message_for(&self, __context: &#rt::EncodeContext<'_>)
                    -> ::core::result::Result<#rt::Message, #rt::Error>
                {
                    #rt::encode_listed(self, __context)
                }
            }
        }
    });
    quote!(#(#objects)*)
}
