//! Path templates (`/chat/{room}`), request paths to match them with, and the values of their variables.
//!
//! Jakarta WebSocket §3.1.1: level-1 URI templates whose variables replace whole segments.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::error::excerpt::excerpt;
use crate::error::{BoxError, Error, Kind};

/// A type that a path variable can be parsed into: every `FromStr` whose error can be boxed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a `#[path_param]`",
    label = "cannot be parsed from a path segment",
    note = "a path parameter needs a type that implements FromStr with an error that converts into a boxed error, or Option<T> of such a type"
)]
pub trait PathParam: Sized {
    /// Parses the decoded segment.
    fn parse_segment(segment: &str) -> Result<Self, BoxError>;
}

#[diagnostic::do_not_recommend]
impl<T> PathParam for T
where
    T: FromStr,
    T::Err: Into<BoxError>,
{
    fn parse_segment(segment: &str) -> Result<Self, BoxError> {
        segment.parse().map_err(Into::into)
    }
}

/// The variables of a matched template with their percent-decoded values, in the template's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathParams(Box<[(Box<str>, Box<str>)]>);

impl PathParams {
    /// The value of the variable `name`, percent-decoded, or `None` if the template has no such variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| **key == *name).map(|(_, value)| &**value)
    }

    /// Name and value of each variable, in the order of the template.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// These variables, and `more` after them.
    #[cfg(feature = "adopted")]
    #[cfg_attr(not(any(feature = "axum", feature = "tungstenite")), allow(dead_code))]
    pub(crate) fn and(self, more: impl Iterator<Item = (Box<str>, Box<str>)>) -> Self {
        Self(self.0.into_iter().chain(more).collect())
    }

    /// Parses the value of `name` as a `T`.
    ///
    /// # Errors
    /// [`Error::is_decode`] if there is no such variable or its value does not parse.
    pub fn parse<T: PathParam>(&self, name: &str) -> Result<T, Error> {
        let value =
            self.get(name).ok_or_else(|| Error::new(Kind::Decode, format!("the path has no parameter {name:?}")))?;
        T::parse_segment(value).map_err(|error| {
            let value = excerpt(value).to_string();
            Error::with_source(
                Kind::Decode,
                format!(
                    "the value {value:?} of the path parameter {name:?} is not of type {}",
                    std::any::type_name::<T>()
                ),
                error,
            )
        })
    }

    /// Same as [`parse`](Self::parse), but `None` if there is no such variable.
    ///
    /// # Errors
    /// [`Error::is_decode`] if the variable's value does not parse.
    pub fn parse_optional<T: PathParam>(&self, name: &str) -> Result<Option<T>, Error> {
        if self.get(name).is_some() { self.parse(name).map(Some) } else { Ok(None) }
    }
}

impl<N: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(N, V)> for PathParams {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// The parsed form of a path such as `/chat/{room}`.
///
/// Follows the strict rules of Jakarta §3.1.1: it starts with `/`; only the last segment may be empty, which represents
/// a trailing slash; there are no dot segments; a variable is a whole segment, and its name occurs once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    text: Box<str>,
    segments: Box<[Segment]>,
}

/// One segment of a template, which the request's segment at the same position must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Matches this decoded text: a template is written in decoded form, `/café` and not `/caf%C3%A9`.
    Literal(Box<str>),
    /// Matches any text that is not empty; holds the variable's name.
    Variable(Box<str>),
}

impl Template {
    /// Parses `/literal/{variable}/…`.
    ///
    /// # Errors
    /// [`Error::is_deployment`], naming the template and the rule it breaks.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let broken = |rule: String| Error::new(Kind::Deploy, format!("the path {text:?} {rule}"));
        let Some(relative) = text.strip_prefix('/') else {
            return Err(broken("does not start with '/'".into()));
        };
        if text.contains("//") {
            return Err(broken("has an empty segment (\"//\")".into()));
        }
        let mut segments = Vec::new();
        for raw in relative.split('/') {
            let segment = Segment::parse(raw).map_err(broken)?;
            if let Segment::Variable(name) = &segment {
                if segments.contains(&segment) {
                    return Err(broken(format!("has a duplicate variable {name:?}")));
                }
            }
            segments.push(segment);
        }
        Ok(Self { text: text.into(), segments: segments.into() })
    }

    /// Prefixes this template with a context path: `/websocket` and `/chat` make `/websocket/chat`.
    pub(crate) fn under(self, context: &ContextPath) -> Self {
        Self {
            text: format!("{context}{self}").into(),
            segments: context.0.iter().flat_map(|path| &path.segments).cloned().chain(self.segments).collect(),
        }
    }

    /// The segments in order; a trailing slash is an empty literal at the end.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

