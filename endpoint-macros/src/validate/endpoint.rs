//! Checks `#[server_endpoint]` and `#[client_endpoint]`, and the type below.

use quote::quote;
use syn::{Data, DeriveInput, Error, Result};

use crate::diagnostics::Diagnostics;
use crate::options::table::{EndpointOption, Section};
use crate::options::{GivenOption, read_options};
use crate::parse::{EndpointArgs, EndpointAttr};
use crate::template;
use crate::validate::Endpoint;

/// The endpoint without its invalid parts, and the errors in these.
pub(crate) fn validate(attribute: EndpointAttr, args: EndpointArgs, item: &DeriveInput) -> (Endpoint, Result<()>) {
    let mut diagnostics = Diagnostics::default();
    check_type(item, &mut diagnostics);
    check_attributes(item, &mut diagnostics);
    if let Some(path) = &args.path {
        for (range, message) in template::errors(&path.value()) {
            diagnostics.push(Error::new(template::span_within(path, range), message));
        }
    }
    let mut endpoint = Endpoint {
        path: args.path,
        subprotocols: Vec::new(),
        roles: Vec::new(),
        configurator: None,
        interceptors: Vec::new(),
        rate: None,
        shared: None,
        options: Vec::new(),
        decoders: Vec::new(),
        encoders: Vec::new(),
        shared_properties: Vec::new(),
        events: Vec::new(),
        has_presence: false,
    };
    let set = |option, given: &GivenOption<'_>| set_option(&mut endpoint, option, given);
    read_options(&args.options, attribute.name(), &mut diagnostics, set);
    (endpoint, diagnostics.into_result())
}

fn check_type(item: &DeriveInput, diagnostics: &mut Diagnostics) {
    if let Data::Union(data) = &item.data {
        diagnostics.at(data.union_token, "a union cannot be an endpoint: write a struct or an enum");
    }
    if !item.generics.params.is_empty() {
        let message =
            "an endpoint cannot have generics or lifetimes: it is registered as one type and outlives its connections";
        diagnostics.at(&item.generics.params, message);
    }
}

fn check_attributes(item: &DeriveInput, diagnostics: &mut Diagnostics) {
    let second = item.attrs.iter().find_map(|attribute| Some((attribute, EndpointAttr::of(attribute)?)));
    if let Some((attribute, second)) = second {
        let message = format!("a type can have only one endpoint attribute: remove one `#[{}]`", second.name());
        diagnostics.at(attribute, message);
    }
}

/// Reads the value of one option.
fn set_option(endpoint: &mut Endpoint, option: EndpointOption, given: &GivenOption<'_>) -> Result<()> {
    let field = option.row().name;
    let mut set = |value| endpoint.options.push((field, value));
    match option {
        EndpointOption::Subprotocols => endpoint.subprotocols = given.strings("subprotocol", subprotocol_error)?,
        EndpointOption::Roles => endpoint.roles = given.strings("role", |_| None)?,
        EndpointOption::Events => endpoint.events = given.strings("event", |_| None)?,
        EndpointOption::Decoders => endpoint.decoders = given.types()?,
        EndpointOption::Encoders => endpoint.encoders = given.types()?,
        EndpointOption::Shared => endpoint.shared_properties = given.types()?,
        EndpointOption::History => set(given.history()?),
        EndpointOption::Instance => endpoint.shared = given.instance()?,
        EndpointOption::Configurator => endpoint.configurator = Some(given.configurator()?),
        EndpointOption::Intercept => endpoint.interceptors = given.interceptors()?,
        EndpointOption::Rate => endpoint.rate = Some(given.message_rate()?),
        EndpointOption::MaxMessageSize => set(given.size()?),
        EndpointOption::MaxNesting => set(given.integer()?),
        EndpointOption::MaxSessions => set(given.cap()?),
        EndpointOption::MaxSessionsPer => set(given.sessions_per()?),
        EndpointOption::SendTimeout => set(given.duration()?),
        EndpointOption::IdleTimeout | EndpointOption::PingInterval | EndpointOption::PongTimeout => {
            set(given.duration_or_off()?);
        }
        EndpointOption::MinReceiveRate | EndpointOption::MinSendRate if given.is_off() => set(quote!(0)),
        EndpointOption::MinReceiveRate | EndpointOption::MinSendRate => set(given.size()?),
        EndpointOption::Compression => set(given.compression()?),
        EndpointOption::Overflow => set(given.overflow()?),
        EndpointOption::Presence => {
            // even if its value is invalid, so that no other errors follow from it
            endpoint.has_presence = true;
            endpoint.options.push((field, given.presence()?));
        }
    }
    Ok(())
}

/// The error in the name of a subprotocol: it must be a token of RFC 7230 §3.2.6.
fn subprotocol_error(name: &str) -> Option<&'static str> {
    let is_token =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    (!is_token).then_some("invalid subprotocol name: use letters, digits and !#$%&'*+-.^_`|~ (RFC 7230 token)")
}

#[cfg(test)]
mod tests {
    use syn::parse2;

    use super::*;

    #[test]
    fn an_endpoint_with_errors_keeps_its_valid_parts() {
        let args = parse2(quote!("/a", idle_timeout = "1s", idle_timeout = off, max_message_size = 0)).unwrap();
        let item = parse2(quote!(
            struct A;
        ))
        .unwrap();
        let (endpoint, result) = validate(EndpointAttr::Server, args, &item);
        assert_eq!(endpoint.options.len(), 1);
        assert_eq!(result.unwrap_err().into_iter().count(), 2);
    }
}
