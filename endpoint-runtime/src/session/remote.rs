//! The two ways to send to a peer: [`BasicRemote`] waits until the message is written, [`AsyncRemote`] only queues it.
//!
//! Both put whole messages into the session's one send queue, so any number of tasks may send at the same time,
//! messages never interleave, and the messages of each task keep their order.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::codec::Object;
use crate::codec::session_coders::EncodeContext;
use crate::config::Overflow;
use crate::error::{Error, Kind};
use crate::send_queue::{
    Admission, PartOwner, QueueItem, Refused, SHARE_FROM, SendQueue, Ticket, WaitGuard, Waiting, frame_of,
};
use crate::session::completion::Sent;
use crate::session::send_options::{SendOptions, remote_options};
use crate::session::writer::{BinaryWriter, TextWriter};
use endpoint_wire::frame::{MAX_CONTROL, OpCode};
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::text::Text;

/// A remote that sends and waits (Jakarta's `RemoteEndpoint.Basic`).
///
/// A send resolves when its bytes are handed to the socket. While the send queue is full, it waits for space: this is
/// the backpressure of a peer that reads slowly. The send timeout limits the wait (30 s unless configured).
///
/// A send from a handler on its own session joins the batch of messages that is being handled: it resolves at once,
/// and is written when the batch is done or the handler waits for anything else. So a handler may always await its
/// own sends; if the peer does not read, they wait like those of any other task.
///
/// # Cancel safety
/// If the future of a send is dropped, either the whole message is queued or nothing of it.
#[derive(Clone, Copy, Debug)]
pub struct BasicRemote<'a> {
    send_queue: &'a Arc<SendQueue>,
    context: EncodeContext<'a>,
    options: SendOptions,
}

impl<'a> BasicRemote<'a> {
    pub(crate) fn new(send_queue: &'a Arc<SendQueue>, context: EncodeContext<'a>) -> Self {
        Self { send_queue, context, options: SendOptions::DEFAULT }
    }

    /// Sends a text message. A `String` or [`Text`] of more than a few KiB is not copied.
    ///
    /// # Errors
    /// [`Error::is_closed`] at once if the session is closed, or if it ends first; [`Error::is_timeout`] if the peer
    /// did not read in time, though the message may still be delivered later.
    pub async fn send_text(self, text: impl Into<Text> + AsRef<str>) -> Result<(), Error> {
        if text.as_ref().len() < SHARE_FROM {
            self.send(QueueItem::Borrowed(OpCode::Text, text.as_ref().as_bytes())).await
        } else {
            self.send(QueueItem::Shared(OpCode::Text, text.into().into())).await
        }
    }

    /// Sends a binary message. A `Vec<u8>`, [`Bytes`] or [`Binary`] of more than a few KiB is not copied.
    ///
    /// # Errors
    /// As [`send_text`](Self::send_text).
    pub async fn send_binary(self, data: impl Into<Binary> + AsRef<[u8]>) -> Result<(), Error> {
        if data.as_ref().len() < SHARE_FROM {
            self.send(QueueItem::Borrowed(OpCode::Binary, data.as_ref())).await
        } else {
            self.send(QueueItem::Shared(OpCode::Binary, Bytes::from(data.into()))).await
        }
    }

