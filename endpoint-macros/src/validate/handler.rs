//! What an attribute of a method says, and the method.

use proc_macro2::{Ident, Span, TokenStream};
use syn::{FnArg, LitStr, Receiver, ReceiverKind, Result};

use crate::diagnostics::Mistakes;
use crate::options::{event_name, no_setting_twice, roles, size, unknown_setting};
use crate::parse::{Kind, Method, Setting, Value};
use crate::types::{Known, error_box, is_bool, quiet};
use crate::validate::parameter::{Mark, Taken, plain_lifetime, same, taken};
use crate::validate::{Event, Handler, Role};

/// The handler, or every mistake in it.
pub(crate) fn handler(kind: Kind, settings: Vec<Setting>, method: &Method) -> Result<Handler> {
    let mut mistakes = Mistakes::default();
    let m = &mut mistakes;
    one_attribute(kind, method, m);
    method_is_plain(method, m);
    let receiver = receiver(kind, method, m);
    error_can_be_boxed(method, m);
    let settings = no_setting_twice(settings, m);
    let said = message_settings(kind, &settings, m);
    let taken: Vec<Taken<'_>> = method.parameters.iter().filter_map(|p| taken(kind, p, m)).collect();
    no_second(&taken, m);
    match &said.of_event {
        Some((word, _)) => event_takes_data(word, &said, &taken, m),
        None => nothing_missing(kind, method, &taken, m),
    }
    let event = match kind {
        Kind::Message if said.of_event.is_some() => Event::Text,
        Kind::Open => Event::Open,
        Kind::Close => Event::Close,
        Kind::Error => Event::Error,
        Kind::Message => message_event(&said, &taken, m),
    };
    limits_fit(&said, &taken, m);
    let streams = taken.iter().find(|this| this.is_stream());
    if let (Some(stream), None) = (streams, method.signature.asyncness) {
        m.at(&stream.parameter.ty, "a stream is read while its message arrives: write `async fn`");
    }
    let streams = streams.is_some();
    mistakes.into_result()?;
    Ok(Handler {
        event,
        is_async: method.signature.asyncness.is_some(),
        method: method.signature.ident.clone(),
        arguments: taken.into_iter().map(|taken| taken.argument).collect(),
        max_size: said.max_size.map(|(_, size)| size),
        roles: said.roles,
        max_total: said.max_total.map(|(_, size)| size),
        streams,
        of_event: said.of_event.map(|(_, name)| name),
        output: method.signature.output.clone(),
        receiver,
        by_mut: is_by_mut(method),
    })
}

fn one_attribute(kind: Kind, method: &Method, mistakes: &mut Mistakes) {
    for attribute in &method.attrs {
        if let Some(second) = Kind::of(attribute) {
            let sentence = if second == kind {
                format!("`#[{}]` stands here twice: remove one", kind.name())
            } else {
                format!("a method handles one kind of event, and this one has `#[{}]` already", kind.name())
            };
            mistakes.at(attribute, sentence);
        } else if let Some(mark) = Mark::of(attribute) {
            let name = mark.name();
            mistakes.at(attribute, format!("`#[{name}]` belongs before a parameter, inside the parentheses"));
        }
    }
}

fn method_is_plain(method: &Method, mistakes: &mut Mistakes) {
    let signature = &method.signature;
    if let Some(word) = &signature.constness {
        mistakes.at(word, "a handler is not `const`: it runs when something happens");
    }
    if let syn::Safety::Unsafe(word) = &signature.safety {
        mistakes.at(word, "a handler is a safe `fn`: put the `unsafe` block inside");
    }
    if let Some(abi) = &signature.abi {
        mistakes.at(abi, "a handler is an ordinary `fn`: remove the `extern`");
    }
    if !signature.generics.params.is_empty() {
        mistakes.at(&signature.generics.params, "a handler has no generics: write the types it takes");
    }
    if let Some(variadic) = &signature.variadic {
        mistakes.at(variadic, "a handler has no `...`: write the parameters it takes");
    }
    if method.body.to_string() == ";" {
        mistakes.at(&signature.ident, "a handler has a body: write it in an `impl` block of the endpoint");
    }
}

