//! Endpoints without annotations: a trait, with message handlers that are added to the session.

use std::future::{Future, ready};

use crate::endpoint::contract::{EndpointHandlers, Handler, Reply};
use crate::endpoint::dispatch::log_unhandled;
use crate::error::Error;
use crate::session::Session;
use endpoint_wire::close::{CloseCode, CloseReason};
use endpoint_wire::message::{Binary, Pong};
use endpoint_wire::text::Text;

/// An endpoint without annotations (Jakarta's `Endpoint`). Use it where an annotated endpoint is too rigid: the path is
/// known only at run time, or the message handlers change.
///
/// Mount it with [`ContainerBuilder::add_endpoint`](crate::ContainerBuilder::add_endpoint), or while the server runs
/// with [`ServerContainer::add_endpoint`](crate::ServerContainer::add_endpoint). Each connection has its own instance.
/// `on_open`, or any other holder of the session, adds the message handlers.
///
/// ```
/// use endpoint_runtime::{Endpoint, Error, MessageHandler, ServerContainer, Session};
///
/// struct Echo;
///
/// impl Endpoint for Echo {
///     async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
///         session.add_message_handler(MessageHandler::text(|_, line: String| line))
///     }
/// }
///
/// # fn main() -> Result<(), Error> {
/// let container = ServerContainer::builder().add_endpoint("/echo", || Echo).build()?;
/// # Ok(()) }
/// ```
pub trait Endpoint: Send + 'static {
    /// Called when the connection is established. Messages wait until it returns.
    ///
    /// # Errors
    /// The error goes to [`on_error`](Self::on_error), and the session ends with 1011.
    fn on_open(&mut self, session: &Session) -> impl Future<Output = Result<(), Error>> + Send;

    /// Called at the end of the session, exactly once for each `on_open` that was started. Does nothing by default.
    ///
    /// # Errors
    /// The error goes to [`on_error`](Self::on_error).
    fn on_close(&mut self, session: &Session, reason: CloseReason) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = (session, reason);
        ready(Ok(()))
    }

    /// Takes an error: another method or a message handler failed or panicked, a message did not decode, or the peer
    /// violated the protocol.
    ///
    /// By default the error is logged and the session ends: after a protocol violation with its code, with 1007 if a
    /// message did not decode, else with 1011. A message that an interceptor refuses or that is over a rate does not end it.
    /// If you implement this method, the session stays open, except after a
    /// panic, a violation, or a failed `on_open`.
    ///
    /// # Errors
    /// The error goes to the log.
    fn on_error(&mut self, session: &Session, error: Error) -> impl Future<Output = Result<(), Error>> + Send {
        unhandled(session, &error);
        ready(Ok(()))
    }
}

fn unhandled(session: &Session, error: &Error) {
    log_unhandled(session, error);
    let (code, phrase) = if error.is_decode() {
        (CloseCode::NotConsistent, "the message cannot be decoded")
    } else {
        (CloseCode::UnexpectedCondition, "internal error")
    };
    // a message that is refused or over a rate has only been dropped; and the connection itself closes with the code of a
    // violation, or with the reason that the error contains
    let is_dropped = error.is_refused() || error.is_rate_limited();
    if !is_dropped && !error.is_protocol() && !error.is_too_big() && error.close_reason().is_none() {
        session.close_with(CloseReason::truncating(code, phrase));
    }
}

/// Adapts an [`Endpoint`] to the connection.
pub(crate) struct Programmatic<E>(pub(crate) E);

impl<E: Endpoint> EndpointHandlers for Programmatic<E> {
    const OPEN: Handler = Handler::ASYNC;
    const CLOSE: Handler = Handler::ASYNC;
    const ERROR: Handler = Handler::ASYNC;

    async fn on_open<'a>(&'a mut self, session: &'a Session) -> Reply {
        self.0.on_open(session).await.map(|()| None)
    }

    fn on_text<'a>(&'a mut self, _: &'a Session, _: Text, _: bool) -> impl Future<Output = Reply> + Send + 'a {
        ready(Ok(None))
    }

    fn on_text_sync(&mut self, _: &Session, _: &str, _: bool) -> Reply {
        Ok(None)
    }

    fn on_binary<'a>(&'a mut self, _: &'a Session, _: Binary, _: bool) -> impl Future<Output = Reply> + Send + 'a {
        ready(Ok(None))
    }

    fn on_binary_sync(&mut self, _: &Session, _: &[u8], _: bool) -> Reply {
        Ok(None)
    }

    fn on_pong<'a>(&'a mut self, _: &'a Session, _: Pong) -> impl Future<Output = Reply> + Send + 'a {
        ready(Ok(None))
    }

    fn on_close<'a>(
        &'a mut self,
        session: &'a Session,
        reason: CloseReason,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'a {
        self.0.on_close(session, reason)
    }

    fn on_error<'a>(
        &'a mut self,
        session: &'a Session,
        error: Error,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'a {
        self.0.on_error(session, error)
    }
}
