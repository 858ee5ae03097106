//! Checks of a request before an endpoint sees it: its host, its origin, the size of its head.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::logged_request::LoggedRequest;
use super::service::ServerContainer;
use crate::handshake::head::HeadLimits;
use crate::handshake::request::Transport;

impl ServerContainer {
    /// The refusal of a request for another service behind the same listener; `None` admits the request.
    pub(crate) fn refuse_page<B>(&self, request: &Request<B>, transport: Transport) -> Option<Response<Full<Bytes>>> {
        let transport = self.0.client_of(request, transport);
        let (uri, version, headers) = (request.uri(), request.version(), request.headers());
        let admitted = self.0.head_limits.check_request(request);
        let admitted = admitted.and_then(|()| self.0.hosts.check_page(uri, version, headers, transport));
        admitted.err().map(|refusal| self.0.refuse(LoggedRequest::of(request, transport), refusal))
    }

    /// The limits of a request head.
    pub(crate) fn head_limits(&self) -> HeadLimits {
        self.0.head_limits
    }
}
