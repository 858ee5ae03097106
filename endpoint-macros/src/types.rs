//! Recognizes types by their names. Attributes see tokens, not types, so they do not recognize an alias.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{GenericArgument, PathArguments, ReturnType, Type, TypeParamBound, TypePath, parse_quote};

use crate::crate_path;
use crate::parse::without_groups;

/// A parameter type, recognized by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnownType {
    Session,
    CloseReason,
    Error,
    Pong,
    /// Text, whole or in parts.
    Text,
    /// Text, only whole: numbers, `bool`, `char`.
    Scalar,
    /// `Json<T>`, only whole: text, or binary with `#[on_message(binary)]`.
    Json,
    /// Binary, only whole: `MessagePack<T>`, `Cbor<T>`, `Protobuf<T>`.
    BinaryFormat,
    /// `Event<T>`: text, only whole.
    Event,
    /// `Negotiated<T>`: text and binary, only whole.
    Negotiated,
    /// Binary, whole or in parts.
    Binary,
    /// A text message that the handler reads while it arrives.
    TextStream,
    /// A binary message that the handler reads while it arrives.
    BinaryStream,
    HandshakeRequest,
    /// `State<T>`
    State,
    /// `Presence` or `Presence<M>`
    Presence,
    Unknown,
}

impl KnownType {
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Self::TextStream | Self::BinaryStream)
    }

    /// Whether the handler is given something else than the message for it.
    pub(crate) fn is_beside_message(self) -> bool {
        matches!(self, Self::Session | Self::CloseReason | Self::Error | Self::HandshakeRequest | Self::State)
    }
}

/// How sure it is that a type with a known name is that type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Certainty {
    /// The path begins with this crate, or with the crate of a well-known type.
    Certain,
    /// The name alone, which may be imported from anywhere.
    Bare,
    /// The path begins elsewhere, and may lead to a re-export.
    Elsewhere,
}

/// How sure it is that `ty`, whose name is known, is the type of that name.
pub(crate) fn certainty(ty: &Type) -> Certainty {
    let Type::Path(path) = ty else { return Certainty::Certain };
    let segments = &path.path.segments;
    match segments.first() {
        Some(first) if segments.len() > 1 && is_known_crate(&first.ident) => Certainty::Certain,
        Some(_) if segments.len() > 1 => Certainty::Elsewhere,
        // keywords in all but name
        Some(only) if matches!(known_type(ty), KnownType::Scalar) || only.ident == "str" => Certainty::Certain,
        _ => Certainty::Bare,
    }
}

fn is_known_crate(ident: &Ident) -> bool {
    is_standard(ident) || ident == "bytes" || crate_path::begins_with(ident)
}

/// Whether it is a crate of the standard library.
fn is_standard(ident: &Ident) -> bool {
    ident == "std" || ident == "core" || ident == "alloc"
}

/// The type of a parameter, judged by its name. A type of the standard library, such as `std::io::Error`, is unknown.
pub(crate) fn known_type(ty: &Type) -> KnownType {
    let known = type_of_name(ty);
    let Type::Path(path) = ty else { return known };
    let segments = &path.path.segments;
    let is_outside = segments.len() > 1 && segments.first().is_some_and(|first| is_standard(&first.ident));
    let is_inside = match segments.last() {
        Some(last) => ["str", "String", "Vec"].iter().any(|name| last.ident == name) || known == KnownType::Scalar,
        None => false,
    };
    if is_outside && !is_inside { KnownType::Unknown } else { known }
}

