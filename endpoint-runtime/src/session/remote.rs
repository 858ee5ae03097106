//! The two ways to speak to a peer: [`BasicRemote`] waits until it is written, [`AsyncRemote`] hands over at once.
//!
//! Both put whole messages into the session's one outbound queue, so any number of tasks may send at the same time,
//! messages never mix, and each task's own keep their order.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use crate::codec::Encode;
use crate::codec::session_coders::EncodeContext;
use crate::config::Overflow;
use crate::error::{Error, Kind};
use crate::send_queue::write_buffer::Burst;
use crate::send_queue::{Millisecond, QueueItem, Refused, SHARE_FROM, SendQueue, Ticket, Wait, Waiting};
use crate::session::completion::Sent;
use crate::session::writer::{BinaryWriter, TextWriter};
use endpoint_wire::deflate::Deflation;
use endpoint_wire::encode;
use endpoint_wire::frame::{MAX_CONTROL, OpCode};
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::role::Role;
use endpoint_wire::text::Text;

/// Sends and waits (Jakarta's `RemoteEndpoint.Basic`).
///
/// A send resolves when its bytes are handed to the socket. While the queue is full it waits for room: that is the
/// back-pressure of a peer that reads slowly. The wait has a limit, the send timeout (30 s unless configured).
///
/// What a handler sends on its own session joins the batch of messages that is being handled: it resolves at once,
/// and is written when the batch is done or the handler waits for anything else. So a handler may always await its
/// own sends; with a peer that does not read, it waits like everybody else.
///
/// # Cancel safety
/// A send whose future is dropped has either queued its whole message or nothing of it.
#[derive(Clone, Copy, Debug)]
pub struct BasicRemote<'a> {
    send_queue: &'a Arc<SendQueue>,
    dialect: EncodeContext<'a>,
    how: How,
}

impl<'a> BasicRemote<'a> {
    pub(crate) fn new(send_queue: &'a Arc<SendQueue>, dialect: EncodeContext<'a>) -> Self {
        Self { send_queue, dialect, how: How::DEFAULT }
    }

    /// Sends what follows as it is, though the session has compression: for messages that hold a secret beside text
    /// that others choose, and for those that are compressed already.
    #[must_use]
    pub fn uncompressed(self) -> Self {
        Self { how: How { compressed: false, ..self.how }, ..self }
    }

    /// Limits how long what follows may take until it is written, instead of the send timeout. Counted from the send,
    /// or for a writer from here. What is too late fails with [`Error::is_timeout`]; once queued, it may still be
    /// delivered.
    #[must_use]
    pub fn timeout(self, limit: Duration) -> Self {
        Self { how: How { timeout: Some(limit), ..self.how }, ..self }
    }

    /// Says what is done with what follows if the queue has no room for it. It does not concern messages in parts.
    #[must_use]
    pub fn on_overflow(self, overflow: Overflow) -> Self {
        Self { how: How { overflow: Some(overflow), ..self.how }, ..self }
    }

    /// Whether messages may gather before they are written (Jakarta's `setBatchingAllowed`); off by default. It holds
    /// for all that is sent on the session. Then a send resolves once its message is in the batch, which is written when
    /// 64 KiB have gathered, by [`flush_batch`](Self::flush_batch), or when the connection has anything else to do.
    /// Switching it off writes the batch at once, and so does closing the session, before the close frame.
    pub fn set_batching_allowed(self, allowed: bool) {
        self.send_queue.set_batching(allowed);
    }

    /// Whether messages may gather.
    pub fn batching_allowed(self) -> bool {
        self.send_queue.batches()
    }

    /// Has what was sent so far written, and waits until it is.
    ///
    /// # Errors
    /// [`Error::is_closed`] or [`Error::is_timeout`].
    ///
    /// # Cancel safety
    /// It is written in any case.
    pub async fn flush_batch(self) -> Result<(), Error> {
        let ticket = self.send_queue.flush_batch();
        let mut wait = Wait { send_queue: self.send_queue, waiting: Waiting::within(self.how.timeout) };
        Ok(poll_fn(|cx| wait.send_queue.poll_flushed(cx, ticket, &mut wait.waiting)).await?)
    }

