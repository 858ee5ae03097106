//! Checks path templates such as `"/chat/{room}"`, and finds the place of an error within the literal.
//!
//! Jakarta WebSocket §3.1.1: level-1 URI templates whose variables replace whole segments.

use std::ops::Range;

use proc_macro2::Span;
use syn::LitStr;

/// An error in a template: the bytes it concerns, and its message.
pub(crate) type TemplateError = (Range<usize>, String);

/// All errors in `path`; empty if the template is valid.
pub(crate) fn errors(path: &str) -> Vec<TemplateError> {
    let whole = 0..path.len();
    if path.is_empty() {
        return vec![(whole, "the path is empty: write \"/\" for the root".into())];
    }
    if !path.starts_with('/') {
        return vec![(whole, format!("the path must start with `/`: write \"/{path}\""))];
    }
    if let Some(at) = path.find(['?', '#']) {
        let rest = &path[at..];
        return vec![(at..path.len(), format!("a path has neither a query nor a fragment: remove `{rest}`"))];
    }
    let mut found = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut start = 1;
    for segment in path[1..].split('/') {
        let place = start..start + segment.len();
        start = place.end + 1;
        let is_last = place.end == path.len();
        match variable(segment) {
            _ if segment.is_empty() && !is_last => {
                found.push((place.start - 1..place.start + 1, "empty segment: remove one `/`".into()));
            }
            Ok(None) => found.extend(literal_error(segment).map(|message| (place, message))),
            Ok(Some(name)) if names.contains(&name) => {
                found.push((place, format!("duplicate variable `{{{name}}}`: give each variable its own name")));
            }
            Ok(Some(name)) => names.push(name),
            Err(message) => {
                found.push((place, message));
                // `{/}` is two broken segments and one error
                break;
            }
        }
    }
    found
}

/// The name if the segment is a variable, `None` if it is literal text, or the error in its braces.
fn variable(segment: &str) -> Result<Option<&str>, String> {
    if !segment.contains(['{', '}']) {
        return Ok(None);
    }
    let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return Err(format!("`{segment}`: a variable must be a whole segment, as in \"/chat/{{room}}\""));
    };
    if name.is_empty() {
        return Err("the variable has no name: write one, as in \"/chat/{room}\"".into());
    }
    if name.contains('*') {
        return Err(format!(
            "`{segment}`: a variable matches one segment, and wildcards are not supported: write `{{rest}}`"
        ));
    }
    let mut chars = name.chars();
    let starts_well = chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !starts_well || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "`{segment}`: the name of a variable consists of letters, digits and `_`, and cannot start with a digit"
        ));
    }
    Ok(Some(name))
}

/// The error in a segment of literal text, if there is one.
fn literal_error(segment: &str) -> Option<String> {
    // as in other frameworks
    let name = segment.strip_prefix(':').or_else(|| segment.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')));
    if let Some(name) = name.filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')) {
        let name = name.rsplit(':').next().unwrap_or(name);
        return Some(format!("`{segment}` is no variable here: write `{{{name}}}`"));
    }
    if segment == "." || segment == ".." {
        return Some(format!("`{segment}`: dot segments are not allowed: write the resolved path"));
    }
    if segment.contains('*') {
        return Some(format!("`{segment}`: wildcards are not supported: write a variable, as in \"/chat/{{room}}\""));
    }
    let is_encoded =
        |at: usize| segment.as_bytes()[at + 1..].iter().take(2).filter(|b| b.is_ascii_hexdigit()).count() == 2;
    if segment.match_indices('%').any(|(at, _)| is_encoded(at)) {
        return Some(format!("`{segment}`: paths are compared after percent-decoding: write the decoded text"));
    }
    None
}

/// The span of `range` inside the literal; the span of the whole literal where the compiler cannot tell.
pub(crate) fn span_within(literal: &LitStr, range: Range<usize>) -> Span {
    let token = literal.token();
    // With escapes or raw quotes, bytes of the value are not bytes of the source.
    let is_plain = token.to_string().len() == literal.value().len() + 2;
    let inside = if is_plain { token.subspan(range.start + 1..range.end + 1) } else { None };
    inside.unwrap_or_else(|| literal.span())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_error(path: &str) -> (&str, String) {
        let mut found = errors(path);
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        let (range, message) = found.remove(0);
        (&path[range], message)
    }

    #[test]
    fn valid_templates_have_no_errors() {
        for path in
            ["/", "/a:b/:/:1", "/a", "/a/", "/{a}", "/a/{b}/c/{_d1}/", "/a b/ü", "/100%", "/...", "/a.do", "/a;v=1"]
        {
            assert_eq!(errors(path), [], "{path}");
        }
    }

    #[test]
    fn each_error_has_its_place() {
        for (path, place) in [
            ("", ""),
            ("/chat/:room", ":room"),
            ("/chat/<room>/x", "<room>"),
            ("/<int:id>", "<int:id>"),
            ("chat", "chat"),
            ("{room}", "{room}"),
            ("/a//b", "//"),
            ("//", "//"),
            ("/a/../b", ".."),
            ("/.", "."),
            ("/a/b{var}", "b{var}"),
            ("/{a}.do", "{a}.do"),
            ("/{a}{b}", "{a}{b}"),
            ("/x/{}", "{}"),
            ("/{/}", "{"),
            ("/a}/b", "a}"),
            ("/{1a}", "{1a}"),
            ("/{a-b}", "{a-b}"),
            ("/{a:[0-9]+}", "{a:[0-9]+}"),
            ("/{*rest}", "{*rest}"),
            ("/a/*", "*"),
            ("/{a}/b/{a}", "{a}"),
            ("/a?x=1", "?x=1"),
            ("/a#b", "#b"),
            ("/caf%C3%A9", "caf%C3%A9"),
        ] {
            assert_eq!(only_error(path).0, place, "{path}");
        }
    }

    #[test]
    fn several_errors_are_reported_together() {
        assert_eq!(errors("/a//./{b}/{b}").len(), 3);
    }

    #[test]
    fn the_message_shows_the_fix() {
        assert_eq!(only_error("chat").1, "the path must start with `/`: write \"/chat\"");
    }
}
