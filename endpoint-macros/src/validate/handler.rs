//! Checks a handler attribute and the method below.

use proc_macro2::{Ident, Span, TokenStream};
use syn::{Error, FnArg, GenericParam, Lifetime, LitStr, Receiver, ReceiverKind, Result, ReturnType, Type};

use crate::diagnostics::Diagnostics;
use crate::options::table::MessageOption;
use crate::options::{GivenOption, read_options};
use crate::parse::{HandlerAttr, Method, OptionArg, ParamAttr, without_groups};
use crate::types::{
    Certainty, KnownType, certainty, instead_of, is_bool, is_future, type_text, unsendable_error_box, with_elided,
};
use crate::validate::parameter::{Context, Resolved, check_lifetime, message_named_like_ours, resolve};
use crate::validate::{Handler, HandlerKind, Source};

/// The handler, or all errors in it.
pub(crate) fn validate(attribute: HandlerAttr, args: &[OptionArg], method: &Method) -> Result<Handler> {
    let mut diagnostics = Diagnostics::default();
    let d = &mut diagnostics;
    check_attributes(attribute, method, d);
    check_signature(method, d);
    let receiver = receiver(attribute, method, d);
    check_error_type(method, d);
    check_output(method, d);
    let options = message_options(attribute, args, d);
    let lifetimes: Vec<Ident> =
        method.signature.generics.lifetimes().map(|parameter| parameter.lifetime.ident.clone()).collect();
    let kind = options.kind.as_ref().map(|(_, kind)| *kind);
    let message = kind.and_then(|_| message_named_like_ours(&method.parameters));
    let context = Context { attribute, kind, message, lifetimes: &lifetimes };
    let resolved: Vec<Resolved<'_>> =
        method.parameters.iter().filter_map(|parameter| resolve(&context, parameter, d)).collect();
    check_duplicates(&resolved, d);
    match &options.event {
        Some(_) => check_event(&options, &resolved, d),
        None => check_missing(attribute, method, &resolved, d),
    }
    let kind = match attribute {
        HandlerAttr::Message if options.event.is_some() => HandlerKind::Text,
        HandlerAttr::Message => message_kind(&options, &resolved, d),
        HandlerAttr::Open => HandlerKind::Open,
        HandlerAttr::Close => HandlerKind::Close,
        HandlerAttr::Error => HandlerKind::Error,
        HandlerAttr::Presence => HandlerKind::Presence,
    };
    check_limits(&options, &resolved, d);
    let stream = resolved.iter().find(|resolved| resolved.known.is_stream());
    if let (Some(stream), None) = (stream, method.signature.asyncness) {
        d.at(&stream.parameter.ty, "a handler that takes a stream must be async: write `async fn`");
    }
    let streams = stream.is_some();
    diagnostics.into_result()?;
    Ok(Handler {
        kind,
        is_async: method.signature.asyncness.is_some(),
        method: method.signature.ident.clone(),
        arguments: resolved.into_iter().map(|resolved| resolved.argument).collect(),
        max_size: options.max_size.map(|(_, size)| size),
        max_total: options.max_total.map(|(_, size)| size),
        rate: options.rate,
        roles: options.roles,
        streams,
        event: options.event,
        output: with_elided_output(&method.signature.output, &lifetimes),
        conditions: method.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect(),
        is_deprecated: is_deprecated(method),
        receiver,
        by_mut: takes_mut_self(method),
    })
}

fn check_attributes(attribute: HandlerAttr, method: &Method, diagnostics: &mut Diagnostics) {
    let name = attribute.name();
    for other in &method.attrs {
        if let Some(second) = HandlerAttr::of(other) {
            let message = if second == attribute {
                format!("duplicate attribute `#[{name}]`: remove one")
            } else {
                format!("a method can have only one handler attribute, and this one has `#[{name}]`: write two methods")
            };
            diagnostics.at(other, message);
        } else if let Some(misplaced) = ParamAttr::of(other) {
            diagnostics.at(other, format!("`#[{}]` goes on a parameter, not on the method", misplaced.name()));
        }
    }
}

