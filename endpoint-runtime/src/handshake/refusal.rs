//! The response to a refused opening handshake: each case has a name and one status.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::error::Error;
use crate::handshake::request::Authority;

/// An HTTP response that refuses a handshake: no endpoint instance is made, and no handler runs.
///
/// The constructors other than [`Refusal::new`] are the cases that this library produces itself.
///
/// ```
/// use endpoint_runtime::Refusal;
/// use http::{HeaderValue, StatusCode, header};
///
/// let refusal = Refusal::new(StatusCode::UNAUTHORIZED)
///     .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
///     .with_body("this room is for members; send a token");
/// assert_eq!(refusal.status(), 401);
/// ```
pub struct Refusal(Box<Inner>);

struct Inner {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    reason: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with a status of your choice, and the status's standard phrase as its body.
    ///
    /// A status below 300 would not mean a refusal to the client; it becomes 500.
    pub fn new(status: StatusCode) -> Self {
        let status = if status.as_u16() < 300 { StatusCode::INTERNAL_SERVER_ERROR } else { status };
        Self::because(status, status.canonical_reason().unwrap_or("refused"))
    }

    /// 404: no endpoint has a path that matches (Jakarta WSC-3.1.1-4).
    pub fn unknown_path() -> Self {
        Self::because(StatusCode::NOT_FOUND, "no WebSocket endpoint has this path")
    }

    /// 400: the path is not percent-encoded UTF-8. (Without an `Upgrade` header the request is not a handshake, and is
    /// passed to the other service on the port.)
    pub fn bad_path() -> Self {
        Self::because(StatusCode::BAD_REQUEST, "the path of the request is not percent-encoded UTF-8")
    }

    /// 405: the method is not `GET`, which a handshake requires (RFC 6455 §4.1).
    pub fn method_not_allowed() -> Self {
        Self::because(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket handshake must be a GET request")
            .with_header(header::ALLOW, HeaderValue::from_static("GET"))
    }

    /// 505: the request is older than HTTP/1.1 (RFC 6455 §4.1).
    pub fn http_version() -> Self {
        Self::because(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "a WebSocket handshake requires HTTP/1.1 or later")
    }

    /// 426: an ordinary request without an upgrade to `websocket` (RFC 6455 §4.2.1).
    pub fn upgrade_required() -> Self {
        Self::because(
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket endpoint: the request needs the headers 'Connection: Upgrade' and 'Upgrade: websocket'",
        )
        .offering_websocket()
    }

    /// 426: the client uses a protocol version other than 13 (RFC 6455 §4.4).
    pub fn unsupported_version() -> Self {
        Self::because(
            StatusCode::UPGRADE_REQUIRED,
            "the request needs one header 'Sec-WebSocket-Version: 13', the only version that this server supports",
        )
        .offering_websocket()
        .with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
    }

    /// 405: a request over HTTP/2 that is no extended CONNECT (RFC 8441 §5), such as a page opened at the path of an
    /// endpoint. A header `Upgrade` has no meaning there (RFC 9113 §8.2.2).
    pub fn extended_connect_required() -> Self {
        Self::because(
            StatusCode::METHOD_NOT_ALLOWED,
            "this is a WebSocket endpoint: over HTTP/2 the request must be an extended CONNECT with the :protocol \
             'websocket'",
        )
        .with_header(header::ALLOW, HeaderValue::from_static("CONNECT"))
    }

    /// 501: an extended CONNECT for a `:protocol` other than `websocket` (RFC 9220 §3). Also every extended CONNECT if
    /// the cargo feature `http2` is off.
    pub fn unknown_protocol() -> Self {
        Self::because(
            StatusCode::NOT_IMPLEMENTED,
            if cfg!(feature = "http2") {
                "the only :protocol of an extended CONNECT that this server supports is 'websocket'"
            } else {
                "this server is built without WebSockets over HTTP/2 (cargo feature http2)"
            },
        )
    }

    /// 501: a CONNECT that asks for a tunnel, as of a proxy (RFC 9110 §9.3.6).
    pub fn no_tunnel() -> Self {
        Self::because(StatusCode::NOT_IMPLEMENTED, "this server is not a proxy: it opens no tunnels")
    }

    /// 400: over HTTP/2, the client uses a protocol version other than 13 (RFC 6455 §4.4). Over HTTP/1.1 the status is
    /// 426, which has no meaning in HTTP/2.
    pub fn version_13_required() -> Self {
        Self::because(
            StatusCode::BAD_REQUEST,
            "the request needs one header 'sec-websocket-version: 13', the only version that this server supports",
        )
        .with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
    }

    /// 400: over HTTP/2, `:authority` and `Host` differ (RFC 9113 §8.3.1).
    pub fn conflicting_hosts() -> Self {
        Self::because(StatusCode::BAD_REQUEST, "the request names two hosts: :authority and the header 'host' differ")
    }

    /// 400: the key is missing, repeated, or not 16 bytes in base64 (RFC 6455 §4.2.1).
    pub fn bad_key() -> Self {
        Self::because(
            StatusCode::BAD_REQUEST,
            "the request needs one header 'Sec-WebSocket-Key' with 16 bytes in base64",
        )
    }

    /// 431: request line and headers together exceed `max` bytes (RFC 6585 §5), see
    /// [`ContainerBuilder::max_request_head`](crate::ContainerBuilder::max_request_head).
    pub fn request_head_too_large(max: usize) -> Self {
        Self::because(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("the request head exceeds {max} bytes: to accept more, raise max_request_head"),
        )
    }

    /// 431: the request has more than `max` headers (RFC 6585 §5), see
    /// [`ContainerBuilder::max_request_headers`](crate::ContainerBuilder::max_request_headers).
    pub fn too_many_headers(max: usize) -> Self {
        Self::because(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("the request has more than {max} headers: to accept more, raise max_request_headers"),
        )
    }

    /// 400: `Host` is missing, repeated, or not a host (RFC 9112 §3.2).
    pub fn missing_host() -> Self {
        Self::because(StatusCode::BAD_REQUEST, "the request needs one header 'Host' with a host and an optional port")
    }

    /// 400: the request has a body, whose bytes would be parsed as frames.
    pub fn body_not_allowed() -> Self {
        Self::because(StatusCode::BAD_REQUEST, "a WebSocket handshake must not have a body")
    }

    /// 421: the request is for a host that this server does not serve (RFC 9110 §15.5.20), for example because a
    /// foreign name was made to resolve to it; see
    /// [`ContainerBuilder::allowed_hosts`](crate::ContainerBuilder::allowed_hosts). `host` is the `Host` header.
    pub fn unknown_host(host: &str) -> Self {
        let list = if host.chars().count() <= Excerpt::LONGEST {
            format!("allowed_hosts([\"{}\"])", Excerpt(host))
        } else {
            "allowed_hosts([..])".to_owned()
        };
        Self::because(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "this server does not serve the host \"{}\": if it is a name of this server or of a proxy in front of \
                 it, allow it with {list}",
                Excerpt(host)
            ),
        )
    }

