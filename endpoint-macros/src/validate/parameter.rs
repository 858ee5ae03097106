//! What a parameter of a handler is given.

use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Attribute, Lifetime, LitStr, Meta, Type};

use crate::diagnostics::Mistakes;
use crate::parse::{Kind, Parameter, is_named, without_groups};
use crate::types::{Known, brief, inside_state, is_bool, is_str, known};
use crate::validate::{Argument, Role};

/// An argument, what it was known by, and where.
pub(super) struct Taken<'a> {
    pub(super) argument: Argument,
    pub(super) known: Known,
    pub(super) parameter: &'a Parameter,
}

impl Taken<'_> {
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.known, Known::TextStream | Known::BinaryStream)
    }
}

/// What `parameter` is given; `None` if that cannot be said, and then it is a mistake.
pub(super) fn taken<'a>(kind: Kind, parameter: &'a Parameter, mistakes: &mut Mistakes) -> Option<Taken<'a>> {
    no_cfg(parameter, mistakes);
    let (ty, by_ref) = match &parameter.ty {
        Type::Reference(reference) => {
            if let Some(word) = &reference.mutability {
                mistakes.at(word, "a handler takes what it is given by value or by `&`: remove `mut`");
            }
            plain_lifetime(reference.lifetime.as_ref(), mistakes);
            (without_groups(&reference.elem), true)
        }
        ty => (ty, false),
    };
    if let Type::ImplTrait(ty) = ty {
        mistakes.at(ty, "a handler has no generics: write the type it takes");
        return None;
    }
    let role_and_known = match parameter.marks.first() {
        Some(_) => (marked(parameter, ty, by_ref, mistakes)?, Known::Unknown),
        None => {
            let known = known(ty);
            let role = match known {
                Known::Session => Role::Session,
                Known::CloseReason => Role::CloseReason,
                Known::Error => Role::Error,
                Known::Request => {
                    if !by_ref {
                        mistakes.at(ty, "the request belongs to the session: write `&HandshakeRequest`");
                    }
                    Role::Request
                }
                Known::State => Role::State(Box::new(inside_state(ty)?.clone())),
                Known::Scalar if !by_ref && is_last(parameter, ty) => Role::Last,
                _ => Role::Payload,
            };
            (role, known)
        }
    };
    let (role, known) = role_and_known;
    let allowed = match role {
        Role::Session | Role::PathParam(_) | Role::QueryParam(_) | Role::Request | Role::State(_) => true,
        Role::CloseReason => kind == Kind::Close,
        Role::Error => kind == Kind::Error,
        Role::Last | Role::Payload => kind == Kind::Message,
    };
    if !allowed {
        mistakes.at(&parameter.ty, not_here(kind, &role, ty, known));
        return None;
    }
    if by_ref && matches!(known, Known::TextStream | Known::BinaryStream) {
        mistakes.at(&parameter.ty, format!("a stream is the handler's own: write `{}`", ty.to_token_stream()));
    }
    if matches!(role, Role::Payload) && !by_ref && (is_str(ty) || matches!(ty, Type::Slice(_))) {
        mistakes.at(ty, format!("write `&{}`", ty.to_token_stream()));
    }
    Some(Taken { argument: Argument { role, ty: ty.clone(), by_ref }, known, parameter })
}

fn no_cfg(parameter: &Parameter, mistakes: &mut Mistakes) {
    let conditional =
        parameter.attrs.iter().find(|attribute| is_named(attribute, "cfg") || is_named(attribute, "cfg_attr"));
    if let Some(attribute) = conditional {
        mistakes
            .at(attribute, "a parameter of a handler is not conditional: write two methods, each with its `#[cfg]`");
    }
}

pub(super) fn plain_lifetime(lifetime: Option<&Lifetime>, mistakes: &mut Mistakes) {
    if let Some(lifetime) = lifetime.filter(|lifetime| lifetime.ident != "_") {
        mistakes.at(lifetime, "what a handler borrows lives as long as the call: remove the lifetime");
    }
}

/// Whether it is the `bool` named `last`.
fn is_last(parameter: &Parameter, ty: &Type) -> bool {
    is_bool(ty) && parameter.name.as_ref().is_some_and(|name| name == "last" || name == "_last")
}

/// A mark of a parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Path,
    Query,
}

