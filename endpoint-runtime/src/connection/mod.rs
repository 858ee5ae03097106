//! One socket's life in order: open, messages one by one, close.

mod closing;
mod dynamic_calls;
mod dynamic_handlers;
mod end;
mod gate;
mod inbox;
mod input;
mod io;
mod limits;
mod reader;
mod receiving;
mod routing;
mod slow_path;
mod stall;
mod timers;
pub(crate) mod token;
mod unfinished;
mod writer;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::connection::io::ConnectionIo;
pub(crate) use crate::connection::slow_path::Gate;
use crate::connection::token::ConnectionToken;
use crate::endpoint::contract::{EndpointHandlers, Reply};
use crate::endpoint::dispatch;
use crate::endpoint::dispatch::{Dispatch, Ending};
use crate::error::excerpt::excerpt;
use crate::error::{Error, Kind};
use crate::send_queue::FAR;
use crate::session::{OpenGuard, Session};
use crate::transport::socket::Socket;
use endpoint_wire::Violation;
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::message::Message;

/// A socket whose opening handshake is done, and the endpoint that serves it.
pub(crate) struct Connection<E: EndpointHandlers> {
    io: ConnectionIo,
    dispatch: Dispatch<E>,
    /// Keeps the session reachable for a shutdown until the connection ends.
    place: OpenGuard,
    /// Dropped last.
    token: ConnectionToken,
}

impl<E: EndpointHandlers> Connection<E> {
    /// Boxed, so that the task around it stays small. `early` holds bytes that arrived with the handshake.
    pub(crate) fn new(
        socket: Socket,
        early: Bytes,
        dispatch: Dispatch<E>,
        token: ConnectionToken,
        gate: Option<Gate>,
    ) -> Box<Self> {
        let session = dispatch.session().clone();
        let place = OpenGuard::of(&session);
        let io = ConnectionIo::new(socket, early, session, gate);
        Box::new(Self { io, dispatch, place, token })
    }

    #[cfg(feature = "client")]
    pub(crate) fn session(&self) -> &Session {
        self.dispatch.session()
    }

    /// Runs the open connection: handles messages one by one until the session ends, then closes. Returns the reason.
    ///
    /// Rare steps are boxed, so that the task holds a message handler and little else.
    pub(crate) async fn live(mut self: Box<Self>) -> CloseReason {
        loop {
            // `pin!` keeps the call where it is made: moving it costs as much as making it. The reply has no name before the
            // `await` ends: an idle task would keep a place for it
            let Some(replied) = ({
                if self.io.may_have_call::<E>() {
                    match pin!(next(&mut self.io, &mut self.dispatch)).as_pin_mut() {
                        Some(call) => Some(run::<E, _, _>(&mut self.io, call).await),
                        None => None,
                    }
                } else {
                    None
                }
            }) else {
                if self.io.must_yield() {
                    poll_fn(|cx| self.io.poll_next_quantum(cx)).await;
                    continue;
                }
                if self.io.end().is_some() && !self.io.has_unhandled() {
                    break;
                }
                match self.io.take_violation() {
                    Some(violation) => Box::pin(on_protocol_error(&mut self.io, &mut self.dispatch, violation)).await,
                    None => poll_fn(|cx| self.io.poll_input::<E>(cx)).await,
                }
                continue;
            };
            self.io.handler_returned();
            if let Err(error) = replied.and_then(|reply| send_reply(&mut self.io, reply)) {
                Box::pin(on_handler_error(&mut self.io, &mut self.dispatch, error, false)).await;
            }
            if self.io.is_batch_full() {
                poll_fn(|cx| self.io.poll_flush_batch(cx)).await;
            }
        }
        Box::pin(end(self)).await
    }

