//! What is observed of messages and their handlers, if anything is: a span of its own, the time, a line of the traffic log.
//!
//! The observer is the outermost interceptor of its endpoint. So the messages of an endpoint that nobody observes pay nothing.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Instant;

use tracing::Span;

use crate::endpoint::call::{Call, Outcome};
use crate::endpoint::contract::Reply;
use crate::endpoint::interceptor::{ErasedInterceptor, Next, NextClose, NextOpen};
use crate::endpoint::invocation::BoxFuture;
use crate::error::Error;
use crate::error::excerpt::excerpt;
use crate::observe::observing::Observing;
use crate::observe::trace_context::TraceContext;
use crate::session::Session;
use crate::session::outgoing::OutboundInterceptor;
use endpoint_wire::close::CloseReason;

/// Target of the spans of messages, so that a filter can select them.
const MESSAGES: &str = "endpoint_runtime::messages";

/// Observes each message from the call of the first interceptor to the result.
impl ErasedInterceptor for Observing {
    fn open<'a>(&'a self, _: &'a Session, next: NextOpen<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(next.run())
    }

    fn message<'a>(&'a self, call: Call<'a>, next: Next<'a>) -> BoxFuture<'a, Reply> {
        if !call.is_for_a_handler() {
            return Box::pin(next.start(call));
        }
        let session = call.session();
        if let Some(traffic) = &self.traffic {
            traffic.note(&session.id().to_string(), "in", call.shown());
        }
        let span = if self.traces_messages { span_of(&call) } else { Span::none() };
        let observed = Observed { span, begun: self.measures_handlers.then(Instant::now), session };
        Box::pin(async move {
            let observed = observed;
            if observed.span.is_disabled() {
                return next.start(call).await;
            }
            let reply = within(&observed.span, async { next.start(call).await }).await;
            if let Err(error) = &reply {
                observed.note_error(excerpt(error));
            }
            reply
        })
    }

    fn close<'a>(
        &'a self,
        _: &'a Session,
        _: &'a CloseReason,
        next: NextClose<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(next.run())
    }

    fn outbound(&self) -> Option<&dyn OutboundInterceptor> {
        None
    }

    fn takes_unhandled(&self) -> bool {
        false
    }
}

/// Polls a future inside a span.
async fn within<T>(span: &Span, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _entered = span.enter();
        future.as_mut().poll(cx)
    })
    .await
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
