//! From what was written to what can be expanded, or to every mistake at once: one rule, one function, one sentence.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Data, DeriveInput, Error, Expr, ExprLit, FnArg, GenericArgument, Lifetime, Lit, LitStr, Meta, PathArguments,
    ReceiverKind, Result, ReturnType, Type,
};

use crate::parse::{EndpointArgs, Kind, Method, Parameter, Setting, Value, is_named, without_groups};
use crate::{template, units};

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Mistakes(Option<Error>);

impl Mistakes {
    pub(crate) fn push(&mut self, mistake: Error) {
        match &mut self.0 {
            Some(first) => first.combine(mistake),
            None => self.0 = Some(mistake),
        }
    }

    fn at(&mut self, place: impl ToTokens, sentence: impl std::fmt::Display) {
        self.push(Error::new_spanned(place, sentence));
    }

    fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// What `#[server_endpoint]` says, checked.
pub(crate) struct Endpoint {
    pub(crate) path: LitStr,
    pub(crate) subprotocols: Vec<LitStr>,
    /// Expressions of the types the fields of `EndpointOptions` have, inside their outermost `Some`.
    pub(crate) options: Vec<(&'static str, TokenStream)>,
}

const OPTIONS: [&str; 5] = ["subprotocols", "max_message_size", "idle_timeout", "ping_interval", "send_timeout"];
const LATER_OPTIONS: [&str; 2] = ["configurator", "compression"];

/// The endpoint without what is wrong with it, and what is wrong with it.
pub(crate) fn endpoint(args: EndpointArgs, item: &DeriveInput) -> (Endpoint, Result<()>) {
    let mut mistakes = Mistakes::default();
    type_is_plain(item, &mut mistakes);
    annotated_once(item, &mut mistakes);
    for (range, sentence) in template::mistakes(&args.path.value()) {
        mistakes.push(Error::new(template::span_within(&args.path, range), sentence));
    }
    let settings = no_setting_twice(args.settings, &mut mistakes);
    let mut endpoint = Endpoint { path: args.path, subprotocols: Vec::new(), options: Vec::new() };
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
    if let Some(second) = item.attrs.iter().find(|attribute| is_named(attribute, "server_endpoint")) {
        mistakes.at(second, "a type is one endpoint: remove one `#[server_endpoint]`");
    }
}

/// The settings without those that were said before.
fn no_setting_twice(settings: Vec<Setting>, mistakes: &mut Mistakes) -> Vec<Setting> {
    let mut kept: Vec<Setting> = Vec::new();
    for setting in settings {
        if kept.iter().any(|earlier| earlier.name == setting.name) {
            mistakes.at(&setting.name, format!("`{}` is said twice: remove one", setting.name));
        } else {
            kept.push(setting);
        }
    }
    kept
}

fn endpoint_option(setting: &Setting, endpoint: &mut Endpoint) -> Result<()> {
    let name = setting.name.to_string();
    let Some(option) = OPTIONS.into_iter().find(|option| *option == name) else {
        return Err(if LATER_OPTIONS.contains(&&*name) {
            Error::new_spanned(&setting.name, format!("`{name}` is not supported yet in this version"))
        } else {
            unknown_setting(setting, &OPTIONS)
        });
    };
    let value = match option {
        "subprotocols" => {
            endpoint.subprotocols = subprotocols(setting)?;
            return Ok(());
        }
        "max_message_size" => size(setting)?,
        "send_timeout" => time(setting)?,
        _ if is_off(setting) => quote!(::core::option::Option::None),
        _ => {
            let time = time(setting)?;
            quote!(::core::option::Option::Some(#time))
        }
    };
    endpoint.options.push((option, value));
    Ok(())
}

fn unknown_setting(setting: &Setting, known: &[&str]) -> Error {
    let name = setting.name.to_string();
    let nearest = known.iter().map(|known| (distance(&name.to_lowercase(), known), known)).min();
    let hint = match nearest {
        Some((distance, known)) if distance <= 3 && distance < name.len() => format!("did you mean `{known}`? "),
        _ => String::new(),
    };
    let known = known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
    Error::new_spanned(&setting.name, format!("unknown option `{name}`: {hint}known are {known}"))
}

/// How many characters must be added, removed or replaced to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.chars().enumerate() {
            let replaced = corner + usize::from(from != to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[row.len() - 1]
}

fn subprotocols(setting: &Setting) -> Result<Vec<LitStr>> {
    const WRITE: &str = "write `subprotocols(\"chat.v2\", \"chat.v1\")`";
    let list = match &setting.value {
        Value::List(list) if !list.is_empty() => list,
        _ => return Err(Error::new_spanned(&setting.name, format!("the list of subprotocols is missing: {WRITE}"))),
    };
    let mut names: Vec<LitStr> = Vec::new();
    let mut mistakes = Mistakes::default();
    for expression in list {
        match string(expression) {
            None => mistakes.at(expression, format!("the name of a subprotocol is a string literal: {WRITE}")),
            Some(name) if !is_token(&name.value()) => mistakes.at(
                name,
                "not a legal name: a subprotocol is made of letters, digits and any of !#$%&'*+-.^_`|~ (RFC 7230 token)",
            ),
            Some(name) if names.iter().any(|earlier| earlier.value() == name.value()) => {
                mistakes.at(name, "this subprotocol is in the list already: remove one");
            }
            Some(name) => names.push(name.clone()),
        }
    }
    mistakes.into_result().map(|()| names)
}

/// Whether `name` is a token of RFC 7230 §3.2.6.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn string(expression: &Expr) -> Option<&LitStr> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => Some(literal),
        Expr::Group(group) => string(&group.expr),
        _ => None,
    }
}

/// `"64KiB"` or an expression, as an expression of type `usize`.
fn size(setting: &Setting) -> Result<TokenStream> {
    let name = &setting.name;
    let Value::Is(expression) = &setting.value else {
        return Err(Error::new_spanned(name, format!("write a size, as in `{name} = \"64KiB\"`")));
    };
    let bytes = match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => {
            units::bytes(&literal.value()).map_err(|sentence| Error::new_spanned(literal, sentence))?
        }
        Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }) => literal.base10_parse()?,
        Expr::Lit(other) => {
            return Err(Error::new_spanned(
                other,
                format!("write a size, as in `{name} = \"64KiB\"`, or a number of bytes"),
            ));
        }
        other => return Ok(other.to_token_stream()),
    };
    if bytes == 0 {
        return Err(Error::new_spanned(expression, "no message fits into nothing: write a size of at least one byte"));
    }
    let mut literal = Literal::u64_unsuffixed(bytes);
    literal.set_span(expression.span());
    Ok(literal.to_token_stream())
}

