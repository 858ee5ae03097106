//! Reads the options of an attribute: finds each in the table, and reads its value.

use std::fmt::Display;
use std::ops::RangeInclusive;

use proc_macro2::{Group, Ident, Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, ExprPath, Lit, LitStr, Result, Token, Type, parenthesized};

use crate::crate_path::runtime;
use crate::diagnostics::Diagnostics;
use crate::options::table::{CompressionOption, HistoryOption, PresenceOption, Section, SessionsPerOption};
use crate::options::units::{bytes, millis};
use crate::parse::{OptionArg, Value, options};

mod rates;
pub(crate) mod table;
mod units;
mod words;

/// An option that was given: its name and value as written, and its usage from the table.
pub(crate) struct GivenOption<'a> {
    pub(crate) name: &'a Ident,
    value: &'a Value,
    usage: &'static str,
}

/// Calls `read` for each of the options in `args`, which stand in the parentheses of `place`. Its errors and those about
/// unknown, misplaced and duplicate options are reported in the order of the options.
pub(crate) fn read_options<S: Section>(
    args: &[OptionArg],
    place: &str,
    diagnostics: &mut Diagnostics,
    mut read: impl FnMut(S, &GivenOption<'_>) -> Result<()>,
) {
    for (index, OptionArg { name, value }) in args.iter().enumerate() {
        if args[..index].iter().any(|earlier| earlier.name == *name) {
            diagnostics.at(name, format!("duplicate option `{name}`: remove one"));
            continue;
        }
        match S::ALL.iter().copied().find(|option| name == option.row().name) {
            None => diagnostics.push(unknown_option::<S>(name, place)),
            Some(option) => {
                let row = option.row();
                if row.allowed_in.contains(&place) {
                    diagnostics.take(read(option, &GivenOption { name, value, usage: row.usage }));
                } else {
                    let places = row.allowed_in.join("]` and `#[");
                    diagnostics.at(name, format!("`{name}` is only for `#[{places}]`: remove it"));
                }
            }
        }
    }
}

fn unknown_option<S: Section>(name: &Ident, place: &str) -> Error {
    let valid: Vec<&str> = S::allowed_in(place).map(|option| option.row().name).collect();
    let written = name.to_string();
    let nearest = valid.iter().map(|valid| (edit_distance(&written.to_lowercase(), valid), valid)).min();
    let hint = match nearest {
        Some((distance, valid)) if distance <= 3 && distance < written.len() => format!(": did you mean `{valid}`?"),
        _ => ";".to_owned(),
    };
    let valid = valid.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Error::new_spanned(name, format!("unknown option `{written}`{hint} valid options are {valid}"))
}

/// Number of characters to add, remove or replace to turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
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

impl GivenOption<'_> {
    /// The error for a value of the wrong form, at the value or, if there is none, at the name.
    fn invalid(&self) -> Error {
        let usage = self.usage;
        match self.value {
            Value::Flag => Error::new_spanned(self.name, format!("`{}` needs a value: write {usage}", self.name)),
            Value::Expr(value) => {
                Error::new_spanned(value, format!("invalid value for `{}`: write {usage}", self.name))
            }
            Value::List(_) => {
                Error::new_spanned(self.name, format!("invalid value for `{}`: write {usage}", self.name))
            }
        }
    }

    /// The error about `place`, with the usage.
    fn error(&self, place: impl ToTokens, message: impl Display) -> Error {
        Error::new_spanned(place, format!("{message}: write {}", self.usage))
    }

    // name
    pub(crate) fn flag(&self) -> Result<()> {
        match self.value {
            Value::Flag => Ok(()),
            _ => Err(Error::new_spanned(self.name, format!("`{0}` takes no value: write `{0}`", self.name))),
        }
    }

    // name = "text"
    pub(crate) fn string(&self) -> Result<LitStr> {
        match self.value {
            Value::Expr(expression) => string_literal(expression).cloned().ok_or_else(|| self.invalid()),
            _ => Err(self.invalid()),
        }
    }

    // name("text", "text", …)
    /// String literals without duplicates; `noun` names one of them. `check` returns the error in a string.
    pub(crate) fn strings(&self, noun: &str, check: fn(&str) -> Option<&'static str>) -> Result<Vec<LitStr>> {
        let expressions: Vec<Expr> = self.list()?;
        let mut strings: Vec<LitStr> = Vec::new();
        let mut diagnostics = Diagnostics::default();
        for expression in &expressions {
            let Some(string) = string_literal(expression) else {
                diagnostics.push(self.error(expression, format!("each {noun} must be a string literal")));
                continue;
            };
            let value = string.value();
            if let Some(message) = check(&value) {
                diagnostics.at(string, message);
            } else if strings.iter().any(|earlier| earlier.value() == value) {
                diagnostics.at(string, format!("duplicate {noun} `{value}`: remove one"));
            } else {
                strings.push(string.clone());
            }
        }
        diagnostics.into_result().map(|()| strings)
    }

    // name(Type, Type, …)
    pub(crate) fn types(&self) -> Result<Vec<Type>> {
        self.list()
    }

    /// The elements of a list that is not empty.
    fn list<T: Parse>(&self) -> Result<Vec<T>> {
        let elements = match self.value {
            Value::List(group) => list_elements(group)?,
            _ => Vec::new(),
        };
        if elements.is_empty() {
            return Err(self.error(self.name, format!("`{}` needs a list", self.name)));
        }
        Ok(elements)
    }

    // name = off
    pub(crate) fn is_off(&self) -> bool {
        matches!(self.value, Value::Expr(Expr::Path(path)) if path.path.is_ident("off"))
    }

    // name = "64KiB"
    // name = 65_536
    // name = expression
    /// An expression for a number of bytes.
    pub(crate) fn size(&self) -> Result<TokenStream> {
        let Value::Expr(expression) = self.value else { return Err(self.invalid()) };
        let bytes = match expression {
            Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => bytes(literal)?,
            Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }) => literal.base10_parse()?,
            Expr::Lit(_) => return Err(self.invalid()),
            other => return Ok(other.to_token_stream()),
        };
        if bytes == 0 {
            return Err(Error::new_spanned(expression, "size must be at least 1 byte"));
        }
        let mut literal = Literal::u64_unsuffixed(bytes);
        literal.set_span(expression.span());
        Ok(literal.to_token_stream())
    }

    // name = 64
    // name = expression
    /// An expression for an integer.
    pub(crate) fn integer(&self) -> Result<TokenStream> {
        match self.value {
            Value::Expr(Expr::Lit(ExprLit { lit, .. })) if !matches!(lit, Lit::Int(_)) => Err(self.invalid()),
            Value::Expr(expression) => Ok(expression.to_token_stream()),
            _ => Err(self.invalid()),
        }
    }

    // name = "60s"
    // name = expression
    /// An expression of type `Duration`.
    pub(crate) fn duration(&self) -> Result<TokenStream> {
        let Value::Expr(expression) = self.value else { return Err(self.invalid()) };
        let millis = match expression {
            _ if self.is_off() => return Err(self.error(self.name, format!("`{}` cannot be `off`", self.name))),
            Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => millis(literal)?,
            Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }) => {
                return Err(self.error(literal, "a duration needs a unit"));
            }
            Expr::Lit(_) => return Err(self.invalid()),
            other => return Ok(other.to_token_stream()),
        };
        if millis == 0 {
            return Err(self.error(expression, "duration must be at least 1 ms"));
        }
        Ok(quote!(::core::time::Duration::from_millis(#millis)))
    }

    // name = off
    // name = "60s"
    // name = expression
    /// An expression of type `Option<Duration>`.
    pub(crate) fn duration_or_off(&self) -> Result<TokenStream> {
        if self.is_off() {
            return Ok(quote!(::core::option::Option::None));
        }
        self.duration().map(|duration| quote!(::core::option::Option::Some(#duration)))
    }

    // compression = off
    // compression = on
    // compression = on(level = 6, threshold = 512, context_takeover = false, window_bits = 15)
    // compression = expression
    /// An expression of type `Compression`.
    pub(crate) fn compression(&self) -> Result<TokenStream> {
        let rt = runtime();
        let ty = quote!(#rt::Compression);
        let is_on = |expression: &Expr| matches!(expression, Expr::Path(path) if path.path.is_ident("on"));
        let call = match self.value {
            Value::Expr(_) if self.is_off() => return Ok(quote!(#ty::OFF)),
            Value::Expr(expression) if is_on(expression) => return Ok(quote!(#ty::ON)),
            Value::Expr(Expr::Call(call)) if is_on(&call.func) => call,
            Value::Expr(expression) if !matches!(expression, Expr::Lit(_)) => return Ok(expression.to_token_stream()),
            _ => return Err(self.invalid()),
        };
        let mut diagnostics = Diagnostics::default();
        let args: Vec<_> = call.args.iter().filter_map(|argument| diagnostics.take(assignment(argument))).collect();
        let mut settings = TokenStream::new();
        read_options(&args, &self.name.to_string(), &mut diagnostics, |option: CompressionOption, given| {
            let value = given.compression_option(option)?;
            let method = Ident::new(option.row().name, Span::call_site());
            settings.extend(quote!(.#method(#value)));
            Ok(())
        });
        diagnostics.into_result().map(|()| quote!(#ty::ON #settings))
    }

    // presence
    // presence = on
    // presence(grace = "15s")
    /// An expression of type `Duration`: the grace period.
    pub(crate) fn presence(&self) -> Result<TokenStream> {
        let rt = runtime();
        let mut grace = quote!(#rt::PRESENCE_GRACE);
        let list = match self.value {
            Value::Flag => return Ok(grace),
            Value::Expr(Expr::Path(path)) if path.path.is_ident("on") => return Ok(grace),
            Value::Expr(_) => return Err(self.invalid()),
            Value::List(list) => list,
        };
        let mut diagnostics = Diagnostics::default();
        let args = options.parse2(list.stream()).map_err(|_| self.invalid())?;
        read_options(&args, &self.name.to_string(), &mut diagnostics, |option: PresenceOption, given| {
            match option {
                PresenceOption::Grace if given.is_off() => grace = quote!(::core::time::Duration::ZERO),
                PresenceOption::Grace => grace = given.duration()?,
            }
            Ok(())
        });
        diagnostics.into_result().map(|()| grace)
    }

    // history(last = 100, within = "5m")
    /// An expression of type `(usize, Duration)`: how many messages, and how old.
    pub(crate) fn history(&self) -> Result<TokenStream> {
        let rt = runtime();
        let (mut last, mut within) = (quote!(#rt::HISTORY_LAST), quote!(#rt::HISTORY_WITHIN));
        let list = match self.value {
            Value::Flag => return Ok(quote!((#last, #within))),
            Value::Expr(Expr::Path(path)) if path.path.is_ident("on") => return Ok(quote!((#last, #within))),
            Value::Expr(_) => return Err(self.invalid()),
            Value::List(list) => list,
        };
        let mut diagnostics = Diagnostics::default();
        let args = options.parse2(list.stream()).map_err(|_| self.invalid())?;
        read_options(&args, &self.name.to_string(), &mut diagnostics, |option: HistoryOption, given| {
            match option {
                HistoryOption::Last => last = given.integer()?,
                HistoryOption::Within => within = given.duration()?,
            }
            Ok(())
        });
        diagnostics.into_result().map(|()| quote!((#last, #within)))
    }

    // max_sessions = 10_000
    // max_sessions = expression
    /// An expression of type `usize`, at least 1.
    pub(crate) fn cap(&self) -> Result<TokenStream> {
        match self.value {
            Value::Expr(expression @ Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }))
                if literal.base10_parse::<u64>()? == 0 =>
            {
                Err(Error::new_spanned(expression, "0 admits no session: write at least 1, or remove the limit"))
            }
            _ => self.integer(),
        }
    }

    // max_sessions_per(address = 20, principal = 5)
    /// An expression of type `(Option<usize>, Option<usize>)`: for an address, and for a principal.
    pub(crate) fn sessions_per(&self) -> Result<TokenStream> {
        let none = quote!(::core::option::Option::None);
        let (mut address, mut principal) = (none.clone(), none);
        let Value::List(list) = self.value else { return Err(self.invalid()) };
        if list.stream().is_empty() {
            return Err(self.invalid());
        }
        let mut diagnostics = Diagnostics::default();
        let args = options.parse2(list.stream()).map_err(|_| self.invalid())?;
        read_options(&args, &self.name.to_string(), &mut diagnostics, |option: SessionsPerOption, given| {
            let cap = given.cap()?;
            let cap = quote!(::core::option::Option::Some(#cap));
            match option {
                SessionsPerOption::Address => address = cap,
                SessionsPerOption::Principal => principal = cap,
            }
            Ok(())
        });
        diagnostics.into_result().map(|()| quote!((#address, #principal)))
    }

    /// The value of one setting of compression.
    fn compression_option(&self, option: CompressionOption) -> Result<TokenStream> {
        let Value::Expr(value) = self.value else { return Err(self.invalid()) };
        match (option, value) {
            (CompressionOption::Level, _) => self.number_in(0..=9),
            (CompressionOption::WindowBits, _) => self.number_in(9..=15),
            (CompressionOption::Threshold, Expr::Lit(ExprLit { lit: Lit::Str(literal), .. })) => {
                Ok(Literal::u64_unsuffixed(bytes(literal)?).to_token_stream())
            }
            (CompressionOption::ContextTakeover, Expr::Lit(ExprLit { lit, .. })) if !matches!(lit, Lit::Bool(_)) => {
                Err(self.invalid())
            }
            (CompressionOption::Threshold | CompressionOption::ContextTakeover, value) => Ok(value.to_token_stream()),
        }
    }

    /// A number in `range`. The value of an expression is not known yet, so it is not checked.
    fn number_in(&self, range: RangeInclusive<u64>) -> Result<TokenStream> {
        match self.value {
            Value::Expr(Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }))
                if !range.contains(&literal.base10_parse()?) =>
            {
                Err(self.invalid())
            }
            Value::Expr(Expr::Unary(_)) => Err(self.invalid()),
            _ => self.integer(),
        }
    }

    // configurator = Type
    // configurator = expression
    /// A path in camel case is a type.
    pub(crate) fn configurator(&self) -> Result<Configurator> {
        match self.value {
            Value::Expr(expression) => Configurator::of(expression).ok_or_else(|| self.invalid()),
            _ => Err(self.invalid()),
        }
    }

    // intercept(Type, expression, …)
    /// Interceptors, each by its type or by an expression.
    pub(crate) fn interceptors(&self) -> Result<Vec<Configurator>> {
        let expressions: Vec<Expr> = self.list()?;
        let of = |expression| {
            Configurator::of(expression)
                .ok_or_else(|| self.error(expression, "an interceptor is a type or an expression"))
        };
        let mut diagnostics = Diagnostics::default();
        let interceptors = expressions.iter().filter_map(|expression| diagnostics.take(of(expression))).collect();
        diagnostics.into_result().map(|()| interceptors)
    }

    // instance = shared
    // instance = per_connection
    /// The place of `shared`, or `None` for `per_connection`.
    pub(crate) fn instance(&self) -> Result<Option<Span>> {
        match self.value {
            Value::Expr(Expr::Path(path)) if path.path.is_ident("shared") => Ok(Some(path.span())),
            Value::Expr(Expr::Path(path)) if path.path.is_ident("per_connection") => Ok(None),
            _ => Err(self.invalid()),
        }
    }
}

/// How to make the configurator, or an interceptor.
pub(crate) enum Configurator {
    /// By the `Default` of this type.
    Type(ExprPath),
    Value(Expr),
}

impl Configurator {
    /// A path in camel case is a type. `None` for a literal.
    fn of(expression: &Expr) -> Option<Self> {
        match expression {
            Expr::Path(path) if path.path.segments.last().is_some_and(|last| is_camel_case(&last.ident)) => {
                Some(Self::Type(path.clone()))
            }
            Expr::Lit(_) => None,
            expression => Some(Self::Value(expression.clone())),
        }
    }
}

fn is_camel_case(ident: &Ident) -> bool {
    let name = ident.to_string();
    name.starts_with(char::is_uppercase) && (name.len() == 1 || name.contains(char::is_lowercase))
}

/// The elements inside the parentheses `group`.
fn list_elements<T: Parse>(group: &Group) -> Result<Vec<T>> {
    // parsed together with the parentheses, so that an error at the end points to the closing one
    let parser = |input: ParseStream<'_>| {
        let content;
        parenthesized!(content in input);
        Punctuated::<T, Token![,]>::parse_terminated(&content)
    };
    let list = parser.parse2(TokenTree::from(group.clone()).into())?;
    Ok(list.into_iter().collect())
}

// name = expression
/// An argument of `on(…)`, which has been parsed as an expression.
fn assignment(argument: &Expr) -> Result<OptionArg> {
    if let Expr::Assign(assignment) = argument {
        if let Expr::Path(path) = &*assignment.left {
            if let Some(name) = path.path.get_ident() {
                return Ok(OptionArg { name: name.clone(), value: Value::Expr((*assignment.right).clone()) });
            }
        }
    }
    Err(Error::new_spanned(argument, "expected a name and a value, as in `on(level = 6)`"))
}

fn string_literal(expression: &Expr) -> Option<&LitStr> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => Some(literal),
        Expr::Group(group) => string_literal(&group.expr),
        _ => None,
    }
}