fn type_of_name(ty: &Type) -> KnownType {
    let is_u8 = |ty: &Type| matches!(without_groups(ty), Type::Path(path) if path.path.is_ident("u8"));
    match ty {
        Type::Slice(slice) if is_u8(&slice.elem) => KnownType::Binary,
        Type::Path(path) => {
            let Some(last) = path.path.segments.last() else { return KnownType::Unknown };
            match &*last.ident.to_string() {
                "Session" => KnownType::Session,
                "CloseReason" => KnownType::CloseReason,
                "Error" => KnownType::Error,
                "Pong" => KnownType::Pong,
                "str" | "String" | "Text" => KnownType::Text,
                "Bytes" | "Binary" => KnownType::Binary,
                "Vec" if only_argument(&last.arguments).is_some_and(is_u8) => KnownType::Binary,
                "i8" | "i16" | "i32" | "i64" | "i128" | "isize" | "u8" | "u16" | "u32" | "u64" | "u128" | "usize"
                | "f32" | "f64" | "bool" | "char" => KnownType::Scalar,
                "Json" => KnownType::Json,
                "MessagePack" | "Cbor" | "Protobuf" => KnownType::BinaryFormat,
                "Event" => KnownType::Event,
                "Negotiated" => KnownType::Negotiated,
                "TextStream" => KnownType::TextStream,
                "BinaryStream" => KnownType::BinaryStream,
                "HandshakeRequest" => KnownType::HandshakeRequest,
                "Presence" => KnownType::Presence,
                "State" if only_argument(&last.arguments).is_some() => KnownType::State,
                _ => KnownType::Unknown,
            }
        }
        _ => KnownType::Unknown,
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
pub(crate) fn option_inner(ty: &Type) -> Option<&Type> {
    inner_of("Option", ty)
}

/// The `T` of `Vec<T>`.
pub(crate) fn vec_inner(ty: &Type) -> Option<&Type> {
    inner_of("Vec", ty)
}

/// The `T` of `State<T>`.
pub(crate) fn state_inner(ty: &Type) -> Option<&Type> {
    inner_of("State", ty)
}

/// Whether it is `State<T>` or `&State<T>`.
pub(crate) fn is_state(ty: &Type) -> bool {
    match without_groups(ty) {
        Type::Reference(reference) => is_state(&reference.elem),
        ty => known_type(ty) == KnownType::State,
    }
}

/// The `T` of `name<T>`. A type of that name may be something else where the application defines it.
fn inner_of<'a>(name: &str, ty: &'a Type) -> Option<&'a Type> {
    let ty = without_groups(ty);
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    if name != "State" && certainty(ty) == Certainty::Elsewhere {
        return None;
    }
    only_argument(&last.arguments)
}

/// A `Result<T, E>`, or an alias of one with one parameter, such as `anyhow::Result<T>`.
pub(crate) struct ResultType<'a> {
    pub(crate) ty: &'a TypePath,
    /// The `T`.
    pub(crate) value: &'a Type,
    /// The `E`; `None` for an alias, which hides it.
    pub(crate) error: Option<&'a Type>,
}

impl ResultType<'_> {
    /// The type with `_` for the `T`, which may be an `impl Trait`.
    pub(crate) fn with_any_value(&self) -> TypePath {
        let mut ty = self.ty.clone();
        if let Some(PathArguments::AngleBracketed(list)) = ty.path.segments.last_mut().map(|last| &mut last.arguments) {
            if let Some(value) = list.args.first_mut() {
                *value = GenericArgument::Type(parse_quote!(_));
            }
        }
        ty
    }
}

pub(crate) fn result_type(ty: &Type) -> Option<ResultType<'_>> {
    let Type::Path(path) = without_groups(ty) else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Result")?;
    let PathArguments::AngleBracketed(list) = &last.arguments else { return None };
    let mut arguments = list.args.iter();
    let (value, error) = match (arguments.next()?, arguments.next(), arguments.next()) {
        (GenericArgument::Type(value), Some(GenericArgument::Type(error)), None) => (value, Some(error)),
        (GenericArgument::Type(value), None, None) => (value, None),
        _ => return None,
    };
    Some(ResultType { ty: path, value, error })
}

/// The type of the items of several replies.
pub(crate) enum Several<'a> {
    Stream(&'a Type),
    List(&'a Type),
}

/// The items of `impl Stream<Item = T>`, `BoxStream<'_, T>` and `Pin<Box<dyn Stream<Item = T>>>`, or of
/// `impl Iterator<Item = T>`.
pub(crate) fn several_items(ty: &Type) -> Option<Several<'_>> {
    match without_groups(ty) {
        Type::ImplTrait(ty) => ty.bounds.iter().find_map(|bound| {
            let (name, item) = trait_with_item(bound)?;
            match &*name {
                "Stream" => Some(Several::Stream(item)),
                // not `IntoIterator`: whether its iterator is `Send` is not visible
                "Iterator" => Some(Several::List(item)),
                _ => None,
            }
        }),
        Type::TraitObject(ty) => ty.bounds.iter().find_map(|bound| match trait_with_item(bound)? {
            (name, item) if name == "Stream" => Some(Several::Stream(item)),
            _ => None,
        }),
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            let PathArguments::AngleBracketed(list) = &last.arguments else { return None };
            let inner = list.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })?;
            match &*last.ident.to_string() {
                "BoxStream" => Some(Several::Stream(inner)),
                "Pin" => several_items(inner_of("Box", inner)?),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The name of the trait and the `T` of `Trait<Item = T>`.
fn trait_with_item(bound: &TypeParamBound) -> Option<(String, &Type)> {
    let TypeParamBound::Trait(bound) = bound else { return None };
    let last = bound.path.segments.last()?;
    let PathArguments::AngleBracketed(list) = &last.arguments else { return None };
    let item = list.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(assoc) if assoc.ident == "Item" => Some(&assoc.ty),
        _ => None,
    })?;
    Some((last.ident.to_string(), item))
}

