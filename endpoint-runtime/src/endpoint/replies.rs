//! Several replies to one message: sent one by one while the handler runs.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::pin;
use std::task::Poll;

use futures_core::Stream;

use crate::codec::IntoReply;
use crate::error::Error;
use crate::session::Session;
use endpoint_wire::message::Message;

type Reply = Result<Option<Message>, Error>;

/// Items sent before the connection gets a turn to write and to serve its timers.
const TURN: u32 = 32;

/// Sends the items of a stream, each when the one before it is queued. Ends with the stream, with its first error, or
/// with the session, which drops the stream.
pub async fn send_each<S, T>(
    session: &Session,
    replies: Result<Option<S>, Error>,
    convert: impl Fn(T) -> Reply,
) -> Reply
where
    S: Stream<Item = T>,
{
    let Some(replies) = replies? else { return Ok(None) };
    let (mut replies, mut ended, mut count) = (pin!(replies), pin!(session.closed()), 0);
    loop {
        let next = poll_fn(|cx| match ended.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => replies.as_mut().poll_next(cx),
        });
        let Some(item) = next.await else { return Ok(None) };
        if unless_closed(send(session, convert(item)?, &mut count).await)?.is_break() {
            return Ok(None);
        }
    }
}

/// Sends the items of a list, each when the one before it is queued. Ends with the list, with its first error, or with
/// the session.
pub async fn send_all<I, T>(session: &Session, replies: Result<Option<I>, Error>, convert: impl Fn(T) -> Reply) -> Reply
where
    I: Iterator<Item = T>,
{
    let mut count = 0;
    for item in replies?.into_iter().flatten() {
        if unless_closed(send(session, convert(item)?, &mut count).await)?.is_break() {
            break;
        }
    }
    Ok(None)
}

/// Queues the elements of a list; the last one is the reply. An error ends the list after what came before it.
pub(crate) fn reply_with_each<T: IntoReply>(session: &Session, list: impl IntoIterator<Item = T>) -> Reply {
    let queue = |message: Option<Message>| match message {
        None => Ok(()),
        Some(message) => session.async_remote().send_message(message).queued(),
    };
    let mut last = None;
    for item in list {
        match item.into_reply() {
            Ok(None) => {}
            Ok(reply) => queue(std::mem::replace(&mut last, reply))?,
            Err(error) => {
                queue(last)?;
                return Err(error);
            }
        }
    }
    Ok(last)
}

/// Sends one of several replies.
async fn send(session: &Session, message: Option<Message>, count: &mut u32) -> Result<(), Error> {
    if let Some(message) = message {
        session.basic_remote().send_message(message).await?;
    }
    // an item without a message counts, too: a stream may have nothing else
    *count = count.wrapping_add(1);
    if *count % TURN == 0 {
        turn().await;
    }
    Ok(())
}

/// The end of the session is the end of the replies, not an error.
fn unless_closed(sent: Result<(), Error>) -> Result<ControlFlow<()>, Error> {
    match sent {
        Err(error) if error.is_closed() => Ok(Break(())),
        sent => sent.map(Continue),
    }
}

/// Suspends once, so that the connection writes.
async fn turn() {
    let mut suspended = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut suspended, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
