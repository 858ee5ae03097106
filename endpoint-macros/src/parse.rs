//! From tokens to a model of what was written. `validate` decides whether it makes sense.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, FnArg, LitStr, Pat, Result, Signature, Token, Type, Visibility};

/// The attributes of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointAttr {
    Server,
    Client,
}

impl EndpointAttr {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server_endpoint",
            Self::Client => "client_endpoint",
        }
    }

    /// The endpoint attribute that `attribute` is, if it is one.
    pub(crate) fn of(attribute: &Attribute) -> Option<Self> {
        [Self::Server, Self::Client].into_iter().find(|this| is_named(attribute, this.name()))
    }
}

/// The attributes of methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandlerAttr {
    Open,
    Message,
    Close,
    Error,
    Presence,
}

impl HandlerAttr {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "on_open",
            Self::Message => "on_message",
            Self::Close => "on_close",
            Self::Error => "on_error",
            Self::Presence => "on_presence",
        }
    }

    /// The handler attribute that `attribute` is, if it is one.
    pub(crate) fn of(attribute: &Attribute) -> Option<Self> {
        const ALL: [HandlerAttr; 5] =
            [HandlerAttr::Open, HandlerAttr::Message, HandlerAttr::Close, HandlerAttr::Error, HandlerAttr::Presence];
        ALL.into_iter().find(|this| is_named(attribute, this.name()))
    }
}

/// The attributes of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParamAttr {
    Path,
    Query,
}

impl ParamAttr {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Path => "path_param",
            Self::Query => "query_param",
        }
    }

    /// The parameter attribute that `attribute` is, if it is one.
    pub(crate) fn of(attribute: &Attribute) -> Option<Self> {
        [Self::Path, Self::Query].into_iter().find(|this| is_named(attribute, this.name()))
    }
}

/// Whether the last segment of the attribute's path is `name`.
pub(crate) fn is_named(attribute: &Attribute, name: &str) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == name)
}

/// The arguments of `#[server_endpoint(…)]` or `#[client_endpoint(…)]`.
pub(crate) struct EndpointArgs {
    /// The path template of a server endpoint. A client endpoint has none.
    pub(crate) path: Option<LitStr>,
    pub(crate) options: Vec<OptionArg>,
}

impl EndpointArgs {
    // #[client_endpoint]
    // #[client_endpoint(option, option, …)]
    /// The arguments of a client endpoint.
    pub(crate) fn parse_client(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitStr) {
            return Err(input.error(
                "a client endpoint has no path: pass the URI to `connect`, as in \
                 `container.connect(Bot::default(), \"ws://example.org/chat\")`",
            ));
        }
        Ok(Self { path: None, options: options(input)? })
    }
}

// #[server_endpoint("/path")]
// #[server_endpoint("/path", option, option, …)]
impl Parse for EndpointArgs {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        const WRITE: &str = "write `#[server_endpoint(\"/chat\")]`";
        if input.is_empty() {
            return Err(Error::new(Span::call_site(), format!("the path is missing: {WRITE}")));
        }
        if !input.peek(LitStr) {
            let is_option = input.peek(syn::Ident) && (input.peek2(Token![=]) || input.peek2(syn::token::Paren));
            if is_option {
                return Err(input.error(format!("the path must come first: {WRITE}")));
            }
            let path: Expr = input.parse()?;
            let message = "the path must be a string literal, because it is checked at compile time";
            return Err(Error::new_spanned(path, message));
        }
        let path = input.parse()?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
        Ok(Self { path: Some(path), options: options(input)? })
    }
}

/// One option in the parentheses of an attribute.
pub(crate) struct OptionArg {
    pub(crate) name: Ident,
    pub(crate) value: Value,
}

/// How an option is written.
pub(crate) enum Value {
    /// `name`
    Flag,
    /// `name = expression`
    Expr(Expr),
    /// `name(…)`: the parentheses, which `options` reads
    List(Group),
}

// option, option, …
pub(crate) fn options(input: ParseStream<'_>) -> Result<Vec<OptionArg>> {
    Ok(Punctuated::<OptionArg, Token![,]>::parse_terminated(input)?.into_iter().collect())
}

