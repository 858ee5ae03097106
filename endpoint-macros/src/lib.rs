//! The attributes.
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Attribute, DeriveInput, Error, LitStr};

mod expand;
mod parse;
mod template;
mod units;
mod validate;

use crate::parse::{EndpointArgs, Kind, Method};

/// x
#[proc_macro_attribute]
pub fn server_endpoint(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    endpoint(args.into(), item.into()).into()
}

/// x
#[proc_macro_attribute]
pub fn on_open(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(Kind::Open, args.into(), item.into()).into()
}

/// x
#[proc_macro_attribute]
pub fn on_message(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(Kind::Message, args.into(), item.into()).into()
}

/// x
#[proc_macro_attribute]
pub fn on_close(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(Kind::Close, args.into(), item.into()).into()
}

/// x
#[proc_macro_attribute]
pub fn on_error(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    handler(Kind::Error, args.into(), item.into()).into()
}

/// The item as it was, what makes it an endpoint, and what is wrong with it.
fn endpoint(args: TokenStream, mut item: TokenStream) -> TokenStream {
    let Ok(mut input) = syn::parse2::<DeriveInput>(item.clone()) else {
        let (keyword, place) = parse::keyword(&item);
        let sentence =
            format!("`#[server_endpoint]` belongs above the struct or enum of the endpoint, not on this `{keyword}`");
        let error = Error::new(place, sentence).into_compile_error();
        return quote!(#item #error);
    };
    let args = match syn::parse2::<EndpointArgs>(args) {
        Ok(args) => args,
        Err(error) => {
            let annotated = expand::annotated(&LitStr::new("", proc_macro2::Span::call_site()), &input);
            let error = error.into_compile_error();
            return quote!(#item #annotated #error);
        }
    };
    let (endpoint, result) = validate::endpoint(args, &input);
    let is_second = |attribute: &Attribute| parse::is_named(attribute, "server_endpoint");
    if input.attrs.iter().any(is_second) {
        input.attrs.retain(|attribute| !is_second(attribute));
        item = input.to_token_stream();
    }
    let error = result.err().map(Error::into_compile_error);
    let is_plain = input.generics.params.is_empty() && !matches!(input.data, syn::Data::Union(_));
    let expanded =
        if is_plain { expand::endpoint(&endpoint, &input) } else { expand::annotated(&endpoint.path, &input) };
    quote!(#item #expanded #error)
}

/// The method as it was without the marks of its parameters, and the hidden items or what is wrong with it.
fn handler(kind: Kind, args: TokenStream, item: TokenStream) -> TokenStream {
    let Ok(mut method) = syn::parse2::<Method>(item.clone()) else {
        let (keyword, place) = parse::keyword(&item);
        let sentence = format!("`#[{}]` belongs on a method of the endpoint, not on this `{keyword}`", kind.name());
        let error = Error::new(place, sentence).into_compile_error();
        return quote!(#item #error);
    };
    let valid = parse::settings.parse2(args).and_then(|settings| validate::handler(kind, settings, &method));
    let beside = valid.map_or_else(Error::into_compile_error, |handler| expand::handler(&handler));
    // One that does not belong here has been complained about and must not do so itself.
    method.attrs.retain(|attribute| Kind::of(attribute).is_none() && !parse::is_mark(attribute));
    quote!(#method #beside)
}
