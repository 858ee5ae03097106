//! The settings inside the parentheses of an attribute, one by one: sizes, times, subprotocols, compression, unknown words.

use std::ops::RangeInclusive;

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, ExprPath, Lit, LitStr, Type};

use crate::diagnostics::Mistakes;
use crate::parse::{Setting, Value};

type Result<T, E = Error> = std::result::Result<T, E>;

/// The settings without those that were said before.
pub(crate) fn no_setting_twice(settings: Vec<Setting>, mistakes: &mut Mistakes) -> Vec<Setting> {
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

pub(crate) fn unknown_setting(setting: &Setting, known: &[&str]) -> Error {
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

pub(crate) fn subprotocols(setting: &Setting) -> Result<Vec<LitStr>> {
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

// events("chat.say", "chat.leave")
/// The names of events.
pub(crate) fn events(setting: &Setting) -> Result<Vec<LitStr>> {
    const WRITE: &str = "write `events(\"chat.say\", \"chat.leave\")`";
    let list = match &setting.value {
        Value::List(list) if !list.is_empty() => list,
        _ => return Err(Error::new_spanned(&setting.name, format!("the list of events is missing: {WRITE}"))),
    };
    let mut names: Vec<LitStr> = Vec::new();
    let mut mistakes = Mistakes::default();
    for expression in list {
        match string(expression) {
            None => mistakes.at(expression, format!("the name of an event is a string literal: {WRITE}")),
            Some(name) if names.iter().any(|earlier| earlier.value() == name.value()) => {
                mistakes.at(name, "this event is in the list already: remove one");
            }
            Some(name) => names.push(name.clone()),
        }
    }
    mistakes.into_result().map(|()| names)
}

// event = "chat.say"
/// The name of one event.
pub(crate) fn event_name(setting: &Setting) -> Result<LitStr> {
    match &setting.value {
        Value::Is(expression) if string(expression).is_some() => Ok(string(expression).cloned()),
        _ => Ok(None),
    }
    .and_then(|name| {
        name.ok_or_else(|| {
            Error::new_spanned(&setting.name, "write the name of one event, as in `event = \"chat.say\"`")
        })
    })
}

// decoders(Type, …)
// encoders(Type, …)
/// The types of a list of coders.
pub(crate) fn coders(setting: &Setting) -> Result<Vec<Type>> {
    let name = &setting.name;
    match &setting.value {
        Value::Types(types) if !types.is_empty() => Ok(types.clone()),
        _ => {
            let example = if name == "decoders" { "PointDecoder" } else { "PointEncoder" };
            let sentence = format!("the list of {name} is missing: write `{name}({example})`, with types of yours");
            Err(Error::new_spanned(name, sentence))
        }
    }
}

/// Whether `name` is a token of RFC 7230 §3.2.6.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

// roles("admin", "ops")
pub(crate) fn roles(setting: &Setting) -> Result<Vec<LitStr>> {
    const WRITE: &str = "write `roles(\"admin\", \"ops\")`, of which a user needs one";
    let list = match &setting.value {
        Value::List(list) if !list.is_empty() => list,
        _ => return Err(Error::new_spanned(&setting.name, format!("the list of roles is missing: {WRITE}"))),
    };
    let mut names: Vec<LitStr> = Vec::new();
    let mut mistakes = Mistakes::default();
    for expression in list {
        match string(expression) {
            None => mistakes.at(expression, format!("a role is a string literal: {WRITE}")),
            Some(name) if names.iter().any(|earlier| earlier.value() == name.value()) => {
                mistakes.at(name, "this role is in the list already: remove one");
            }
            Some(name) => names.push(name.clone()),
        }
    }
    mistakes.into_result().map(|()| names)
}

/// What makes the configurator.
pub(crate) enum Configurator {
    /// Its `Default`.
    Type(ExprPath),
    Value(Expr),
}

// configurator = Type
// configurator = expression
/// A path that is spelled as types are is one.
pub(crate) fn configurator(setting: &Setting) -> Result<Configurator> {
    const WRITE: &str = "write a type that has Default, as in `configurator = ChatConfigurator`, or an expression";
    match &setting.value {
        Value::Is(expression @ Expr::Lit(_)) => Err(Error::new_spanned(expression, WRITE)),
        Value::Is(Expr::Path(path)) if path.path.segments.last().is_some_and(|last| is_camel_case(&last.ident)) => {
            Ok(Configurator::Type(path.clone()))
        }
        Value::Is(expression) => Ok(Configurator::Value(expression.clone())),
        Value::Flag | Value::List(_) | Value::Types(_) => Err(Error::new_spanned(&setting.name, WRITE)),
    }
}

// instance = shared
// instance = per_connection
/// Where it says `shared`.
pub(crate) fn instance(setting: &Setting) -> Result<Option<Span>> {
    const WRITE: &str =
        "write `instance = shared`, one for all connections, or `instance = per_connection`, the default";
    match &setting.value {
        Value::Is(Expr::Path(path)) if path.path.is_ident("shared") => Ok(Some(path.span())),
        Value::Is(Expr::Path(path)) if path.path.is_ident("per_connection") => Ok(None),
        Value::Is(expression) => Err(Error::new_spanned(expression, WRITE)),
        Value::Flag | Value::List(_) | Value::Types(_) => Err(Error::new_spanned(&setting.name, WRITE)),
    }
}

fn is_camel_case(ident: &Ident) -> bool {
    let name = ident.to_string();
    name.starts_with(char::is_uppercase) && (name.len() == 1 || name.contains(char::is_lowercase))
}

fn string(expression: &Expr) -> Option<&LitStr> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => Some(literal),
        Expr::Group(group) => string(&group.expr),
        _ => None,
    }
}

/// `"64KiB"` or an expression, as an expression of type `usize`.
pub(crate) fn size(setting: &Setting) -> Result<TokenStream> {
    let name = &setting.name;
    let Value::Is(expression) = &setting.value else {
        return Err(Error::new_spanned(name, format!("write a size, as in `{name} = \"64KiB\"`")));
    };
    let bytes = match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => {
            bytes(&literal.value()).map_err(|sentence| Error::new_spanned(literal, sentence))?
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

/// `64` or an expression, as an expression of type `usize`.
pub(crate) fn count(setting: &Setting) -> Result<TokenStream> {
    let name = &setting.name;
    match &setting.value {
        Value::Is(expression @ Expr::Lit(ExprLit { lit, .. })) if !matches!(lit, Lit::Int(_)) => {
            Err(Error::new_spanned(expression, format!("write a number, as in `{name} = 64`")))
        }
        Value::Is(expression) => Ok(expression.to_token_stream()),
        _ => Err(Error::new_spanned(name, format!("write a number, as in `{name} = 64`"))),
    }
}

pub(crate) fn is_off(setting: &Setting) -> bool {
    matches!(&setting.value, Value::Is(Expr::Path(path)) if path.path.is_ident("off"))
}

/// `"60s"` or an expression, as an expression of type `Duration`.
pub(crate) fn time(setting: &Setting) -> Result<TokenStream> {
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
            millis(&literal.value()).map_err(|sentence| Error::new_spanned(literal, sentence))?
        }
        Expr::Lit(other) => return Err(Error::new_spanned(other, format!("a time has a unit: {write}"))),
        other => return Ok(other.to_token_stream()),
    };
    if millis == 0 {
        return Err(Error::new_spanned(expression, format!("no time at all: {write}")));
    }
    Ok(quote!(::core::time::Duration::from_millis(#millis)))
}

// compression = off
// compression = on
// compression = on(level = 1, threshold = 512, context_takeover = false, window_bits = 15)
// compression = expression
/// An expression of type `Compression`.
pub(crate) fn compression(setting: &Setting) -> Result<TokenStream> {
    const WRITE: &str = "write `compression = on`, `compression = on(level = 6)` or `compression = off`";
    let ty = quote!(::endpoint_runtime::__private::Compression);
    let call = match &setting.value {
        Value::Is(_) if is_off(setting) => return Ok(quote!(#ty::OFF)),
        Value::Is(Expr::Path(path)) if path.path.is_ident("on") => return Ok(quote!(#ty::ON)),
        Value::Is(Expr::Call(call)) if matches!(&*call.func, Expr::Path(path) if path.path.is_ident("on")) => call,
        Value::Is(expression @ Expr::Lit(_)) => return Err(Error::new_spanned(expression, WRITE)),
        Value::Is(expression) => return Ok(expression.to_token_stream()),
        Value::Flag | Value::List(_) | Value::Types(_) => return Err(Error::new_spanned(&setting.name, WRITE)),
    };
    let mut mistakes = Mistakes::default();
    let (mut seen, mut said) = (Vec::new(), TokenStream::new());
    for argument in &call.args {
        match compression_setting(argument) {
            Ok((name, _)) if seen.contains(&name) => {
                mistakes.at(argument, format!("`{name}` is said twice: remove one"));
            }
            Ok((name, value)) => {
                let method = Ident::new(name, Span::call_site());
                said.extend(quote!(.#method(#value)));
                seen.push(name);
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    mistakes.into_result().map(|()| quote!(#ty::ON #said))
}

// overflow = wait
// overflow = error
// overflow = drop_oldest
// overflow = drop_newest
// overflow = close
// overflow = expression
/// An expression of type `Overflow`.
pub(crate) fn overflow(setting: &Setting) -> Result<TokenStream> {
    const WRITE: &str =
        "write `wait`, `error`, `drop_oldest`, `drop_newest` or `close`, as in `overflow = drop_oldest`";
    const KNOWN: [(&str, &str); 5] = [
        ("wait", "Wait"),
        ("error", "Error"),
        ("drop_oldest", "DropOldest"),
        ("drop_newest", "DropNewest"),
        ("close", "Close"),
    ];
    let expression = match &setting.value {
        Value::Is(expression @ Expr::Lit(_)) => return Err(Error::new_spanned(expression, WRITE)),
        Value::Is(expression) => expression,
        Value::Flag | Value::List(_) | Value::Types(_) => return Err(Error::new_spanned(&setting.name, WRITE)),
    };
    let word = match expression {
        Expr::Path(path) => path.path.get_ident().map(Ident::to_string),
        _ => None,
    };
    // a constant is in capitals
    let Some(word) = word.filter(|word| !word.contains(|c: char| c.is_uppercase())) else {
        return Ok(expression.to_token_stream());
    };
    let Some((_, variant)) = KNOWN.into_iter().find(|(known, _)| *known == word) else {
        return Err(Error::new_spanned(expression, WRITE));
    };
    let variant = Ident::new(variant, expression.span());
    Ok(quote!(::endpoint_runtime::__private::Overflow::#variant))
}

/// One setting of `on(…)`: its name and its value.
fn compression_setting(argument: &Expr) -> Result<(&'static str, TokenStream)> {
    const WRITE: &str = "write a name and a value, as in `on(level = 6)`";
    const KNOWN: [&str; 4] = ["level", "threshold", "context_takeover", "window_bits"];
    let Expr::Assign(assignment) = argument else { return Err(Error::new_spanned(argument, WRITE)) };
    let Expr::Path(path) = &*assignment.left else { return Err(Error::new_spanned(&assignment.left, WRITE)) };
    let Some(name) = path.path.get_ident() else { return Err(Error::new_spanned(path, WRITE)) };
    let Some(known) = KNOWN.into_iter().find(|known| name == known) else {
        return Err(unknown_setting(&Setting { name: name.clone(), value: Value::Flag }, &KNOWN));
    };
    let value = &*assignment.right;
    let value = match (known, value) {
        ("level", _) => number(value, 0..=9, "a level is from 0, which stores, and 1, the fastest, to 9"),
        ("window_bits", _) => number(value, 9..=15, "a window is from 9 bits, 512 bytes, to 15 bits, 32 KiB"),
        ("threshold", Expr::Lit(ExprLit { lit: Lit::Str(literal), .. })) => {
            let bytes = bytes(&literal.value()).map_err(|sentence| Error::new_spanned(literal, sentence))?;
            Ok(Literal::u64_unsuffixed(bytes).to_token_stream())
        }
        ("context_takeover", Expr::Lit(ExprLit { lit: Lit::Bool(_), .. })) => Ok(value.to_token_stream()),
        ("context_takeover", Expr::Lit(_)) => Err(Error::new_spanned(value, "write `true` or `false`")),
        _ => Ok(value.to_token_stream()),
    };
    value.map(|value| (known, value))
}

/// A number within `range`; of an expression nothing is known yet.
fn number(value: &Expr, range: RangeInclusive<u64>, sentence: &str) -> Result<TokenStream> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }) if range.contains(&literal.base10_parse()?) => {}
        Expr::Lit(_) | Expr::Unary(_) => return Err(Error::new_spanned(value, sentence)),
        _ => {}
    }
    Ok(value.to_token_stream())
}

const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// `"64KiB"` in bytes, or the sentence that says what is wrong.
fn bytes(text: &str) -> Result<u64, String> {
    amount(text, &SIZES).ok_or_else(|| {
        format!("{text:?} is not a size: write a whole number with a unit, as in \"64KiB\"; units are {}", list(&SIZES))
    })
}

/// `"60s"` in milliseconds, or the sentence that says what is wrong.
fn millis(text: &str) -> Result<u64, String> {
    amount(text, &TIMES).ok_or_else(|| {
        format!("{text:?} is not a time: write a whole number with a unit, as in \"60s\"; units are {}", list(&TIMES))
    })
}

fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn list(units: &[(&str, u64)]) -> String {
    units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_bytes() {
        assert_eq!(bytes("1B"), Ok(1));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("2 MB"), Ok(2_000_000));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
    }

    #[test]
    fn times_count_milliseconds() {
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("60s"), Ok(60_000));
        assert_eq!(millis("5m"), Ok(300_000));
    }

    #[test]
    fn what_has_no_number_no_unit_or_no_end_is_refused() {
        for text in [
            "",
            "64",
            "KiB",
            "1.5MiB",
            "-1B",
            "64kib",
            "64 parsecs",
            "99999999999999999999B",
            "18446744073709551615GiB",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(millis("1min").unwrap_err().ends_with("units are ms, s, m, h"));
    }
}
