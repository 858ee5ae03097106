//! The bridge to OpenTelemetry: the trace of a caller goes on in the handshake, and messages link to it.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::trace_context::TraceContext;

/// A span that others link to.
pub(crate) type Link = SpanContext;

/// Makes the caller's span the parent of `span`, which must not have begun. `state` is the header `tracestate`.
pub(crate) fn continue_trace(span: &Span, context: TraceContext, state: Option<&str>) {
    let flags = if context.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let (trace, parent) = (TraceId::from(context.trace_id), SpanId::from(context.parent_id));
    let remote = SpanContext::new(trace, parent, flags, true, state);
    // fails only without a layer of OpenTelemetry
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
}

/// The current span, if it is recorded.
pub(crate) fn current() -> Option<Link> {
    let context = Span::current().context();
    let span = context.span();
    let current = span.span_context();
    (current.is_valid() && current.is_sampled()).then(|| current.clone())
}

/// Links `span` to another.
pub(crate) fn link(span: &Span, to: &Link) {
    span.add_link(to.clone());
}