fn is_off(setting: &Setting) -> bool {
    matches!(&setting.value, Value::Is(Expr::Path(path)) if path.path.is_ident("off"))
}

/// `"60s"` or an expression, as an expression of type `Duration`.
fn time(setting: &Setting) -> Result<TokenStream> {
    let name = &setting.name;
    let or_off = if name == "send_timeout" { "" } else { ", or `off`" };
    let write = format!("write a time, as in `{name} = \"30s\"`{or_off}");
    let expression = match &setting.value {
        Value::Is(_) if is_off(setting) => {
            return Err(Error::new_spanned(
                name,
                "a send that never ends would hold its message for ever: write a long time, as in \"1h\"",
            ));
        }
        Value::Is(expression) => expression,
        _ => return Err(Error::new_spanned(name, write)),
    };
    let millis = match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => {
            units::millis(&literal.value()).map_err(|sentence| Error::new_spanned(literal, sentence))?
        }
        Expr::Lit(other) => return Err(Error::new_spanned(other, format!("a time has a unit: {write}"))),
        other => return Ok(other.to_token_stream()),
    };
    if millis == 0 {
        return Err(Error::new_spanned(expression, format!("no time at all: {write}")));
    }
    Ok(quote!(::core::time::Duration::from_millis(#millis)))
}

/// What happens, as the hidden items are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Open,
    Text,
    Binary,
    Pong,
    Close,
    Error,
}

/// A handler that can be expanded.
pub(crate) struct Handler {
    pub(crate) event: Event,
    pub(crate) is_async: bool,
    pub(crate) method: Ident,
    /// In the order of the method.
    pub(crate) arguments: Vec<Argument>,
    /// Of type `usize`.
    pub(crate) max_size: Option<TokenStream>,
    pub(crate) output: ReturnType,
    /// Where `self` stands.
    pub(crate) receiver: Span,
}

/// What a parameter is given.
pub(crate) struct Argument {
    pub(crate) role: Role,
    /// The parameter's type, without the `&` if there is one.
    pub(crate) ty: Type,
    /// Whether there is one.
    pub(crate) by_ref: bool,
}

pub(crate) enum Role {
    Session,
    CloseReason,
    Error,
    /// The `bool` that says whether a part is the last.
    Last,
    /// The value of the variable of this name.
    PathParam(LitStr),
    Payload,
}

/// What the spelling of a type says about a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Session,
    CloseReason,
    Error,
    Pong,
    /// Text, whole or in parts.
    Text,
    /// Text, only whole: numbers, `bool`, `char`.
    Scalar,
    /// Binary, whole or in parts.
    Binary,
    /// A word that a later version gives a meaning.
    Later,
    Unknown,
}

