//! The URI a client connects to (RFC 6455 §3): parses a `ws` or `wss` URI and encodes it as browsers do. Pure.

use std::net::Ipv4Addr;

use data_encoding::BASE64;
use http::Uri;
use http::header::HeaderValue;
use http::uri::Authority;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Kind};

/// Characters to encode in a query of `ws` and `wss` (WHATWG URL, special-query percent-encode set).
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'\'');

/// Characters to encode in a path (WHATWG URL, path percent-encode set).
const PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'^').add(b'`').add(b'{').add(b'}');

/// Characters to encode in a value: all but the unreserved ones (RFC 3986 §2.3), so that a value cannot add syntax.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Values to encode and insert: those of the path's variables, and those to add to the query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    pub(crate) path: Vec<(String, String)>,
    pub(crate) query: Vec<(String, String)>,
}

/// A parsed `ws` or `wss` URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_secure: bool,
    /// A name or an address; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query in the form of the request line.
    pub(crate) resource: Uri,
    /// Host and port in the form of the `Host` header: without the port if it is the default.
    pub(crate) authority: HeaderValue,
    /// User and password of the URI in the form of an `Authorization` header.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Target {
    /// Host and port in the form that a proxy expects.
    pub(crate) fn place(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Parses `text` and inserts `values`.
    pub(crate) fn parse(text: &str, values: &Values) -> Result<Self, Error> {
        // omits the query, which may carry a secret
        let fails = |why: &str| {
            let shown = text.split(['?', '#']).next().unwrap_or_default();
            let shown = shown.rsplit_once('@').map_or(shown, |(_, rest)| rest);
            Error::new(Kind::Handshake, format!("cannot connect to {shown:?}: {why}"))
        };
        check_characters(text).map_err(|why| fails(&why))?;
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| fails("write the whole URI, as in ws://example.org/chat"))?;
        let (is_secure, default_port) = match () {
            () if scheme.eq_ignore_ascii_case("ws") => (false, 80),
            () if scheme.eq_ignore_ascii_case("wss") => (true, 443),
            () => return Err(fails("the scheme must be ws or wss")),
        };
        let (authority, resource) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (credentials, place) = match authority.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, authority),
        };
        check_host(place).map_err(|why| fails(&why))?;
        let authority: Authority = place.parse().map_err(|error| fails(&format!("{error}")))?;
        if authority.host().is_empty() {
            return Err(fails("the host is missing"));
        }
        let port = match (authority.port_u16(), place.rsplit_once(':')) {
            (Some(0), _) => return Err(fails("the port cannot be 0")),
            (Some(port), _) => port,
            // an empty port is the default one; `]` ends an address that contains colons
            (None, Some((_, digits))) if !digits.is_empty() && !digits.ends_with(']') => {
                return Err(fails("the port must be a number below 65536"));
            }
            (None, _) => default_port,
        };
        let canonical = short_ipv4(authority.host()).map(|address| address.to_string());
        let host = canonical.as_deref().unwrap_or(authority.host());
        let shown = if port == default_port { host.to_owned() } else { format!("{host}:{port}") };
        let shown = HeaderValue::try_from(shown).map_err(|_| fails("the host is not a valid name"))?;
        let (path, query) = match resource.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (resource, None),
        };
        let mut resource =
            path_with(if path.is_empty() { "/" } else { path }, &values.path).map_err(|why| fails(&why))?;
        if let Some(query) = query_with(query, &values.query) {
            resource.extend(["?", &query]);
        }
        let resource = resource.parse().map_err(|error| fails(&format!("{error}")))?;
        Ok(Self {
            is_secure,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            resource,
            authority: shown,
            authorization: credentials.map(basic),
        })
    }
}

/// Refuses characters that a browser would remove from a URI, or cut it off at: they are nearly always a mistake.
fn check_characters(text: &str) -> Result<(), String> {
    if text.contains('#') {
        return Err(
            "a WebSocket URI has no fragment: write %23 for a '#' that belongs to the path or the query".to_owned()
        );
    }
    if text.trim() != text {
        return Err("remove the white space at the beginning or the end".to_owned());
    }
    match text.chars().find(char::is_ascii_control) {
        Some(control) => Err(format!("remove the control character {control:?}, or write %{:02X}", control as u8)),
        None => Ok(()),
    }
}