    /// Enters the open set and runs `on_open`. Call this before [`live`](Self::live).
    pub(crate) async fn open(&mut self) {
        let Self { io, dispatch, place, .. } = self;
        place.take();
        note_opened(dispatch.session());
        poll_fn(|cx| io.poll_attach(cx)).await;
        let opened = run::<E, _, _>(io, pin!(dispatch.on_open())).await;
        // `on_open` may have closed the session
        io.collect();
        if let Err(error) = opened.and_then(|greeting| send_reply(io, greeting)) {
            on_handler_error(io, dispatch, error, true).await;
        }
    }
}

/// Sends the close frame, runs `on_close`, closes the socket.
async fn end<E>(connection: Box<Connection<E>>) -> CloseReason
where
    E: EndpointHandlers,
{
    let Connection { token: _token, place: _place, dispatch, mut io } = *connection;
    let reason = io.end().cloned().unwrap_or_else(|| CloseReason::from(CloseCode::ClosedAbnormally));
    let limit = io.limits().close_timeout;
    // no further message is handled
    io.drop_dynamic_handlers();
    let session = dispatch.session().clone();
    let ending = Ending(Some(dispatch));
    let cut = || poll_fn(|cx| session.send_queue().poll_aborted(cx));
    // the close frame was attempted before on_close runs (Jakarta §2.1.5)
    let (ended_at, wrote_before) = (io.ended_at(), io.unwritten_bytes() == 0);
    let flushed = tokio::select! {
        biased;
        flushed = flush(&mut io, limit) => Some(flushed),
        () = cut() => None,
    };
    session.send_queue().end(flushed == Some(false));
    note_closed(&session, &reason);
    let ended = reason.clone();
    let on_close = async {
        // on_close always starts, and may run until the deadline of a shutdown
        tokio::select! {
            biased;
            () = run_on_close(ending, reason) => {}
            () = cut() => {
                if let Some(not_logged) = session.open_set().log.on_close.due() {
                    tracing::warn!(not_logged, session = %session.id(), "on_close was cancelled at the shutdown deadline");
                }
            }
        }
    };
    let closing = async {
        if flushed == Some(true) && io.sent_close_frame() {
            // the close frame may have been written during a handler's grace period: that time counts for the peer, too
            let (now, limit) = (Instant::now(), limit.min(FAR));
            let last = if wrote_before { (ended_at + limit).max(now + limit / 8) } else { now + limit };
            tokio::select! {
                () = close_socket(&mut io, last) => {}
                () = cut() => {}
            }
        }
        let count = io.count_dropped();
        if count > 0 {
            session.open_set().counters.unheard.add(count);
            if let Some(not_logged) = session.open_set().log.unheard.due() {
                let session = session.id();
                tracing::info!(%session, count, not_logged, "received messages were dropped: the session has ended");
            }
        }
        drop(io);
        // this closes the socket, though on_close may still run
    };
    tokio::join!(on_close, closing);
    ended
}

/// Target of the lines about the start and the end of each session, so that a filter can select them.
const SESSIONS: &str = "endpoint_runtime::sessions";

/// Counts and logs the start of a session.
fn note_opened(session: &Session) {
    session.open_set().counters.opened.add(1);
    let (id, endpoint, request) = (session.id(), session.endpoint(), session.handshake_request());
    tracing::debug!(
        target: SESSIONS,
        session = %id,
        peer = request.peer_addr().map(tracing::field::display),
        path = &*excerpt(request.path()).to_string(),
        endpoint = endpoint.name,
        subprotocol = session.subprotocol(),
        request_id = request.header("x-request-id").map(|id| excerpt(id).to_string()).as_deref(),
        "opened"
    );
}

/// Counts and logs the end of a session.
fn note_closed(session: &Session, reason: &CloseReason) {
    let (request, measures) = (session.handshake_request(), &session.open_set().measures);
    measures.closes.add(reason);
    measures.lives.observe(request.age());
    tracing::debug!(
        target: SESSIONS,
        session = %session.id(),
        peer = request.peer_addr().map(tracing::field::display),
        endpoint = session.endpoint().name,
        %reason,
        initiator = ?reason.initiator(),
        duration = ?request.age(),
        dropped = session.dropped_messages(),
        "closed"
    );
}