    /// Sends a text message. A `String` or [`Text`] of more than a few KiB is not copied.
    ///
    /// # Errors
    /// [`Error::is_closed`] at once if the session is closed, or if it ends first; [`Error::is_timeout`] if the peer
    /// did not take it in time, though it may still be delivered later.
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

    /// Sends the message that `object` becomes, such as [`Json`](crate::Json) (Jakarta's `sendObject`). It is encoded
    /// when this is called, so `object` is not borrowed while the future waits.
    ///
    /// # Errors
    /// [`Error::is_encode`] if it cannot be encoded; then as [`send_text`](Self::send_text).
    pub fn send_object<T>(self, object: &T) -> impl Future<Output = Result<(), Error>> + Send + use<'a, T>
    where
        T: Encode + ?Sized,
    {
        let message = object.encode_for(&self.dialect);
        async move {
            match message? {
                Message::Text(text) => self.send_text(text).await,
                Message::Binary(data) => self.send_binary(data).await,
            }
        }
    }

    /// Sends a part of a text message, and with `last` ends the message (Jakarta's `sendText(part, isLast)`).
    ///
    /// A session has one message that is sent so. The first part begins it, and takes its place among those that are
    /// sent: whole messages that are sent meanwhile wait behind all of it, in order and within the bounds of the queue;
    /// only control frames pass. Whoever sends the next part of the same kind goes on with it, so parts are for one task
    /// at a time: where several tasks send large messages, let each have a [writer](Self::text_writer). While another
    /// message in parts is open, of a writer or of the other kind, this waits until that is complete.
    ///
    /// The last part resolves when the message is handed to the socket, the others when they are queued. Each part that
    /// is not empty, or is the last, is one frame. The message is compressed if its first part reaches the threshold.
    /// A message without its last part holds up all others until the session ends.
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

    /// Begins a text message that is written piece by piece (Jakarta's `getSendWriter`). The writer borrows nothing: it
    /// may go to another task.
    pub fn text_writer(self) -> TextWriter {
        TextWriter::new(self.send_queue.clone(), self.how.compressed, Waiting::within(self.how.timeout))
    }

    /// Begins a binary message that is written piece by piece (Jakarta's `getSendStream`). The writer borrows nothing:
    /// it may go to another task.
    pub fn binary_writer(self) -> BinaryWriter {
        BinaryWriter::new(self.send_queue.clone(), self.how.compressed, Waiting::within(self.how.timeout))
    }

    /// Sends a ping with up to 125 bytes of application data; its pong reaches the pong handler. Resolves when it is
    /// queued, in the lane of the control frames, which passes the messages.
    ///
    /// # Errors
    /// [`Error::is_too_big`] before anything is sent; [`Error::is_closed`].
    pub async fn send_ping(self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        control(self.send_queue, OpCode::Ping, data.as_ref())
    }