/// The `Box<dyn Error>` in a returned `Result<T, Box<dyn Error>>`, and the type in the box. Such an error is not `Send`,
/// and the compiler's own message for that does not lead to the fix.
pub(crate) fn unsendable_error_box(output: &ReturnType) -> Option<(&Type, &Type)> {
    let ReturnType::Type(_, ty) = output else { return None };
    let Type::Path(result) = without_groups(ty) else { return None };
    let PathArguments::AngleBracketed(list) = &result.path.segments.last()?.arguments else { return None };
    let GenericArgument::Type(error) = list.args.get(1)? else { return None };
    let Type::Path(boxed) = error else { return None };
    let last = boxed.path.segments.last().filter(|last| last.ident == "Box")?;
    let object = only_argument(&last.arguments)?;
    let Type::TraitObject(bounds) = object else { return None };
    let has = |name: &str| {
        bounds.bounds.iter().any(|bound| match bound {
            TypeParamBound::Trait(bound) => bound.path.segments.last().is_some_and(|last| last.ident == name),
            _ => false,
        })
    };
    (has("Error") && !(has("Send") && has("Sync"))).then_some((error, object))
}

pub(crate) fn is_str(ty: &Type) -> bool {
    let ty = without_groups(ty);
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "str"))
        && certainty(ty) == Certainty::Certain
}

pub(crate) fn is_bool(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("bool"))
}

/// Whether a handler that returns it is an `async fn` written out: `impl Future`, `BoxFuture`, `Pin<Box<dyn Future>>`.
pub(crate) fn is_future(ty: &Type) -> bool {
    fn is_named(path: &syn::Path, name: &str) -> bool {
        path.segments.last().is_some_and(|last| last.ident == name)
    }
    let is_bound =
        |bound: &TypeParamBound| matches!(bound, TypeParamBound::Trait(bound) if is_named(&bound.path, "Future"));
    match without_groups(ty) {
        Type::ImplTrait(ty) => ty.bounds.iter().any(is_bound),
        Type::TraitObject(ty) => ty.bounds.iter().any(is_bound),
        Type::Path(path) => match path.path.segments.last() {
            Some(last) if last.ident == "BoxFuture" || last.ident == "LocalBoxFuture" => true,
            Some(last) if last.ident == "Pin" || last.ident == "Box" => {
                only_argument(&last.arguments).is_some_and(is_future)
            }
            _ => false,
        },
        _ => false,
    }
}

/// The advice for a parameter of a type that other frameworks pass to handlers, and that the session or the request
/// has here.
pub(crate) fn instead_of(ty: &Type) -> Option<String> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let written = type_text(ty);
    // a message of the application may have these names too, but hardly with a type argument
    let generic = only_argument(&last.arguments).map(type_text);
    Some(match (&*last.ident.to_string(), generic) {
        (name @ ("Arc" | "Rc" | "Extension" | "Data" | "Mutex" | "RwLock"), Some(inner)) => {
            let inner = if matches!(name, "Mutex" | "RwLock") { &written } else { &inner };
            format!(
                "`{written}` is not a parameter of a handler: take a value of the application as `State<{inner}>`, and \
                 pass the value to the builder with `.state(value)`"
            )
        }
        ("HeaderMap" | "Uri" | "Extensions" | "CookieJar", _) | ("Request", Some(_)) => format!(
            "`{written}` is not a parameter of a handler: take `request: &HandshakeRequest`, which has `headers()`, \
             `uri()` and more"
        ),
        ("SocketAddr" | "IpAddr", _) | ("ConnectInfo", Some(_)) => format!(
            "`{written}` is not a parameter of a handler: take `session: &Session`, and call `session.peer_addr()`"
        ),
        ("Path", Some(_)) => format!(
            "`{written}` is not a parameter of a handler: mark each variable of the path, as in `#[path_param] name: T`"
        ),
        ("Query", Some(_)) => format!(
            "`{written}` is not a parameter of a handler: mark each parameter of the query, as in \
             `#[query_param] name: T`"
        ),
        _ => return None,
    })
}

