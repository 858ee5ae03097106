//! The path template `"/chat/{room}"`: what is wrong with it, and where in the literal.
//!
//! Jakarta WebSocket §3.1.1: level-1 URI templates whose variables replace whole segments.

use std::ops::Range;

use proc_macro2::Span;
use syn::LitStr;

/// A mistake in a template: the bytes it concerns, and the sentence about it.
pub(crate) type Mistake = (Range<usize>, String);

/// Every mistake of `path`; none if it is legal.
pub(crate) fn mistakes(path: &str) -> Vec<Mistake> {
    let whole = 0..path.len();
    if path.is_empty() {
        return vec![(whole, "the path is empty: write \"/\" for the root".into())];
    }
    if !path.starts_with('/') {
        return vec![(whole, format!("a path starts with `/`: write \"/{path}\""))];
    }
    if let Some(at) = path.find(['?', '#']) {
        let what = "a path has no query and no fragment: leave out what starts at";
        return vec![(at..path.len(), format!("{what} `{}`", &path[at..at + 1]))];
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
                found.push((place.start - 1..place.start + 1, "`//`: a segment inside a path is not empty".into()));
            }
            Ok(None) => found.extend(literal_mistake(segment).map(|sentence| (place, sentence))),
            Ok(Some(name)) if names.contains(&name) => {
                found.push((
                    place,
                    format!("the variable `{{{name}}}` stands in the path twice: give each its own name"),
                ));
            }
            Ok(Some(name)) => names.push(name),
            Err(sentence) => {
                found.push((place, sentence));
                // `{/}` is two broken segments and one mistake
                break;
            }
        }
    }
    found
}

/// The name if the segment is a variable, `None` if it is literal text, or what is wrong with the braces.
fn variable(segment: &str) -> Result<Option<&str>, String> {
    if !segment.contains(['{', '}']) {
        return Ok(None);
    }
    let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return Err(format!("`{segment}`: a variable is a whole segment, as in \"/chat/{{room}}\""));
    };
    if name.is_empty() {
        return Err("a variable needs a name, as in \"/chat/{room}\"".into());
    }
    if name.contains('*') {
        return Err(format!("`{segment}`: a variable is one segment, there are no globs: write `{{rest}}`"));
    }
    let mut chars = name.chars();
    let starts_well = chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !starts_well || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "`{segment}`: the name of a variable is made of letters, digits and `_`, and does not start with a digit"
        ));
    }
    Ok(Some(name))
}

/// What is wrong with a segment of literal text.
fn literal_mistake(segment: &str) -> Option<String> {
    if segment == "." || segment == ".." {
        return Some(format!("`{segment}` is no segment of a path: write the path it leads to"));
    }
    if segment.contains('*') {
        return Some(format!("`{segment}`: there are no globs: write a variable, as in \"/chat/{{room}}\""));
    }
    let is_encoded =
        |at: usize| segment.as_bytes()[at + 1..].iter().take(2).filter(|b| b.is_ascii_hexdigit()).count() == 2;
    if segment.match_indices('%').any(|(at, _)| is_encoded(at)) {
        return Some(format!("`{segment}`: paths are compared decoded: write the decoded text"));
    }
    None
}

/// The place of `range` inside the literal, where the compiler can tell; else the literal.
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

    fn only_mistake(path: &str) -> (&str, String) {
        let mut found = mistakes(path);
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        let (range, sentence) = found.remove(0);
        (&path[range], sentence)
    }

    #[test]
    fn legal_templates_have_no_mistakes() {
        for path in ["/", "/a", "/a/", "/{a}", "/a/{b}/c/{_d1}/", "/a b/ü", "/100%", "/...", "/a.do", "/a;v=1"] {
            assert_eq!(mistakes(path), [], "{path}");
        }
    }

    #[test]
    fn each_mistake_is_found_where_it_is() {
        for (path, place) in [
            ("", ""),
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
            assert_eq!(only_mistake(path).0, place, "{path}");
        }
    }

    #[test]
    fn several_mistakes_are_told_together() {
        assert_eq!(mistakes("/a//./{b}/{b}").len(), 3);
    }

    #[test]
    fn the_sentence_says_what_to_write() {
        assert_eq!(only_mistake("chat").1, "a path starts with `/`: write \"/chat\"");
    }
}