    /// Sends an unasked pong with up to 125 bytes of application data. Pings are answered without your help.
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
        let Self { send_queue, how, .. } = self;
        let (message, in_order) = if how.compressed { send_queue.deflate(message) } else { (message, false) };
        let overflow = how.overflow.or(send_queue.overflow()).unwrap_or(Overflow::Wait);
        Sending { send_queue, message, in_order, overflow, ticket: None, waiting: Waiting::within(how.timeout) }
    }

    /// Queues a part when its turn has come, and waits for the socket if it is the last.
    async fn part(self, part: QueueItem<'_>, last: bool) -> Result<(), Error> {
        let (send_queue, compressed) = (&**self.send_queue, self.how.compressed);
        let mut wait = Wait { send_queue, waiting: Waiting::within(self.how.timeout) };
        let ticket = loop {
            match send_queue.offer_part(part.clone(), last, compressed) {
                Ok(ticket) => break ticket,
                Err(Refused::Full | Refused::Behind) => {
                    poll_fn(|cx| send_queue.poll_shared_turn(cx, &part, &mut wait.waiting)).await?;
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

/// Hands over and returns (Jakarta's `RemoteEndpoint.Async`).
///
/// The message is queued, or refused, before the call returns. The [`Sent`] it returns may be awaited to learn when
/// the message was written, or dropped. The queue is bounded (65,536 messages and 16 MiB unless configured): when the
/// peer reads too slowly a send fails with [`Error::is_queue_full`], and the first such failure is logged.
#[derive(Clone, Copy, Debug)]
pub struct AsyncRemote<'a> {
    send_queue: &'a Arc<SendQueue>,
    dialect: EncodeContext<'a>,
    how: How,
}

impl<'a> AsyncRemote<'a> {
    pub(crate) fn new(send_queue: &'a Arc<SendQueue>, dialect: EncodeContext<'a>) -> Self {
        Self { send_queue, dialect, how: How::DEFAULT }
    }

    /// Sends what follows as it is; see [`BasicRemote::uncompressed`].
    #[must_use]
    pub fn uncompressed(self) -> Self {
        Self { how: How { compressed: false, ..self.how }, ..self }
    }

    /// Limits how long what follows may take until it is written, instead of the send timeout. Counted from the send,
    /// or for a writer from here. What is too late fails with [`Error::is_timeout`]; once queued, it may still be
    /// delivered.
    #[must_use]
    pub fn timeout(self, limit: Duration) -> Self {
        Self { how: How { timeout: Some(limit), ..self.how }, ..self }
    }

    /// Says what is done with what follows if the queue has no room for it. It does not concern messages in parts.
    #[must_use]
    pub fn on_overflow(self, overflow: Overflow) -> Self {
        Self { how: How { overflow: Some(overflow), ..self.how }, ..self }
    }

    /// Whether messages may gather before they are written (Jakarta's `setBatchingAllowed`); off by default. It holds
    /// for all that is sent on the session. Then a send resolves once its message is in the batch, which is written when
    /// 64 KiB have gathered, by [`flush_batch`](Self::flush_batch), or when the connection has anything else to do.
    /// Switching it off writes the batch at once, and so does closing the session, before the close frame.
    pub fn set_batching_allowed(self, allowed: bool) {
        self.send_queue.set_batching(allowed);
    }

    /// Whether messages may gather.
    pub fn batching_allowed(self) -> bool {
        self.send_queue.batches()
    }

    /// Has what was sent so far written, and waits until it is.
    ///
    /// # Errors
    /// [`Error::is_closed`] or [`Error::is_timeout`].
    ///
    /// # Cancel safety
    /// It is written in any case.
    pub async fn flush_batch(self) -> Result<(), Error> {
        let ticket = self.send_queue.flush_batch();
        let mut wait = Wait { send_queue: self.send_queue, waiting: Waiting::within(self.how.timeout) };
        Ok(poll_fn(|cx| wait.send_queue.poll_flushed(cx, ticket, &mut wait.waiting)).await?)
    }

    /// Queues a text message. A `String` or [`Text`] of more than a few KiB is not copied.
    pub fn send_text(self, text: impl Into<Text> + AsRef<str>) -> Sent {
        if text.as_ref().len() < SHARE_FROM {
            self.offer(QueueItem::Borrowed(OpCode::Text, text.as_ref().as_bytes()))
        } else {
            self.offer(QueueItem::Shared(OpCode::Text, text.into().into()))
        }
    }

    /// Queues a binary message. A `Vec<u8>`, [`Bytes`] or [`Binary`] of more than a few KiB is not copied.
    pub fn send_binary(self, data: impl Into<Binary> + AsRef<[u8]>) -> Sent {
        if data.as_ref().len() < SHARE_FROM {
            self.offer(QueueItem::Borrowed(OpCode::Binary, data.as_ref()))
        } else {
            self.offer(QueueItem::Shared(OpCode::Binary, Bytes::from(data.into())))
        }
    }

    /// Queues the message that `object` becomes, such as [`Json`](crate::Json) (Jakarta's `sendObject`).
    ///
    /// # Errors
    /// [`Error::is_encode`] if it cannot be encoded. Whether it was queued is said by the [`Sent`].
    pub fn send_object<T: Encode + ?Sized>(self, object: &T) -> Result<Sent, Error> {
        Ok(match object.encode_for(&self.dialect)? {
            Message::Text(text) => self.send_text(text),
            Message::Binary(data) => self.send_binary(data),
        })
    }

    /// Queues a part of a text message, and with `last` ends the message; see [`BasicRemote::send_text_part`]. What is
    /// said there of waiting does not hold: while another message in parts is open the part is not queued, as if the
    /// queue were full. The [`Sent`] of a part that is not the last resolves when it is queued.
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

    /// Queues an unasked pong with up to 125 bytes of application data.
    ///
    /// # Errors
    /// As [`send_ping`](Self::send_ping).
    pub fn send_pong(self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        control(self.send_queue, OpCode::Pong, data.as_ref())
    }

    fn offer(self, message: QueueItem<'_>) -> Sent {
        let Self { send_queue, how, .. } = self;
        let overflow = how.overflow.or(send_queue.overflow()).unwrap_or(Overflow::Error);
        let (message, in_order) = match how.compressed {
            // then there will be room
            true if overflow == Overflow::DropOldest => send_queue.deflate(message),
            true => send_queue.deflate_if_room(message),
            false => (message, false),
        };
        let ticket = send_queue.offer_or(message, in_order, overflow);
        if ticket == Err(Refused::Full) && send_queue.first_overflow() {
            if let Some(not_logged) = send_queue.log().full.due() {
                tracing::warn!(
                    not_logged,
                    "a message was not sent: the outbound queue is full, the peer reads too slowly"
                );
            }
        }
        Sent::new(send_queue.clone(), ticket, Waiting::within(how.timeout))
    }

    fn part(self, part: QueueItem<'_>, last: bool) -> Sent {
        let ticket = self.send_queue.offer_part(part, last, self.how.compressed);
        let ticket = ticket.map(|ticket| ticket.unwrap_or(AT_ONCE));
        Sent::new(self.send_queue.clone(), ticket, Waiting::within(self.how.timeout))
    }
}

/// The ticket of what is queued as soon as it is accepted.
const AT_ONCE: Ticket = 0;

/// How a message is sent, where it is not as always.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) compressed: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) overflow: Option<Overflow>,
}

impl How {
    pub(crate) const DEFAULT: Self = Self { compressed: true, timeout: None, overflow: None };
}

fn control(send_queue: &SendQueue, opcode: OpCode, data: &[u8]) -> Result<(), Error> {
    if data.len() > MAX_CONTROL {
        return Err(Error::new(
            Kind::TooBig,
            format!("a ping or pong of {} bytes exceeds the {MAX_CONTROL} that a control frame may carry", data.len()),
        ));
    }
    Ok(send_queue.control(opcode, data)?)
}

/// A message that waits for room, then for the socket.
struct Sending<'a> {
    send_queue: &'a SendQueue,
    message: QueueItem<'a>,
    /// It is to be compressed at its turn.
    in_order: bool,
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
            match this.send_queue.offer_or(this.message.clone(), this.in_order, this.overflow) {
                Ok(ticket) => this.ticket = Some(ticket),
                Err(Refused::Dropped) => return Poll::Ready(Ok(())),
                Err(Refused::Full) if this.overflow == Overflow::Error => {
                    return Poll::Ready(Err(Refused::Full.into()));
                }
                Err(_) => ready!(this.send_queue.poll_room(cx, this.message.len(), &mut this.waiting))?,
            }
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.send_queue.abandon(&mut self.waiting);
    }
}