    /// 403: the page was loaded from the same host without encryption, so it may have been changed on the way, but this
    /// server or a trusted proxy terminates TLS. `origin` is the `Origin` header.
    pub fn insecure_origin(origin: &str) -> Self {
        let origin = Excerpt(origin);
        Self::because(
            StatusCode::FORBIDDEN,
            format!(
                "the page from \"{origin}\" was loaded without encryption, but this server or the proxy in front of it \
                 uses TLS: serve the page over https, or allow it with allowed_origins([..])"
            ),
        )
    }

    /// 403: the page's origin is not admitted; this is how a foreign site would act in its visitor's name. `origin` is
    /// the `Origin` header, `host` the `Host` header. If the two differ in a way that suggests a proxy replaced the
    /// `Host` header, the reason mentions it.
    pub fn foreign_origin(origin: &str, host: &str) -> Self {
        // a list can hold neither "null", as from a page on disk, nor a value that the log cuts off
        let listable = origin != "null" && origin.chars().count() <= Excerpt::LONGEST;
        let hint = if looks_replaced(origin, host) {
            " (likely cause: a proxy in front of the server replaces the Host header; configure it to forward the \
             original one, in nginx with `proxy_set_header Host $http_host;`, or to set X-Forwarded-Host, and list the \
             proxy in trusted_proxies)"
        } else {
            ""
        };
        let (origin, host) = (Excerpt(origin), Excerpt(host));
        let list =
            if listable { format!("allowed_origins([\"{origin}\"])") } else { "allowed_origins([..])".to_owned() };
        Self::because(
            StatusCode::FORBIDDEN,
            format!(
                "the server at \"{host}\" does not allow the origin \"{origin}\"{hint}: allow one site with {list}, or \
                 every page, including pages opened from disk, with Origins::any()"
            ),
        )
    }

