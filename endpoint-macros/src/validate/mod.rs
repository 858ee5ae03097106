//! From what was written to what can be expanded, or to every mistake at once: one rule, one function, one sentence.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprPath, FnArg, Lifetime, LitStr, Meta, Receiver, ReceiverKind, Result,
    ReturnType, Type,
};

use crate::options::{
    coders, compression, configurator, count, event_name, events, instance, is_off, no_setting_twice, overflow, roles,
    size, subprotocols, time, unknown_setting,
};
use crate::parse::{EndpointArgs, Kind, Method, Parameter, Setting, Side, Value, is_named, without_groups};
use crate::template;
use crate::types::{Known, brief, error_box, inside_state, is_bool, is_str, known, quiet};

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

    pub(crate) fn at(&mut self, place: impl ToTokens, sentence: impl std::fmt::Display) {
        self.push(Error::new_spanned(place, sentence));
    }

    pub(crate) fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// What `#[server_endpoint]` or `#[client_endpoint]` says, checked.
pub(crate) struct Endpoint {
    /// None of a client's.
    pub(crate) path: Option<LitStr>,
    pub(crate) subprotocols: Vec<LitStr>,
    /// One of them is needed, unless there are none.
    pub(crate) roles: Vec<LitStr>,
    pub(crate) configurator: Option<Configurator>,
    /// Where it says that all connections share one instance.
    pub(crate) shared: Option<Span>,
    /// Expressions of the types the fields of `EndpointOptions` have, inside their outermost `Some`.
    pub(crate) options: Vec<(&'static str, TokenStream)>,
    pub(crate) decoders: Vec<Type>,
    pub(crate) encoders: Vec<Type>,
    pub(crate) events: Vec<LitStr>,
}

/// What makes the configurator.
pub(crate) enum Configurator {
    /// Its `Default`.
    Type(ExprPath),
    Value(Expr),
}

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
#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) event: Event,
    pub(crate) is_async: bool,
    pub(crate) method: Ident,
    /// In the order of the method.
    pub(crate) arguments: Vec<Argument>,
    /// Of type `usize`.
    pub(crate) max_size: Option<TokenStream>,
    /// The message is for principals with one of these, unless there are none.
    pub(crate) roles: Vec<LitStr>,
    /// Of type `u64`.
    pub(crate) max_total: Option<TokenStream>,
    /// It reads its message while that arrives.
    pub(crate) streams: bool,
    /// The one event whose data it takes.
    pub(crate) of_event: Option<LitStr>,
    pub(crate) output: ReturnType,
    /// Where `self` stands.
    pub(crate) receiver: Span,
    /// Whether it is `&mut self`.
    pub(crate) by_mut: bool,
}

/// What a parameter is given.
#[derive(Clone)]
pub(crate) struct Argument {
    pub(crate) role: Role,
    /// The parameter's type, without the `&` if there is one.
    pub(crate) ty: Type,
    /// Whether there is one.
    pub(crate) by_ref: bool,
}

#[derive(Clone)]
pub(crate) enum Role {
    Session,
    CloseReason,
    Error,
    /// The `bool` that says whether a part is the last.
    Last,
    /// The value of the variable of this name.
    PathParam(LitStr),
    /// The value of the query's parameter of this name.
    QueryParam(LitStr),
    /// The opening request.
    Request,
    /// The value that the application provides, of this type.
    State(Box<Type>),
    Payload,
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

/// An argument, what it was known by, and where.
struct Taken<'a> {
    argument: Argument,
    known: Known,
    parameter: &'a Parameter,
}

impl Taken<'_> {
    fn is_stream(&self) -> bool {
        matches!(self.known, Known::TextStream | Known::BinaryStream)
    }
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

fn plain_lifetime(lifetime: Option<&Lifetime>, mistakes: &mut Mistakes) {
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
enum Mark {
    Path,
    Query,
}

impl Mark {
    fn of(attribute: &Attribute) -> Option<Self> {
        [Self::Path, Self::Query].into_iter().find(|mark| is_named(attribute, mark.name()))
    }

    fn name(self) -> &'static str {
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
fn same(a: &Role, b: &Role) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
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