fn check_signature(method: &Method, diagnostics: &mut Diagnostics) {
    let signature = &method.signature;
    if let Some(word) = &signature.constness {
        diagnostics.at(word, "a handler cannot be `const`: remove it");
    }
    if let syn::Safety::Unsafe(word) = &signature.safety {
        diagnostics.at(word, "a handler cannot be `unsafe`: write an `unsafe` block in its body");
    }
    if let Some(abi) = &signature.abi {
        diagnostics.at(abi, "a handler cannot be `extern`: remove it");
    }
    for parameter in &signature.generics.params {
        match parameter {
            GenericParam::Lifetime(_) => {}
            other => diagnostics.at(other, "a handler cannot be generic: write concrete types"),
        }
    }
    if let Some(variadic) = &signature.variadic {
        diagnostics.at(variadic, "a handler cannot be variadic: write its parameters");
    }
    if method.body.to_string() == ";" {
        diagnostics.at(&signature.ident, "a handler needs a body: write it in an `impl` block of the endpoint");
    }
}

/// The place of `self`.
fn receiver(attribute: HandlerAttr, method: &Method, diagnostics: &mut Diagnostics) -> Span {
    match method.signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => {
            match reference_to_self(receiver) {
                Some((lifetime, _)) => check_lifetime(lifetime, diagnostics),
                None => {
                    let message = "the endpoint outlives the call of a handler: write `&self` or `&mut self`";
                    diagnostics.at(receiver, message);
                }
            }
            receiver.self_token.span
        }
        _ => {
            let name = attribute.name();
            let message = format!(
                "`#[{name}]` goes on a method in an `impl` block of the endpoint: write `&self` or `&mut self` first"
            );
            diagnostics.at(&method.signature.ident, message);
            method.signature.ident.span()
        }
    }
}

/// The lifetime of `&self` or `self: &Self`, and whether it is mutable.
fn reference_to_self(receiver: &Receiver) -> Option<(Option<&Lifetime>, bool)> {
    match &receiver.kind {
        ReceiverKind::Reference(_, lifetime, mutability) => Some((lifetime.as_ref(), mutability.is_some())),
        ReceiverKind::Typed(_, ty) => match without_groups(ty) {
            Type::Reference(reference) if matches!(without_groups(&reference.elem), Type::Path(_)) => {
                Some((reference.lifetime.as_ref(), reference.mutability.is_some()))
            }
            _ => None,
        },
        _ => None,
    }
}

fn takes_mut_self(method: &Method) -> bool {
    match method.signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => reference_to_self(receiver).is_some_and(|(_, is_mut)| is_mut),
        _ => false,
    }
}

/// Whether it has `#[deprecated]`, or may have it.
fn is_deprecated(method: &Method) -> bool {
    method.attrs.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if attribute.path().is_ident("cfg_attr") => {
            list.tokens.to_string().contains("deprecated")
        }
        _ => attribute.path().is_ident("deprecated"),
    })
}

/// The output with `'_` for the method's own lifetimes.
fn with_elided_output(output: &ReturnType, lifetimes: &[Ident]) -> ReturnType {
    syn::parse2(with_elided(output, lifetimes)).unwrap_or_else(|_| output.clone())
}

/// Checks for an `async fn` that is written out, by hand or by `#[async_trait]`.
fn check_output(method: &Method, diagnostics: &mut Diagnostics) {
    let ReturnType::Type(_, ty) = &method.signature.output else { return };
    let is_async_trait =
        method.signature.generics.lifetimes().any(|parameter| parameter.lifetime.ident == "async_trait");
    if is_async_trait {
        let message = "handlers stand in an `impl` block without a trait: remove `#[async_trait]`, and write \
                       `impl Chat { … }` with `async fn`";
        diagnostics.at(&method.signature.ident, message);
    } else if is_future(ty) && method.signature.asyncness.is_none() {
        let name = &method.signature.ident;
        diagnostics
            .at(ty, format!("a handler cannot return a future: write `async fn {name}` with the future's output"));
    }
}