    /// 404: the endpoint's `#[path_param]` cannot parse the value of a path variable. `error` is only logged; the
    /// client does not see it.
    pub fn bad_path_parameter(error: &Error) -> Self {
        let mut refusal =
            Self::because(StatusCode::NOT_FOUND, "a path parameter of this WebSocket endpoint has an invalid value");
        refusal.0.reason = error.to_string().into();
        refusal
    }

    /// 400: a query parameter that the endpoint's `#[query_param]` requires is missing or cannot be parsed. `error` is
    /// only logged; the client does not see it.
    pub fn bad_query_parameter(error: &Error) -> Self {
        let mut refusal = Self::because(
            StatusCode::BAD_REQUEST,
            "a query parameter of this WebSocket endpoint is missing or has an invalid value",
        );
        refusal.0.reason = error.to_string().into();
        refusal
    }

    /// 500: the endpoint's instance could not be made. `error` is only logged; the client does not see it.
    pub fn construction_failed(error: &Error) -> Self {
        let mut refusal = Self::because(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the WebSocket endpoint could not be created: see the server's log",
        );
        refusal.0.reason = format!("cannot create the endpoint: {error}").into();
        refusal
    }

    /// 500: the endpoint's configurator did something that a handshake does not allow, or panicked. `error` is only
    /// logged; the client does not see it.
    pub fn configurator_failed(error: &Error) -> Self {
        let mut refusal =
            Self::because(StatusCode::INTERNAL_SERVER_ERROR, "the handshake failed: see the server's log");
        refusal.0.reason = format!("the configurator failed: {error}").into();
        refusal
    }

    /// 500: a handshake hook of the container did something that a handshake does not allow, or panicked. `error` is
    /// only logged; the client does not see it.
    pub fn hook_failed(error: &Error) -> Self {
        let mut refusal =
            Self::because(StatusCode::INTERNAL_SERVER_ERROR, "the handshake failed: see the server's log");
        refusal.0.reason = format!("a handshake hook failed: {error}").into();
        refusal
    }

    /// 503: the handshake hooks and the endpoint's configurator did not answer in time; the client may retry after this
    /// long.
    pub fn timed_out(retry_after: Duration) -> Self {
        Self::because(StatusCode::SERVICE_UNAVAILABLE, "the handshake timed out").retry_after(retry_after)
    }

    /// 401: the endpoint requires a role, and the client is not authenticated. To send the client a challenge (RFC 9110
    /// §11.6.1), refuse in [`modify_handshake`](crate::Configurator::modify_handshake) with your own
    /// `WWW-Authenticate`.
    pub fn unauthenticated() -> Self {
        Self::because(StatusCode::UNAUTHORIZED, "this WebSocket endpoint requires authentication")
    }

    /// 403: the client is authenticated and has none of the endpoint's roles.
    pub fn forbidden() -> Self {
        Self::because(StatusCode::FORBIDDEN, "this WebSocket endpoint requires a role that the user does not have")
    }

    /// 500: the connection cannot be taken over: the HTTP server in front was not configured to serve upgrades, or a
    /// layer dropped the request's extensions.
    pub fn not_upgradable() -> Self {
        Self::because(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the HTTP server in front of this WebSocket endpoint does not support upgrades",
        )
    }

