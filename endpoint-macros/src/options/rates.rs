//! Reads the options that are rates.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::{Expr, LitStr, Result};

use crate::crate_path::runtime;
use crate::diagnostics::Diagnostics;
use crate::options::table::{RateOption, Section};
use crate::options::units::{RateText, byte_rate, message_rate};
use crate::options::{GivenOption, read_options, string_literal};
use crate::parse::{Value, options};

impl GivenOption<'_> {
    // rate(messages = "20/s burst 40", bytes = "64KiB/s", then = slow)
    // rate = expression
    /// An expression of type `MessageRate`.
    pub(crate) fn message_rate(&self) -> Result<TokenStream> {
        let rt = runtime();
        let list = match self.value {
            Value::Expr(Expr::Lit(_)) | Value::Flag => return Err(self.invalid()),
            Value::Expr(expression) => return Ok(expression.to_token_stream()),
            Value::List(list) => list,
        };
        let mut diagnostics = Diagnostics::default();
        let args = options.parse2(list.stream()).map_err(|_| self.invalid())?;
        let mut settings = TokenStream::new();
        let mut is_limited = false;
        read_options(&args, &self.name.to_string(), &mut diagnostics, |option: RateOption, given| {
            is_limited |= option != RateOption::Then;
            let value = match option {
                RateOption::Messages => given.rate(message_rate)?,
                RateOption::Bytes => given.rate(byte_rate)?,
                RateOption::Then => given.over_rate()?,
            };
            let method = Ident::new(option.row().name, Span::call_site());
            settings.extend(quote!(.#method(#value)));
            Ok(())
        });
        diagnostics.into_result()?;
        if !is_limited {
            return Err(self.error(self.name, "`rate` needs `messages` or `bytes`"));
        }
        Ok(quote!(#rt::MessageRate::new() #settings))
    }

    // name = "20/s burst 40"
    // name = expression
    /// An expression of type `Rate`.
    fn rate(&self, read: fn(&LitStr) -> Result<RateText>) -> Result<TokenStream> {
        let rt = runtime();
        let Value::Expr(expression) = self.value else { return Err(self.invalid()) };
        let Some(literal) = string_literal(expression) else {
            return match expression {
                Expr::Lit(_) => Err(self.invalid()),
                other => Ok(other.to_token_stream()),
            };
        };
        let RateText { count, millis, burst } = read(literal)?;
        let burst = burst.map(|burst| quote!(.burst(#burst)));
        Ok(quote!(#rt::Rate::new(#count, ::core::time::Duration::from_millis(#millis)) #burst))
    }

    // rate = "2/s"
    // rate = expression
    /// An expression of type `Rate`, for messages.
    pub(crate) fn handler_rate(&self) -> Result<TokenStream> {
        self.rate(message_rate)
    }
}