fn check_error_type(method: &Method, diagnostics: &mut Diagnostics) {
    if let Some((place, object)) = unsendable_error_box(&method.signature.output) {
        let object = type_text(object);
        let message = format!("the error may be sent to another thread: write `Box<{object} + Send + Sync>`");
        diagnostics.at(place, message);
    }
}

/// The options of `#[on_message(…)]`, with the names of those that may conflict.
#[derive(Default)]
struct MessageOptions {
    kind: Option<(Ident, HandlerKind)>,
    max_size: Option<(Ident, TokenStream)>,
    max_total: Option<(Ident, TokenStream)>,
    rate: Option<TokenStream>,
    roles: Vec<LitStr>,
    event: Option<LitStr>,
}

fn message_options(attribute: HandlerAttr, args: &[OptionArg], diagnostics: &mut Diagnostics) -> MessageOptions {
    let mut options = MessageOptions::default();
    if attribute != HandlerAttr::Message {
        for OptionArg { name, .. } in args {
            diagnostics.at(name, format!("`#[{}]` has no options: remove the parentheses", attribute.name()));
        }
        return options;
    }
    read_options(args, attribute.name(), diagnostics, |option, given| {
        let name = given.name.clone();
        match option {
            MessageOption::Text => set_kind(&mut options, given, HandlerKind::Text)?,
            MessageOption::Binary => set_kind(&mut options, given, HandlerKind::Binary)?,
            MessageOption::Event => {
                // even if its name is invalid, so that no other errors follow from it
                options.event = Some(LitStr::new("", name.span()));
                options.event = Some(given.string()?);
            }
            MessageOption::MaxSize => options.max_size = Some((name, given.size()?)),
            MessageOption::MaxTotal => options.max_total = Some((name, given.size()?)),
            MessageOption::Rate => options.rate = Some(given.handler_rate()?),
            MessageOption::Roles => options.roles = given.strings("role", |_| None)?,
        }
        Ok(())
    });
    options
}

/// The event in the options of a handler, which may have errors.
pub(crate) fn event_of(args: &[OptionArg]) -> Option<LitStr> {
    let mut event = None;
    read_options(args, HandlerAttr::Message.name(), &mut Diagnostics::default(), |option: MessageOption, given| {
        if option == MessageOption::Event {
            event = given.string().ok();
        }
        Ok(())
    });
    event
}

fn set_kind(options: &mut MessageOptions, given: &GivenOption<'_>, kind: HandlerKind) -> Result<()> {
    if options.kind.is_some() {
        let message = "a handler takes text or binary messages, not both: write one method for each";
        return Err(Error::new_spanned(given.name, message));
    }
    options.kind = Some((given.name.clone(), kind));
    given.flag()
}