impl Mark {
    pub(super) fn of(attribute: &Attribute) -> Option<Self> {
        [Self::Path, Self::Query].into_iter().find(|mark| is_named(attribute, mark.name()))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Path => "path_param",
            Self::Query => "query_param",
        }
    }
}

// #[path_param] name: T
// #[path_param("name")] anything: T
// #[query_param] name: T
// #[query_param("name")] anything: T
/// The variable of the path or the query that the parameter is.
fn marked(parameter: &Parameter, ty: &Type, by_ref: bool, mistakes: &mut Mistakes) -> Option<Role> {
    let attribute = parameter.marks.first()?;
    let mark = Mark::of(attribute)?;
    if let Some(second) = parameter.marks.get(1) {
        let sentence = match Mark::of(second) {
            Some(second) if second == mark => format!("a parameter is one variable: remove one `#[{}]`", mark.name()),
            _ => "a parameter is a variable of the path or of the query, not both: remove one".to_owned(),
        };
        mistakes.at(second, sentence);
    }
    match mark {
        Mark::Path if by_ref && !is_str(ty) => {
            let sentence = "a path parameter is `&str` or a type of its own, parsed from the path: remove the `&`";
            mistakes.at(&parameter.ty, sentence);
        }
        Mark::Query if by_ref && is_str(ty) => {
            mistakes.at(&parameter.ty, "a query parameter is decoded for the handler: write `String`");
        }
        Mark::Query if by_ref => {
            mistakes.at(&parameter.ty, "a query parameter is parsed for the handler: remove the `&`");
        }
        _ => {}
    }
    let name = variable(mark, attribute, parameter, mistakes)?;
    Some(match mark {
        Mark::Path => Role::PathParam(name),
        Mark::Query => Role::QueryParam(name),
    })
}

/// The name that a mark says, or else that of the parameter.
fn variable(mark: Mark, attribute: &Attribute, parameter: &Parameter, mistakes: &mut Mistakes) -> Option<LitStr> {
    let word = mark.name();
    let write = format!("write `#[{word}]` or `#[{word}(\"name\")]`");
    let name = match &attribute.meta {
        Meta::Path(_) => match &parameter.name {
            Some(name) => LitStr::new(&name.unraw().to_string(), name.span()),
            None => {
                let of = if mark == Mark::Path { "variable of the path" } else { "parameter of the query" };
                mistakes.at(attribute, format!("which {of}? write `#[{word}(\"name\")]`"));
                return None;
            }
        },
        Meta::List(list) => match syn::parse2::<LitStr>(list.tokens.clone()) {
            Ok(name) => name,
            Err(_) => {
                mistakes.at(&list.tokens, format!("the name of a variable is one string literal: {write}"));
                return None;
            }
        },
        Meta::NameValue(_) => {
            mistakes.at(attribute, write);
            return None;
        }
    };
    if mark == Mark::Path && name.value().contains(['{', '}']) {
        mistakes.at(name, "write the variable's name without braces");
        return None;
    }
    Some(name)
}

fn not_here(kind: Kind, role: &Role, ty: &Type, known: Known) -> String {
    let name = kind.name();
    let own = match kind {
        Kind::Open => "",
        Kind::Message => "the message, ",
        Kind::Close => "`CloseReason`, ",
        Kind::Error => "`&Error`, ",
    };
    let takes =
        format!("takes {own}`&Session`, `&HandshakeRequest`, `State<T>`, `#[path_param]`s and `#[query_param]`s");
    match role {
        Role::CloseReason => format!("only `#[on_close]` is told a `CloseReason`; `#[{name}]` {takes}"),
        Role::Error => {
            format!("only `#[on_error]` is given an `Error`; `#[{name}]` {takes}, and may return a `Result`")
        }
        Role::Last => format!("only a message has a last part; `#[{name}]` {takes}"),
        _ if kind == Kind::Error && known == Known::Unknown => {
            let ty = brief(ty);
            format!("`#[on_error]` takes `error: &Error`; look for your own type with `error.downcast_ref::<{ty}>()`")
        }
        _ => format!(
            "`#[{name}]` receives no message: it {takes}; if this is a variable of the path or the query, mark it \
             `#[path_param]` or `#[query_param]`"
        ),
    }
}

/// Whether the two are the same but for the variable's name, or the type of a state.
pub(super) fn same(a: &Role, b: &Role) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}