fn known(ty: &Type) -> Known {
    let is_u8 = |ty: &Type| matches!(without_groups(ty), Type::Path(path) if path.path.is_ident("u8"));
    match ty {
        Type::Slice(slice) if is_u8(&slice.elem) => Known::Binary,
        Type::Path(path) => {
            let Some(last) = path.path.segments.last() else { return Known::Unknown };
            match &*last.ident.to_string() {
                "Session" => Known::Session,
                "CloseReason" => Known::CloseReason,
                "Error" => Known::Error,
                "Pong" => Known::Pong,
                "str" | "String" | "Text" => Known::Text,
                "Bytes" | "Binary" => Known::Binary,
                "Vec" if only_argument(&last.arguments).is_some_and(is_u8) => Known::Binary,
                "i8" | "i16" | "i32" | "i64" | "i128" | "isize" | "u8" | "u16" | "u32" | "u64" | "u128" | "usize"
                | "f32" | "f64" | "bool" | "char" => Known::Scalar,
                "State" | "HandshakeRequest" => Known::Later,
                _ => Known::Unknown,
            }
        }
        _ => Known::Unknown,
    }
}

/// The `T` of `<T>`.
fn only_argument(arguments: &PathArguments) -> Option<&Type> {
    match arguments {
        PathArguments::AngleBracketed(list) if list.args.len() == 1 => match &list.args[0] {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        },
        _ => None,
    }
}

/// The `T` of `Option<T>`.
pub(crate) fn inside_option(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .filter(|last| last.ident == "Option")
            .and_then(|last| only_argument(&last.arguments)),
        _ => None,
    }
}

