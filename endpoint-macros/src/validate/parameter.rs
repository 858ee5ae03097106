//! Checks a parameter of a handler, and decides where its argument comes from.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Attribute, Lifetime, LitStr, Meta, Type};

use crate::diagnostics::Diagnostics;
use crate::parse::{HandlerAttr, ParamAttr, Parameter, is_named, without_groups};
use crate::types::{
    Certainty, KnownType, certainty, has_lifetime, instead_of, is_bool, is_str, known_type, state_inner, type_text,
    with_elided,
};
use crate::validate::{Argument, HandlerKind, Source};

/// A parameter as written, its recognized type, and its argument.
pub(super) struct Resolved<'a> {
    pub(super) argument: Argument,
    pub(super) known: KnownType,
    pub(super) parameter: &'a Parameter,
}

/// The method of a parameter: its attribute, the kind in that attribute, the parameter that is its message although its
/// type has another meaning, and its lifetimes.
pub(super) struct Context<'a> {
    pub(super) attribute: HandlerAttr,
    pub(super) kind: Option<HandlerKind>,
    pub(super) message: Option<&'a Parameter>,
    pub(super) lifetimes: &'a [Ident],
}

/// Resolves `parameter`; `None` if that is not possible, which is reported.
pub(super) fn resolve<'a>(
    context: &Context<'_>,
    parameter: &'a Parameter,
    diagnostics: &mut Diagnostics,
) -> Option<Resolved<'a>> {
    let attribute = context.attribute;
    check_cfg(parameter, diagnostics);
    let (ty, by_ref) = split_reference(parameter, diagnostics);
    if let Type::ImplTrait(ty) = ty {
        diagnostics.at(ty, "a handler cannot be generic: write a concrete type");
        return None;
    }
    let (source, known) = if !parameter.param_attrs.is_empty() {
        (source_of_attribute(parameter, ty, by_ref, diagnostics)?, KnownType::Unknown)
    } else if context.message.is_some_and(|message| std::ptr::eq(message, parameter)) {
        (Source::Payload, KnownType::Unknown)
    } else {
        let known = known_type(ty);
        match source_of_type(attribute, known, parameter, ty, by_ref)? {
            // the attribute says what the message is, whatever the name of its type suggests
            Source::Payload if contradicts(context.kind, known, ty) => (Source::Payload, KnownType::Unknown),
            source => (source, known),
        }
    };
    let is_allowed = match source {
        Source::Session
        | Source::PathParam(_)
        | Source::QueryParam(_)
        | Source::HandshakeRequest
        | Source::State(_) => true,
        Source::CloseReason => attribute == HandlerAttr::Close,
        Source::Error => attribute == HandlerAttr::Error,
        Source::Presence => attribute == HandlerAttr::Presence,
        Source::Last | Source::Payload => attribute == HandlerAttr::Message,
    };
    if !is_allowed {
        diagnostics.at(&parameter.ty, not_allowed(attribute, &source, ty, known));
        return None;
    }
    if matches!(source, Source::HandshakeRequest) && !by_ref {
        diagnostics.at(ty, "the session owns the request: write `&HandshakeRequest`");
    }
    if by_ref && known.is_stream() {
        diagnostics.at(&parameter.ty, format!("a stream is passed by value: write `{}`", ty.to_token_stream()));
    }
    if matches!(source, Source::Payload) && !by_ref && (is_str(ty) || matches!(ty, Type::Slice(_))) {
        let ty = ty.to_token_stream();
        diagnostics.at(&parameter.ty, format!("`{ty}` has no size known at compile time: write `&{ty}`"));
    }
    let borrows = matches!(source, Source::Payload) && has_lifetime(ty);
    let ty = syn::parse2(with_elided(ty, context.lifetimes)).unwrap_or_else(|_| ty.clone());
    Some(Resolved { argument: Argument { source, ty, by_ref, known, borrows }, known, parameter })
}