/// Prints the template as it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    /// Parses a segment; the error describes the mistake.
    fn parse(raw: &str) -> Result<Self, String> {
        if let Some(name) = raw.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            let rest_fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !rest_fits || name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
                return Err(format!(
                    "has the variable {name:?}: a name consists of letters, digits and '_', and cannot start with a digit"
                ));
            }
            return Ok(Self::Variable(name.into()));
        }
        if raw.contains(['{', '}']) {
            return Err(format!("has the segment {raw:?}: a variable must be a whole segment"));
        }
        if let Some(foreign) = raw.chars().find(|c| matches!(c, '?' | '#' | '*')) {
            return Err(format!("has a {foreign:?}, which is not allowed in a path"));
        }
        if matches!(raw, "." | "..") {
            return Err(format!("has the dot segment {raw:?}, which can never match a normalised request"));
        }
        if raw.split('%').skip(1).any(begins_with_hex) {
            return Err(format!(
                "has the percent-encoded segment {raw:?}: write the decoded text, because paths are compared after \
                 decoding"
            ));
        }
        Ok(Self::Literal(raw.into()))
    }
}

/// The common prefix of all paths of an application: `/websocket`, or nothing (written as `""` or `"/"`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContextPath(Option<Template>);

impl ContextPath {
    /// Parses `/literal/literal`, `/` or the empty string.
    ///
    /// # Errors
    /// [`Error::is_deployment`] as for a template, or if there is a variable or a trailing slash.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if matches!(text, "" | "/") {
            return Ok(Self(None));
        }
        let broken = |rule| Err(Error::new(Kind::Deploy, format!("the context path {text:?} {rule}")));
        let path = Template::parse(text)?;
        if path.segments.iter().any(|segment| matches!(segment, Segment::Variable(_))) {
            return broken("has a variable: only the path of an endpoint can have one");
        }
        if text.ends_with('/') {
            return broken("must not end with '/'");
        }
        Ok(Self(Some(path)))
    }
}

/// Prints the path as it was written; nothing for the root.
impl fmt::Display for ContextPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |path| path.fmt(f))
    }
}

/// A request's path in the form that templates are matched with: without dot segments (RFC 3986 §6.2.2.3), and known to
/// decode.
///
/// It is split on `/` while still encoded, and each segment is decoded once, after the split: so `%2F` stays inside its
/// segment, and `%252e` is the text `%2e`, not a dot.
#[derive(Debug)]
pub(crate) struct RequestPath<'a>(Cow<'a, str>);

/// The path does not begin with `/`, contains an incomplete percent-encoding, or does not decode to UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPath;

impl<'a> RequestPath<'a> {
    /// Checks and normalises the path of a request target, without its query.
    pub(crate) fn parse(path: &'a str) -> Result<Self, BadPath> {
        if !path.starts_with('/') || decode(path).is_none() {
            return Err(BadPath);
        }
        Ok(Self(without_dot_segments(path)))
    }

    /// The decoded segments: `/a/b/` has three, the last of which is empty.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        // `parse` has checked that the whole path decodes to UTF-8, so its segments do, too
        let decode = |raw| percent_decode_str(raw).decode_utf8_lossy();
        self.0[1..].split('/').map(move |raw| if raw.contains('%') { decode(raw) } else { Cow::Borrowed(raw) })
    }
}

/// Removes dot segments (RFC 3986 §5.2.4); does not allocate if there are none, the usual case.
fn without_dot_segments(path: &str) -> Cow<'_, str> {
    if !path.split('/').any(|segment| is_dot(segment) || is_dot_dot(segment)) {
        return Cow::Borrowed(path);
    }
    let mut kept = Vec::new();
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        if is_dot_dot(segment) {
            kept.pop();
        } else if !is_dot(segment) {
            kept.push(segment);
            continue;
        }
        // a dot segment at the end leaves its slash
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

fn is_dot(segment: &str) -> bool {
    percent_decode_str(segment).eq(*b".")
}

fn is_dot_dot(segment: &str) -> bool {
    percent_decode_str(segment).eq(*b"..")
}

/// Decodes strictly: `None` if a `%` is not followed by two hexadecimal digits, or the result is not UTF-8.
fn decode(encoded: &str) -> Option<Cow<'_, str>> {
    if !encoded.split('%').skip(1).all(begins_with_hex) {
        return None;
    }
    percent_decode_str(encoded).decode_utf8().ok()
}