/// Refuses a host that is not ASCII. IDNA translation is not supported: its tables are larger than this library.
fn check_host(place: &str) -> Result<(), String> {
    match place.chars().find(|c| !c.is_ascii() || matches!(c, '%' | ' ' | '\\')) {
        Some('\\') => Err("write '/' instead of '\\', or %5C".to_owned()),
        Some('%') => Err("a host cannot be percent-encoded: write it decoded".to_owned()),
        Some(' ') => Err("the host contains a space".to_owned()),
        Some(other) => Err(format!(
            "the host contains the character {other:?}: write an international name in Punycode, as in \
             xn--bcher-kva.example for bücher.example"
        )),
        None => Ok(()),
    }
}

/// Replaces each variable `{name}` of the path and encodes the result.
fn path_with(path: &str, values: &[(String, String)]) -> Result<String, String> {
    if path.contains('\\') {
        return Err("write '/' instead of '\\', or %5C".to_owned());
    }
    let mut unused: Vec<_> = values.iter().map(|(name, _)| name).collect();
    let mut encoded = String::with_capacity(path.len());
    for segment in path.split_inclusive('/') {
        let start = encoded.len();
        let mut rest = segment;
        let mut has_variable = false;
        while let Some((before, name, behind)) = variable_in(rest) {
            let Some((_, value)) = values.iter().find(|(given, _)| given == name) else {
                return Err(format!(
                    "the path variable {{{name}}} has no value: set it with .path_param({name:?}, …), or write \
                     %7B{name}%7D for braces"
                ));
            };
            if value.is_empty() {
                return Err(format!("the value of the path variable {{{name}}} is empty"));
            }
            encoded.extend(utf8_percent_encode(before, PATH));
            encoded.extend(utf8_percent_encode(value, VALUE));
            unused.retain(|unused| *unused != name);
            has_variable = true;
            rest = behind;
        }
        encoded.extend(utf8_percent_encode(rest, PATH));
        // servers and proxies treat it as a step upward, encoded or not
        if has_variable && matches!(encoded[start..].trim_end_matches('/'), "." | "..") {
            return Err("a path variable cannot have the value \".\" or \"..\", which would change the path".to_owned());
        }
    }
    match unused.first() {
        Some(name) => Err(format!(".path_param({name:?}, …) sets a value, but the path has no variable {{{name}}}")),
        None => Ok(encoded),
    }
}

/// The first `{name}`: the text before it, the name, and the text after it.
fn variable_in(text: &str) -> Option<(&str, &str, &str)> {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_name = |name: &str| name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit());
    text.match_indices('{').find_map(|(open, _)| {
        let (name, behind) = text[open + 1..].split_once('}')?;
        is_name(name).then(|| (&text[..open], name, behind))
    })
}

/// Encodes the query and appends `values`; `None` if there is neither a query nor a value.
fn query_with(query: Option<&str>, values: &[(String, String)]) -> Option<String> {
    let mut encoded: String = utf8_percent_encode(query.unwrap_or_default(), QUERY).collect();
    for (name, value) in values {
        if !encoded.is_empty() && !encoded.ends_with('&') {
            encoded.push('&');
        }
        encoded.extend(utf8_percent_encode(name, VALUE));
        encoded.push('=');
        encoded.extend(utf8_percent_encode(value, VALUE));
    }
    (query.is_some() || !values.is_empty()).then_some(encoded)
}