// name
// name = expression
// name(…)
impl Parse for OptionArg {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error("expected the name of an option, as in `max_size = \"4KiB\"`"));
        }
        let name = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Value::Expr(input.parse()?)
        } else if input.peek(syn::token::Paren) {
            Value::List(input.parse()?)
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
    /// Without the `#[path_param]` and `#[query_param]` attributes of its parameters.
    pub(crate) signature: Signature,
    /// The parameters after `self`, in order.
    pub(crate) parameters: Vec<Parameter>,
    /// The block, not parsed; or the semicolon of a declaration.
    pub(crate) body: TokenStream,
}

/// A parameter of a handler.
pub(crate) struct Parameter {
    /// The `#[path_param]` and `#[query_param]` attributes.
    pub(crate) param_attrs: Vec<Attribute>,
    /// All other attributes.
    pub(crate) attrs: Vec<Attribute>,
    /// The name, if the pattern is a plain name.
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
                let is_param_attr = |attribute: &Attribute| ParamAttr::of(attribute).is_some();
                let (param_attrs, attrs) = std::mem::take(&mut typed.attrs).into_iter().partition(is_param_attr);
                typed.attrs = attrs;
                let name = match &*typed.pat {
                    Pat::Ident(pat) if pat.subpat.is_none() => Some(pat.ident.clone()),
                    _ => None,
                };
                let attrs = typed.attrs.clone();
                parameters.push(Parameter { param_attrs, attrs, name, ty: without_groups(&typed.ty).clone() });
            }
        }
        Ok(Self { attrs, vis, signature, parameters, body })
    }
}

/// The type inside the invisible groups that `macro_rules!` leaves, and inside parentheses.
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

/// The keyword of `item`, with its place: for the error about an attribute on the wrong kind of item.
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
    fn a_path_and_options_of_each_form() {
        let args: EndpointArgs = parse2(quote!("/a/{b}", subprotocols("x", "y"), idle_timeout = off, extra,)).unwrap();
        assert_eq!(args.path.unwrap().value(), "/a/{b}");
        let names: Vec<_> = args.options.iter().map(|option| option.name.to_string()).collect();
        assert_eq!(names, ["subprotocols", "idle_timeout", "extra"]);
        assert!(matches!(&args.options[0].value, Value::List(list) if list.to_string() == "(\"x\" , \"y\")"));
        assert!(matches!(&args.options[1].value, Value::Expr(_)));
        assert!(matches!(&args.options[2].value, Value::Flag));
    }

    #[test]
    fn the_path_comes_first_and_is_a_literal() {
        let error = |tokens| parse2::<EndpointArgs>(tokens).err().unwrap().to_string();
        assert!(error(quote!()).starts_with("the path is missing"));
        assert!(error(quote!(value = "/a")).starts_with("the path must come first"));
        assert!(error(quote!(PATH)).starts_with("the path must be a string literal"));
    }

    #[test]
    fn an_option_has_a_name() {
        let error = Parser::parse2(options, quote!("4KiB")).err().unwrap().to_string();
        assert!(error.starts_with("expected the name of an option"), "{error}");
    }

    #[test]
    fn a_method_loses_only_our_parameter_attributes() {
        let method: Method = parse2(quote! {
            /// Text.
            #[inline]
            pub async fn say(&mut self, #[path_param("room")] #[allow(unused)] room: String, (a, b): Pair) -> u8 { 1 + }
        })
        .unwrap();
        assert_eq!(method.parameters.len(), 2);
        assert_eq!(method.parameters[0].param_attrs.len(), 1);
        assert_eq!(method.parameters[0].name.as_ref().unwrap(), "room");
        assert!(method.parameters[1].name.is_none());
        let text = method.to_token_stream().to_string();
        assert!(text.contains("inline") && text.contains("allow") && text.contains("{ 1 + }"), "{text}");
        assert!(!text.contains("path_param"), "{text}");
    }

    #[test]
    fn the_keyword_of_an_item_is_found() {
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
