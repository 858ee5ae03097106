//! What `#[server_endpoint]` or `#[client_endpoint]` says.

use quote::quote;
use syn::{Data, DeriveInput, Error, Result};

use crate::diagnostics::Mistakes;
use crate::options::{
    coders, compression, configurator, count, events, instance, is_off, no_setting_twice, overflow, roles, size,
    subprotocols, time, unknown_setting,
};
use crate::parse::{EndpointArgs, Setting, Side};
use crate::template;
use crate::validate::Endpoint;

const CLIENT_OPTIONS: [&str; 14] = [
    "subprotocols",
    "decoders",
    "encoders",
    "events",
    "max_message_size",
    "max_nesting",
    "idle_timeout",
    "ping_interval",
    "pong_timeout",
    "send_timeout",
    "min_receive_rate",
    "min_send_rate",
    "compression",
    "overflow",
];

/// What a server's may have beside those.
const SERVER_OPTIONS: [&str; 3] = ["configurator", "roles", "instance"];

/// The endpoint without what is wrong with it, and what is wrong with it.
pub(crate) fn endpoint(args: EndpointArgs, item: &DeriveInput) -> (Endpoint, Result<()>) {
    let mut mistakes = Mistakes::default();
    type_is_plain(item, &mut mistakes);
    annotated_once(item, &mut mistakes);
    if let Some(path) = &args.path {
        for (range, sentence) in template::mistakes(&path.value()) {
            mistakes.push(Error::new(template::span_within(path, range), sentence));
        }
    }
    let settings = no_setting_twice(args.settings, &mut mistakes);
    let mut endpoint = Endpoint {
        path: args.path,
        subprotocols: Vec::new(),
        roles: Vec::new(),
        configurator: None,
        shared: None,
        options: Vec::new(),
        decoders: Vec::new(),
        encoders: Vec::new(),
        events: Vec::new(),
    };
    for setting in &settings {
        if let Err(mistake) = endpoint_option(setting, &mut endpoint) {
            mistakes.push(mistake);
        }
    }
    (endpoint, mistakes.into_result())
}

fn type_is_plain(item: &DeriveInput, mistakes: &mut Mistakes) {
    if let Data::Union(data) = &item.data {
        mistakes.at(data.union_token, "an endpoint is a struct or an enum, not a union");
    }
    if !item.generics.params.is_empty() {
        let sentence =
            "an endpoint has no generics and no lifetimes: it is registered as one type and outlives its connections";
        mistakes.at(&item.generics.params, sentence);
    }
}

fn annotated_once(item: &DeriveInput, mistakes: &mut Mistakes) {
    let second = item.attrs.iter().find_map(|attribute| Some((attribute, Side::of(attribute)?)));
    if let Some((second, side)) = second {
        mistakes.at(second, format!("a type is one endpoint: remove one `#[{}]`", side.name()));
    }
}

fn endpoint_option(setting: &Setting, endpoint: &mut Endpoint) -> Result<()> {
    let name = setting.name.to_string();
    let mut options = CLIENT_OPTIONS.to_vec();
    if endpoint.path.is_some() {
        options.extend(SERVER_OPTIONS);
    }
    let Some(option) = options.iter().copied().find(|option| *option == name) else {
        return Err(unknown_setting(setting, &options));
    };
    let value = match option {
        "subprotocols" => {
            endpoint.subprotocols = subprotocols(setting)?;
            return Ok(());
        }
        "roles" => {
            endpoint.roles = roles(setting)?;
            return Ok(());
        }
        "instance" => {
            endpoint.shared = instance(setting)?;
            return Ok(());
        }
        "configurator" => {
            endpoint.configurator = Some(configurator(setting)?);
            return Ok(());
        }
        "events" => {
            endpoint.events = events(setting)?;
            return Ok(());
        }
        "decoders" => {
            endpoint.decoders = coders(setting)?;
            return Ok(());
        }
        "encoders" => {
            endpoint.encoders = coders(setting)?;
            return Ok(());
        }
        "max_message_size" => size(setting)?,
        "max_nesting" => count(setting)?,
        "send_timeout" => time(setting)?,
        "min_receive_rate" | "min_send_rate" if is_off(setting) => quote!(0),
        "min_receive_rate" | "min_send_rate" => size(setting)?,
        "compression" => compression(setting)?,
        "overflow" => overflow(setting)?,
        _ if is_off(setting) => quote!(::core::option::Option::None),
        _ => {
            let time = time(setting)?;
            quote!(::core::option::Option::Some(#time))
        }
    };
    endpoint.options.push((option, value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use syn::parse2;

    use super::*;

    #[test]
    fn an_endpoint_with_mistakes_keeps_what_is_right() {
        let args = parse2(quote!("/a", idle_timeout = "1s", idle_timeout = off, max_message_size = 0)).unwrap();
        let (endpoint, result) = endpoint(
            args,
            &parse2(quote!(
                struct A;
            ))
            .unwrap(),
        );
        assert_eq!(endpoint.options.len(), 1);
        assert_eq!(result.unwrap_err().into_iter().count(), 2);
    }
}
