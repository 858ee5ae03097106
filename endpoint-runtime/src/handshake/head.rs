//! Limits for the head of a request or response: a session keeps it for its whole life.

use http::header::HeaderMap;
use http::{Request, Uri};

use crate::config::{MAX_REQUEST_HEAD, MAX_REQUEST_HEADERS};
#[cfg(feature = "client")]
use crate::config::{MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADERS};
#[cfg(feature = "client")]
use crate::error::{BoxError, Error, Kind};
use crate::handshake::refusal::Refusal;

/// Hyper's default limit for the bytes it buffers of a head, or of a body at a time.
pub(crate) const HYPER_BUFFER: usize = 8192 + 4096 * 100;

/// Maximum size of the head of a request or response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) headers: usize,
}

impl HeadLimits {
    /// Upper bound of the header limit: a header map can hold about 24,000.
    pub(crate) const MOST_HEADERS: usize = 16 << 10;

    /// The default for requests.
    pub(crate) const REQUEST: Self = Self { bytes: MAX_REQUEST_HEAD, headers: MAX_REQUEST_HEADERS };

    /// The default for responses.
    #[cfg(feature = "client")]
    pub(crate) const RESPONSE: Self = Self { bytes: MAX_RESPONSE_HEAD, headers: MAX_RESPONSE_HEADERS };

    /// The error for a response whose head is too large.
    #[cfg(feature = "client")]
    pub(crate) fn response_too_large(self, who: &str, source: impl Into<BoxError>) -> Error {
        let Self { bytes, headers } = self;
        let text = format!(
            "the response head of {who} exceeds {bytes} bytes or {headers} headers: raise max_response_head or \
             max_response_headers"
        );
        Error::with_source(Kind::Handshake, text, source)
    }

    /// Refuses a head that is too large.
    pub(crate) fn check(self, method: &str, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if headers.len() > self.headers {
            return Err(Refusal::too_many_headers(self.headers));
        }
        // white space around a value is already removed, and is not kept
        let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
        let target = uri.path_and_query().map_or(0, |target| target.as_str().len())
            + uri.authority().map_or(0, |authority| authority.as_str().len())
            + uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
        let bytes = method.len() + target + "  HTTP/1.1\r\n".len() + lines + "\r\n".len();
        if bytes > self.bytes { Err(Refusal::request_head_too_large(self.bytes)) } else { Ok(()) }
    }

    /// Refuses a request whose head is too large.
    pub(crate) fn check_request<B>(self, request: &Request<B>) -> Result<(), Refusal> {
        self.check(request.method().as_str(), request.uri(), request.headers())
    }

    /// Bytes at which an HTTP server stops reading a head. A head between this and the limit gets a refusal with a
    /// reason.
    pub(crate) fn most_bytes(self) -> usize {
        self.bytes.saturating_mul(2).max(self.bytes.saturating_add(8 << 10))
    }

    /// Number of headers at which an HTTP server stops reading a head.
    pub(crate) fn most_headers(self) -> usize {
        self.headers.saturating_add(self.headers / 2).min(Self::MOST_HEADERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(limits: HeadLimits, uri: &str, headers: &[(&str, &str)]) -> Result<(), String> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        limits.check_request(&request.body(()).unwrap()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn head_size_equals_its_size_on_the_wire() {
        for (head, uri, headers) in [
            ("GET / HTTP/1.1\r\n\r\n", "/", &[][..]),
            ("GET /a?b=c HTTP/1.1\r\nhost: a\r\n\r\n", "/a?b=c", &[("host", "a")]),
            (
                "GET http://a:1/b HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: \r\n\r\n",
                "http://a:1/b",
                &[("host", "a"), ("x", "1"), ("x", "")],
            ),
        ] {
            let exact = HeadLimits { bytes: head.len(), headers: headers.len() };
            assert_eq!(outcome(exact, uri, headers), Ok(()), "{head:?}");
            let less = HeadLimits { bytes: head.len() - 1, ..exact };
            assert_eq!(outcome(less, uri, headers), Err(Refusal::request_head_too_large(less.bytes).to_string()));
            if let Some(fewer) = headers.len().checked_sub(1) {
                let less = HeadLimits { headers: fewer, ..exact };
                assert_eq!(outcome(less, uri, headers), Err(Refusal::too_many_headers(fewer).to_string()));
            }
        }
    }

    #[test]
    fn http_parser_reads_larger_heads_than_the_limit() {
        for bytes in [0, 1, 1000, 16 << 10, 1 << 20, usize::MAX] {
            let limits = HeadLimits { bytes, headers: bytes };
            assert!(limits.most_bytes() > bytes || bytes == usize::MAX);
            assert!(limits.most_headers() >= bytes.min(10_000));
        }
    }
}