impl fmt::Debug for Sending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// A message for several sessions: encoded once, and compressed once for all that compress alike.
pub(crate) struct Shared {
    opcode: OpCode,
    payload: Binary,
    /// The frame, if it is small.
    frame: Vec<u8>,
    /// The same, with those before it.
    burst: Option<Burst>,
    how: How,
    /// By the kind of session; nothing if it did not become smaller.
    deflated: Vec<((u32, u8), Option<Bytes>)>,
}

impl Shared {
    pub(crate) fn new(message: Message, how: How) -> Self {
        let (opcode, payload) = match message {
            Message::Text(text) => (OpCode::Text, Binary::from(text)),
            Message::Binary(data) => (OpCode::Binary, data),
        };
        let mut frame = Vec::new();
        if payload.len() < SHARE_FROM {
            encode::frame(&mut frame, true, opcode, &payload);
        }
        Self { opcode, payload, frame, burst: None, how, deflated: Vec::new() }
    }

    /// Joins a burst, after the frames that are in it already.
    pub(crate) fn join_burst(&mut self, before: Option<Bytes>) {
        if !self.frame.is_empty() {
            self.burst = Some(Burst::add(before, &self.frame));
        }
    }

    /// The frames of the burst with this one.
    pub(crate) fn into_burst(self) -> Option<Bytes> {
        self.burst.map(Burst::into_bytes)
    }