/// Whether the kind in the attribute shows that the type is not the one that its name suggests. `str` and `[u8]` can
/// only be borrowed from a message of their own kind.
fn contradicts(kind: Option<HandlerKind>, known: KnownType, ty: &Type) -> bool {
    let Some(kind) = kind else { return false };
    let is_elsewhere = certainty(ty) == Certainty::Elsewhere;
    match known {
        _ if is_str(ty) || matches!(ty, Type::Slice(_)) => false,
        KnownType::TextStream | KnownType::BinaryStream | KnownType::Negotiated if is_elsewhere => true,
        KnownType::Text | KnownType::Scalar | KnownType::Event | KnownType::TextStream => kind != HandlerKind::Text,
        KnownType::Binary | KnownType::BinaryFormat | KnownType::BinaryStream => kind != HandlerKind::Binary,
        KnownType::Pong => true,
        _ => false,
    }
}

/// The parameter that is the message, if the attribute specifies the kind of a message and only a parameter whose type
/// is named like one of ours can be it. A type from elsewhere comes before one that may be ours, and one that is taken
/// by value before a borrowed one.
pub(super) fn message_named_like_ours(parameters: &[Parameter]) -> Option<&Parameter> {
    let mut best: Option<((Certainty, bool), &Parameter)> = None;
    let mut is_tie = false;
    for parameter in parameters.iter().filter(|parameter| parameter.param_attrs.is_empty()) {
        let (ty, by_ref) = match &parameter.ty {
            Type::Reference(reference) => (without_groups(&reference.elem), true),
            ty => (ty, false),
        };
        let known = known_type(ty);
        if !known.is_beside_message() {
            if known == KnownType::Scalar && !by_ref && is_last(parameter, ty) {
                continue;
            }
            return None;
        }
        let rank = (certainty(ty), !by_ref);
        if rank.0 == Certainty::Certain {
            continue;
        }
        match best {
            Some((other, _)) if other > rank => {}
            Some((other, _)) if other == rank => is_tie = true,
            _ => (best, is_tie) = (Some((rank, parameter)), false),
        }
    }
    best.filter(|_| !is_tie).map(|(_, parameter)| parameter)
}

/// The type without its `&`, and whether there is one.
fn split_reference<'a>(parameter: &'a Parameter, diagnostics: &mut Diagnostics) -> (&'a Type, bool) {
    let Type::Reference(reference) = &parameter.ty else { return (&parameter.ty, false) };
    if let Some(word) = &reference.mutability {
        diagnostics.at(word, "a handler takes its parameters by value or by `&`: remove `mut`");
    }
    check_lifetime(reference.lifetime.as_ref(), diagnostics);
    (without_groups(&reference.elem), true)
}

/// The source of an argument whose parameter has no attribute.
fn source_of_type(
    attribute: HandlerAttr,
    known: KnownType,
    parameter: &Parameter,
    ty: &Type,
    by_ref: bool,
) -> Option<Source> {
    Some(match known {
        KnownType::Session => Source::Session,
        KnownType::CloseReason => Source::CloseReason,
        KnownType::Error => Source::Error,
        KnownType::HandshakeRequest => Source::HandshakeRequest,
        // a message of the application may have this name
        KnownType::Presence if attribute != HandlerAttr::Message => Source::Presence,
        KnownType::State => Source::State(Box::new(state_inner(ty)?.clone())),
        KnownType::Scalar if !by_ref && is_last(parameter, ty) => Source::Last,
        _ => Source::Payload,
    })
}

fn check_cfg(parameter: &Parameter, diagnostics: &mut Diagnostics) {
    let conditional =
        parameter.attrs.iter().find(|attribute| is_named(attribute, "cfg") || is_named(attribute, "cfg_attr"));
    if let Some(attribute) = conditional {
        diagnostics.at(attribute, "a parameter cannot be conditional: write two methods, each with its own `#[cfg]`");
    }
}

pub(super) fn check_lifetime(lifetime: Option<&Lifetime>, diagnostics: &mut Diagnostics) {
    if let Some(lifetime) = lifetime.filter(|lifetime| lifetime.ident == "static") {
        diagnostics.at(lifetime, "a handler borrows its parameters only for the call: remove the lifetime");
    }
}

/// Whether it is the `bool` named `last`.
fn is_last(parameter: &Parameter, ty: &Type) -> bool {
    is_bool(ty) && parameter.name.as_ref().is_some_and(|name| name == "last" || name == "_last")
}

