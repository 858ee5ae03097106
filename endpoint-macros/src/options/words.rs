//! Options whose value is one of a few words.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Expr, Result};

use crate::crate_path::runtime;
use crate::options::GivenOption;
use crate::parse::Value;

impl GivenOption<'_> {
    // overflow = wait
    // overflow = error
    // overflow = drop_oldest
    // overflow = drop_newest
    // overflow = close
    // overflow = expression
    /// An expression of type `Overflow`.
    pub(crate) fn overflow(&self) -> Result<TokenStream> {
        let words = [
            ("wait", "Wait"),
            ("error", "Error"),
            ("drop_oldest", "DropOldest"),
            ("drop_newest", "DropNewest"),
            ("close", "Close"),
        ];
        self.word("Overflow", &words)
    }

    /// An expression of the enum `type_name`: the variant that one of the words stands for, or the expression as it is.
    fn word(&self, type_name: &str, words: &[(&str, &str)]) -> Result<TokenStream> {
        let expression = match self.value {
            Value::Expr(expression) if !matches!(expression, Expr::Lit(_)) => expression,
            _ => return Err(self.invalid()),
        };
        let given = match expression {
            Expr::Path(path) => path.path.get_ident().map(Ident::to_string),
            _ => None,
        };
        let variant = words.iter().find(|(word, _)| given.as_deref() == Some(word)).map(|(_, variant)| variant);
        match (variant, given) {
            (Some(variant), _) => {
                let (rt, type_name) = (runtime(), Ident::new(type_name, Span::call_site()));
                let variant = Ident::new(variant, expression.span());
                Ok(quote!(#rt::#type_name::#variant))
            }
            // the name of a constant has capitals
            (None, Some(word)) if !word.contains(char::is_uppercase) => Err(self.invalid()),
            (None, _) => Ok(expression.to_token_stream()),
        }
    }

    // then = slow
    // then = drop
    // then = error
    // then = close
    // then = expression
    /// An expression of type `OverRate`.
    pub(super) fn over_rate(&self) -> Result<TokenStream> {
        self.word("OverRate", &[("slow", "Slow"), ("drop", "Drop"), ("error", "Error"), ("close", "Close")])
    }
}
