//! The two ways to speak to a peer: [`BasicRemote`] waits until it is written, [`AsyncRemote`] hands over at once.
//!
//! Both put whole messages into the session's one outbound queue, so any number of tasks may send at the same time,
//! messages never mix, and each task's own keep their order.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::codec::Encode;
use crate::error::{Error, Kind};
use crate::listed::Dialect;
use crate::message::{Binary, Message};
use crate::outbound::{Moment, Outbound, Outgoing, Refused, SHARE_FROM, Ticket, Waiting};
use crate::text::Text;
use crate::wire::deflate::Deflation;
use crate::wire::encode;
use crate::wire::frame::{MAX_CONTROL, OpCode};

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
    outbound: &'a Arc<Outbound>,
    dialect: Dialect<'a>,
    compressed: bool,
}

impl<'a> BasicRemote<'a> {
    pub(crate) fn new(outbound: &'a Arc<Outbound>, dialect: Dialect<'a>) -> Self {
        Self { outbound, dialect, compressed: true }
    }

    /// Sends what follows as it is, though the session has compression: for messages that hold a secret beside text
    /// that others choose, and for those that are compressed already.
    #[must_use]
    pub fn uncompressed(self) -> Self {
        Self { compressed: false, ..self }
    }

    /// Sends a text message. A `String` or [`Text`] of more than a few KiB is not copied.
    ///
    /// # Errors
    /// [`Error::is_closed`] at once if the session is closed, or if it ends first; [`Error::is_timeout`] if the peer
    /// did not take it in time, though it may still be delivered later.
    pub async fn send_text(self, text: impl Into<Text> + AsRef<str>) -> Result<(), Error> {
        if text.as_ref().len() < SHARE_FROM {
            self.send(Outgoing::Small(OpCode::Text, text.as_ref().as_bytes())).await
        } else {
            self.send(Outgoing::Large(OpCode::Text, text.into().into())).await
        }
    }

    /// Sends a binary message. A `Vec<u8>`, [`Bytes`] or [`Binary`] of more than a few KiB is not copied.
    ///
    /// # Errors
    /// As [`send_text`](Self::send_text).
    pub async fn send_binary(self, data: impl Into<Binary> + AsRef<[u8]>) -> Result<(), Error> {
        if data.as_ref().len() < SHARE_FROM {
            self.send(Outgoing::Small(OpCode::Binary, data.as_ref())).await
        } else {
            self.send(Outgoing::Large(OpCode::Binary, Bytes::from(data.into()))).await
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

    /// Sends a ping with up to 125 bytes of application data; its pong reaches the pong handler. Resolves when it is
    /// queued, in the lane of the control frames, which passes the messages.
    ///
    /// # Errors
    /// [`Error::is_too_big`] before anything is sent; [`Error::is_closed`].
    pub async fn send_ping(self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        control(self.outbound, OpCode::Ping, data.as_ref())
    }

    /// Sends an unasked pong with up to 125 bytes of application data. Pings are answered without your help.
    ///
    /// # Errors
    /// As [`send_ping`](Self::send_ping).
    pub async fn send_pong(self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        control(self.outbound, OpCode::Pong, data.as_ref())
    }

    fn send<'m>(self, message: Outgoing<'m>) -> Sending<'m>
    where
        'a: 'm,
    {
        let (message, in_order) = if self.compressed { self.outbound.deflate(message) } else { (message, false) };
        Sending { outbound: self.outbound, message, in_order, ticket: None, waiting: Waiting::default() }
    }
}

/// Hands over and returns (Jakarta's `RemoteEndpoint.Async`).
///
/// The message is queued, or refused, before the call returns. The [`Sent`] it returns may be awaited to learn when
/// the message was written, or dropped. The queue is bounded (65,536 messages and 16 MiB unless configured): when the
/// peer reads too slowly a send fails with [`Error::is_queue_full`], and the first such failure is logged.
#[derive(Clone, Copy, Debug)]
pub struct AsyncRemote<'a> {
    outbound: &'a Arc<Outbound>,
    dialect: Dialect<'a>,
    compressed: bool,
}

impl<'a> AsyncRemote<'a> {
    pub(crate) fn new(outbound: &'a Arc<Outbound>, dialect: Dialect<'a>) -> Self {
        Self { outbound, dialect, compressed: true }
    }

    /// Sends what follows as it is; see [`BasicRemote::uncompressed`].
    #[must_use]
    pub fn uncompressed(self) -> Self {
        Self { compressed: false, ..self }
    }

    /// Queues a text message. A `String` or [`Text`] of more than a few KiB is not copied.
    pub fn send_text(self, text: impl Into<Text> + AsRef<str>) -> Sent {
        if text.as_ref().len() < SHARE_FROM {
            self.offer(Outgoing::Small(OpCode::Text, text.as_ref().as_bytes()))
        } else {
            self.offer(Outgoing::Large(OpCode::Text, text.into().into()))
        }
    }