    /// Encodes `object`, such as [`Json`](crate::Json), and sends the message (Jakarta's `sendObject`). The call itself
    /// encodes, so the future does not borrow `object`.
    ///
    /// # Errors
    /// [`Error::is_encode`] if encoding fails; otherwise as [`send_text`](Self::send_text).
    pub fn send_object<T: Object<By> + ?Sized, By>(self, object: &T) -> SendObject<'a> {
        let encoded = object.message_for(&self.context);
        SendObject(encoded.map_err(Some).map(|message| {
            let (opcode, payload) = frame_of(message);
            self.send(QueueItem::Shared(opcode, payload.into()))
        }))
    }

    /// Sends an encoded message.
    pub(crate) async fn send_message(self, message: Message) -> Result<(), Error> {
        match message {
            Message::Text(text) => self.send_text(text).await,
            Message::Binary(data) => self.send_binary(data).await,
        }
    }

    /// Sends a part of a text message; `last` ends the message (Jakarta's `sendText(part, isLast)`).
    ///
    /// A session has one such message at a time. Its first part takes a place in the queue: whole messages sent
    /// meanwhile wait behind all of it, in order and within the bounds of the queue; only control frames pass. The next
    /// part of the same kind, from any task, continues this message, so only one task at a time should send parts: if
    /// several tasks send large messages, give each a [writer](Self::text_writer). While another message in parts is
    /// open, of a writer or of the other kind, this waits until that one is complete.
    ///
    /// The last part resolves when the message is handed to the socket, the others when they are queued. Each part that
    /// is not empty, or is the last, is one frame. The message is compressed if its first part reaches the threshold.
    /// A message without its last part blocks all others until the session ends.
    ///
    /// # Errors
    /// As [`send_text`](Self::send_text).
    pub async fn send_text_part(self, part: impl Into<Text> + AsRef<str>, last: bool) -> Result<(), Error> {
        if part.as_ref().len() < SHARE_FROM {
            self.part(QueueItem::Borrowed(OpCode::Text, part.as_ref().as_bytes()), last).await
        } else {
            self.part(QueueItem::Shared(OpCode::Text, part.into().into()), last).await
        }
    }

    /// Sends a part of a binary message; see [`send_text_part`](Self::send_text_part).
    ///
    /// # Errors
    /// As [`send_text`](Self::send_text).
    pub async fn send_binary_part(self, part: impl Into<Binary> + AsRef<[u8]>, last: bool) -> Result<(), Error> {
        if part.as_ref().len() < SHARE_FROM {
            self.part(QueueItem::Borrowed(OpCode::Binary, part.as_ref()), last).await
        } else {
            self.part(QueueItem::Shared(OpCode::Binary, Bytes::from(part.into())), last).await
        }
    }

    /// Creates a writer for a text message that is written piece by piece (Jakarta's `getSendWriter`). The writer
    /// borrows nothing, so it may move to another task.
    pub fn text_writer(self) -> TextWriter {
        TextWriter::new(self.send_queue.clone(), self.options.compressed, Waiting::within(self.options.timeout))
    }

    /// Creates a writer for a binary message that is written piece by piece (Jakarta's `getSendStream`). The writer
    /// borrows nothing, so it may move to another task.
    pub fn binary_writer(self) -> BinaryWriter {
        BinaryWriter::new(self.send_queue.clone(), self.options.compressed, Waiting::within(self.options.timeout))
    }

    /// Sends a ping with up to 125 bytes of application data; its pong reaches the pong handler. Resolves when the ping
    /// is queued among the control frames, which pass the messages.
    ///
    /// # Errors
    /// [`Error::is_too_big`] before anything is sent; [`Error::is_closed`].
    pub async fn send_ping(self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        control(self.send_queue, OpCode::Ping, data.as_ref())
    }

    /// Sends an unsolicited pong with up to 125 bytes of application data. Pings are answered automatically.
    ///
    /// # Errors
    /// As [`send_ping`](Self::send_ping).
    pub async fn send_pong(self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        control(self.send_queue, OpCode::Pong, data.as_ref())
    }

    fn send<'m>(self, message: QueueItem<'m>) -> Sending<'m>
    where
        'a: 'm,
    {
        let Self { send_queue, options, .. } = self;
        let message = if send_queue.converts() { convert(send_queue, options, message) } else { Ok(message) };
        let overflow = options.overflow.or(send_queue.overflow()).unwrap_or(Overflow::Wait);
        Sending { send_queue, message, overflow, ticket: None, waiting: Waiting::within(options.timeout) }
    }

    /// Queues a part once its message may continue, and waits for the socket if it is the last.
    async fn part(self, part: QueueItem<'_>, last: bool) -> Result<(), Error> {
        let (send_queue, compressed) = (&**self.send_queue, self.options.compressed);
        let mut wait = WaitGuard { send_queue, waiting: Waiting::within(self.options.timeout) };
        let ticket = loop {
            match send_queue.enqueue_part(part.clone(), PartOwner::Session, last, compressed) {
                Ok(ticket) => break ticket,
                Err(Refused::Full | Refused::OtherMessage) => {
                    poll_fn(|cx| send_queue.poll_session_part(cx, &part, &mut wait.waiting)).await?;
                }
                Err(refused) => return Err(refused.into()),
            }
        };
        match ticket {
            Some(ticket) => Ok(poll_fn(|cx| send_queue.poll_written(cx, ticket, &mut wait.waiting)).await?),
            None => Ok(()),
        }
    }
}

