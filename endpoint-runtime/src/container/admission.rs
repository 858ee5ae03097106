//! What is asked of a request before an endpoint sees it: its host, its origin, the size of its head.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::{ContainerBuilder, ServerContainer};
use crate::handshake::head::HeadLimits;
use crate::handshake::hosts::Hosts;
use crate::handshake::origins::Origins;
use crate::handshake::request::Transport;

impl ContainerBuilder {
    /// Admits requests for these hosts and no others, whatever their `Origin`: `example.org` with every port,
    /// `example.org:8443` with this one, `*.example.org` for all subdomains but not the domain itself, `127.0.0.1` or
    /// `[::1]`. `*` is every host.
    ///
    /// This guards against DNS rebinding: anybody can let a name of theirs resolve to this server, and a page of that
    /// name is then of the same origin. By default a [`Server`](crate::Server) that is bound to a loopback address, which
    /// the pages a developer visits could reach in this way, admits IP addresses, `localhost` and names below it, and no
    /// other host. So behind a proxy on the same machine its public name is to be listed here. A server that is bound to
    /// any other address admits every host by default, and so does a container without a listener of its own: behind
    /// another HTTP server, or in the test kit.
    ///
    /// A request for another host is refused with 421 (RFC 9110 §15.5.20) and a sentence that names the host and this
    /// option; one for the [`fallback`](crate::ServerBuilder::fallback) of a `Server`, too, since a rebound page can read
    /// what it answers.
    pub fn allowed_hosts<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, hosts: I) -> Self {
        self.hosts = Hosts::list(hosts);
        self
    }

    /// Admits pages of these origins, as in `https://example.org` or `https://*.example.org`, and no others.
    ///
    /// By default a browser is admitted from the very origin it connects to, which guards against cross-site
    /// WebSocket hijacking; clients that are no browsers send no origin and are always admitted.
    pub fn allowed_origins<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, origins: I) -> Self {
        self.origins = Origins::list(origins);
        self
    }

    /// Decides about origins as `origins` does; [`Origins::any`] admits every page.
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = Ok(origins);
        self
    }

    /// The most bytes of a request's head: its request line and all of its headers. A session keeps its head until it
    /// ends, so this bounds what an anonymous peer makes the server hold. Default: 16 KiB.
    ///
    /// A larger head is refused with 431 (RFC 6585 §5) and a sentence that names this option. [`Server`](crate::Server)
    /// stops reading at twice the size, or 8 KiB more if that is more, and then answers 431 alone; it asks the same of
    /// requests for its fallback. Another HTTP server has a limit of its own for what it reads.
    pub fn max_request_head(mut self, bytes: usize) -> Self {
        self.head_limits.bytes = bytes;
        self
    }

    /// The most headers of a request, of which repeated ones count each. Default: 64.
    ///
    /// A request with more is refused as by [`max_request_head`](Self::max_request_head); [`Server`](crate::Server)
    /// answers 431 alone from half as many again. It takes 16,384 at most.
    pub fn max_request_headers(mut self, headers: usize) -> Self {
        self.head_limits.headers = headers;
        self
    }
}

impl ServerContainer {
    /// The refusal of a request that is for something else behind the same listener; `None` admits it.
    pub(crate) fn refuse_page<B>(&self, request: &Request<B>, transport: Transport) -> Option<Response<Full<Bytes>>> {
        let (uri, version, headers) = (request.uri(), request.version(), request.headers());
        let admitted = self.0.head_limits.check_request(request);
        let admitted = admitted.and_then(|()| self.0.hosts.check_page(uri, version, headers, transport));
        admitted.err().map(|refusal| self.0.refuse(uri, refusal))
    }

    /// What the head of a request may have.
    pub(crate) fn head_limits(&self) -> HeadLimits {
        self.0.head_limits
    }
}