/// Writes what is queued, and the close frame. `limit` bounds a wait without progress; the send timeout, but at least
/// `limit`, bounds the whole flush. Returns true if everything was written.
async fn flush(io: &mut ConnectionIo, limit: Duration) -> bool {
    let last = io.send_queue().send_timeout().and_then(|all| Instant::now().checked_add(all.max(limit)));
    loop {
        let unwritten = io.unwritten_bytes();
        let mut end = Instant::now() + limit.min(FAR);
        if let Some(last) = last {
            end = end.min(last);
        }
        if timeout_at(end, poll_fn(|cx| io.poll_flush_all(cx))).await.is_ok() {
            return true;
        }
        let moves = io.unwritten_bytes() < unwritten;
        if !moves || last.is_some_and(|last| last <= Instant::now()) {
            return false;
        }
    }
}

/// Closes the socket as RFC 6455 §7.1 requires: waits for the peer's close frame, then shuts down TCP. `end` is the
/// deadline for both together; the time runs from when the close frame was written.
async fn close_socket(io: &mut ConnectionIo, end: Instant) {
    if io.awaits_close() {
        let _ = timeout_at(end, poll_fn(|cx| io.poll_peer_close(cx))).await;
    }
    let _ = timeout_at(end, poll_fn(|cx| io.poll_shutdown(cx))).await;
}

/// The call for the next message that has already arrived. Messages that were received before the session ended are
/// handled, unless the application closed it or a handler failed.
#[inline]
fn next<'d, E>(
    io: &mut ConnectionIo,
    dispatch: &'d mut Dispatch<E>,
) -> Option<impl Future<Output = Reply> + Send + use<'d, E>>
where
    E: EndpointHandlers,
{
    io.next_call(dispatch)
}

/// Runs a handler to completion, and serves the socket while the handler is suspended.
#[inline]
fn run<'a, E, T, F>(
    io: &'a mut ConnectionIo,
    mut handler: Pin<&'a mut F>,
) -> impl Future<Output = Result<T, Error>> + Send
where
    E: EndpointHandlers,
    F: Future<Output = Result<T, Error>> + Send,
{
    poll_fn(move |cx| {
        if let Poll::Ready(result) = dispatch::poll(io.send_queue(), handler.as_mut(), cx) {
            return Poll::Ready(result);
        }
        if io.poll_io::<E>(cx) {
            return Poll::Ready(Err(Error::new(Kind::Timeout, "a handler was cancelled: its session has ended")));
        }
        Poll::Pending
    })
}

/// Runs `on_close`, and `on_error` if `on_close` fails.
async fn run_on_close<E: EndpointHandlers>(mut ending: Ending<E>, reason: CloseReason) {
    let Some(dispatch) = &mut ending.0 else { return };
    let session = dispatch.session().clone();
    let mut closed = {
        let mut closing = pin!(dispatch.on_close(reason.clone()));
        poll_fn(|cx| dispatch::poll(session.send_queue(), closing.as_mut(), cx)).await
    };
    if dispatch.has_to_close() {
        // an interceptor did not call it, or panicked before
        let mut closing = pin!(dispatch.close_endpoint(reason));
        let called = poll_fn(|cx| dispatch::poll(session.send_queue(), closing.as_mut(), cx)).await;
        closed = closed.and(called);
    }
    let Err(error) = closed else { return };
    session.open_set().measures.errors.note(&error);
    if E::ERROR.exists() {
        let mut failing = pin!(dispatch.on_error(error));
        log_second_error(&session, poll_fn(|cx| dispatch::poll(session.send_queue(), failing.as_mut(), cx)).await);
    } else if let Some(not_logged) = session.open_set().log.on_close.due() {
        let endpoint = session.open_set().name;
        tracing::warn!(error = %format_args!("{error:#}"), not_logged, session = %session.id(), endpoint, "on_close failed");
    }
}

