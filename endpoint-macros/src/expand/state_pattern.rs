//! `State(db): State<Db>` in the parameters of a handler: `db` is the `Arc` in the state.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Pat, PatIdent, Type};

use crate::crate_path::runtime;
use crate::expand::located_at;
use crate::parse::Method;

/// Takes the states for which `is_state` holds out of their patterns, at the beginning of the method's body. It gets the
/// position of a parameter after `self`.
pub(crate) fn bind(method: &mut Method, is_state: impl Fn(usize) -> bool) {
    let rt = runtime();
    let mut bindings = TokenStream::new();
    let typed = method.signature.inputs.iter_mut().filter_map(|argument| match argument {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    for (index, argument) in typed.enumerate().filter(|(index, _)| is_state(*index)) {
        let Some(pattern) = inner_pattern(&argument.pat) else { continue };
        let place = located_at(argument.pat.span());
        let name = format_ident!("__state_{index}", span = Span::call_site());
        let function = if matches!(&*argument.ty, Type::Reference(_)) { quote!(as_arc) } else { quote!(into_arc) };
        bindings.extend(quote_spanned!(place=> let #pattern = #rt::State::#function(#name);));
        let (attrs, by_ref, mutability, subpat) = (Vec::new(), None, None, None);
        *argument.pat = Pat::Ident(PatIdent { attrs, by_ref, mutability, ident: name, subpat });
    }
    if !bindings.is_empty() {
        let body = &method.body;
        method.body = quote!({ #bindings #body });
    }
}

/// The `db` of `State(db)`.
fn inner_pattern(pattern: &Pat) -> Option<&Pat> {
    let Pat::TupleStruct(pattern) = pattern else { return None };
    let is_state = pattern.path.segments.last().is_some_and(|last| last.ident == "State");
    match pattern.elems.first() {
        Some(inner) if is_state && pattern.elems.len() == 1 && !matches!(inner, Pat::Rest(_)) => Some(inner),
        _ => None,
    }
}
