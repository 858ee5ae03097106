//! From tokens to a model of what was written. Whether it makes sense is asked in `validate`.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, FnArg, LitStr, Pat, Result, Signature, Token, Type, Visibility, parenthesized};

/// The four attributes of methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Open,
    Message,
    Close,
    Error,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Open, Self::Message, Self::Close, Self::Error];

    /// The attribute's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "on_open",
            Self::Message => "on_message",
            Self::Close => "on_close",
            Self::Error => "on_error",
        }
    }

    /// The handler attribute that `attribute` is, if it is one.
    pub(crate) fn of(attribute: &Attribute) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| is_named(attribute, kind.name()))
    }
}

/// Whether the last segment of the attribute's path is `name`.
pub(crate) fn is_named(attribute: &Attribute, name: &str) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == name)
}

/// Which attribute of types it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

impl Side {
    /// The attribute's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server_endpoint",
            Self::Client => "client_endpoint",
        }
    }

    /// The attribute of types that `attribute` is, if it is one.
    pub(crate) fn of(attribute: &Attribute) -> Option<Self> {
        [Self::Server, Self::Client].into_iter().find(|side| is_named(attribute, side.name()))
    }
}

/// What stands in the parentheses of `#[server_endpoint(…)]` or `#[client_endpoint(…)]`.
pub(crate) struct EndpointArgs {
    /// The path or template of a server's; a client's has none.
    pub(crate) path: Option<LitStr>,
    /// What follows the path.
    pub(crate) settings: Vec<Setting>,
}

impl EndpointArgs {
    // #[client_endpoint]
    // #[client_endpoint(setting, setting, …)]
    /// Those of a client.
    pub(crate) fn of_client(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitStr) {
            return Err(input.error(
                "a client endpoint has no path: it is told where to connect, as in \
                 container.connect(Bot::default(), \"ws://example.org/chat\")",
            ));
        }
        Ok(Self { path: None, settings: settings(input)? })
    }
}

// #[server_endpoint("/path")]
// #[server_endpoint("/path", setting, setting, …)]
impl Parse for EndpointArgs {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        const WRITE: &str = "write the path first, as in #[server_endpoint(\"/chat\")]";
        if input.is_empty() {
            return Err(Error::new(Span::call_site(), format!("the path is missing: {WRITE}")));
        }
        if !input.peek(LitStr) {
            let is_setting = input.peek(syn::Ident) && (input.peek2(Token![=]) || input.peek2(syn::token::Paren));
            if is_setting {
                return Err(input.error(WRITE));
            }
            let path: Expr = input.parse()?;
            return Err(Error::new_spanned(
                path,
                "the path is a string literal, because it is checked at compile time",
            ));
        }
        let path = input.parse()?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
        Ok(Self { path: Some(path), settings: settings(input)? })
    }
}

/// One setting in the parentheses of an attribute.
pub(crate) struct Setting {
    pub(crate) name: Ident,
    pub(crate) value: Value,
}

/// How a setting is given.
pub(crate) enum Value {
    /// `name`
    Flag,
    /// `name = expression`
    Is(Expr),
    /// `name(expression, …)`
    List(Vec<Expr>),
    /// `decoders(Type, …)`, `encoders(Type, …)`
    Types(Vec<Type>),
}

// setting, setting, …
pub(crate) fn settings(input: ParseStream<'_>) -> Result<Vec<Setting>> {
    Ok(Punctuated::<Setting, Token![,]>::parse_terminated(input)?.into_iter().collect())
}

// name
// name = expression
// name(expression, …)
// decoders(Type, …)
// encoders(Type, …)
impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error("an option starts with its name, as in `max_size = \"4KiB\"`"));
        }
        let name = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Value::Is(input.parse()?)
        } else if input.peek(syn::token::Paren) {
            let list;
            parenthesized!(list in input);
            if name == "decoders" || name == "encoders" {
                let types = Punctuated::<Type, Token![,]>::parse_terminated(&list)?.into_iter().collect();
                return Ok(Self { name, value: Value::Types(types) });
            }
            Value::List(Punctuated::<Expr, Token![,]>::parse_terminated(&list)?.into_iter().collect())
        } else {
            Value::Flag
        };
        Ok(Self { name, value })
    }
}

/// A method with a handler attribute.
pub(crate) struct Method {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    /// Without the marks of its parameters.
    pub(crate) signature: Signature,
    /// The parameters after `self`, in order.
    pub(crate) parameters: Vec<Parameter>,
    /// The block, unread; or the semicolon of a declaration.
    pub(crate) body: TokenStream,
}