/// Whether the text after a `%` makes it an encoded byte (RFC 3986 §2.1).
fn begins_with_hex(rest: &str) -> bool {
    rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2
}

/// Whether `template` has the variable `name`: for the compile-time check of `#[path_param("name")]`.
pub const fn template_has(template: &str, name: &str) -> bool {
    let (template, name) = (template.as_bytes(), name.as_bytes());
    let mut start = 0;
    while start < template.len() {
        if template[start] == b'{' && start + name.len() + 1 < template.len() {
            let mut i = 0;
            while i < name.len() && template[start + 1 + i] == name[i] {
                i += 1;
            }
            if i == name.len() && template[start + 1 + i] == b'}' {
                return true;
            }
        }
        start += 1;
    }
    false
}

/// The message about a `#[path_param("name")]` that the path does not have. It is made at compile time.
#[derive(Clone, Copy, Debug)]
pub struct MissingVariable {
    text: [u8; 512],
    len: usize,
}

impl MissingVariable {
    /// The message, which lists the variables of `template`.
    pub const fn of(template: &str, name: &str) -> Self {
        let message = Self { text: [0; 512], len: 0 };
        let mut message = message.and("the endpoint's path has no variable {").and(name).and("}");
        let (mut rest, mut found) = (template.as_bytes(), false);
        while let [byte, after @ ..] = rest {
            rest = after;
            if *byte == b'{' {
                let mut end = 0;
                while end < after.len() && after[end] != b'}' {
                    end += 1;
                }
                let (variable, _) = after.split_at(end);
                message = message.and(if found { ", {" } else { ": it has {" }).and_bytes(variable).and("}");
                found = true;
            }
        }
        message.and(if found {
            "; take one of these, or take an Option"
        } else {
            ": write it into the path, or take an Option"
        })
    }

    const fn and(self, text: &str) -> Self {
        self.and_bytes(text.as_bytes())
    }

    /// Appends what fits whole.
    const fn and_bytes(mut self, bytes: &[u8]) -> Self {
        if self.len + bytes.len() > self.text.len() {
            return self;
        }
        let mut index = 0;
        while index < bytes.len() {
            self.text[self.len + index] = bytes[index];
            index += 1;
        }
        self.len += bytes.len();
        self
    }

