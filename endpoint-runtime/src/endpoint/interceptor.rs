//! Interceptors: code around all handlers of an endpoint or of a container.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::endpoint::call::{Call, Outcome};
use crate::endpoint::contract::Reply;
use crate::endpoint::invocation::{BoxFuture, Received, Running, Target};
use crate::error::Error;
use crate::session::Session;
use crate::session::outgoing::OutboundInterceptor;
use endpoint_wire::close::CloseReason;

/// Code around the handlers: it sees each session open and close, each message before its handler, and if it wants what is
/// sent, and may refuse, replace, answer or close.
///
/// Install it for all endpoints with [`ContainerBuilder::intercept`](crate::ContainerBuilder::intercept), for one with
/// `#[server_endpoint("/path", intercept(Audit))]` or [`EndpointConfig::intercept`](crate::EndpointConfig::intercept).
/// Those of the container run first, then those of the endpoint, each in the order in which they were added: the first is the
/// outermost. One instance serves all sessions of the container, or of the endpoint; several sessions call it at the same
/// time. Values for one session belong into its [properties](Session::properties).
///
/// ```
/// use std::time::Instant;
///
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::{Call, Interceptor, Next, Outcome};
///
/// #[derive(Default)]
/// struct Timing;
///
/// impl Interceptor for Timing {
///     async fn message(&self, call: Call<'_>, next: Next<'_>) -> Outcome {
///         if call.size() > 1024 && call.event() == Some("search") {
///             return Outcome::refuse("a search of more than 1 KiB");
///         }
///         let (begun, handler) = (Instant::now(), call.handler());
///         let outcome = next.run(call).await;
///         println!("{handler:?} took {:?}", begun.elapsed());
///         outcome
///     }
/// }
/// ```
///
/// A method that is not implemented passes on. All methods may wait. While one waits, the session handles no other message,
/// as with a handler that waits. A panic ends the session, like that of a handler. When the session ends while a method
/// waits, its future is dropped after the [close timeout](crate::ContainerBuilder::close_timeout).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an interceptor",
    label = "does not implement `Interceptor`",
    note = "write `impl Interceptor for {Self}` with the methods that it needs: `open`, `message`, `close`, `outbound`"
)]
pub trait Interceptor: Send + Sync + 'static {
    /// Called when a session opens; `next.run()` calls the next interceptor, at last the endpoint's `on_open`.
    ///
    /// Return its outcome, or change it. If the outcome is an error, the session ends; after [`Outcome::refuse`] with 1008.
    /// Without a call of `next.run()` neither `on_open` nor `on_close` of the endpoint runs, and the session ends with 1008, or
    /// with the reason of [`Outcome::close`]. `on_error` is told, unless there is such a reason.
    fn open(&self, session: &Session, next: NextOpen<'_>) -> impl Future<Output = Outcome> + Send {
        let _ = session;
        next.run()
    }

    /// Called for each message; `next.run(call)` calls the next interceptor, at last the handler. Return its outcome, or
    /// change it. Without a call of `next.run` no handler sees the message.
    ///
    /// It is called for text and binary messages, also those that no handler takes ([`Call::is_handled`]), and for pongs that
    /// a handler takes; not for pings, which are answered automatically. What exceeds a rate
    /// ([`MessageRate`](crate::MessageRate)) is dropped before.
    ///
    /// - A handler that takes whole messages: one call for each message.
    /// - A handler that takes parts (`last: bool`): one call for each part.
    /// - A handler that reads a stream: one call, with the size of the first part and without the content. The handler reads
    ///   the rest while `next.run` waits.
    /// - A payload that a listed stream decoder decodes: one call when it is decoded, without the content.
    fn message(&self, call: Call<'_>, next: Next<'_>) -> impl Future<Output = Outcome> + Send {
        next.run(call)
    }

    /// Called when a session has ended; `next.run()` calls the next interceptor, at last the endpoint's `on_close`. An error
    /// goes to `on_error`.
    ///
    /// `on_close` runs in any case: without a call of `next.run()`, or after a panic, it runs afterwards. Called for every
    /// session for which `open` was called, except if the runtime drops the session's task.
    fn close(
        &self,
        session: &Session,
        reason: &CloseReason,
        next: NextClose<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (session, reason);
        next.run()
    }

    /// The part of this interceptor that sees what is sent; usually `Some(self)`. Asked once, when the endpoint is mounted.
    /// Default: none, so that sending costs nothing.
    fn outbound(&self) -> Option<&dyn OutboundInterceptor> {
        None
    }
}