/// Whether it is `str`.
pub(crate) fn is_str(ty: &Type) -> bool {
    matches!(without_groups(ty), Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "str"))
}

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
    nothing_missing(kind, method, &taken, m);
    let event = match kind {
        Kind::Open => Event::Open,
        Kind::Close => Event::Close,
        Kind::Error => Event::Error,
        Kind::Message => message_event(&said, &taken, m),
    };
    parts_have_no_size_limit(&said, &taken, m);
    mistakes.into_result()?;
    Ok(Handler {
        event,
        is_async: method.signature.asyncness.is_some(),
        method: method.signature.ident.clone(),
        arguments: taken.into_iter().map(|taken| taken.argument).collect(),
        max_size: said.max_size.map(|(_, size)| size),
        output: method.signature.output.clone(),
        receiver,
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
        } else if is_named(attribute, "path_param") {
            mistakes.at(attribute, "`#[path_param]` belongs before a parameter, inside the parentheses");
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

/// The usual `Box<dyn Error>` cannot travel between threads; the compiler's own words for it lead nowhere.
fn error_can_be_boxed(method: &Method, mistakes: &mut Mistakes) {
    let ReturnType::Type(_, ty) = &method.signature.output else { return };
    let Type::Path(result) = without_groups(ty) else { return };
    let Some(PathArguments::AngleBracketed(list)) = result.path.segments.last().map(|last| &last.arguments) else {
        return;
    };
    for argument in &list.args {
        let GenericArgument::Type(Type::Path(boxed)) = argument else { continue };
        let Some(last) = boxed.path.segments.last().filter(|last| last.ident == "Box") else { continue };
        let Some(Type::TraitObject(object)) = only_argument(&last.arguments) else { continue };
        let has = |name: &str| {
            object.bounds.iter().any(|bound| match bound {
                syn::TypeParamBound::Trait(bound) => bound.path.segments.last().is_some_and(|last| last.ident == name),
                _ => false,
            })
        };
        if has("Error") && !(has("Send") && has("Sync")) {
            let object = quiet(object);
            mistakes.at(
                boxed,
                format!(
                    "this error goes to another handler, perhaps on another thread: write `Box<{object} + Send + Sync>`"
                ),
            );
        }
    }
}

/// What stands in the parentheses of `#[on_message(…)]`.
#[derive(Default)]
struct Said {
    format: Option<(Ident, Event)>,
    max_size: Option<(Ident, TokenStream)>,
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
            "max_size" => {
                match size(setting) {
                    Ok(size) => said.max_size = Some((name.clone(), size)),
                    Err(mistake) => mistakes.push(mistake),
                }
                continue;
            }
            _ => {
                mistakes.push(unknown_setting(setting, &["text", "binary", "max_size"]));
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

/// An argument, what it was known by, and where.
struct Taken<'a> {
    argument: Argument,
    known: Known,
    parameter: &'a Parameter,
}

/// What `parameter` is given; `None` if that cannot be said, and then it is a mistake.
fn taken<'a>(kind: Kind, parameter: &'a Parameter, mistakes: &mut Mistakes) -> Option<Taken<'a>> {
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
        Some(_) => (Role::PathParam(path_param(parameter, ty, by_ref, mistakes)?), Known::Unknown),
        None => {
            let known = known(ty);
            let role = match known {
                Known::Session => Role::Session,
                Known::CloseReason => Role::CloseReason,
                Known::Error => Role::Error,
                Known::Later => {
                    mistakes.at(ty, format!("`{}` as a parameter is not supported yet in this version", brief(ty)));
                    return None;
                }
                Known::Scalar if !by_ref && is_last(parameter, ty) => Role::Last,
                _ => Role::Payload,
            };
            (role, known)
        }
    };
    let (role, known) = role_and_known;
    let allowed = match role {
        Role::Session | Role::PathParam(_) => true,
        Role::CloseReason => kind == Kind::Close,
        Role::Error => kind == Kind::Error,
        Role::Last | Role::Payload => kind == Kind::Message,
    };
    if !allowed {
        mistakes.at(&parameter.ty, not_here(kind, &role, ty, known));
        return None;
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

fn plain_lifetime(lifetime: Option<&Lifetime>, mistakes: &mut Mistakes) {
    if let Some(lifetime) = lifetime.filter(|lifetime| lifetime.ident != "_") {
        mistakes.at(lifetime, "what a handler borrows lives as long as the call: remove the lifetime");
    }
}

/// Whether it is the `bool` named `last`.
fn is_last(parameter: &Parameter, ty: &Type) -> bool {
    is_bool(ty) && parameter.name.as_ref().is_some_and(|name| name == "last" || name == "_last")
}

fn is_bool(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("bool"))
}

/// The type as one would say it: the last segment, or all of it.
fn brief(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default(),
        other => other.to_token_stream().to_string(),
    }
}