    /// The text of the message.
    pub const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.text.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "the endpoint's path has no such variable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_reported_with_those_that_exist() {
        let message = |template, name| MissingVariable::of(template, name).as_str().to_owned();
        let text = "the endpoint's path has no variable {rom}: it has {room}; take one of these, or take an Option";
        assert_eq!(message("/chat/{room}", "rom"), text);
        assert!(message("/{a}/x/{bc}", "b").contains("has no variable {b}: it has {a}, {bc}; take"));
        assert!(message("/chat", "é").contains("has no variable {é}: write it into the path"));
        assert!(message("/chat", &"x".repeat(1000)).contains("has no variable {}"));
    }

    #[test]
    fn template_reports_its_variables() {
        assert!(template_has("/chat/{room}", "room"));
        assert!(template_has("/{a}/x/{bc}", "bc"));
        assert!(!template_has("/chat/{room}", "roo"));
        assert!(!template_has("/chat/{room}", "room2"));
        assert!(!template_has("/chat/room", "room"));
        assert!(!template_has("/chat/{room", "room"));
    }

    #[test]
    fn templates_follow_the_rules_of_jakarta() {
        let literal = |text: &str| Segment::Literal(text.into());
        let variable = |name: &str| Segment::Variable(name.into());
        for (text, segments) in [
            ("/", vec![literal("")]),
            ("/a", vec![literal("a")]),
            ("/a/", vec![literal("a"), literal("")]),
            ("/{a}", vec![variable("a")]),
            ("/a/{b_2}/c", vec![literal("a"), variable("b_2"), literal("c")]),
            ("/{_}/{a}/", vec![variable("_"), variable("a"), literal("")]),
            ("/a b/é;v=1/a.do", vec![literal("a b"), literal("é;v=1"), literal("a.do")]),
            ("/100%/...", vec![literal("100%"), literal("...")]),
        ] {
            let template = Template::parse(text).unwrap();
            assert_eq!(template.segments(), segments, "{text}");
            assert_eq!(template.to_string(), text);
        }
    }

    #[test]
    fn invalid_templates_are_refused_with_the_rule() {
        for (text, rule) in [
            ("", "does not start with '/'"),
            ("a", "does not start with '/'"),
            ("{a}", "does not start with '/'"),
            ("//", "empty segment"),
            ("/a//b", "empty segment"),
            ("/a//", "empty segment"),
            ("/.", "dot segment"),
            ("/a/./b", "dot segment"),
            ("/a/../b", "dot segment"),
            ("/a/..", "dot segment"),
            ("/{a}/{a}", "duplicate variable \"a\""),
            ("/{}", "the variable \"\""),
            ("/{1a}", "the variable \"1a\""),
            ("/{a-b}", "the variable \"a-b\""),
            ("/{a.b}", "the variable \"a.b\""),
            ("/{+a}", "the variable \"+a\""),
            ("/{*a}", "the variable \"*a\""),
            ("/{a:3}", "the variable \"a:3\""),
            ("/{ a}", "the variable \" a\""),
            ("/{{a}}", "the variable \"{a}\""),
            ("/{ä}", "the variable \"ä\""),
            ("/a{b}", "a whole segment"),
            ("/{a}.do", "a whole segment"),
            ("/{a}{b}", "the variable \"a}{b\""),
            ("/{a", "a whole segment"),
            ("/a}", "a whole segment"),
            ("/{/}", "a whole segment"),
            ("/a/*", "a '*'"),
            ("/a?b", "a '?'"),
            ("/a#b", "a '#'"),
            ("/caf%C3%A9", "decoded"),
            ("/a%2Fb", "decoded"),
            ("/%2e%2E", "decoded"),
            ("/%7Bx%7D", "decoded"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.is_deployment());
            assert!(error.to_string().contains(rule), "{text:?}: {error}");
            assert!(error.to_string().starts_with(&format!("the path {text:?} ")), "{error}");
        }
    }

    #[test]
    fn a_context_path_goes_before_the_template() {
        for (context, text, whole) in [
            ("", "/a/{b}", "/a/{b}"),
            ("/", "/a/{b}", "/a/{b}"),
            ("/websocket", "/a/{b}", "/websocket/a/{b}"),
            ("/x/y", "/", "/x/y/"),
        ] {
            let under = Template::parse(text).unwrap().under(&ContextPath::parse(context).unwrap());
            assert_eq!(under, Template::parse(whole).unwrap());
        }
        for broken in ["websocket", "/websocket/", "//", "/{a}", "/a/..", "/a?b", "/%20"] {
            assert!(ContextPath::parse(broken).unwrap_err().is_deployment(), "{broken}");
        }
    }

    #[test]
    fn a_request_path_is_normalised_split_and_decoded_once() {
        for (path, segments) in [
            ("/", &[""][..]),
            ("/a", &["a"]),
            ("/a/", &["a", ""]),
            ("/a/b/c", &["a", "b", "c"]),
            ("//a", &["", "a"]),
            ("/a//b", &["a", "", "b"]),
            ("/./a", &["a"]),
            ("/a/.", &["a", ""]),
            ("/a/..", &[""]),
            ("/a/b/..", &["a", ""]),
            ("/a/b/../c", &["a", "c"]),
            ("/../../a", &["a"]),
            ("/..", &[""]),
            ("/a//../b", &["a", "b"]),
            ("/a/%2e%2E/b", &["b"]),
            ("/a/.%2e/%2E/b", &["b"]),
            ("/a/.../b", &["a", "...", "b"]),
            ("/a%2Fb/c", &["a/b", "c"]),
            ("/a/..%2Fb", &["a", "../b"]),
            ("/%252e%252e/a", &["%2e%2e", "a"]),
            ("/%2525", &["%25"]),
            ("/%C3%A9+x", &["é+x"]),
            ("/é", &["é"]),
        ] {
            assert_eq!(RequestPath::parse(path).unwrap().segments().collect::<Vec<_>>(), segments, "{path}");
        }
        for bad in ["", "*", "a", "/%", "/%4", "/%zz", "/%4é", "/%+1", "/%ff", "/%C3/%A9", "/%zz/../a", "/%ff/.."] {
            assert_eq!(RequestPath::parse(bad).unwrap_err(), BadPath, "{bad}");
        }
    }

    #[test]
    fn values_parse_or_return_an_error() {
        let params: PathParams = [("id", "7"), ("name", "x")].into_iter().collect();
        assert_eq!(params.parse::<u64>("id").unwrap(), 7);
        assert_eq!(params.parse_optional::<u64>("none").unwrap(), None);
        let error = params.parse::<u64>("name").unwrap_err();
        assert!(error.is_decode());
        assert_eq!(error.to_string(), r#"the value "x" of the path parameter "name" is not of type u64"#);
    }
}