    /// Queues a binary message. A `Vec<u8>`, [`Bytes`] or [`Binary`] of more than a few KiB is not copied.
    pub fn send_binary(self, data: impl Into<Binary> + AsRef<[u8]>) -> Sent {
        if data.as_ref().len() < SHARE_FROM {
            self.offer(Outgoing::Small(OpCode::Binary, data.as_ref()))
        } else {
            self.offer(Outgoing::Large(OpCode::Binary, Bytes::from(data.into())))
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

    /// Queues a ping with up to 125 bytes of application data.
    ///
    /// # Errors
    /// [`Error::is_too_big`] before anything is sent; [`Error::is_closed`].
    pub fn send_ping(self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        control(self.outbound, OpCode::Ping, data.as_ref())
    }

    /// Queues an unasked pong with up to 125 bytes of application data.
    ///
    /// # Errors
    /// As [`send_ping`](Self::send_ping).
    pub fn send_pong(self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        control(self.outbound, OpCode::Pong, data.as_ref())
    }

    fn offer(self, message: Outgoing<'_>) -> Sent {
        let (message, in_order) = if self.compressed { self.outbound.deflate(message) } else { (message, false) };
        let ticket = offer(self.outbound, message, in_order);
        if ticket == Err(Refused::Full) && self.outbound.first_overflow() {
            tracing::warn!("a message was not sent: the outbound queue is full, the peer reads too slowly");
        }
        Sent { outbound: self.outbound.clone(), ticket }
    }
}

fn offer(outbound: &Outbound, message: Outgoing<'_>, in_order: bool) -> Result<Ticket, Refused> {
    if in_order { outbound.offer_in_order(message, true) } else { outbound.offer(message) }
}

fn control(outbound: &Outbound, opcode: OpCode, data: &[u8]) -> Result<(), Error> {
    if data.len() > MAX_CONTROL {
        return Err(Error::new(
            Kind::TooBig,
            format!("a ping or pong of {} bytes exceeds the {MAX_CONTROL} that a control frame may carry", data.len()),
        ));
    }
    Ok(outbound.control(opcode, data)?)
}

/// A message that was handed over. Await it to learn that it was written; dropping it changes nothing.
///
/// It is not a future but becomes one, so that ignoring it is no warning.
#[derive(Debug)]
pub struct Sent {
    outbound: Arc<Outbound>,
    ticket: Result<Ticket, Refused>,
}

impl Sent {
    /// Whether the message was queued; an error says at once why it was not.
    ///
    /// # Errors
    /// [`Error::is_closed`] or [`Error::is_queue_full`].
    pub fn queued(&self) -> Result<(), Error> {
        self.ticket.map(drop).map_err(Error::from)
    }
}

impl IntoFuture for Sent {
    type Output = Result<(), Error>;
    type IntoFuture = Written;

    fn into_future(self) -> Written {
        Written { outbound: self.outbound, ticket: self.ticket, waiting: Waiting::default() }
    }
}

/// Resolves when a message that was handed over is written, or says why it will not be.
#[derive(Debug)]
pub struct Written {
    outbound: Arc<Outbound>,
    ticket: Result<Ticket, Refused>,
    waiting: Waiting,
}

impl Future for Written {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let written = ready!(this.outbound.poll_written(cx, this.ticket?, &mut this.waiting));
        Poll::Ready(written.map_err(Error::from))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.outbound.abandon(&mut self.waiting);
    }
}

/// A message that waits for room, then for the socket.
struct Sending<'a> {
    outbound: &'a Outbound,
    message: Outgoing<'a>,
    /// It is to be compressed at its turn.
    in_order: bool,
    ticket: Option<Ticket>,
    waiting: Waiting,
}

impl Future for Sending<'_> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(ticket) = this.ticket {
                let written = ready!(this.outbound.poll_written(cx, ticket, &mut this.waiting));
                return Poll::Ready(written.map_err(Error::from));
            }
            match offer(this.outbound, this.message.clone(), this.in_order) {
                Ok(ticket) => this.ticket = Some(ticket),
                Err(_) => ready!(this.outbound.poll_room(cx, this.message.len(), &mut this.waiting))?,
            }
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.outbound.abandon(&mut self.waiting);
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
    compressed: bool,
    /// By the kind of session; nothing if it did not become smaller.
    deflated: Vec<((u32, u8), Option<Bytes>)>,
}

impl Shared {
    pub(crate) fn new(message: Message, compressed: bool) -> Self {
        let (opcode, payload) = match message {
            Message::Text(text) => (OpCode::Text, Binary::from(text)),
            Message::Binary(data) => (OpCode::Binary, data),
        };
        let mut frame = Vec::new();
        if payload.len() < SHARE_FROM {
            encode::frame(&mut frame, true, opcode, &payload);
        }
        Self { opcode, payload, frame, compressed, deflated: Vec::new() }
    }

    /// Gives it to one of them; `at_once` if it may be written from here.
    pub(crate) fn offer(&mut self, outbound: &Outbound, at_once: Option<Moment>) -> Result<(), Refused> {
        let (opcode, size) = (self.opcode, self.payload.len());
        let deflation = outbound.deflation().filter(|deflation| self.compressed && deflation.is_for(size));
        match deflation {
            Some(deflation) if !deflation.forgets() => {
                let message = Outgoing::Small(opcode, &self.payload);
                return outbound.offer_in_order(message, true).map(drop);
            }
            Some(deflation) => {
                if let Some(frame) = self.deflated(deflation) {
                    return match at_once {
                        Some(moment) if frame.len() < SHARE_FROM => outbound.offer_at_once(&frame, moment),
                        _ => outbound.offer(Outgoing::Frame(frame)).map(drop),
                    };
                }
            }
            None => {}
        }
        match at_once {
            _ if size >= SHARE_FROM => outbound.offer(Outgoing::Large(opcode, self.payload.clone().into())).map(drop),
            Some(moment) => outbound.offer_at_once(&self.frame, moment),
            None => outbound.offer(Outgoing::Encoded(&self.frame)).map(drop),
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