/// A parameter of a handler.
pub(crate) struct Parameter {
    /// The `#[path_param]` and `#[query_param]` attributes.
    pub(crate) marks: Vec<Attribute>,
    /// The attributes that stay on it.
    pub(crate) attrs: Vec<Attribute>,
    /// The name, if the pattern is no more than that.
    pub(crate) name: Option<Ident>,
    pub(crate) ty: Type,
}

// attributes visibility signature { … }
impl Parse for Method {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let mut signature: Signature = input.parse()?;
        let body = input.parse()?;
        let mut parameters = Vec::new();
        for argument in &mut signature.inputs {
            if let FnArg::Typed(typed) = argument {
                let (marks, attrs) = std::mem::take(&mut typed.attrs).into_iter().partition(is_mark);
                typed.attrs = attrs;
                let name = match &*typed.pat {
                    Pat::Ident(pat) if pat.subpat.is_none() => Some(pat.ident.clone()),
                    _ => None,
                };
                let attrs = typed.attrs.clone();
                parameters.push(Parameter { marks, attrs, name, ty: without_groups(&typed.ty).clone() });
            }
        }
        Ok(Self { attrs, vis, signature, parameters, body })
    }
}

/// Whether it is an attribute of ours for parameters.
pub(crate) fn is_mark(attribute: &Attribute) -> bool {
    is_named(attribute, "path_param") || is_named(attribute, "query_param")
}

/// The type inside the invisible groups that `macro_rules` leaves, and inside parentheses.
pub(crate) fn without_groups(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => without_groups(&group.elem),
        Type::Paren(paren) => without_groups(&paren.elem),
        other => other,
    }
}

impl ToTokens for Method {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.append_all(&self.attrs);
        self.vis.to_tokens(tokens);
        self.signature.to_tokens(tokens);
        self.body.to_tokens(tokens);
    }
}

/// The keyword that says what `item` is, with its place: for an attribute that stands on the wrong thing.
pub(crate) fn keyword(item: &TokenStream) -> (String, Span) {
    const KEYWORDS: [&str; 11] =
        ["struct", "enum", "union", "fn", "impl", "trait", "mod", "const", "static", "type", "macro_rules"];
    let found = item.clone().into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if KEYWORDS.iter().any(|keyword| ident == keyword) => Some(ident),
        _ => None,
    });
    found.map_or_else(|| ("item".into(), item.span()), |ident| (ident.to_string(), ident.span()))
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::parse::Parser;
    use syn::parse2;

    use super::*;

    #[test]
    fn a_path_and_settings_of_each_form() {
        let args: EndpointArgs = parse2(quote!("/a/{b}", subprotocols("x", "y"), idle_timeout = off, extra,)).unwrap();
        assert_eq!(args.path.unwrap().value(), "/a/{b}");
        let names: Vec<_> = args.settings.iter().map(|setting| setting.name.to_string()).collect();
        assert_eq!(names, ["subprotocols", "idle_timeout", "extra"]);
        assert!(matches!(&args.settings[0].value, Value::List(list) if list.len() == 2));
        assert!(matches!(&args.settings[1].value, Value::Is(_)));
        assert!(matches!(&args.settings[2].value, Value::Flag));
    }

    #[test]
    fn the_path_comes_first_and_is_a_literal() {
        let error = |tokens| parse2::<EndpointArgs>(tokens).err().unwrap().to_string();
        assert!(error(quote!()).starts_with("the path is missing"));
        assert!(error(quote!(value = "/a")).starts_with("write the path first"));
        assert!(error(quote!(PATH)).starts_with("the path is a string literal"));
    }

    #[test]
    fn an_option_has_a_name() {
        assert!(Parser::parse2(settings, quote!("4KiB")).err().unwrap().to_string().starts_with("an option starts"));
    }

    #[test]
    fn a_method_loses_only_our_marks() {
        let method: Method = parse2(quote! {
            /// Text.
            #[inline]
            pub async fn say(&mut self, #[path_param("room")] #[allow(unused)] room: String, (a, b): Pair) -> u8 { 1 + }
        })
        .unwrap();
        assert_eq!(method.parameters.len(), 2);
        assert_eq!(method.parameters[0].marks.len(), 1);
        assert_eq!(method.parameters[0].name.as_ref().unwrap(), "room");
        assert!(method.parameters[1].name.is_none());
        let text = method.to_token_stream().to_string();
        assert!(text.contains("inline") && text.contains("allow") && text.contains("{ 1 + }"), "{text}");
        assert!(!text.contains("path_param"), "{text}");
    }

    #[test]
    fn the_keyword_says_what_an_item_is() {
        assert_eq!(
            keyword(&quote!(
                #[derive(Debug)]
                pub(crate) struct A;
            ))
            .0,
            "struct"
        );
        assert_eq!(keyword(&quote!(impl A {})).0, "impl");
    }
}