/// Checks the handler of an event: it takes the data as JSON, or does not take it.
fn check_event(options: &MessageOptions, resolved: &[Resolved<'_>], diagnostics: &mut Diagnostics) {
    if let Some((name, _)) = &options.kind {
        diagnostics.at(name, format!("an event is always a text message: remove `{name}`"));
    }
    if let Some((name, _)) = &options.max_size {
        let message = "events have the size limit of text messages: set `max_message_size` on the endpoint";
        diagnostics.at(name, message);
    }
    for this in resolved {
        match this.argument.source {
            Source::Last => diagnostics.at(&this.parameter.name, "an event cannot be taken in parts: remove `last`"),
            Source::Payload if !matches!(this.known, KnownType::Json | KnownType::Event) => {
                let ty = type_text(&this.argument.ty);
                let message = instead_of(&this.argument.ty).unwrap_or_else(|| {
                    format!("the data of an event is JSON: write `Json<{ty}>`, or `Event<{ty}>` for its name and data")
                });
                diagnostics.at(&this.parameter.ty, message);
            }
            _ => {}
        }
    }
}

/// Whether the two sources are the same, apart from a name or a type of state.
fn is_same(a: &Source, b: &Source) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn check_duplicates(resolved: &[Resolved<'_>], diagnostics: &mut Diagnostics) {
    for (index, this) in resolved.iter().enumerate() {
        let is_second =
            resolved[..index].iter().any(|earlier| is_same(&earlier.argument.source, &this.argument.source));
        let name = match this.argument.source {
            _ if !is_second => continue,
            Source::Payload | Source::PathParam(_) | Source::QueryParam(_) | Source::State(_) => continue,
            Source::Session => "Session",
            Source::HandshakeRequest => "HandshakeRequest",
            Source::CloseReason => "CloseReason",
            Source::Error => "Error",
            Source::Last => "last",
            Source::Presence => "Presence",
        };
        diagnostics.at(&this.parameter.ty, format!("duplicate parameter `{name}`: remove one"));
    }
    let (bools, payloads): (Vec<_>, Vec<_>) = resolved
        .iter()
        .filter(|this| matches!(this.argument.source, Source::Payload))
        .partition(|this| is_bool(&this.argument.ty));
    if !payloads.is_empty() {
        for this in &bools {
            let message = "a `bool` next to the message marks its last part: name it `last`";
            diagnostics.at(&this.parameter.ty, message);
        }
    }
    let candidates = if payloads.is_empty() { bools } else { payloads };
    // a parameter that no handler has is not the message, in whatever order they stand
    let is_foreign =
        |this: &&&Resolved<'_>| this.known == KnownType::Unknown && instead_of(&this.argument.ty).is_some();
    if candidates.len() > 1 {
        for this in candidates.iter().filter(is_foreign) {
            diagnostics.at(&this.parameter.ty, instead_of(&this.argument.ty).unwrap_or_default());
        }
    }
    for this in candidates.iter().filter(|this| !is_foreign(this)).skip(1) {
        diagnostics.at(
            &this.parameter.ty,
            "second message: a handler takes only one; mark parameters of the path with `#[path_param]` and of the query \
             with `#[query_param]`, take a value of the application as `State<T>`, get the user with \
             `session.principal::<T>()` and the container with `session.container()`, and handle another kind of message \
             in another method; a type of this crate is recognized by its own name, not by an alias",
        );
    }
}

fn check_missing(attribute: HandlerAttr, method: &Method, resolved: &[Resolved<'_>], diagnostics: &mut Diagnostics) {
    // a parameter that is not resolved may be the missing one, and has been reported
    if resolved.len() < method.parameters.len() {
        return;
    }
    let find = |source: &Source| resolved.iter().find(|this| is_same(&this.argument.source, source));
    let name = &method.signature.ident;
    match attribute {
        HandlerAttr::Error if find(&Source::Error).is_none() => {
            diagnostics.at(name, "`#[on_error]` must take the error: add `error: &Error`");
        }
        HandlerAttr::Presence if find(&Source::Presence).is_none() => {
            diagnostics
                .at(name, "`#[on_presence]` must take the change: add `change: Presence`, or `change: Presence<M>`");
        }
        HandlerAttr::Message if find(&Source::Payload).is_none() => match find(&Source::Last) {
            Some(last) => diagnostics.at(
                &last.parameter.name,
                "`last` belongs to a part of a message: add the part, as in `part: &str` or `part: &[u8]`",
            ),
            None => diagnostics.at(name, missing_message(resolved)),
        },
        _ => {}
    }
}

/// The error about a handler without a message. A type from elsewhere may be the message, in spite of its name.
fn missing_message(resolved: &[Resolved<'_>]) -> String {
    let own = resolved
        .iter()
        .find(|this| this.known.is_beside_message() && certainty(&this.argument.ty) == Certainty::Elsewhere);
    let own = own.map(|this| {
        let ty = type_text(&this.argument.ty);
        format!("; if `{ty}` is the message, write `#[on_message(text)]` or `#[on_message(binary)]`")
    });
    format!(
        "`#[on_message]` must take a message: add `message: String` for text, `data: Vec<u8>` for binary, or \
         `pong: Pong`{}",
        own.unwrap_or_default()
    )
}

/// The kind of message, from the options and the payload's type.
fn message_kind(options: &MessageOptions, resolved: &[Resolved<'_>], diagnostics: &mut Diagnostics) -> HandlerKind {
    let Some(payload) = resolved.iter().find(|this| matches!(this.argument.source, Source::Payload)) else {
        return HandlerKind::Text;
    };
    let ty = &payload.parameter.ty;
    let explicit = options.kind.as_ref().map(|(_, kind)| *kind);
    let from_type = match payload.known {
        // checked where it was resolved
        KnownType::Unknown => None,
        KnownType::Text | KnownType::Scalar | KnownType::Event | KnownType::TextStream => Some(HandlerKind::Text),
        KnownType::Binary | KnownType::BinaryFormat | KnownType::BinaryStream => Some(HandlerKind::Binary),
        KnownType::Json | KnownType::Negotiated => Some(explicit.unwrap_or(HandlerKind::Text)),
        KnownType::Pong => Some(HandlerKind::Pong),
        _ => None,
    };
    check_explicit_kind(options, payload, from_type, diagnostics);
    let Some(kind) = from_type.or(explicit) else {
        diagnostics.at(ty, cannot_tell_kind(ty));
        return HandlerKind::Text;
    };
    let last = resolved.iter().find(|this| matches!(this.argument.source, Source::Last));
    if let Some(last) = last.filter(|_| !matches!(payload.known, KnownType::Text | KnownType::Binary)) {
        let message = match kind {
            HandlerKind::Pong => "a pong has no parts: remove `last`".into(),
            _ if payload.known.is_stream() => "a stream ends where its message ends: remove `last`".into(),
            kind => {
                let part = if kind == HandlerKind::Binary { "&[u8]" } else { "&str" };
                format!("`{}` is decoded from a whole message: remove `last`, or take `{part}`", type_text(ty))
            }
        };
        diagnostics.at(&last.parameter.name, message);
    }
    if let Some((name, _)) = options.max_size.as_ref().filter(|_| kind == HandlerKind::Pong) {
        diagnostics.at(name, "a pong has at most 125 bytes: remove `max_size`");
    }
    kind
}

/// Checks `text` and `binary` against the payload's type.
fn check_explicit_kind(
    options: &MessageOptions,
    payload: &Resolved<'_>,
    from_type: Option<HandlerKind>,
    diagnostics: &mut Diagnostics,
) {
    let (Some((name, explicit)), Some(from_type)) = (&options.kind, from_type) else { return };
    let ty = type_text(&payload.parameter.ty);
    if payload.known == KnownType::Negotiated {
        diagnostics.at(name, format!("the subprotocol decides whether `{ty}` is text or binary: remove `{name}`"));
    } else if *explicit != from_type {
        let is = match from_type {
            HandlerKind::Binary => "binary",
            HandlerKind::Pong => "a pong",
            _ => "text",
        };
        diagnostics.at(name, format!("`{ty}` is {is}: remove `{name}`, or take another type"));
    }
}

fn cannot_tell_kind(ty: &Type) -> String {
    if let Some(instead) = instead_of(ty) {
        return instead;
    }
    if matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Message")) {
        return "a handler takes one kind of message: write one method for text, with `String` or `&str`, and one for \
                binary data, with `Vec<u8>` or `&[u8]`"
            .to_owned();
    }
    if matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.arguments.is_none())) {
        let ty = type_text(ty);
        return format!(
            "cannot tell how `{ty}` is read: write `Json<{ty}>` for JSON, or `#[on_message(text)]` or \
             `#[on_message(binary)]` if `{ty}` implements DecodeText or DecodeBinary, or the endpoint lists a decoder"
        );
    }
    format!(
        "cannot tell whether `{}` is text or binary: write `#[on_message(text)]` or `#[on_message(binary)]`, or take a \
         type of known kind: String, &str, Text, a number, bool, char, Json<T> (text), Vec<u8>, &[u8], Bytes, Binary, \
         MessagePack<T>, Cbor<T>, Protobuf<T> (binary), Negotiated<T> (either) or Pong",
        type_text(ty)
    )
}

fn check_limits(options: &MessageOptions, resolved: &[Resolved<'_>], diagnostics: &mut Diagnostics) {
    let parts = resolved.iter().any(|this| matches!(this.argument.source, Source::Last));
    let stream = resolved.iter().any(|this| this.known.is_stream());
    if let Some((name, _)) = &options.max_size {
        if stream {
            let message = "`max_size` limits whole messages, and this is a stream: write `max_total`";
            diagnostics.at(name, message);
        } else if parts {
            diagnostics.at(
                name,
                "`max_size` limits whole messages, and this one is taken in parts: remove `last`, or write `max_total`",
            );
        }
    }
    if let Some((name, _)) = options.max_total.as_ref().filter(|_| !stream && !parts) {
        let message = "`max_total` limits messages in parts and streams, and this message is whole: write `max_size`";
        diagnostics.at(name, message);
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::parse::Parser;
    use syn::parse2;

    use super::*;
    use crate::parse;

    fn validated(attribute: HandlerAttr, options: TokenStream, method: TokenStream) -> Result<Handler> {
        validate(attribute, &parse::options.parse2(options)?, &parse2(method)?)
    }

    fn errors(attribute: HandlerAttr, options: TokenStream, method: TokenStream) -> Vec<String> {
        let errors = validated(attribute, options, method).err().expect("an error");
        errors.into_iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn the_kind_of_message_follows_from_the_payload() {
        for (payload, kind) in [
            (quote!(&str), HandlerKind::Text),
            (quote!(f32), HandlerKind::Text),
            (quote!(bool), HandlerKind::Text),
            (quote!(Vec<u8>), HandlerKind::Binary),
            (quote!(&[u8]), HandlerKind::Binary),
            (quote!(&Pong), HandlerKind::Pong),
        ] {
            let handler =
                validated(HandlerAttr::Message, quote!(), quote!(fn f(&self, s: &Session, x: #payload) {})).unwrap();
            assert_eq!(handler.kind, kind, "{payload}");
        }
        assert_eq!(
            validated(
                HandlerAttr::Message,
                quote!(binary),
                quote!(
                    fn f(&self, x: Mine) {}
                )
            )
            .unwrap()
            .kind,
            HandlerKind::Binary
        );
    }

    #[test]
    fn parameters_keep_the_order_of_the_method() {
        let method = quote!(
            fn f(&self, last: bool, #[path_param("a")] b: u8, part: Bytes, s: Session) {}
        );
        let handler = validated(HandlerAttr::Message, quote!(), method).unwrap();
        let sources: Vec<_> = handler.arguments.iter().map(|argument| &argument.source).collect();
        assert!(
            matches!(*sources, [Source::Last, Source::PathParam(name), Source::Payload, Source::Session] if name.value() == "a")
        );
    }

    #[test]
    fn all_errors_in_a_method_are_reported_together() {
        let method = quote!(
            unsafe fn f(self, a: &Session, b: &Session, error: Error) -> u8 {
                0
            }
        );
        assert_eq!(errors(HandlerAttr::Open, quote!(text), method).len(), 5);
    }

    #[test]
    fn missing_parameter_is_not_reported_beside_an_unresolved_one() {
        assert_eq!(
            errors(
                HandlerAttr::Error,
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