remote_options!(BasicRemote<'_>);

/// The send of an object that [`BasicRemote::send_object`] has encoded. Resolves when the message is written.
///
/// A type of its own, because an opaque future would repeat the bound on the object, and so the compiler its error.
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct SendObject<'a>(Result<Sending<'a>, Option<Error>>);

impl Future for SendObject<'_> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(sending) => Pin::new(sending).poll(cx),
            Err(error) => error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }
}

/// A remote that queues messages and returns at once (Jakarta's `RemoteEndpoint.Async`).
///
/// The message is queued, or refused, before the call returns. The returned [`Sent`] may be awaited to learn when the
/// message was written, or dropped. The queue is bounded (65,536 messages and 16 MiB unless configured): when the
/// peer reads too slowly, a send fails with [`Error::is_queue_full`]. The first such failure is logged.
#[derive(Clone, Copy, Debug)]
pub struct AsyncRemote<'a> {
    send_queue: &'a Arc<SendQueue>,
    context: EncodeContext<'a>,
    options: SendOptions,
}

impl<'a> AsyncRemote<'a> {
    pub(crate) fn new(send_queue: &'a Arc<SendQueue>, context: EncodeContext<'a>) -> Self {
        Self { send_queue, context, options: SendOptions::DEFAULT }
    }

    /// Queues a text message. A `String` or [`Text`] of more than a few KiB is not copied.
    pub fn send_text(self, text: impl Into<Text> + AsRef<str>) -> Sent {
        if text.as_ref().len() < SHARE_FROM {
            self.enqueue(QueueItem::Borrowed(OpCode::Text, text.as_ref().as_bytes()))
        } else {
            self.enqueue(QueueItem::Shared(OpCode::Text, text.into().into()))
        }
    }

    /// Queues a binary message. A `Vec<u8>`, [`Bytes`] or [`Binary`] of more than a few KiB is not copied.
    pub fn send_binary(self, data: impl Into<Binary> + AsRef<[u8]>) -> Sent {
        if data.as_ref().len() < SHARE_FROM {
            self.enqueue(QueueItem::Borrowed(OpCode::Binary, data.as_ref()))
        } else {
            self.enqueue(QueueItem::Shared(OpCode::Binary, Bytes::from(data.into())))
        }
    }

    /// Encodes `object`, such as [`Json`](crate::Json), and queues the message (Jakarta's `sendObject`).
    ///
    /// # Errors
    /// [`Error::is_encode`] if encoding fails. The [`Sent`] reports whether the message was queued.
    pub fn send_object<T: Object<By> + ?Sized, By>(self, object: &T) -> Result<Sent, Error> {
        object.message_for(&self.context).map(|message| self.send_message(message))
    }

    /// Queues an encoded message.
    pub(crate) fn send_message(self, message: Message) -> Sent {
        match message {
            Message::Text(text) => self.send_text(text),
            Message::Binary(data) => self.send_binary(data),
        }
    }

    /// Queues a part of a text message; `last` ends the message; see [`BasicRemote::send_text_part`]. Unlike that
    /// method, this one does not wait: while another message in parts is open, the part is not queued, as if the queue
    /// were full. The [`Sent`] of a part that is not the last resolves when the part is queued.
    pub fn send_text_part(self, part: impl Into<Text> + AsRef<str>, last: bool) -> Sent {
        if part.as_ref().len() < SHARE_FROM {
            self.part(QueueItem::Borrowed(OpCode::Text, part.as_ref().as_bytes()), last)
        } else {
            self.part(QueueItem::Shared(OpCode::Text, part.into().into()), last)
        }
    }

    /// Queues a part of a binary message; see [`send_text_part`](Self::send_text_part).
    pub fn send_binary_part(self, part: impl Into<Binary> + AsRef<[u8]>, last: bool) -> Sent {
        if part.as_ref().len() < SHARE_FROM {
            self.part(QueueItem::Borrowed(OpCode::Binary, part.as_ref()), last)
        } else {
            self.part(QueueItem::Shared(OpCode::Binary, Bytes::from(part.into())), last)
        }
    }

    /// Queues a ping with up to 125 bytes of application data.
    ///
    /// # Errors
    /// [`Error::is_too_big`] before anything is sent; [`Error::is_closed`].
    pub fn send_ping(self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        control(self.send_queue, OpCode::Ping, data.as_ref())
    }