/// The variable's name.
fn path_param(parameter: &Parameter, ty: &Type, by_ref: bool, mistakes: &mut Mistakes) -> Option<LitStr> {
    const WRITE: &str = "write `#[path_param]` or `#[path_param(\"name\")]`";
    if let Some(mark) = parameter.marks.iter().find(|mark| is_named(mark, "query_param")) {
        mistakes.at(mark, "`#[query_param]` is not supported yet in this version");
        return None;
    }
    if let Some(second) = parameter.marks.get(1) {
        mistakes.at(second, "a parameter is one variable of the path: remove one `#[path_param]`");
    }
    if by_ref && !is_str(ty) {
        let sentence = "a path parameter is `&str` or a type of its own, parsed from the path: remove the `&`";
        mistakes.at(&parameter.ty, sentence);
    }
    let mark = parameter.marks.first()?;
    let name = match &mark.meta {
        Meta::Path(_) => match &parameter.name {
            Some(name) => LitStr::new(&name.unraw().to_string(), name.span()),
            None => {
                mistakes.at(mark, "which variable of the path? write `#[path_param(\"name\")]`");
                return None;
            }
        },
        Meta::List(list) => match syn::parse2::<LitStr>(list.tokens.clone()) {
            Ok(name) => name,
            Err(_) => {
                mistakes.at(&list.tokens, format!("the name of a variable is one string literal: {WRITE}"));
                return None;
            }
        },
        Meta::NameValue(_) => {
            mistakes.at(mark, WRITE);
            return None;
        }
    };
    if name.value().contains(['{', '}']) {
        mistakes.at(name, "write the variable's name without braces");
        return None;
    }
    Some(name)
}

fn not_here(kind: Kind, role: &Role, ty: &Type, known: Known) -> String {
    let name = kind.name();
    let takes = match kind {
        Kind::Open => "takes `&Session` and `#[path_param]`s",
        Kind::Message => "takes the message, `&Session` and `#[path_param]`s",
        Kind::Close => "takes `CloseReason`, `&Session` and `#[path_param]`s",
        Kind::Error => "takes `&Error`, `&Session` and `#[path_param]`s",
    };
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
            "`#[{name}]` receives no message: it {takes}; if this is a variable of the path, mark it `#[path_param]`"
        ),
    }
}

/// Whether the two are the same but for the variable's name.
fn same(a: &Role, b: &Role) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn no_second(taken: &[Taken<'_>], mistakes: &mut Mistakes) {
    for (index, this) in taken.iter().enumerate() {
        let ty = &this.parameter.ty;
        let is_second = taken[..index].iter().any(|earlier| same(&earlier.argument.role, &this.argument.role));
        match this.argument.role {
            Role::Payload => {}
            Role::PathParam(_) => {}
            _ if !is_second => {}
            Role::Session => mistakes.at(ty, "a second `Session`: there is only one, remove this"),
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
            "a second message: a handler takes one; mark a variable of the path `#[path_param]`, handle another kind in another method",
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
        Known::Text | Known::Scalar => Some(Event::Text),
        Known::Binary => Some(Event::Binary),
        Known::Pong => Some(Event::Pong),
        _ => None,
    };
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
                 String, &str, Text, numbers, bool, char (text), Vec<u8>, &[u8], Bytes, Binary (binary) and Pong",
                quiet(ty)
            ),
        );
        return Event::Text;
    };
    let last = taken.iter().find(|this| matches!(this.argument.role, Role::Last));
    if let Some(last) = last.filter(|_| !matches!(payload.known, Known::Text | Known::Binary)) {
        let sentence = match event {
            Event::Pong => "a pong has no parts: remove `last`".into(),
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

fn parts_have_no_size_limit(said: &Said, taken: &[Taken<'_>], mistakes: &mut Mistakes) {
    if let Some((word, _)) = &said.max_size {
        if taken.iter().any(|this| matches!(this.argument.role, Role::Last)) {
            mistakes
                .at(word, "a message in parts is never put together, so it has no size: remove `max_size`, or `last`");
        }
    }
}

/// A type as the user wrote it, without the spaces of the tokenizer.
fn quiet(ty: impl ToTokens) -> String {
    let spaced = [(" <", "<"), ("< ", "<"), (" >", ">"), ("& ", "&"), (" ::", "::"), (":: ", "::"), (" ,", ",")];
    spaced.iter().fold(ty.to_token_stream().to_string(), |text, (from, to)| text.replace(from, to))
}
