//! Refusals of requests, and what the log says about them.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tracing::field::display;

use super::logged_request::LoggedRequest;
use super::service::Inner;
use crate::handshake::refusal::{Excerpt, Refusal};

/// Header of an identifier that a proxy gives a request, so that its log and this one can be compared.
const REQUEST_ID: &str = "x-request-id";

impl Inner {
    /// The response for a refusal, which is logged.
    pub(super) fn refuse(&self, request: LoggedRequest<'_>, refusal: Refusal) -> Response<Full<Bytes>> {
        self.log_refused(request, &refusal);
        refusal.into()
    }

    pub(super) fn log_refused(&self, request: LoggedRequest<'_>, refusal: &Refusal) {
        let status = refusal.status();
        self.handshakes.add(status.as_u16());
        let Some(not_logged) = self.log.of(status.as_u16()).due() else { return };
        // the peer chose all of these: quoted, and cut
        let path = &*Excerpt(request.uri.path()).to_string();
        let request_id = request.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let request_id = request_id.map(|id| Excerpt(id).to_string());
        let (peer, request_id, status) = (request.peer.map(display), request_id.as_deref(), status.as_u16());
        let reason = refusal.reason();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(peer, request_id, path, status, not_logged, "handshake refused: {reason}");
        } else {
            tracing::info!(peer, request_id, path, status, not_logged, "handshake refused: {reason}");
        }
    }
}
