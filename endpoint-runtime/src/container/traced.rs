//! The span and the duration of an opening handshake.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body_util::Full;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::mounted::Mounted;
use super::response::ResponseFuture;
use super::service::Inner;
use crate::error::excerpt::excerpt;
use crate::handshake::path::PathParams;
use crate::handshake::request::Transport;
use crate::observe::trace_context::TraceContext;

/// Target of the spans of handshakes, so that a filter can select them.
const HANDSHAKES: &str = "endpoint_runtime::handshakes";

impl Inner {
    /// Answers the handshake of an endpoint, in a span of its own, and measures it.
    pub(super) fn answer_traced(
        self: &Arc<Self>,
        mounted: &Arc<Mounted>,
        params: PathParams,
        parts: Parts,
        transport: Transport,
    ) -> ResponseFuture {
        let (begun, span) = (Instant::now(), span_of(mounted, &parts, transport));
        let response = span.in_scope(|| self.answer(mounted, params, parts, transport));
        let container = self.clone();
        response.finished(span, move |span, response| container.note_answered(begun, span, response))
    }

    fn note_answered(&self, begun: Instant, span: &Span, response: &Response<Full<Bytes>>) {
        self.handshakes.durations.observe(begun.elapsed());
        let status = response.status();
        span.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
    }
}

impl ResponseFuture {
    /// Waits for the response in `span`, and then calls `done`.
    fn finished(self, span: Span, done: impl FnOnce(&Span, &Response<Full<Bytes>>) + Send + 'static) -> Self {
        match self.into_ready() {
            Ok(response) => {
                done(&span, &response);
                response.into()
            }
            Err(waiting) => Self::waiting(async move {
                let response = waiting.instrument(span.clone()).await;
                done(&span, &response);
                response
            }),
        }
    }
}

/// The span of a handshake. The names are those of OpenTelemetry's conventions for HTTP. The query is left out: it may
/// have a secret.
fn span_of(mounted: &Mounted, parts: &Parts, transport: Transport) -> Span {
    let has_parent = !Span::current().is_none();
    let path = &*mounted.sessions.path;
    let span = tracing::debug_span!(
        target: HANDSHAKES,
        "websocket.handshake",
        otel.name = %format_args!("{} {path}", parts.method),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = %parts.method,
        http.route = path,
        url.path = %excerpt(parts.uri.path()),
        client.address = transport.or_connect_info(&parts.extensions).peer_addr.map(|peer| tracing::field::display(peer.ip())),
        endpoint = mounted.about.name,
        http.response.status_code = tracing::field::Empty,
        trace_id = tracing::field::Empty,
        parent_id = tracing::field::Empty,
    );
    if span.is_disabled() {
        return span;
    }
    let Some(context) = trace_of(parts) else { return span };
    span.record("trace_id", tracing::field::display(format_args!("{:032x}", context.trace_id)));
    span.record("parent_id", tracing::field::display(format_args!("{:016x}", context.parent_id)));
    // a span around this one, of a layer in front, has taken the caller's trace already
    #[cfg(feature = "otel")]
    if !has_parent {
        let state = parts.headers.get("tracestate").and_then(|state| state.to_str().ok());
        crate::observe::otel::continue_trace(&span, context, state);
    }
    #[cfg(not(feature = "otel"))]
    let _ = has_parent;
    span
}

/// The trace of a request's caller. Several headers are none (W3C Trace Context §3.2).
fn trace_of(parts: &Parts) -> Option<TraceContext> {
    let mut headers = parts.headers.get_all("traceparent").iter();
    let (first, None) = (headers.next()?, headers.next()) else { return None };
    TraceContext::parse(first.to_str().ok()?)
}