/// Where `self` stands.
fn receiver(kind: Kind, method: &Method, mistakes: &mut Mistakes) -> Span {
    let name = kind.name();
    match method.signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => {
            match &receiver.kind {
                ReceiverKind::Reference(_, lifetime, _) => plain_lifetime(lifetime.as_ref(), mistakes),
                _ => mistakes.at(receiver, "the endpoint lives on after a handler: write `&self` or `&mut self`"),
            }
            receiver.self_token.span
        }
        _ => {
            let sentence = format!(
                "`#[{name}]` is for a method of the endpoint: write `&self` or `&mut self` first, in an `impl` block"
            );
            mistakes.at(&method.signature.ident, sentence);
            method.signature.ident.span()
        }
    }
}

fn is_by_mut(method: &Method) -> bool {
    matches!(
        method.signature.inputs.first(),
        Some(FnArg::Receiver(Receiver { kind: ReceiverKind::Reference(_, _, Some(_)), .. }))
    )
}

fn error_can_be_boxed(method: &Method, mistakes: &mut Mistakes) {
    if let Some((place, object)) = error_box(&method.signature.output) {
        let object = quiet(object);
        let sentence = format!(
            "this error goes to another handler, perhaps on another thread: write `Box<{object} + Send + Sync>`"
        );
        mistakes.at(place, sentence);
    }
}

/// What stands in the parentheses of `#[on_message(…)]`.
#[derive(Default)]
struct Said {
    format: Option<(Ident, Event)>,
    max_size: Option<(Ident, TokenStream)>,
    roles: Vec<LitStr>,
    max_total: Option<(Ident, TokenStream)>,
    of_event: Option<(Ident, LitStr)>,
}

