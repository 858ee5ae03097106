//! What the spelling of a type says. Attributes see tokens, not types: an alias is a word they do not know.

use quote::ToTokens;
use syn::{GenericArgument, PathArguments, ReturnType, Type, TypeParamBound};

use crate::parse::without_groups;

/// What the spelling of a type says about a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Session,
    CloseReason,
    Error,
    Pong,
    /// Text, whole or in parts.
    Text,
    /// Text, only whole: numbers, `bool`, `char`.
    Scalar,
    /// `Json<T>`: text, or binary data if that is said; only whole.
    Json,
    /// Binary, only whole: `MessagePack<T>`, `Cbor<T>`, `Protobuf<T>`.
    Packed,
    /// `Event<T>`: text, only whole.
    Event,
    /// `Negotiated<T>`: text and binary, only whole.
    Negotiated,
    /// Binary, whole or in parts.
    Binary,
    /// Text that is read while it arrives.
    TextStream,
    /// Binary data that is read while it arrives.
    BinaryStream,
    Request,
    /// `State<T>`
    State,
    Unknown,
}

pub(crate) fn known(ty: &Type) -> Known {
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
                "Json" => Known::Json,
                "MessagePack" | "Cbor" | "Protobuf" => Known::Packed,
                "Event" => Known::Event,
                "Negotiated" => Known::Negotiated,
                "TextStream" => Known::TextStream,
                "BinaryStream" => Known::BinaryStream,
                "HandshakeRequest" => Known::Request,
                "State" if only_argument(&last.arguments).is_some() => Known::State,
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
    inside("Option", ty)
}

/// The `T` of `Vec<T>`.
pub(crate) fn inside_vec(ty: &Type) -> Option<&Type> {
    inside("Vec", ty)
}

/// The `T` of `State<T>`.
pub(crate) fn inside_state(ty: &Type) -> Option<&Type> {
    inside("State", ty)
}

fn inside<'a>(name: &str, ty: &'a Type) -> Option<&'a Type> {
    let Type::Path(path) = without_groups(ty) else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    only_argument(&last.arguments)
}

/// The `T` and `E` of `Result<T, E>`.
pub(crate) fn inside_result(ty: &Type) -> Option<(&Type, &Type)> {
    let Type::Path(path) = without_groups(ty) else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Result")?;
    let PathArguments::AngleBracketed(list) = &last.arguments else { return None };
    let mut arguments = list.args.iter();
    match (arguments.next()?, arguments.next()?, arguments.next()) {
        (GenericArgument::Type(value), GenericArgument::Type(error), None) => Some((value, error)),
        _ => None,
    }
}

/// The `Box<dyn Error>` in a returned `Result<T, Box<dyn Error>>`, and what is in the box: it cannot go to another
/// thread, and the compiler's own words for that lead nowhere.
pub(crate) fn error_box(output: &ReturnType) -> Option<(&Type, &Type)> {
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

/// Whether it is `str`.
pub(crate) fn is_str(ty: &Type) -> bool {
    matches!(without_groups(ty), Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "str"))
}

pub(crate) fn is_bool(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("bool"))
}

/// The type as one would say it: the last segment, or all of it.
pub(crate) fn brief(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default(),
        other => other.to_token_stream().to_string(),
    }
}

/// A type as the user wrote it, without the spaces of the tokenizer.
pub(crate) fn quiet(ty: impl ToTokens) -> String {
    let spaced = [(" <", "<"), ("< ", "<"), (" >", ">"), ("& ", "&"), (" ::", "::"), (":: ", "::"), (" ,", ",")];
    spaced.iter().fold(ty.to_token_stream().to_string(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use syn::parse_str;

    use super::*;

    #[test]
    fn types_are_known_by_their_last_word() {
        for (text, expected) in [
            ("Session", Known::Session),
            ("endpoint_runtime::CloseReason", Known::CloseReason),
            ("Error", Known::Error),
            ("Pong", Known::Pong),
            ("endpoint_runtime::BinaryStream", Known::BinaryStream),
            ("TextStream", Known::TextStream),
            ("std::string::String", Known::Text),
            ("u128", Known::Scalar),
            ("endpoint_runtime::Json<Vec<u8>>", Known::Json),
            ("Cbor<u8>", Known::Packed),
            ("Negotiated<u8>", Known::Negotiated),
            ("Vec<u8>", Known::Binary),
            ("[u8]", Known::Binary),
            ("Vec<u16>", Known::Unknown),
            ("[u8; 4]", Known::Unknown),
            ("Option<String>", Known::Unknown),
            ("HandshakeRequest", Known::Request),
            ("State<Db>", Known::State),
            ("State", Known::Unknown),
        ] {
            assert_eq!(known(&parse_str(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn options_and_results_are_seen_into_where_they_are_spelled_out() {
        let option = |text: &str| inside_option(&parse_str(text).unwrap()).map(quiet);
        assert_eq!(option("std::option::Option<Vec<u8>>").as_deref(), Some("Vec<u8>"));
        assert_eq!(option("Options<u8>"), None);
        let result = |text: &str| inside_result(&parse_str(text).unwrap()).map(|(a, b)| (quiet(a), quiet(b)));
        assert_eq!(result("Result<(), E>"), Some(("()".into(), "E".into())));
        // an alias may mean anything
        assert_eq!(result("std::io::Result<u8>"), None);
        assert_eq!(result("Result"), None);
    }

    #[test]
    fn an_error_box_that_cannot_travel_is_found() {
        let found = |text: &str| error_box(&parse_str(text).unwrap()).is_some();
        assert!(found("-> Result<(), Box<dyn Error>>"));
        assert!(found("-> Result<(), Box<dyn std::error::Error + Send>>"));
        assert!(!found("-> Result<(), Box<dyn Error + Send + Sync>>"));
        assert!(!found("-> Result<Box<dyn Display>, E>"));
        assert!(!found("-> u8"));
    }
}
