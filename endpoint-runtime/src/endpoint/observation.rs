//! Observes messages: a span for each, how long its handler takes, a line of the traffic log.
//!
//! The observer is the outermost interceptor of its endpoint. So the messages of an endpoint that nobody observes pay nothing.

use std::fmt;
use std::time::Instant;

use tracing::{Instrument, Span};

use crate::endpoint::call::{Call, Outcome};
use crate::endpoint::interceptor::{Interceptor, Next};
use crate::error::excerpt::excerpt;
use crate::observe::observing::Observing;
use crate::observe::trace_context::TraceContext;
use crate::session::Session;

/// Target of the spans of messages, so that a filter can select them.
const MESSAGES: &str = "endpoint_runtime::messages";

/// Observes each message from the call of the first interceptor to the result.
impl Interceptor for Observing {
    async fn message(&self, call: Call<'_>, next: Next<'_>) -> Outcome {
        if !call.is_for_a_handler() {
            return next.run(call).await;
        }
        let session = call.session();
        if let Some(traffic) = &self.traffic {
            traffic.note(&session.id().to_string(), "in", call.shown());
        }
        let span = if self.traces_messages { span_of(&call) } else { Span::none() };
        let observed = Observed { span, begun: self.measures_handlers.then(Instant::now), session };
        if observed.span.is_disabled() {
            return next.run(call).await;
        }
        let outcome = next.run(call).instrument(observed.span.clone()).await;
        if let Err(error) = outcome.result() {
            observed.note_error(excerpt(error));
        }
        outcome
    }
}

/// The observation of one message, until its handler has returned or was dropped.
struct Observed<'a> {
    span: Span,
    /// When it began, if handlers are measured.
    begun: Option<Instant>,
    session: &'a Session,
}

impl Observed<'_> {
    fn note_error(&self, error: impl fmt::Display) {
        self.span.record("otel.status_code", "ERROR");
        self.span.record("error", tracing::field::display(error));
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.note_error("panicked");
        }
        if let Some(begun) = self.begun {
            self.session.open_set().measures.calls.observe(begun.elapsed());
        }
    }
}

/// The span of a message. It has no parent: the connection may live for days, and so would its trace. The fields
/// `session`, `trace_id` and `parent_id` lead to the handshake, and with the feature `otel` a link does.
fn span_of(call: &Call<'_>) -> Span {
    let (session, kind) = (call.session(), call.shown().kind());
    let set = session.open_set();
    let path = &*set.path;
    let span = tracing::debug_span!(
        target: MESSAGES,
        parent: None,
        "websocket.message",
        otel.name = %format_args!("{kind} {path}"),
        otel.kind = "consumer",
        otel.status_code = tracing::field::Empty,
        error = tracing::field::Empty,
        session = %session.id(),
        path,
        endpoint = set.name,
        handler = tracing::field::Empty,
        event = tracing::field::Empty,
        kind,
        size = call.size(),
        trace_id = tracing::field::Empty,
        parent_id = tracing::field::Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Some(handler) = call.chosen() {
        span.record("handler", handler.name);
        if !handler.event.is_empty() {
            span.record("event", handler.event);
        }
    }
    if let Some(context) = session.handshake_request().header("traceparent").and_then(TraceContext::parse) {
        span.record("trace_id", tracing::field::display(format_args!("{:032x}", context.trace_id)));
        span.record("parent_id", tracing::field::display(format_args!("{:016x}", context.parent_id)));
    }
    #[cfg(feature = "otel")]
    if let Some(link) = session.trace_link() {
        crate::observe::otel::link(&span, link);
    }
    span
}