/// [`Interceptor`] without its type.
pub(crate) trait ErasedInterceptor: Send + Sync {
    fn open<'a>(&'a self, session: &'a Session, next: NextOpen<'a>) -> BoxFuture<'a, Outcome>;
    fn message<'a>(&'a self, call: Call<'a>, next: Next<'a>) -> BoxFuture<'a, Reply>;
    fn close<'a>(
        &'a self,
        session: &'a Session,
        reason: &'a CloseReason,
        next: NextClose<'a>,
    ) -> BoxFuture<'a, Result<(), Error>>;
    fn outbound(&self) -> Option<&dyn OutboundInterceptor>;
}

impl<I: Interceptor> ErasedInterceptor for I {
    fn open<'a>(&'a self, session: &'a Session, next: NextOpen<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(Interceptor::open(self, session, next))
    }

    fn message<'a>(&'a self, call: Call<'a>, next: Next<'a>) -> BoxFuture<'a, Reply> {
        Box::pin(async move { Interceptor::message(self, call, next).await.into_result() })
    }

    fn close<'a>(
        &'a self,
        session: &'a Session,
        reason: &'a CloseReason,
        next: NextClose<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(Interceptor::close(self, session, reason, next))
    }

    fn outbound(&self) -> Option<&dyn OutboundInterceptor> {
        Interceptor::outbound(self)
    }
}

/// One interceptor, shared by the sessions that it serves.
#[derive(Clone)]
pub struct SharedInterceptor(pub(crate) Arc<dyn ErasedInterceptor>);

impl SharedInterceptor {
    /// An interceptor without its type.
    pub fn new(interceptor: impl Interceptor) -> Self {
        Self(Arc::new(interceptor))
    }

    /// The part that sees what is sent.
    pub(crate) fn outbound(&self) -> Option<&dyn OutboundInterceptor> {
        self.0.outbound()
    }
}

impl fmt::Debug for SharedInterceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedInterceptor")
    }
}

/// The interceptors of one mounted endpoint, the outermost first. Never empty.
#[derive(Debug)]
pub(crate) struct Interceptors {
    all: Vec<SharedInterceptor>,
    has_outbound: bool,
    takes_unhandled: bool,
}

impl Interceptors {
    /// `None` if there are none. `observing` comes first, and does not ask for messages that no handler takes.
    pub(crate) fn of(observing: Option<SharedInterceptor>, others: Vec<SharedInterceptor>) -> Option<Arc<Self>> {
        let takes_unhandled = !others.is_empty();
        let all: Vec<_> = observing.into_iter().chain(others).collect();
        let has_outbound = all.iter().any(|interceptor| interceptor.0.outbound().is_some());
        (!all.is_empty()).then(|| Arc::new(Self { all, has_outbound, takes_unhandled }))
    }

    /// Calls the interceptors with a message, and the handler behind them.
    pub(crate) fn run<'a>(
        &'a self,
        received: Box<Received>,
        target: &'a mut (dyn Target + 'a),
        session: &'a Session,
    ) -> BoxFuture<'a, Reply> {
        match self.all.split_first() {
            Some((first, rest)) => first.0.message(Call::new(session, received), Next { rest, target }),
            None => Box::pin(std::future::ready(Ok(None))),
        }
    }

    pub(crate) fn as_slice(&self) -> &[SharedInterceptor] {
        &self.all
    }

    /// Whether one of them sees messages that no handler takes.
    pub(crate) fn takes_unhandled(&self) -> bool {
        self.takes_unhandled
    }

    /// Whether one of them sees what is sent.
    pub(crate) fn has_outbound(&self) -> bool {
        self.has_outbound
    }
}