/// Whether a lifetime other than `'static` stands in the type.
pub(crate) fn has_lifetime(ty: &Type) -> bool {
    let mut found = false;
    map_lifetimes(ty.to_token_stream(), &mut |name| {
        found |= name != "static";
        None
    });
    found
}

/// The type with `'_` for each lifetime in `names`. The generated code does not declare those of the method.
pub(crate) fn with_elided<T: ToTokens>(ty: &T, names: &[Ident]) -> TokenStream {
    map_lifetimes(ty.to_token_stream(), &mut |name| names.contains(name).then(|| Ident::new("_", Span::call_site())))
}

/// Replaces the names of lifetimes.
fn map_lifetimes(tokens: TokenStream, replace: &mut dyn FnMut(&Ident) -> Option<Ident>) -> TokenStream {
    let mut is_lifetime = false;
    let mut mapped = Vec::new();
    for token in tokens {
        let token = match token {
            TokenTree::Ident(name) if is_lifetime => match replace(&name) {
                Some(mut new) => {
                    new.set_span(name.span());
                    new.into()
                }
                None => name.into(),
            },
            TokenTree::Group(group) => {
                let mut new = proc_macro2::Group::new(group.delimiter(), map_lifetimes(group.stream(), replace));
                new.set_span(group.span());
                new.into()
            }
            other => other,
        };
        is_lifetime = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
        mapped.push(token);
    }
    mapped.into_iter().collect()
}

/// A type as the user wrote it, without the spaces that printing tokens adds.
pub(crate) fn type_text(ty: impl ToTokens) -> String {
    let spaced = [(" <", "<"), ("< ", "<"), (" >", ">"), ("& ", "&"), (" ::", "::"), (":: ", "::"), (" ,", ",")];
    spaced.iter().fold(ty.to_token_stream().to_string(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use syn::parse_str;

    use super::*;

    #[test]
    fn types_are_recognized_by_their_last_segment() {
        for (text, expected) in [
            ("Session", KnownType::Session),
            ("endpoint_runtime::CloseReason", KnownType::CloseReason),
            ("Error", KnownType::Error),
            ("Pong", KnownType::Pong),
            ("endpoint_runtime::BinaryStream", KnownType::BinaryStream),
            ("TextStream", KnownType::TextStream),
            ("std::string::String", KnownType::Text),
            ("u128", KnownType::Scalar),
            ("endpoint_runtime::Json<Vec<u8>>", KnownType::Json),
            ("Cbor<u8>", KnownType::BinaryFormat),
            ("Negotiated<u8>", KnownType::Negotiated),
            ("Vec<u8>", KnownType::Binary),
            ("[u8]", KnownType::Binary),
            ("Vec<u16>", KnownType::Unknown),
            ("[u8; 4]", KnownType::Unknown),
            ("Option<String>", KnownType::Unknown),
            ("HandshakeRequest", KnownType::HandshakeRequest),
            ("State<Db>", KnownType::State),
            ("State", KnownType::Unknown),
            ("Presence", KnownType::Presence),
            ("Presence<Away>", KnownType::Presence),
        ] {
            assert_eq!(known_type(&parse_str(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn option_and_result_are_opened_only_under_their_own_names() {
        let option = |text: &str| option_inner(&parse_str(text).unwrap()).map(type_text);
        assert_eq!(option("std::option::Option<Vec<u8>>").as_deref(), Some("Vec<u8>"));
        assert_eq!(option("Options<u8>"), None);
        let result = |text: &str| {
            let ty = parse_str(text).unwrap();
            let result = result_type(&ty)?;
            Some((type_text(result.value), result.error.map(type_text), type_text(result.with_any_value())))
        };
        assert_eq!(result("Result<(), E>"), Some(("()".into(), Some("E".into()), "Result<_, E>".into())));
        assert_eq!(result("io::Result<u8>"), Some(("u8".into(), None, "io::Result<_>".into())));
        assert_eq!(result("Result"), None);
    }

    #[test]
    fn an_error_box_that_is_not_send_and_sync_is_found() {
        let found = |text: &str| unsendable_error_box(&parse_str(text).unwrap()).is_some();
        assert!(found("-> Result<(), Box<dyn Error>>"));
        assert!(found("-> Result<(), Box<dyn std::error::Error + Send>>"));
        assert!(!found("-> Result<(), Box<dyn Error + Send + Sync>>"));
        assert!(!found("-> Result<Box<dyn Display>, E>"));
        assert!(!found("-> u8"));
    }
}
