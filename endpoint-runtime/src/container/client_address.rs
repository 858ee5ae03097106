//! Who the client of a request is: the peer, or the client that trusted proxies tell of. Every way of a request to an
//! endpoint asks here, once.

use http::header::{HOST, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Uri};

use super::service::{Inner, ServerContainer};
use crate::handshake::forwarded::Told;
use crate::handshake::request;
use crate::handshake::request::{Authority, Transport};
use crate::handshake::trusted_proxies::TrustedProxies;

impl Inner {
    /// The transport of the client. The head gets the host that the client asked for.
    pub(super) fn client(&self, head: &mut Parts, transport: Transport) -> Transport {
        let transport = transport.or_connect_info(&head.extensions);
        let Some(told) = self.proxies.told(&head.headers, transport) else { return transport };
        let client = told.transport(transport);
        if let Some(host) = host(&told, &head.uri, &head.headers) {
            set_host(head, &host);
        }
        client
    }

    /// The transport of the client of a request for no endpoint, whose head stays as it is.
    pub(super) fn client_of<B>(&self, request: &Request<B>, transport: Transport) -> Transport {
        let transport = transport.or_connect_info(request.extensions());
        let told = self.proxies.told(request.headers(), transport);
        told.map_or(transport, |told| told.transport(transport))
    }
}

impl ServerContainer {
    /// The proxies whose word about a client is believed.
    pub(crate) fn trusted_proxies(&self) -> &TrustedProxies {
        &self.0.proxies.trusted
    }

    /// How many bits of an IPv6 address count as one client.
    pub(crate) fn ipv6_prefix(&self) -> u8 {
        self.0.ground.ipv6_prefix
    }
}

/// The host that the client asked for, if it differs from that of the request. A request without one valid host stays
/// without it, whatever a proxy tells, and is refused.
fn host(told: &Told<'_>, uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let own = request::authority(uri, headers)?;
    let Authority { host, port } = told.host.as_deref().and_then(Authority::parse).unwrap_or(own);
    // The default ports say nothing that the scheme does not; in a chain of proxies they may be those of an inner one.
    let port = port.or(told.port.filter(|port| ![80, 443].contains(port)));
    let host = Authority { host, port };
    (host != own).then(|| host.to_string())
}

/// Replaces the host of a request, in its header and in its target.
fn set_host(head: &mut Parts, host: &str) {
    let Ok(value) = HeaderValue::from_str(host) else { return };
    if head.uri.authority().is_some() {
        let mut target = head.uri.clone().into_parts();
        target.authority = host.parse().ok();
        let Ok(uri) = Uri::from_parts(target) else { return };
        head.uri = uri;
    }
    head.headers.insert(HOST, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, host: &str) -> Parts {
        Request::get(target).header(HOST, host).body(()).unwrap().into_parts().0
    }

    #[test]
    fn host_and_port_are_completed_from_what_the_proxy_tells() {
        for (host_header, told_host, told_port, expected) in [
            ("a.example", None, None, None),
            ("a.example", Some("a.example"), None, None),
            ("upstream:8080", Some("a.example"), None, Some("a.example")),
            ("upstream", Some("a.example:8443"), Some(1), Some("a.example:8443")),
            ("upstream", Some("a.example"), Some(8443), Some("a.example:8443")),
            ("a.example", None, Some(8443), Some("a.example:8443")),
            ("a.example:8080", None, Some(8443), None),
            // default ports
            ("a.example", None, Some(443), None),
            ("a.example", None, Some(80), None),
            // not a host
            ("a.example", Some("b/c"), None, None),
            ("a/b", Some("b.example"), None, None),
        ] {
            let told = Told { host: told_host.map(Into::into), port: told_port, ..Told::default() };
            let head = head("/chat", host_header);
            let found = host(&told, &head.uri, &head.headers);
            assert_eq!(found.as_deref(), expected, "{host_header} {told_host:?} {told_port:?}");
        }
    }

    #[test]
    fn host_is_replaced_in_the_header_and_in_an_absolute_target() {
        for (target, expected) in [("/chat?a", "/chat?a"), ("http://inner/chat?a", "http://a.example:1/chat?a")] {
            let mut head = head(target, "inner");
            set_host(&mut head, "a.example:1");
            assert_eq!(
                (head.uri.to_string().as_str(), &head.headers[HOST]),
                (expected, &HeaderValue::from_static("a.example:1"))
            );
        }
    }
}
