//! Checks of a request before an endpoint sees it: its host, its origin, the size of its head.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::{ContainerBuilder, ServerContainer};
use crate::handshake::head::HeadLimits;
use crate::handshake::hosts::Hosts;
use crate::handshake::origins::Origins;
use crate::handshake::request::Transport;

impl ContainerBuilder {
    /// Admits only requests for these hosts, whatever their `Origin`: `example.org` with any port, `example.org:8443`
    /// with this port, `*.example.org` for all subdomains but not the domain itself, `127.0.0.1` or `[::1]`. `*` is
    /// every host.
    ///
    /// This protects against DNS rebinding: an attacker can make their own domain name resolve to this server, and a
    /// page of that name then has the same origin. By default a [`Server`](crate::Server) bound to a loopback address,
    /// which the pages a developer visits could reach in this way, admits only IP addresses, `localhost` and names
    /// below it. So a server behind a proxy on the same machine must list its public name here. A server bound to any
    /// other address admits every host by default, and so does a container without its own listener: behind another
    /// HTTP server, or in the test kit.
    ///
    /// A request for another host is refused with 421 (RFC 9110 §15.5.20) and a sentence that names the host and this
    /// option. This includes requests for the [`fallback`](crate::ServerBuilder::fallback) of a `Server`, because a
    /// rebound page can read the response.
    pub fn allowed_hosts<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, hosts: I) -> Self {
        self.hosts = Hosts::list(hosts);
        self
    }

    /// Admits only pages of these origins, such as `https://example.org` or `https://*.example.org`.
    ///
    /// By default a page is admitted if its origin is the one that it connects to, which protects against cross-site
    /// WebSocket hijacking. Clients other than browsers send no origin and are always admitted.
    pub fn allowed_origins<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, origins: I) -> Self {
        self.origins = Origins::list(origins);
        self
    }

    /// Sets the origin policy; [`Origins::any`] admits every page.
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = Ok(origins);
        self
    }

    /// Maximum size of a request head, in bytes: the request line and all headers. A session keeps its head until it
    /// ends, so this bounds the memory that an anonymous peer can occupy. Default: 16 KiB.
    ///
    /// A larger head is refused with 431 (RFC 6585 §5) and a sentence that names this option. [`Server`](crate::Server)
    /// stops reading at twice the size, or at 8 KiB more if that is larger, and then answers 431 without the sentence;
    /// the same limits apply to requests for its fallback. Another HTTP server has its own limit for reading.
    pub fn max_request_head(mut self, bytes: usize) -> Self {
        self.head_limits.bytes = bytes;
        self
    }

    /// Maximum number of headers of a request; repeated headers count each. Default: 64.
    ///
    /// A request with more is refused as by [`max_request_head`](Self::max_request_head); [`Server`](crate::Server)
    /// answers 431 without the sentence beyond one and a half times the limit. It accepts at most 16,384 headers.
    pub fn max_request_headers(mut self, headers: usize) -> Self {
        self.head_limits.headers = headers;
        self
    }
}

impl ServerContainer {
    /// The refusal of a request for another service behind the same listener; `None` admits the request.
    pub(crate) fn refuse_page<B>(&self, request: &Request<B>, transport: Transport) -> Option<Response<Full<Bytes>>> {
        let (uri, version, headers) = (request.uri(), request.version(), request.headers());
        let admitted = self.0.head_limits.check_request(request);
        let admitted = admitted.and_then(|()| self.0.hosts.check_page(uri, version, headers, transport));
        admitted.err().map(|refusal| self.0.refuse(uri, refusal))
    }

    /// The limits of a request head.
    pub(crate) fn head_limits(&self) -> HeadLimits {
        self.0.head_limits
    }
}