/// The handler of an event takes its data as JSON, or nothing of it.
fn event_takes_data(word: &Ident, said: &Said, taken: &[Taken<'_>], mistakes: &mut Mistakes) {
    if let Some((word, _)) = &said.format {
        mistakes.at(word, format!("an event is a text message: remove `{word}`"));
    }
    if let Some((max_size, _)) = &said.max_size {
        let sentence = "events share the limit of text messages: write `max_message_size` in `#[server_endpoint]`";
        mistakes.at(max_size, sentence);
    }
    for this in taken {
        match this.argument.role {
            Role::Last => mistakes.at(&this.parameter.name, "the data of an event is whole: remove `last`"),
            Role::Payload if !matches!(this.known, Known::Json | Known::Event) => mistakes.at(
                &this.parameter.ty,
                format!("`{word}` has data in JSON: write `Json<T>`, or `Event<T>` for the event's name as well"),
            ),
            _ => {}
        }
    }
}

fn message_settings(kind: Kind, settings: &[Setting], mistakes: &mut Mistakes) -> Said {
    let mut said = Said::default();
    for setting in settings {
        let name = &setting.name;
        if kind != Kind::Message {
            mistakes.at(name, format!("`#[{}]` has no options: write it without parentheses", kind.name()));
            continue;
        }
        let event = match &*name.to_string() {
            "text" => Event::Text,
            "binary" => Event::Binary,
            "event" => {
                // one that could not be told is an event all the same
                let event = event_name(setting).unwrap_or_else(|mistake| {
                    mistakes.push(mistake);
                    LitStr::new("", name.span())
                });
                said.of_event = Some((name.clone(), event));
                continue;
            }
            "max_size" => {
                match size(setting) {
                    Ok(size) => said.max_size = Some((name.clone(), size)),
                    Err(mistake) => mistakes.push(mistake),
                }
                continue;
            }
            "roles" => {
                match roles(setting) {
                    Ok(roles) => said.roles = roles,
                    Err(mistake) => mistakes.push(mistake),
                }
                continue;
            }
            "max_total" => {
                match size(setting) {
                    Ok(size) => said.max_total = Some((name.clone(), size)),
                    Err(mistake) => mistakes.push(mistake),
                }
                continue;
            }
            _ => {
                let known = ["text", "binary", "event", "max_size", "max_total", "roles"];
                mistakes.push(unknown_setting(setting, &known));
                continue;
            }
        };
        if !matches!(setting.value, Value::Flag) {
            mistakes.at(name, format!("write only `{name}`"));
        }
        match &said.format {
            Some((_, other)) if *other != event => {
                mistakes.at(name, "a handler takes text or binary, not both: write one method for each");
            }
            _ => said.format = Some((name.clone(), event)),
        }
    }
    said
}

fn no_second(taken: &[Taken<'_>], mistakes: &mut Mistakes) {
    for (index, this) in taken.iter().enumerate() {
        let ty = &this.parameter.ty;
        let is_second = taken[..index].iter().any(|earlier| same(&earlier.argument.role, &this.argument.role));
        match this.argument.role {
            Role::Payload => {}
            Role::PathParam(_) | Role::QueryParam(_) | Role::State(_) => {}
            _ if !is_second => {}
            Role::Session => mistakes.at(ty, "a second `Session`: there is only one, remove this"),
            Role::Request => mistakes.at(ty, "a second `HandshakeRequest`: there is only one, remove this"),
            Role::CloseReason => mistakes.at(ty, "a second `CloseReason`: there is only one, remove this"),
            Role::Error => mistakes.at(ty, "a second `Error`: there is only one, remove this"),
            Role::Last => mistakes.at(ty, "a second `last`: a part is the last or not, remove this"),
        }
    }
    let (bools, payloads): (Vec<_>, Vec<_>) = taken
        .iter()
        .filter(|this| matches!(this.argument.role, Role::Payload))
        .partition(|this| is_bool(&this.argument.ty));
    if !payloads.is_empty() {
        for this in &bools {
            let sentence = "a `bool` beside the message says whether this part of it is the last: name it `last`";
            mistakes.at(&this.parameter.ty, sentence);
        }
    }
    let candidates = if payloads.is_empty() { bools } else { payloads };
    for this in candidates.iter().skip(1) {
        mistakes.at(
            &this.parameter.ty,
            "a second message: a handler takes one; mark a variable of the path `#[path_param]` and one of the query `#[query_param]`, handle another kind in another method",
        );
    }
}

fn nothing_missing(kind: Kind, method: &Method, taken: &[Taken<'_>], mistakes: &mut Mistakes) {
    // A parameter that could not be told may be the missing one, and has been complained about.
    if taken.len() < method.parameters.len() {
        return;
    }
    let find = |role: &Role| taken.iter().find(|this| same(&this.argument.role, role));
    let name = &method.signature.ident;
    match kind {
        Kind::Error if find(&Role::Error).is_none() => {
            mistakes.at(name, "`#[on_error]` must see the error: add `error: &Error`");
        }
        Kind::Message if find(&Role::Payload).is_none() => match find(&Role::Last) {
            Some(last) => mistakes.at(
                &last.parameter.name,
                "`last` says whether a part is the last: add the part, as in `part: &str` or `part: &[u8]`",
            ),
            None => mistakes.at(
                name,
                "`#[on_message]` takes a message: add `message: String` for text, `data: Vec<u8>` for binary, or `pong: Pong`",
            ),
        },
        _ => {}
    }
}

/// What kind of message it is, from what was said and from the payload's type.
fn message_event(said: &Said, taken: &[Taken<'_>], mistakes: &mut Mistakes) -> Event {
    let Some(payload) = taken.iter().find(|this| matches!(this.argument.role, Role::Payload)) else {
        return Event::Text;
    };
    let ty = &payload.parameter.ty;
    let told = said.format.as_ref().map(|(_, event)| *event);
    let from_type = match payload.known {
        Known::Text | Known::Scalar | Known::Event | Known::TextStream => Some(Event::Text),
        Known::Json => Some(told.filter(|event| *event == Event::Binary).unwrap_or(Event::Text)),
        Known::Binary | Known::Packed | Known::BinaryStream => Some(Event::Binary),
        Known::Negotiated => told.or(Some(Event::Text)),
        Known::Pong => Some(Event::Pong),
        _ => None,
    };
    if let (Some((word, _)), Known::Negotiated) = (&said.format, payload.known) {
        mistakes.at(word, format!("`{}` is text or binary as the subprotocol says: remove `{word}`", quiet(ty)));
    }
    if let (Some((word, told)), Some(from_type)) = (&said.format, from_type) {
        if *told != from_type {
            let is = match from_type {
                Event::Binary => "binary",
                Event::Pong => "a pong",
                _ => "text",
            };
            mistakes.at(word, format!("`{}` is {is}: remove `{word}`, or take another type", quiet(ty)));
        }
    }
    let Some(event) = from_type.or(told) else {
        mistakes.at(
            ty,
            format!(
                "how does `{}` arrive? write `#[on_message(text)]` or `#[on_message(binary)]`; known by themselves are \
                 String, &str, Text, numbers, bool, char, Json<T> (text), Vec<u8>, &[u8], Bytes, Binary, MessagePack<T>, Cbor<T>, \
                 Protobuf<T> (binary), Negotiated<T> (either) and Pong",
                quiet(ty)
            ),
        );
        return Event::Text;
    };
    let last = taken.iter().find(|this| matches!(this.argument.role, Role::Last));
    if let Some(last) = last.filter(|_| !matches!(payload.known, Known::Text | Known::Binary)) {
        let sentence = match event {
            Event::Pong => "a pong has no parts: remove `last`".into(),
            _ if payload.is_stream() => "a stream ends by itself where its message does: remove `last`".into(),
            Event::Binary => format!("`{}` is decoded from a whole message: remove `last`, or take `&[u8]`", quiet(ty)),
            _ => format!("`{}` is decoded from a whole message: remove `last`, or take `&str`", quiet(ty)),
        };
        mistakes.at(&last.parameter.name, sentence);
    }
    if let Some((word, _)) = said.max_size.as_ref().filter(|_| event == Event::Pong) {
        mistakes.at(word, "a pong never has more than 125 bytes: remove `max_size`");
    }
    event
}

fn limits_fit(said: &Said, taken: &[Taken<'_>], mistakes: &mut Mistakes) {
    let parts = taken.iter().any(|this| matches!(this.argument.role, Role::Last));
    let stream = taken.iter().any(Taken::is_stream);
    if let Some((word, _)) = &said.max_size {
        if stream {
            mistakes.at(word, "a stream is never put together, so it has no size: write `max_total` for all of it");
        } else if parts {
            mistakes.at(
                word,
                "a message in parts is never put together, so it has no size: remove `last`, or write `max_total` for \
                 all of it",
            );
        }
    }
    if let Some((word, _)) = said.max_total.as_ref().filter(|_| !stream && !parts) {
        mistakes.at(word, "`max_total` is for all parts of a message, and this is a whole one: write `max_size`");
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::parse::Parser;
    use syn::parse2;

    use super::*;
    use crate::parse;

    fn of(kind: Kind, settings: TokenStream, method: TokenStream) -> Result<Handler> {
        handler(kind, parse::settings.parse2(settings)?, &parse2(method)?)
    }

    fn sentences(kind: Kind, settings: TokenStream, method: TokenStream) -> Vec<String> {
        let mistakes = of(kind, settings, method).err().expect("a mistake");
        mistakes.into_iter().map(|mistake| mistake.to_string()).collect()
    }

    #[test]
    fn the_payload_says_what_kind_of_message_it_is() {
        for (payload, event) in [
            (quote!(&str), Event::Text),
            (quote!(f32), Event::Text),
            (quote!(bool), Event::Text),
            (quote!(Vec<u8>), Event::Binary),
            (quote!(&[u8]), Event::Binary),
            (quote!(&Pong), Event::Pong),
        ] {
            let handler = of(Kind::Message, quote!(), quote!(fn f(&self, s: &Session, x: #payload) {})).unwrap();
            assert_eq!(handler.event, event, "{payload}");
        }
        assert_eq!(
            of(
                Kind::Message,
                quote!(binary),
                quote!(
                    fn f(&self, x: Mine) {}
                )
            )
            .unwrap()
            .event,
            Event::Binary
        );
    }

    #[test]
    fn parameters_keep_the_order_of_the_method() {
        let method = quote!(
            fn f(&self, last: bool, #[path_param("a")] b: u8, part: Bytes, s: Session) {}
        );
        let handler = of(Kind::Message, quote!(), method).unwrap();
        let roles: Vec<_> = handler.arguments.iter().map(|argument| &argument.role).collect();
        assert!(
            matches!(*roles, [Role::Last, Role::PathParam(name), Role::Payload, Role::Session] if name.value() == "a")
        );
    }

    #[test]
    fn all_mistakes_of_a_method_are_told_together() {
        let method = quote!(
            unsafe fn f(self, a: &Session, b: &Session, error: Error) -> u8 {
                0
            }
        );
        assert_eq!(sentences(Kind::Open, quote!(text), method).len(), 5);
    }

    #[test]
    fn a_missing_parameter_is_not_missed_beside_one_that_could_not_be_told() {
        assert_eq!(
            sentences(
                Kind::Error,
                quote!(),
                quote!(
                    fn f(&self, error: MyError) {}
                )
            )
            .len(),
            1
        );
    }
}
