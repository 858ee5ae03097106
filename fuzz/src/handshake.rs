//! Any request head: the handshake never panics, what it accepts is what RFC 6455 §4.2.1 lets it accept, its answer is
//! that of §4.2.2, no foreign page gets in, and what is remembered of the request is what came.

use data_encoding::BASE64;
use endpoint_runtime::fuzzing::{accept, request};
use endpoint_runtime::{Bytes, Origins};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, Version};
use sha1::{Digest, Sha1};

use crate::input::Input;

/// What an ordinary client sends.
const ORDINARY: [(&str, &str); 5] = [
    ("host", "a.org"),
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

/// In the list that one of the rules for origins has.
const LISTED: [&str; 4] =
    ["https://example.org", "http://localhost:3000", "https://*.wild.org", "capacitor://localhost"];

const SPOKEN: [&str; 3] = ["chat", "b", "v2.x"];

/// A byte of choices, one for the ordinary headers that are left out, then lines: the target, an origin to admit,
/// headers. A header's name may be a digit, for one of those that count.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let (choices, left_out) = (input.byte(), input.byte());
    let Ok(uri) = http::Uri::try_from(input.until(b'\n')) else { return };
    let admitted = String::from_utf8_lossy(input.until(b'\n')).into_owned();
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.uri = uri;
    parts.version = [Version::HTTP_11, Version::HTTP_10, Version::HTTP_2, Version::HTTP_11][usize::from(choices & 3)];
    if left_out & 0x80 != 0 {
        parts.method = Method::from_bytes(input.until(b'\n')).unwrap_or(Method::HEAD);
    }
    for (index, (name, value)) in ORDINARY.into_iter().enumerate() {
        if left_out >> index & 1 == 0 {
            parts.headers.insert(name, HeaderValue::from_static(value));
        }
    }
    while !input.is_empty() && parts.headers.len() < 100 {
        let mut line = Input(input.until(b'\n'));
        let name = line.until(b':');
        if let (Some(name), Ok(value)) = (header_name(name), HeaderValue::from_bytes(line.0)) {
            parts.headers.append(name, value);
        }
    }

    let (origins, rule) = match choices >> 2 & 3 {
        0 => (Origins::same_origin(), Rule::Same),
        1 => (Origins::list(LISTED).expect("origins"), Rule::List(LISTED.map(str::to_owned).to_vec())),
        2 => (Origins::any(), Rule::Any),
        _ => match Origins::list([&admitted]) {
            Ok(origins) => (origins, Rule::List(vec![admitted])),
            Err(error) => {
                assert!(error.is_deployment() && error.to_string().contains(&format!("{admitted:?}")));
                (Origins::same_origin(), Rule::Same)
            }
        },
    };
    match accept(&parts, &origins, &SPOKEN) {
        Ok((subprotocol, response)) => {
            must_hold(&parts);
            assert!(rule.admits(&parts), "{:?} got in at {:?}", parts.headers.get("origin"), authority(&parts));
            check_answer(&parts, subprotocol, &response);
        }
        Err(refusal) => {
            let status = refusal.status().as_u16();
            assert!((400..500).contains(&status) || status == 505);
            assert!(status != 403 || !rule.admits(&parts), "{refusal}, but {:?}", authority(&parts));
            assert!(!is_ordinary(&parts) || status == 403, "{refusal}");
            assert!(!refusal.reason().contains(char::is_control) && refusal.reason().len() < 2000);
            let _: Response<Bytes> = refusal.into();
        }
    }
    check_memory(&parts, choices & 0x40 != 0, choices & 0x80 != 0);
}

fn header_name(name: &[u8]) -> Option<HeaderName> {
    const NAMES: [&str; 10] = [
        "host",
        "connection",
        "upgrade",
        "sec-websocket-key",
        "sec-websocket-version",
        "origin",
        "sec-websocket-protocol",
        "content-length",
        "transfer-encoding",
        "sec-websocket-extensions",
    ];
    match name {
        [digit @ b'0'..=b'9'] => Some(HeaderName::from_static(NAMES[usize::from(digit - b'0')])),
        name => HeaderName::from_bytes(name).ok(),
    }
}