/// Sends a handler's reply.
#[inline(always)]
fn send_reply(io: &mut ConnectionIo, reply: Option<Message>) -> Result<(), Error> {
    match reply {
        Some(message) => io.reply(message),
        None => {
            io.collect();
            Ok(())
        }
    }
}

/// Reports a handler's error to `on_error`. With an `on_error` the session stays open, except after a panic or a failed
/// `on_open`; without one it ends with 1011, or with 1007 if the message could not be decoded. An error that is or
/// contains a close reason ends the session with that reason.
async fn on_handler_error<E>(io: &mut ConnectionIo, dispatch: &mut Dispatch<E>, error: Error, opening: bool)
where
    E: EndpointHandlers,
{
    // the handler may have closed the session before it failed
    io.collect();
    // a peer that went away is not an error
    if error.is_closed() && io.end().is_some_and(|end| end.initiator() != Initiator::Application) {
        return;
    }
    let requested = error.close_reason();
    if let Some((reason, true)) = requested {
        return close_as_requested(io, reason);
    }
    // a message that is forbidden, refused or over a rate has only been dropped
    let is_dropped = error.is_forbidden() || error.is_refused() || error.is_rate_limited();
    let fatal = opening || error.is_panic() || !E::ERROR.exists() && !is_dropped;
    let (code, phrase) = match &error {
        error if opening && error.is_refused() => (CloseCode::ViolatedPolicy, "the session was refused"),
        error if error.is_decode() && !opening => (CloseCode::NotConsistent, "the message cannot be decoded"),
        _ => (CloseCode::UnexpectedCondition, "internal error"),
    };
    let panicked = report(io, dispatch, error).await;
    if let Some((reason, _)) = requested {
        close_as_requested(io, reason);
    } else if fatal || panicked {
        io.drop_received();
        io.close(CloseReason::truncating(code, phrase).by(Initiator::Container));
    }
}

/// Closes the session because a handler returned this reason as its error.
fn close_as_requested(io: &mut ConnectionIo, reason: CloseReason) {
    io.drop_received();
    io.close(reason.by(Initiator::Application));
}

/// Reports a protocol violation to `on_error`, and ends the session with the violation's close code.
async fn on_protocol_error<E>(io: &mut ConnectionIo, dispatch: &mut Dispatch<E>, violation: Box<Violation>)
where
    E: EndpointHandlers,
{
    report(io, dispatch, (*violation).into()).await;
    io.close(violation.close_reason().by(Initiator::Container));
}

/// Reports an error to `on_error`, or to the log if the endpoint has none. An error of `on_error` itself is only
/// logged. Returns true if `on_error` panicked.
async fn report<E>(io: &mut ConnectionIo, dispatch: &mut Dispatch<E>, error: Error) -> bool
where
    E: EndpointHandlers,
{
    let session = dispatch.session().clone();
    session.open_set().measures.errors.note(&error);
    if E::ERROR.exists() {
        let failed = run::<E, _, _>(io, pin!(dispatch.on_error(error))).await;
        io.collect();
        if let Some((reason, is_alone)) = failed.as_ref().err().and_then(Error::close_reason) {
            close_as_requested(io, reason);
            if is_alone {
                return false;
            }
        }
        let panicked = failed.as_ref().is_err_and(Error::is_panic);
        log_second_error(&session, failed);
        panicked
    } else {
        dispatch::log_unhandled(&session, &error);
        false
    }
}

fn log_second_error(session: &Session, result: Result<(), Error>) {
    if let Err(error) = result {
        if let Some(not_logged) = session.open_set().log.on_error.due() {
            let endpoint = session.open_set().name;
            tracing::error!(error = %format_args!("{error:#}"), not_logged, session = %session.id(), endpoint, "on_error failed");
        }
    }
}