/// The `Authorization` value for percent-encoded credentials of a URI (RFC 7617).
pub(crate) fn basic(credentials: &str) -> HeaderValue {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let mut pair: Vec<u8> = percent_decode_str(user).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    // base64 is visible ASCII
    let mut value =
        HeaderValue::try_from(format!("Basic {}", BASE64.encode(&pair))).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// Parses an IPv4 address as `inet_aton` and browsers do (WHATWG URL, IPv4 parser): one to four parts, the last of
/// which fills the remaining bytes, each decimal, octal with a leading `0`, or hexadecimal with `0x`.
fn short_ipv4(host: &str) -> Option<Ipv4Addr> {
    let parts: Vec<_> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
    let (last, first) = parts.split_last().filter(|(_, first)| first.len() < 4)?;
    let mut number = 0u32;
    for part in first {
        number = number << 8 | u32::from(u8::try_from(number_of(part)?).ok()?);
    }
    let left = 32 - 8 * first.len() as u32;
    let last = number_of(last).filter(|last| u64::from(*last) < 1 << left)?;
    // a single part is the whole address
    Some(Ipv4Addr::from(number.checked_shl(left).unwrap_or(0) | last))
}

fn number_of(part: &str) -> Option<u32> {
    let (digits, radix) = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
        None => (part, 10),
    };
    // `from_str_radix` would accept a sign
    if digits.starts_with(['+', '-']) { None } else { u32::from_str_radix(digits, radix).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target, Error> {
        Target::parse(text, &Values::default())
    }

    #[test]
    fn uri_is_split_into_its_parts() {
        for (text, is_secure, host, port, resource, authority) in [
            ("ws://example.org", false, "example.org", 80, "/", "example.org"),
            ("ws://example.org:80/chat?a=b", false, "example.org", 80, "/chat?a=b", "example.org"),
            ("wss://example.org/", true, "example.org", 443, "/", "example.org"),
            ("wss://example.org:80/a%2Fb", true, "example.org", 80, "/a%2Fb", "example.org:80"),
            ("ws://[::1]:8080/", false, "::1", 8080, "/", "[::1]:8080"),
            ("ws://[::1]/", false, "::1", 80, "/", "[::1]"),
            ("ws://127.0.0.1:9001?x=1", false, "127.0.0.1", 9001, "/?x=1", "127.0.0.1:9001"),
            ("ws://127.1:9001/", false, "127.0.0.1", 9001, "/", "127.0.0.1:9001"),
            ("ws://1.example/", false, "1.example", 80, "/", "1.example"),
            ("WS://example.org:/", false, "example.org", 80, "/", "example.org"),
        ] {
            let target = parse(text).unwrap();
            assert_eq!((target.is_secure, target.host.as_str(), target.port), (is_secure, host, port), "{text}");
            assert_eq!(
                (target.resource.to_string(), target.authority.to_str().unwrap()),
                (resource.to_owned(), authority),
                "{text}"
            );
            assert_eq!(target.authorization, None);
        }
        let target = parse("ws://Aladdin:open%20sesame@example.org:81/").unwrap();
        assert_eq!(target.authorization.unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(
            (target.host.as_str(), target.authority),
            ("example.org", HeaderValue::from_static("example.org:81"))
        );
    }

    #[test]
    fn invalid_uris_are_refused_without_showing_secrets() {
        for (text, about) in [
            ("", ""),
            ("example.org/chat", ""),
            ("/chat", "whole URI"),
            ("http://example.org/", "must be ws or wss"),
            ("ws:///chat", ""),
            ("ws://example.org/#part", "fragment"),
            ("ws://example.org:0/", "port"),
            ("ws://example.org:99999/", ""),
            ("ws://user:secret@example.org:99999/?key=secret", ""),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.is_handshake(), "{error:?}");
            assert!(error.to_string().contains(about) && !error.to_string().contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn path_and_query_are_encoded_as_browsers_do() {
        for (text, resource) in [
            ("ws://h/c/中文?t=ü", "/c/%E4%B8%AD%E6%96%87?t=%C3%BC"),
            ("ws://h/a b?c d", "/a%20b?c%20d"),
            ("ws://h?ü", "/?%C3%BC"),
            // encoded text stays; the server judges wrongly encoded text
            ("ws://h/%E4%B8%AD?%C3%BC=%20", "/%E4%B8%AD?%C3%BC=%20"),
            ("ws://h/100%?100%", "/100%?100%"),
            ("ws://h/a+b&c=d;e,f:g@h!$'()*~-._|[]", "/a+b&c=d;e,f:g@h!$'()*~-._|[]"),
            ("ws://h/\"<>`{}^", "/%22%3C%3E%60%7B%7D%5E"),
            ("ws://h/?\"<>'`{}|^\\[]/?", "/?%22%3C%3E%27`{}|^\\[]/?"),
            ("ws://h/?", "/?"),
            ("ws://h/{1}/{ a}/{", "/%7B1%7D/%7B%20a%7D/%7B"),
            ("ws://h/?q={room}", "/?q={room}"),
        ] {
            assert_eq!(parse(text).expect(text).resource.to_string(), resource, "{text}");
        }
        let target = parse("ws://üser:pässword@h/").unwrap();
        assert_eq!(target.authorization, Some(basic("%C3%BCser:p%C3%A4ssword")));
    }

    fn with(text: &str, path: &[(&str, &str)], query: &[(&str, &str)]) -> Result<String, String> {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let values = Values { path: owned(path), query: owned(query) };
        let target = Target::parse(text, &values).map_err(|error| error.to_string())?;
        Ok(target.resource.to_string())
    }

    #[test]
    fn values_are_fully_escaped() {
        for (text, path, query, resource) in [
            ("ws://h/c/{room}", &[("room", "中文")][..], &[][..], "/c/%E4%B8%AD%E6%96%87"),
            ("ws://h/{a}/{b}/{a}", &[("a", "1"), ("b", "2")], &[], "/1/2/1"),
            ("ws://h/x-{a}.{b}", &[("a", "1"), ("b", ".")], &[], "/x-1.."),
            ("ws://h/{a}", &[("a", "a/b?c#d%2e {b}+&=\n")], &[], "/a%2Fb%3Fc%23d%252e%20%7Bb%7D%2B%26%3D%0A"),
            ("ws://h/{a}/{b}", &[("a", "{b}"), ("b", "...")], &[], "/%7Bb%7D/..."),
            ("ws://h/", &[], &[("t", "ü"), ("a b", "&=+ #")], "/?t=%C3%BC&a%20b=%26%3D%2B%20%23"),
            ("ws://h", &[], &[("t", "")], "/?t="),
            ("ws://h/?a=b", &[], &[("t", "1"), ("t", "2")], "/?a=b&t=1&t=2"),
            ("ws://h/?", &[], &[("t", "1")], "/?t=1"),
            ("ws://h/?a&", &[], &[("t", "1")], "/?a&t=1"),
        ] {
            assert_eq!(with(text, path, query), Ok(resource.to_owned()), "{text}");
        }
        for (text, path, about) in [
            ("ws://h/{room}", &[][..], ".path_param(\"room\", …)"),
            ("ws://h/{room}", &[("room", "")], "empty"),
            ("ws://h/{room}", &[("room", "..")], "change the path"),
            ("ws://h/{room}/x", &[("room", ".")], "change the path"),
            ("ws://h/{a}{a}", &[("a", ".")], "change the path"),
            ("ws://h/chat", &[("room", "1")], "no variable {room}"),
            ("ws://h/?x={room}", &[("room", "1")], "no variable {room}"),
        ] {
            let error = with(text, path, &[]).expect_err(text);
            assert!(error.contains(about), "{text}: {error}");
        }
    }

    #[test]
    fn error_names_the_character_and_the_fix() {
        for (text, about) in [
            ("ws://h/a#b", "%23"),
            ("ws://h/a\nb", "'\\n', or write %0A"),
            ("ws://h/?a\u{7f}", "%7F"),
            ("ws://h/\r\nHost: x", "%0D"),
            (" ws://h/", "white space"),
            ("ws://h/\n", "white space"),
            ("ws://bücher.example/", "'ü'"),
            ("ws://bücher.example/", "Punycode"),
            ("ws://b%C3%BCcher.example/", "percent-encoded"),
            ("ws://a b/", "space"),
            ("ws://h\\a/", "%5C"),
            ("ws://h/a\\b", "%5C"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(about) && !error.contains(['\n', '\r']), "{text:?}: {error}");
        }
    }

    #[test]
    fn short_forms_of_ipv4_are_read_as_resolvers_do() {
        for (text, address) in [
            ("127.1", Some([127, 0, 0, 1])),
            ("127.0.1", Some([127, 0, 0, 1])),
            ("10.258", Some([10, 0, 1, 2])),
            ("10.1.258", Some([10, 1, 1, 2])),
            ("0", Some([0, 0, 0, 0])),
            ("4294967295", Some([255, 255, 255, 255])),
            ("0177.0x0.00.1", Some([127, 0, 0, 1])),
            ("127.0.0.1.", Some([127, 0, 0, 1])),
            ("4294967296", None),
            ("127.16777216", None),
            ("256.1", None),
            ("1.2.3.4.5", None),
            ("1..2", None),
            ("", None),
            (".", None),
            ("0x", None),
            ("08", None),
            ("+1", None),
            ("0x+1", None),
            ("a.1", None),
        ] {
            assert_eq!(short_ipv4(text), address.map(Ipv4Addr::from), "{text:?}");
        }
    }
}
