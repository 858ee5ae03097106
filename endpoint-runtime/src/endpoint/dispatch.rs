//! One event, one handler call, one result. Only this module calls handlers and catches their panics.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::codec::session_coders::{Coders, Fed, Part};
use crate::endpoint::contract::{EndpointHandlers, Handler, Mode, Reply};
use crate::endpoint::interceptor::{Interceptors, Lifecycle, NextClose, NextOpen};
use crate::endpoint::invocation::{BoxFuture, Invocation};
use crate::error::{Error, Kind};
use crate::observe::destructors;
use crate::send_queue::SendQueue;
use crate::session::Session;
use crate::session::message_handler::{Answer, Entry, Payload};
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::message::{Binary, DataKind};
use endpoint_wire::text::Text;

/// An endpoint instance and its session. Once `on_open` has started, `on_close` runs exactly once.
pub(crate) struct Dispatch<E: EndpointHandlers> {
    endpoint: E,
    session: Session,
    interceptors: Option<Arc<Interceptors>>,
    stage: Stage,
}

pin_project! {
    /// A call of a message handler.
    #[project = CallingState]
    pub(crate) enum HandlerFuture<'d, T, B, P, X, Y, Z> {
        Text { #[pin] handler: T },
        Binary { #[pin] handler: B },
        Pong { #[pin] handler: P },
        TextStream { #[pin] handler: X },
        BinaryStream { #[pin] handler: Y },
        Presence { #[pin] handler: Z },
        Settled { reply: Option<Reply> },
        Later { handler: BoxFuture<'d, Reply> },
    }
}

impl<T, B, P, X, Y, Z> Future for HandlerFuture<'_, T, B, P, X, Y, Z>
where
    T: Future<Output = Reply>,
    B: Future<Output = Reply>,
    P: Future<Output = Reply>,
    X: Future<Output = Reply>,
    Y: Future<Output = Reply>,
    Z: Future<Output = Reply>,
{
    type Output = Reply;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        match self.project() {
            CallingState::Text { handler } => handler.poll(cx),
            CallingState::Binary { handler } => handler.poll(cx),
            CallingState::Pong { handler } => handler.poll(cx),
            CallingState::Later { handler } => handler.as_mut().poll(cx),
            CallingState::TextStream { handler } => handler.poll(cx),
            CallingState::BinaryStream { handler } => handler.poll(cx),
            CallingState::Presence { handler } => handler.poll(cx),
            CallingState::Settled { reply } => reply.take().map_or(Poll::Pending, Poll::Ready),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Stage {
    New,
    Opened,
    Closed,
}

impl<E: EndpointHandlers> Dispatch<E> {
    pub(crate) fn new(endpoint: E, session: Session, interceptors: Option<Arc<Interceptors>>) -> Self {
        Self { endpoint, session, interceptors, stage: Stage::New }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Runs the interceptors, if there are any, and `on_open`.
    pub(crate) async fn on_open(&mut self) -> Reply {
        let Some(interceptors) = self.interceptors.clone() else { return self.open_endpoint().await };
        let session = self.session.clone();
        let opened = NextOpen::new(&session, &interceptors, self).run().await.into_result();
        if self.stage == Stage::New && opened.is_ok() {
            return Err(Error::new(Kind::Refused, "an interceptor did not let the session open"));
        }
        opened
    }

    async fn open_endpoint(&mut self) -> Reply {
        self.stage = Stage::Opened;
        E::list_coders(&self.session);
        self.endpoint.on_open(&self.session).await
    }

    /// Calls the handler of a message.
    #[inline(always)]
    pub(crate) fn call(
        &mut self,
        work: Invocation,
    ) -> HandlerFuture<
        '_,
        impl Future<Output = Reply> + Send,
        impl Future<Output = Reply> + Send,
        impl Future<Output = Reply> + Send,
        impl Future<Output = Reply> + Send,
        impl Future<Output = Reply> + Send,
        impl Future<Output = Reply> + Send,
    > {
        let Self { endpoint, session, interceptors, .. } = self;
        match work {
            Invocation::Text(text, last) => HandlerFuture::Text { handler: endpoint.on_text(session, text, last) },
            Invocation::Binary(data, last) => {
                HandlerFuture::Binary { handler: endpoint.on_binary(session, data, last) }
            }
            Invocation::Pong(pong) => HandlerFuture::Pong { handler: endpoint.on_pong(session, pong) },
            Invocation::TextStream(text) => {
                HandlerFuture::TextStream { handler: endpoint.on_text_stream(session, text) }
            }
            Invocation::BinaryStream(data) => {
                HandlerFuture::BinaryStream { handler: endpoint.on_binary_stream(session, data) }
            }
            Invocation::Presence(change) => HandlerFuture::Presence { handler: endpoint.on_presence(session, change) },
            Invocation::Settled(reply) => HandlerFuture::Settled { reply: Some(reply) },
            Invocation::Later(handler) => HandlerFuture::Later { handler },
            Invocation::Intercepted(received) => match interceptors {
                Some(interceptors) => HandlerFuture::Later { handler: interceptors.run(received, endpoint, session) },
                None => HandlerFuture::Settled { reply: Some(Ok(None)) },
            },
            // the connection has already turned an added message into its call
            Invocation::Added(_) => HandlerFuture::Settled { reply: Some(Ok(None)) },
        }
    }

    /// Calls a handler that was added to the session.
    pub(crate) fn added(&mut self, entry: &Entry, payload: Payload, last: bool) -> Invocation {
        let call = || Ok(self.session.decoding(|| entry.call(&self.session, payload, last)));
        match guarded(&self.session, call) {
            Ok(Answer::Now(reply)) => Invocation::Settled(reply),
            Ok(Answer::Later(pending)) => Invocation::Later(pending),
            Err(panic) => Invocation::Settled(Err(panic)),
        }
    }

    /// Runs the interceptors, if there are any, and `on_close`, unless `on_open` never started.
    pub(crate) async fn on_close(&mut self, reason: CloseReason) -> Result<(), Error> {
        let Some(interceptors) = self.interceptors.clone() else { return self.close_endpoint(reason).await };
        let session = self.session.clone();
        NextClose::new(&session, &reason, &interceptors, self).run().await
    }

    /// Runs `on_close`, unless it has run or `on_open` never started.
    pub(crate) async fn close_endpoint(&mut self, reason: CloseReason) -> Result<(), Error> {
        if !self.has_to_close() {
            return Ok(());
        }
        self.stage = Stage::Closed;
        self.endpoint.on_close(&self.session, reason).await
    }

    /// Whether `on_open` has started, and `on_close` has not.
    pub(crate) fn has_to_close(&self) -> bool {
        self.stage == Stage::Opened
    }

    pub(crate) async fn on_error(&mut self, error: Error) -> Result<(), Error> {
        self.endpoint.on_error(&self.session, error).await
    }

    /// Gives a part of a message to its stream decoder. The handler's `max_size` bounds the message, or else `limit`.
    pub(crate) fn feed(&mut self, handler: &Handler, part: Part<'_>, last: bool, limit: usize) -> Fed {
        let (session, limit) = (&self.session, handler.max_size.unwrap_or(limit));
        let (Some(feed), Some(coders)) = (handler.feed, session.coders()) else { return Fed::More };
        guarded(session, || Ok(session.decoding(|| feed(coders, part, last, limit)))).unwrap_or_else(Fed::Failed)
    }

    /// The call for a message that a stream decoder has finished.
    pub(crate) fn fed(&mut self, kind: DataKind) -> Invocation {
        match kind {
            DataKind::Text if E::TEXT.mode == Mode::Sync => Invocation::Settled(self.text_sync("", true)),
            DataKind::Text => Invocation::Text(Text::new(), true),
            DataKind::Binary if E::BINARY.mode == Mode::Sync => Invocation::Settled(self.binary_sync(&[], true)),
            DataKind::Binary => Invocation::Binary(Binary::new(), true),
        }
    }

    /// Calls a handler that is an ordinary `fn`.
    #[inline]
    pub(crate) fn text_sync(&mut self, text: &str, last: bool) -> Reply {
        let Self { endpoint, session, .. } = self;
        guarded(session, || endpoint.on_text_sync(session, text, last))
    }

    /// Calls a handler that is an ordinary `fn`.
    #[inline]
    pub(crate) fn binary_sync(&mut self, data: &[u8], last: bool) -> Reply {
        let Self { endpoint, session, .. } = self;
        guarded(session, || endpoint.on_binary_sync(session, data, last))
    }
}

impl<E: EndpointHandlers> Lifecycle for Dispatch<E> {
    fn open(&mut self) -> BoxFuture<'_, Reply> {
        Box::pin(self.open_endpoint())
    }

    fn close(&mut self, reason: CloseReason) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.close_endpoint(reason))
    }
}

/// Runs user code that is not a handler; a panic becomes an error.
pub(crate) fn caught<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(Error::panic(&*panic)))
}

/// Runs user code. Its sends on its own session join the batch, and a panic becomes an error.
#[inline]
fn guarded<T>(session: &Session, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    session
        .send_queue()
        .enter_handler(|| catch_unwind(AssertUnwindSafe(call)))
        .unwrap_or_else(|panic| Err(Error::panic(&*panic)))
}

/// Polls a handler's future. Once it has panicked it must not be polled again.
#[inline]
pub(crate) fn poll<T, F>(send_queue: &SendQueue, handler: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<Result<T, Error>>
where
    F: Future<Output = Result<T, Error>>,
{
    match send_queue.enter_handler(|| catch_unwind(AssertUnwindSafe(|| handler.poll(cx)))) {
        Ok(polled) => polled,
        Err(panic) => Poll::Ready(Err(Error::panic(&*panic))),
    }
}

/// If the connection's task is dropped early, as when its runtime shuts down, `on_close` still runs up to its first
/// suspension.
impl<E: EndpointHandlers> Drop for Dispatch<E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(not_logged) = self.session.open_set().log.panics.due() {
                tracing::error!(not_logged, session = %self.session.id(), "a connection's task panicked and was dropped");
            }
        }
        self.session.send_queue().end(false);
        self.session.unregister();
        if self.has_to_close() {
            self.close_at_once();
        }
        if E::LISTS_CODERS {
            destroy_coders(&self.session);
        }
    }
}

/// The last use of a dispatch. Dropping it drops the endpoint, whose destructor may panic: the panic is logged, and the
/// connection's task goes on to close its socket and report the end. Then everything else that the application gave the
/// session is dropped.
pub(crate) struct Ending<E: EndpointHandlers>(pub(crate) Option<Dispatch<E>>);

impl<E: EndpointHandlers> Drop for Ending<E> {
    fn drop(&mut self) {
        let Some(dispatch) = self.0.take() else { return };
        let session = dispatch.session.clone();
        if let Some(error) = destructors::caught(dispatch) {
            if let Some(not_logged) = session.open_set().log.panics.due() {
                let endpoint = session.open_set().name;
                tracing::error!(%error, not_logged, endpoint, session = %session.id(), "the endpoint's destructor panicked");
            }
        }
        session.release();
    }
}

impl<E: EndpointHandlers> Dispatch<E> {
    fn close_at_once(&mut self) {
        let reason = CloseReason::truncating(CloseCode::ClosedAbnormally, "the connection's task was dropped");
        let session = self.session.clone();
        let mut handler = pin!(self.close_endpoint(reason.by(Initiator::Container)));
        if let Poll::Ready(Err(error)) =
            poll(session.send_queue(), handler.as_mut(), &mut Context::from_waker(Waker::noop()))
        {
            if let Some(not_logged) = session.open_set().log.on_close.due() {
                tracing::error!(%error, not_logged, session = %session.id(), "on_close failed after the connection's task was dropped");
            }
        }
    }
}

/// Logs an error that no `on_error` receives. A peer can cause such errors as often as it likes, so the log is limited.
pub(crate) fn log_unhandled(session: &Session, error: &Error) {
    let (endpoint, path, log) = (session.open_set().name, &*session.open_set().path, &session.open_set().log);
    let session = session.id();
    // a violation costs a peer one frame and explains little; other failures have a text that may help
    let violates = error.is_protocol() || error.is_too_big();
    let due = if violates { log.violations.due() } else { log.failures.due() };
    let Some(not_logged) = due else { return };
    if error.is_user() || error.is_panic() {
        tracing::warn!(error = %format_args!("{error:#}"), not_logged, endpoint, path, %session, "a handler failed, and the endpoint has no on_error");
    } else {
        tracing::warn!(error = %format_args!("{error:#}"), not_logged, endpoint, path, %session, "an error was not handled: the endpoint has no on_error");
    }
}

/// Destroys the coders that the endpoint lists.
fn destroy_coders(session: &Session) {
    for mut coder in session.coders().into_iter().flat_map(Coders::end) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| coder.destroy())) {
            if let Some(not_logged) = session.open_set().log.panics.due() {
                let error = Error::panic(&*panic);
                tracing::error!(%error, not_logged, session = %session.id(), "the destroy method of a coder panicked");
            }
        }
        // separately: two panics at once would abort the process
        destructors::run("a coder", coder);
    }
}