    /// Queues an unsolicited pong with up to 125 bytes of application data.
    ///
    /// # Errors
    /// As [`send_ping`](Self::send_ping).
    pub fn send_pong(self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        control(self.send_queue, OpCode::Pong, data.as_ref())
    }

    fn enqueue(self, message: QueueItem<'_>) -> Sent {
        let Self { send_queue, options, .. } = self;
        let overflow = options.overflow.or(send_queue.overflow()).unwrap_or(Overflow::Error);
        let admission = Admission::from(overflow);
        let ticket = if send_queue.converts() {
            convert_and_enqueue(send_queue, options.compressed, message, admission)
        } else {
            send_queue.enqueue(message, admission).map(|accepted| accepted.ticket)
        };
        if ticket == Err(Refused::Full) && send_queue.is_first_overflow() {
            if let Some(not_logged) = send_queue.log().full.due() {
                tracing::warn!(
                    not_logged,
                    "a message was not sent: the send queue is full because the peer reads too slowly"
                );
            }
        }
        Sent::new(send_queue.clone(), ticket, Waiting::within(options.timeout))
    }

    fn part(self, part: QueueItem<'_>, last: bool) -> Sent {
        let ticket = self.send_queue.enqueue_part(part, PartOwner::Session, last, self.options.compressed);
        let ticket = ticket.map(|ticket| ticket.unwrap_or(AT_ONCE));
        Sent::new(self.send_queue.clone(), ticket, Waiting::within(self.options.timeout))
    }
}

remote_options!(AsyncRemote<'_>);

/// Enqueues a message that interceptors see, that is compressed, or that is logged.
#[inline(never)]
fn convert_and_enqueue(
    send_queue: &SendQueue,
    compressed: bool,
    message: QueueItem<'_>,
    admission: Admission,
) -> Result<Ticket, Refused> {
    let message = send_queue.show(message)?;
    let logged = send_queue.is_logged().then(|| message.clone());
    let message = if compressed { send_queue.compress_if_accepted(message, admission) } else { message };
    let ticket = send_queue.enqueue(message, admission)?.ticket;
    if let Some(message) = logged {
        send_queue.log_sent(|| message.shown());
    }
    Ok(ticket)
}

/// Shows a message to the interceptors, and compresses it.
fn convert<'a>(send_queue: &SendQueue, options: SendOptions, message: QueueItem<'a>) -> Result<QueueItem<'a>, Refused> {
    let message = send_queue.show(message)?;
    Ok(if options.compressed { send_queue.compress(message) } else { message })
}

/// The ticket of a part that completes as soon as it is queued.
const AT_ONCE: Ticket = 0;

fn control(send_queue: &SendQueue, opcode: OpCode, data: &[u8]) -> Result<(), Error> {
    if data.len() > MAX_CONTROL {
        return Err(Error::new(
            Kind::TooBig,
            format!(
                "a ping or pong of {} bytes exceeds the limit of {MAX_CONTROL} bytes of a control frame",
                data.len()
            ),
        ));
    }
    Ok(send_queue.control(opcode, data)?)
}

/// A message that waits for space in the queue, then for the socket.
struct Sending<'a> {
    send_queue: &'a SendQueue,
    /// The message, unless an interceptor keeps it from being sent.
    message: Result<QueueItem<'a>, Refused>,
    overflow: Overflow,
    ticket: Option<Ticket>,
    waiting: Waiting,
}

impl Future for Sending<'_> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(ticket) = this.ticket {
                let written = ready!(this.send_queue.poll_written(cx, ticket, &mut this.waiting));
                return Poll::Ready(written.map_err(Error::from));
            }
            let message = match &this.message {
                Ok(message) => message,
                Err(Refused::Discarded) => return Poll::Ready(Ok(())),
                Err(refused) => return Poll::Ready(Err((*refused).into())),
            };
            match this.send_queue.enqueue(message.clone(), this.overflow.into()) {
                Ok(accepted) => {
                    this.ticket = Some(accepted.ticket);
                    this.send_queue.log_sent(|| message.shown());
                }
                Err(Refused::Dropped) => return Poll::Ready(Ok(())),
                Err(Refused::Full) if this.overflow == Overflow::Error => {
                    return Poll::Ready(Err(Refused::Full.into()));
                }
                Err(_) => ready!(this.send_queue.poll_capacity(cx, message.len(), &mut this.waiting))?,
            }
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.send_queue.stop_waiting(&mut self.waiting);
    }
}

impl fmt::Debug for Sending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