    /// 503: the server accepts no new sessions; the client may retry after this long.
    pub fn shutting_down(retry_after: Duration) -> Self {
        Self::because(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down").retry_after(retry_after)
    }

    /// 503: as many sessions are open as [`max_sessions`](crate::ContainerBuilder::max_sessions) allows; the client may
    /// retry after this long.
    pub fn too_many_sessions(max: usize, retry_after: Duration) -> Self {
        Self::because(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{max} sessions are open, and no more are allowed: to allow more, raise max_sessions"),
        )
        .retry_after(retry_after)
    }

    /// 429: the client's address has as many open sessions as
    /// [`max_sessions_per_address`](crate::ContainerBuilder::max_sessions_per_address) allows (RFC 6585 §4); the client
    /// may retry after this long.
    pub fn too_many_sessions_of_address(max: usize, retry_after: Duration) -> Self {
        Self::because(
            StatusCode::TOO_MANY_REQUESTS,
            format!(
                "{max} sessions of this address are open, and no more are allowed: close one, or to allow more, raise \
                 max_sessions_per_address, or max_sessions_per(address = ..) of the endpoint"
            ),
        )
        .retry_after(retry_after)
    }

    /// 429: the user has as many open sessions as
    /// [`max_sessions_per_principal`](crate::ContainerBuilder::max_sessions_per_principal) allows (RFC 6585 §4); the client
    /// may retry after this long.
    pub fn too_many_sessions_of_principal(max: usize, retry_after: Duration) -> Self {
        Self::because(
            StatusCode::TOO_MANY_REQUESTS,
            format!(
                "{max} sessions of this user are open, and no more are allowed: close one, or to allow more, raise \
                 max_sessions_per_principal, or max_sessions_per(principal = ..) of the endpoint"
            ),
        )
        .retry_after(retry_after)
    }

    fn retry_after(self, retry_after: Duration) -> Self {
        // whole seconds, rounded up: the client must not retry too early
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a header. Existing headers of the same name stay: repeated headers have an order.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    /// Replaces the body. Its type is `text/plain` in UTF-8 unless there is a `Content-Type` header.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.0.body = body.into();
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The headers that belong to this case, without those of the body.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// The reason, a sentence for the server's log; it may contain more than the body that the client gets.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    fn because(status: StatusCode, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        let body = match &reason {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::copy_from_slice(text.as_bytes()),
        };
        Self(Box::new(Inner { status, headers: HeaderMap::new(), body, reason }))
    }

    /// Adds the protocol to upgrade to, which a 426 must name (RFC 9110 §15.5.22).
    fn offering_websocket(self) -> Self {
        self.with_header(header::CONNECTION, HeaderValue::from_static("Upgrade"))
            .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
    }
}

/// For any body made of bytes, such as `http_body_util::Full<Bytes>`.
impl<B: From<Bytes>> From<Refusal> for Response<B> {
    fn from(Refusal(refusal): Refusal) -> Self {
        let Inner { status, mut headers, body, .. } = *refusal;
        if !body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        let mut response = Response::new(B::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Prints the status and the reason.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.status.as_u16(), self.0.reason)
    }
}

/// Omits the headers, which may carry a cookie or a challenge.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.0.status)
            .field("reason", &self.0.reason)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Refusal {}

/// Whether a proxy may have replaced the browser's `Host`, which was that of `origin`: `host` is an address or a name
/// that pages elsewhere do not have, or only the port differs.
fn looks_replaced(origin: &str, host: &str) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else { return false };
    let (Some(origin), Some(host)) = (Authority::parse(origin), Authority::parse(host)) else { return false };
    let is_private = !host.host.contains('.')
        || host.host.parse::<Ipv4Addr>().is_ok()
        || host.host.rsplit_once('.').is_some_and(|(_, last)| PRIVATE.iter().any(|it| last.eq_ignore_ascii_case(it)));
    ["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it))
        && (is_private || origin.host.eq_ignore_ascii_case(host.host))
}

/// Last labels of names in private networks.
const PRIVATE: [&str; 4] = ["internal", "lan", "local", "localhost"];

/// The start of an untrusted text, escaped: keeps control characters and long tails out of the log.
pub(crate) struct Excerpt<'a>(pub(crate) &'a str);