/// RFC 6455 §4.2.1, and of RFC 9112 that there is one Host (§3.2) and no body (§6).
fn must_hold(parts: &Parts) {
    assert_eq!(parts.method, Method::GET);
    assert!(parts.version >= Version::HTTP_11);
    let all = |name: &str| -> Vec<&[u8]> { parts.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect() };
    assert_eq!(all("host").len(), 1, "not one Host");
    let lists = |name: &str, word: &str| {
        let lists = all(name).iter().any(|line| {
            let line = String::from_utf8_lossy(line).to_ascii_lowercase();
            line.split(',').any(|element| element.trim() == word)
        });
        assert!(lists, "{name} does not list {word}");
    };
    lists("upgrade", "websocket");
    lists("connection", "upgrade");
    let [key] = all("sec-websocket-key")[..] else { panic!("not one key") };
    assert_eq!(decoded_len(key), Some(16), "{key:?}");
    assert_eq!(all("sec-websocket-version"), [b"13"]);
    assert!(all("transfer-encoding").is_empty());
    assert!(all("content-length").iter().all(|length| *length == b"0"));
}

/// How many bytes base64 stands for, whatever the bits beyond them are.
fn decoded_len(key: &[u8]) -> Option<usize> {
    let mut encoding = BASE64.specification();
    encoding.check_trailing_bits = false;
    encoding.encoding().ok()?.decode(key).ok().map(|decoded| decoded.len())
}

/// RFC 6455 §4.2.2.
fn check_answer(parts: &Parts, subprotocol: Option<&str>, response: &Response<()>) {
    let mut hash = Sha1::new();
    hash.update(parts.headers["sec-websocket-key"].as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = BASE64.encode(&hash.finalize());
    let mut expected = HeaderMap::new();
    for (name, value) in [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", &accept)] {
        expected.insert(name, HeaderValue::from_str(value).expect("visible"));
    }
    if let Some(subprotocol) = subprotocol {
        expected.insert("sec-websocket-protocol", HeaderValue::from_str(subprotocol).expect("visible"));
    }
    if let Some(extension) = response.headers().get("sec-websocket-extensions") {
        check_extension(parts, extension.to_str().expect("visible"));
        expected.insert("sec-websocket-extensions", extension.clone());
    }
    assert_eq!((response.status().as_u16(), response.headers()), (101, &expected));

    let lines = parts.headers.get_all("sec-websocket-protocol").iter().filter_map(|line| line.to_str().ok());
    let mut offered = lines.flat_map(|line| line.split(',')).map(|offered| offered.trim_matches([' ', '\t']));
    assert_eq!(subprotocol, offered.find(|offered| SPOKEN.contains(offered)));
}

/// RFC 7692 §7.1: only what was offered, but for the two parameters that may come unasked for.
fn check_extension(parts: &Parts, answer: &str) {
    let lines = parts.headers.get_all("sec-websocket-extensions").iter();
    let offered: Vec<&str> = lines.map(|line| line.to_str().expect("visible")).collect();
    let mut words = answer.split("; ");
    assert_eq!(words.next(), Some("permessage-deflate"));
    assert!(offered.iter().any(|line| line.contains("permessage-deflate")));
    let mut seen: Vec<&str> = Vec::new();
    for word in words {
        let (name, bits) = word.split_once('=').unwrap_or((word, ""));
        assert!(!seen.contains(&name), "{answer}");
        seen.push(name);
        match name {
            "server_no_context_takeover" | "client_no_context_takeover" => assert_eq!(bits, ""),
            "server_max_window_bits" | "client_max_window_bits" => {
                assert!(offered.iter().any(|line| line.contains(name)), "{answer} for {offered:?}");
                let least = if name.starts_with('s') { 9 } else { 8 };
                assert!((least..=15).contains(&bits.parse().expect("a number")), "{answer}");
            }
            _ => panic!("{answer}"),
        }
    }
}

/// A request that nobody could object to, but for its origin.
fn is_ordinary(parts: &Parts) -> bool {
    let is = |name: &str, value: &str| {
        let mut values = parts.headers.get_all(name).iter();
        values.next().is_some_and(|first| first == value) && values.next().is_none()
    };
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && parts.uri.authority().is_none()
        && ORDINARY.into_iter().all(|(name, value)| is(name, value))
        && !parts.headers.contains_key("content-length")
        && !parts.headers.contains_key("transfer-encoding")
}

/// Who may open a session, in terms of strings.
enum Rule {
    Same,
    Any,
    List(Vec<String>),
}

impl Rule {
    fn admits(&self, parts: &Parts) -> bool {
        let values: Vec<_> = parts.headers.get_all("origin").iter().map(HeaderValue::as_bytes).collect();
        let origin = match values[..] {
            [] => return true,
            _ if matches!(self, Self::Any) => return true,
            [one] if one.is_ascii() => String::from_utf8_lossy(one).to_ascii_lowercase(),
            _ => return false,
        };
        match self {
            Self::Any => true,
            Self::Same => {
                let host = authority(parts).to_ascii_lowercase();
                let host = host.strip_suffix(':').unwrap_or(&host);
                // the scheme gives both their ports
                ["http://", "https://"].into_iter().any(|scheme| normal(&origin) == normal(&format!("{scheme}{host}")))
            }
            Self::List(patterns) => patterns.iter().any(|pattern| {
                let pattern = pattern.to_ascii_lowercase();
                match pattern.split_once("://*.") {
                    None => normal(&origin) == normal(&pattern),
                    Some((scheme, domain)) => {
                        let pattern = normal(&format!("{scheme}://{domain}"));
                        let origin = normal(&origin);
                        let domain = &pattern[scheme.len() + 3..];
                        let below = origin.strip_prefix(&format!("{scheme}://"));
                        let label = below.and_then(|host| host.strip_suffix(&format!(".{domain}")));
                        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
                        label.is_some_and(|label| !label.is_empty() && label.bytes().all(is_name))
                    }
                }
            }),
        }
    }
}

/// An origin without the port that its scheme has anyhow, and without zeros before another.
fn normal(origin: &str) -> String {
    let (host, port) = match origin.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()) => (host, port),
        _ => return origin.to_owned(),
    };
    match (origin.split("://").next(), port.trim_start_matches('0')) {
        (Some("http"), "80") | (Some("https"), "443") => host.to_owned(),
        (_, port) => format!("{host}:{port}"),
    }
}