/// The rest of the way to the handler.
pub struct Next<'a> {
    rest: &'a [SharedInterceptor],
    target: &'a mut (dyn Target + 'a),
}

impl Next<'_> {
    /// Runs the other interceptors and the handler. The outcome has its reply, or its error.
    ///
    /// # Cancel safety
    /// If the future is dropped, the handler may have run in part.
    pub async fn run(self, call: Call<'_>) -> Outcome {
        self.start(call).await.into()
    }

    /// Calls the next interceptor, or the handler.
    fn start<'s>(self, call: Call<'s>) -> Started<'s>
    where
        Self: 's,
    {
        let Next { rest, target } = self;
        if let Some((first, rest)) = rest.split_first() {
            return Started::Later(first.0.message(call, Next { rest, target }));
        }
        let (session, invocation) = call.into_invocation();
        match target.call(session, invocation) {
            Running::Settled(reply) => Started::Settled(Some(reply)),
            Running::Later(handler) => Started::Later(handler),
        }
    }
}

/// An interceptor or a handler that was called.
enum Started<'a> {
    Later(BoxFuture<'a, Reply>),
    Settled(Option<Reply>),
}

impl Future for Started<'_> {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        match &mut *self {
            Self::Later(reply) => reply.as_mut().poll(cx),
            Self::Settled(reply) => reply.take().map_or(Poll::Pending, Poll::Ready),
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("interceptors", &self.rest.len()).finish_non_exhaustive()
    }
}

/// An endpoint's `on_open` and `on_close`, without its type.
pub(crate) trait Lifecycle: Send {
    fn open(&mut self) -> BoxFuture<'_, Reply>;
    fn close(&mut self, reason: CloseReason) -> BoxFuture<'_, Result<(), Error>>;
}

/// The rest of the way to `on_open`.
pub struct NextOpen<'a> {
    session: &'a Session,
    rest: &'a [SharedInterceptor],
    endpoint: &'a mut (dyn Lifecycle + 'a),
}

impl<'a> NextOpen<'a> {
    pub(crate) fn new(session: &'a Session, all: &'a Interceptors, endpoint: &'a mut (dyn Lifecycle + 'a)) -> Self {
        Self { session, rest: &all.all, endpoint }
    }

    /// Runs the other interceptors and `on_open`. The outcome has its greeting, or its error.
    ///
    /// # Cancel safety
    /// If the future is dropped, `on_open` may have run in part.
    pub async fn run(self) -> Outcome {
        let Self { session, rest, endpoint } = self;
        match rest.split_first() {
            Some((first, rest)) => first.0.open(session, NextOpen { session, rest, endpoint }).await,
            None => endpoint.open().await.into(),
        }
    }
}

impl fmt::Debug for NextOpen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextOpen").field("interceptors", &self.rest.len()).finish_non_exhaustive()
    }
}

/// The rest of the way to `on_close`.
pub struct NextClose<'a> {
    session: &'a Session,
    reason: &'a CloseReason,
    rest: &'a [SharedInterceptor],
    endpoint: &'a mut (dyn Lifecycle + 'a),
}

impl<'a> NextClose<'a> {
    pub(crate) fn new(
        session: &'a Session,
        reason: &'a CloseReason,
        all: &'a Interceptors,
        endpoint: &'a mut (dyn Lifecycle + 'a),
    ) -> Self {
        Self { session, reason, rest: &all.all, endpoint }
    }

    /// Runs the other interceptors and `on_close`.
    ///
    /// # Errors
    /// That of an interceptor or of `on_close`. Return it, so that `on_error` receives it.
    ///
    /// # Cancel safety
    /// If the future is dropped, `on_close` may have run in part.
    pub async fn run(self) -> Result<(), Error> {
        let Self { session, reason, rest, endpoint } = self;
        match rest.split_first() {
            Some((first, rest)) => first.0.close(session, reason, NextClose { session, reason, rest, endpoint }).await,
            None => endpoint.close(reason.clone()).await,
        }
    }
}

impl fmt::Debug for NextClose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextClose").field("interceptors", &self.rest.len()).finish_non_exhaustive()
    }
}
