//! What is observed of a message and its handler, if anything: a span of its own, the time, a line of the traffic log.

use std::task::Poll;
use std::time::Instant;

use tracing::Span;

use crate::endpoint::contract::Reply;
use crate::endpoint::invocation::BoxFuture;
use crate::error::excerpt::excerpt;
use crate::observe::trace_context::TraceContext;
use crate::observe::traffic::{Shown, may_observe};
use crate::session::Session;

/// Target of the spans of messages, so that a filter can select them.
const MESSAGES: &str = "endpoint_runtime::messages";

/// The observation of one message, from the call of its handler to its result. Usually there is none, which costs one
/// load.
pub(crate) struct Observation(Option<Box<Observed>>);

struct Observed {
    span: Span,
    /// When the handler was called, if handlers are measured.
    begun: Option<Instant>,
    session: Session,
}

impl Observation {
    /// Begins the observation of a message, if there is one.
    #[inline(always)]
    pub(crate) fn of(session: &Session, message: Shown<'_>) -> Self {
        if may_observe() { Self::begin(session, message) } else { Self(None) }
    }

    #[cold]
    fn begin(session: &Session, message: Shown<'_>) -> Self {
        let observing = &session.open_set().observing;
        if let Some(traffic) = &observing.traffic {
            traffic.note(&session.id().to_string(), "in", message);
        }
        let span = if observing.traces_messages { span_of(session, message) } else { Span::none() };
        let begun = observing.measures_handlers.then(Instant::now);
        let is_observed = begun.is_some() || !span.is_disabled();
        Self(is_observed.then(|| Box::new(Observed { span, begun, session: session.clone() })))
    }

    /// Calls a handler that is an ordinary `fn`.
    #[inline]
    pub(crate) fn run(&self, call: impl FnOnce() -> Reply) -> Reply {
        let entered = self.0.as_ref().map(|observed| observed.span.enter());
        let reply = call();
        drop(entered);
        if let Some(observed) = &self.0 {
            observed.note(&reply);
        }
        reply
    }

    /// Polls a handler that may suspend.
    fn poll(&self, poll: impl FnOnce() -> Poll<Reply>) -> Poll<Reply> {
        let entered = self.0.as_ref().map(|observed| observed.span.enter());
        let polled = poll();
        drop(entered);
        if let (Some(observed), Poll::Ready(reply)) = (&self.0, &polled) {
            observed.note(reply);
        }
        polled
    }

    /// A handler that has begun already, with its observation.
    pub(crate) fn with<'a>(self, mut pending: BoxFuture<'a, Reply>) -> BoxFuture<'a, Reply> {
        if self.0.is_none() {
            return pending;
        }
        Box::pin(std::future::poll_fn(move |cx| self.poll(|| pending.as_mut().poll(cx))))
    }
}

impl Observed {
    #[cold]
    fn note(&self, reply: &Reply) {
        if let Err(error) = reply {
            self.span.record("otel.status_code", "ERROR");
            self.span.record("error", tracing::field::display(excerpt(error)));
        }
    }
}

/// The handler has returned, or was dropped.
impl Drop for Observed {
    fn drop(&mut self) {
        if let Some(begun) = self.begun {
            self.session.open_set().measures.calls.observe(begun.elapsed());
        }
    }
}

/// The span of a message. It has no parent: the connection may live for days, and so would its trace. The fields
/// `session`, `trace_id` and `parent_id` lead to the handshake, and with the feature `otel` a link does.
fn span_of(session: &Session, message: Shown<'_>) -> Span {
    let set = session.open_set();
    let (path, kind) = (&*set.path, message.kind());
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
        kind,
        size = message.size(),
        trace_id = tracing::field::Empty,
        parent_id = tracing::field::Empty,
    );
    if span.is_disabled() {
        return span;
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