// #[path_param] name: T
// #[path_param("name")] anything: T
// #[query_param] name: T
// #[query_param("name")] anything: T
/// The source of an argument whose parameter has an attribute.
fn source_of_attribute(
    parameter: &Parameter,
    ty: &Type,
    by_ref: bool,
    diagnostics: &mut Diagnostics,
) -> Option<Source> {
    let attribute = parameter.param_attrs.first()?;
    let kind = ParamAttr::of(attribute)?;
    if let Some(second) = parameter.param_attrs.get(1) {
        let message = match ParamAttr::of(second) {
            Some(second) if second == kind => format!("duplicate attribute `#[{}]`: remove one", kind.name()),
            _ => "a parameter comes from the path or from the query, not from both: remove one attribute".to_owned(),
        };
        diagnostics.at(second, message);
    }
    match kind {
        ParamAttr::Path if by_ref && !is_str(ty) => {
            let message = "a path parameter is `&str` or an owned type that is parsed from the path: remove the `&`";
            diagnostics.at(&parameter.ty, message);
        }
        ParamAttr::Query if by_ref && is_str(ty) => {
            diagnostics.at(&parameter.ty, "a query parameter is decoded into an owned value: write `String`");
        }
        ParamAttr::Query if by_ref => {
            diagnostics.at(&parameter.ty, "a query parameter is parsed into an owned value: remove the `&`");
        }
        _ => {}
    }
    let name = name_of_param(kind, attribute, parameter, diagnostics)?;
    Some(match kind {
        ParamAttr::Path => Source::PathParam(name),
        ParamAttr::Query => Source::QueryParam(name),
    })
}

/// The name in the attribute, or else the name of the parameter.
fn name_of_param(
    kind: ParamAttr,
    attribute: &Attribute,
    parameter: &Parameter,
    diagnostics: &mut Diagnostics,
) -> Option<LitStr> {
    let word = kind.name();
    let write = format!("write `#[{word}]` or `#[{word}(\"name\")]`");
    let name = match &attribute.meta {
        Meta::Path(_) => match &parameter.name {
            Some(name) => LitStr::new(&name.unraw().to_string(), name.span()),
            None => {
                let message = format!("cannot infer a name from this pattern: write `#[{word}(\"name\")]`");
                diagnostics.at(attribute, message);
                return None;
            }
        },
        Meta::List(list) => match syn::parse2::<LitStr>(list.tokens.clone()) {
            Ok(name) => name,
            Err(_) => {
                diagnostics.at(&list.tokens, format!("expected one string literal: {write}"));
                return None;
            }
        },
        Meta::NameValue(_) => {
            diagnostics.at(attribute, format!("invalid syntax: {write}"));
            return None;
        }
    };
    if kind == ParamAttr::Path && name.value().contains(['{', '}']) {
        diagnostics.at(name, "write the name of the variable without braces");
        return None;
    }
    Some(name)
}

/// The message for a parameter that this kind of handler cannot take.
fn not_allowed(attribute: HandlerAttr, source: &Source, ty: &Type, known: KnownType) -> String {
    let name = attribute.name();
    let own = match attribute {
        HandlerAttr::Open => "",
        HandlerAttr::Message => "the message, ",
        HandlerAttr::Close => "`CloseReason`, ",
        HandlerAttr::Error => "`&Error`, ",
        HandlerAttr::Presence => "`Presence`, ",
    };
    let takes = format!(
        "`#[{name}]` takes {own}`&Session`, `&HandshakeRequest`, `State<T>`, and parameters marked `#[path_param]` or \
         `#[query_param]`"
    );
    match source {
        Source::CloseReason => format!("only `#[on_close]` takes a `CloseReason`; {takes}"),
        Source::Error => format!("only `#[on_error]` takes an `Error`; {takes}, and may return a `Result`"),
        Source::Last => format!("only `#[on_message]` takes `last`; {takes}"),
        Source::Presence => format!("only `#[on_presence]` takes a `Presence`; {takes}"),
        _ if known == KnownType::Unknown && instead_of(ty).is_some() => instead_of(ty).unwrap_or_default(),
        _ if attribute == HandlerAttr::Error && known == KnownType::Unknown => {
            let ty = type_text(ty);
            format!("`#[on_error]` takes `error: &Error`: for your own type call `error.downcast_ref::<{ty}>()`")
        }
        _ => format!("only `#[on_message]` takes a message; {takes}"),
    }
}