/// What the request is for: the host of its target, else that of its header.
fn authority(parts: &Parts) -> String {
    let host = || parts.headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    parts.uri.authority().map(|target| target.to_string()).or_else(host).unwrap_or_default()
}

/// The request as a session remembers it.
fn check_memory(parts: &Parts, is_secure: bool, has_socket: bool) {
    let local_addr = has_socket.then(|| ([127, 0, 0, 1], 8080).into());
    let request = request(parts, is_secure, local_addr);
    assert_eq!((request.is_secure(), request.local_addr(), request.peer_addr()), (is_secure, local_addr, None));
    assert_eq!(request.headers(), &parts.headers);
    for name in parts.headers.keys() {
        let first = std::str::from_utf8(parts.headers[name].as_bytes()).ok();
        assert_eq!(request.header(name.as_str()), first);
        assert_eq!(request.header(&name.as_str().to_ascii_uppercase()), first);
    }
    assert_eq!(request.header("x-not-there-at-all"), parts.headers.get("x-not-there-at-all").map(|_| unreachable!()));
    let path = match parts.uri.path() {
        "" => "/",
        // the target of `OPTIONS *`, which is never a handshake
        "*" => "/*",
        path => path,
    };
    assert_eq!((request.path(), request.query_string()), (path, parts.uri.query()));
    let uri = request.uri();
    assert!(uri.starts_with(if is_secure { "wss://" } else { "ws://" }));
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    assert!(uri.ends_with(&(path.to_owned() + &query)), "{uri} does not end with {path}{query}");
    let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    assert_eq!(request.query_params().count(), pairs.count());
    for (name, _) in request.query_params() {
        let first = request.query_params().find(|(other, _)| *other == name).map(|(_, value)| value);
        assert_eq!(request.query_param(&name), first);
    }
    let printed = format!("{request:?}");
    assert!(query.len() < 8 || !printed.contains(&query));
}