impl Excerpt<'_> {
    const LONGEST: usize = 128;
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug().take(Self::LONGEST).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn each_case_has_one_status_and_its_headers() {
        let error = Error::new(Kind::Decode, "secret detail");
        let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
        let version = [upgrade[0], upgrade[1], ("sec-websocket-version", "13")];
        for (refusal, status, headers) in [
            (Refusal::unknown_path(), 404, &[][..]),
            (Refusal::bad_path(), 400, &[]),
            (Refusal::method_not_allowed(), 405, &[("allow", "GET")]),
            (Refusal::http_version(), 505, &[]),
            (Refusal::upgrade_required(), 426, &upgrade),
            (Refusal::unsupported_version(), 426, &version),
            (Refusal::bad_key(), 400, &[]),
            (Refusal::missing_host(), 400, &[]),
            (Refusal::body_not_allowed(), 400, &[]),
            (Refusal::foreign_origin("null", "a"), 403, &[]),
            (Refusal::insecure_origin("http://a"), 403, &[]),
            (Refusal::unknown_host("a"), 421, &[]),
            (Refusal::request_head_too_large(1), 431, &[]),
            (Refusal::too_many_headers(1), 431, &[]),
            (Refusal::bad_path_parameter(&error), 404, &[]),
            (Refusal::construction_failed(&error), 500, &[]),
            (Refusal::not_upgradable(), 500, &[]),
            (Refusal::shutting_down(Duration::from_millis(4001)), 503, &[("retry-after", "5")]),
            (Refusal::too_many_sessions(1, Duration::from_secs(5)), 503, &[("retry-after", "5")]),
            (Refusal::too_many_sessions_of_address(1, Duration::from_secs(5)), 429, &[("retry-after", "5")]),
            (Refusal::too_many_sessions_of_principal(1, Duration::from_secs(5)), 429, &[("retry-after", "5")]),
            (Refusal::new(StatusCode::UNAUTHORIZED), 401, &[]),
            (Refusal::new(StatusCode::SWITCHING_PROTOCOLS), 500, &[]),
            (Refusal::new(StatusCode::OK), 500, &[]),
        ] {
            let name = refusal.to_string();
            let own = refusal.headers().clone();
            let response: Response<Bytes> = refusal.into();
            assert_eq!(response.status(), status, "{name}");
            assert_eq!(own.len(), headers.len(), "{name}");
            for (header, value) in headers {
                assert_eq!(own[*header], value, "{name}");
                assert_eq!(response.headers()[*header], value, "{name}");
            }
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
            assert!(!response.body().is_empty(), "{name}");
        }
    }

    #[test]
    fn refusal_of_a_foreign_origin_shows_the_setting() {
        let refusal = Refusal::foreign_origin("https://evil.example", "chat.example");
        let body = String::from_utf8(refusal.body().to_vec()).unwrap();
        for text in [refusal.reason(), &*body] {
            for part in ["chat.example", "allowed_origins([\"https://evil.example\"])", "Origins::any()"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }

    #[test]
    fn replaced_host_is_named_as_the_likely_cause() {
        for (origin, host, named) in [
            ("https://example.org", "127.0.0.1:8080", true),
            ("https://example.org", "[::1]:8080", true),
            ("https://example.org", "localhost:8080", true),
            ("https://example.org", "backend", true),
            ("https://example.org", "chat.default.svc.cluster.local:80", true),
            ("https://example.org:8443", "example.org", true),
            ("http://localhost:5173", "localhost:8080", true),
            ("https://evil.example", "example.org", false),
            ("https://sub.example.org", "example.org", false),
            ("null", "127.0.0.1:8080", false),
            ("capacitor://localhost", "127.0.0.1:8080", false),
            ("nonsense", "127.0.0.1:8080", false),
        ] {
            let refusal = Refusal::foreign_origin(origin, host);
            assert_eq!(refusal.reason().contains("proxy_set_header Host $http_host"), named, "{origin} at {host}");
        }
    }

    #[test]
    fn refusal_of_an_unknown_host_shows_the_setting() {
        let refusal = Refusal::unknown_host("evil.example:8080");
        for part in ["\"evil.example:8080\"", "allowed_hosts([\"evil.example:8080\"])"] {
            assert!(refusal.reason().contains(part), "{}", refusal.reason());
        }
        let long = Refusal::unknown_host(&"a".repeat(10_000));
        assert!(long.reason().len() < 400 && long.reason().contains("allowed_hosts([..])"), "{}", long.reason());
    }

    #[test]
    fn untrusted_text_is_escaped_and_cut() {
        let refusal = Refusal::foreign_origin(&format!("a\n\u{1b}\"{}", "x".repeat(10_000)), "h");
        assert!(!refusal.reason().contains(['\n', '\u{1b}']));
        assert!(refusal.reason().len() < 600);
    }

    #[test]
    fn internal_errors_are_hidden_from_the_client() {
        let error = Error::new(Kind::User, "the password of the database is wrong");
        for refusal in [Refusal::construction_failed(&error), Refusal::bad_path_parameter(&error)] {
            assert!(refusal.reason().contains("password"));
            assert!(!String::from_utf8_lossy(refusal.body()).contains("password"));
        }
    }

    #[test]
    fn custom_headers_and_body_are_kept() {
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))
            .with_header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .with_body("{}");
        assert_eq!(refusal.reason(), "Unauthorized");
        let response: Response<Bytes> = refusal.into();
        assert_eq!(
            response.headers().get_all(header::WWW_AUTHENTICATE).iter().collect::<Vec<_>>(),
            ["Bearer", "Basic"]
        );
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(response.body(), "{}");
    }
}
