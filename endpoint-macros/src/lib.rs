//! The attributes.
use proc_macro::TokenStream;

/// x
#[proc_macro_attribute]
pub fn server_endpoint(_: TokenStream, item: TokenStream) -> TokenStream { item }
/// x
#[proc_macro_attribute]
pub fn on_open(_: TokenStream, item: TokenStream) -> TokenStream { item }
/// x
#[proc_macro_attribute]
pub fn on_message(_: TokenStream, item: TokenStream) -> TokenStream { item }
/// x
#[proc_macro_attribute]
pub fn on_close(_: TokenStream, item: TokenStream) -> TokenStream { item }
/// x
#[proc_macro_attribute]
pub fn on_error(_: TokenStream, item: TokenStream) -> TokenStream { item }