    /// Gives it to one of them. If it may be written `direct`ly it is tried; what is queued is flushed later by whoever
    /// has `claimed` the session. How many older messages were dropped for it.
    pub(crate) fn offer(
        &mut self,
        send_queue: &SendQueue,
        direct: Option<Millisecond>,
        claimed: &mut bool,
    ) -> Result<u32, Refused> {
        let overflow = self.how.overflow.or(send_queue.overflow()).unwrap_or(Overflow::DropNewest);
        match self.offer_as(send_queue, direct, claimed, overflow == Overflow::DropOldest) {
            // who is left out by a broadcast is not told, so it is counted in any case
            Err(Refused::Full) if overflow != Overflow::Close => Err(send_queue.overflows(Overflow::DropNewest)),
            Err(Refused::Full) => Err(send_queue.overflows(overflow)),
            offered => offered,
        }
    }

    fn offer_as(
        &mut self,
        send_queue: &SendQueue,
        direct: Option<Millisecond>,
        claimed: &mut bool,
        droppable: bool,
    ) -> Result<u32, Refused> {
        let (opcode, size) = (self.opcode, self.payload.len());
        let mut put = |message: QueueItem<'_>, in_order: bool| {
            *claimed = send_queue.claim();
            if droppable {
                return send_queue.offer_droppable(message, in_order).map(|(_, evicted)| evicted);
            }
            let offered = if in_order { send_queue.offer_in_order(message, true) } else { send_queue.offer(message) };
            offered.map(|_| 0)
        };
        let deflation = send_queue.deflation().filter(|deflation| self.how.compressed && deflation.is_for(size));
        match deflation {
            Some(deflation) if !deflation.no_context_takeover() => {
                return put(QueueItem::Borrowed(opcode, &self.payload), true);
            }
            Some(deflation) => {
                if let Some(frame) = self.deflated(deflation) {
                    return match direct.filter(|_| frame.len() < SHARE_FROM) {
                        Some(moment) if send_queue.try_write_direct(&frame, moment)? => Ok(0),
                        _ => put(QueueItem::EncodedShared(frame), false),
                    };
                }
            }
            None => {}
        }
        match direct {
            _ if size >= SHARE_FROM => put(QueueItem::Shared(opcode, self.payload.clone().into()), false),
            Some(moment) if send_queue.try_write_direct(&self.frame, moment)? => Ok(0),
            _ => match &self.burst {
                // a client's frames are masked one by one
                Some(burst) if send_queue.role == Role::Server => put(QueueItem::Burst(burst), false),
                _ => put(QueueItem::EncodedBorrowed(&self.frame), false),
            },
        }
    }

    /// The message as a compressed frame, made for the first session of its kind.
    fn deflated(&mut self, deflation: &Deflation) -> Option<Bytes> {
        let kind = deflation.kind();
        if let Some((_, frame)) = self.deflated.iter().find(|(other, _)| *other == kind) {
            return frame.clone();
        }
        let mut frame = Vec::new();
        let smaller = deflation.frame_afresh(self.opcode, &self.payload, &mut frame);
        let frame = smaller.then(|| Bytes::from(frame));
        self.deflated.push((kind, frame.clone()));
        frame
    }
}
