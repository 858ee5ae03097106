//! From a decoded event to the call of its handler.

use std::future::Future;

use super::inbox::Inbox;
use super::io::ConnectionIo;
use super::slow_path::Slow;
use crate::codec::session_coders::{Fed, Part};
use crate::endpoint::contract::{EndpointHandlers, Handler, Mode, Reply};
use crate::endpoint::dispatch::Dispatch;
use crate::endpoint::invocation::Invocation;
use crate::error::Error;
use crate::observe::tally::Tally;
use crate::session::message_handler::{MessageKind, Payload};
use crate::session::stream::{BinaryStream, Pipe, TextStream};
use endpoint_wire::Violation;
use endpoint_wire::event::{ByteChunk, DecodeOptions, Delivery, Event, Utf8Chunk};
use endpoint_wire::message::{Binary, DataKind, Message, Pong};

/// A text or binary payload on its way to the handler that endpoint `E` has for it.
pub(super) trait DataPayload<E: EndpointHandlers>: Sized {
    const KIND: DataKind;
    const HANDLER: &'static Handler;

    fn part(&self) -> Part<'_>;

    /// Calls a handler that is an ordinary `fn`, which borrows the payload.
    fn call_sync(&self, dispatch: &mut Dispatch<E>, last: bool) -> Reply;

    fn into_message(self) -> Message;

    fn into_invocation(self, last: bool) -> Invocation;

    /// Calls the handler of a [plain](is_plain) payload if it is an ordinary `fn`, or prepares the call of an `async fn`.
    #[inline(always)]
    fn invocation(self, dispatch: &mut Dispatch<E>, last: bool) -> Invocation {
        if Self::HANDLER.mode == Mode::Sync {
            Invocation::Settled(self.call_sync(dispatch, last))
        } else {
            self.into_invocation(last)
        }
    }
}

impl<E: EndpointHandlers> DataPayload<E> for Utf8Chunk<'_> {
    const KIND: DataKind = DataKind::Text;
    const HANDLER: &'static Handler = &E::TEXT;

    #[inline]
    fn part(&self) -> Part<'_> {
        Part::Text(self.as_str())
    }

    #[inline]
    fn call_sync(&self, dispatch: &mut Dispatch<E>, last: bool) -> Reply {
        dispatch.text_sync(self.as_str(), last)
    }

    #[inline]
    fn into_message(self) -> Message {
        Message::Text(self.into_text())
    }

    #[inline]
    fn into_invocation(self, last: bool) -> Invocation {
        Invocation::Text(self.into_text(), last)
    }
}

impl<E: EndpointHandlers> DataPayload<E> for ByteChunk<'_> {
    const KIND: DataKind = DataKind::Binary;
    const HANDLER: &'static Handler = &E::BINARY;

    #[inline]
    fn part(&self) -> Part<'_> {
        Part::Binary(self.as_slice())
    }

    #[inline]
    fn call_sync(&self, dispatch: &mut Dispatch<E>, last: bool) -> Reply {
        dispatch.binary_sync(self.as_slice(), last)
    }

    #[inline]
    fn into_message(self) -> Message {
        Message::Binary(self.into_binary())
    }

    #[inline]
    fn into_invocation(self, last: bool) -> Invocation {
        Invocation::Binary(self.into_binary(), last)
    }
}

/// An event without its borrow of the input.
enum Detached {
    /// A stream decoder has taken a part of a message of this kind.
    Fed(Fed, DataKind),
    /// A message or part for a handler that reads a stream, or for one that was added to the session.
    Data(Message, bool),
    Control(Event<'static>),
}

/// Detaches an event whose handler is not [plain](is_plain). `limit` is the session's maximum message size.
fn detach<E: EndpointHandlers>(dispatch: &mut Dispatch<E>, event: Event<'_>, limit: usize) -> Detached {
    match event {
        Event::Text { text, last } => detach_data(dispatch, text, last, limit),
        Event::Binary { data, last } => detach_data(dispatch, data, last, limit),
        control => Detached::Control(control.into_owned()),
    }
}

fn detach_data<E, D>(dispatch: &mut Dispatch<E>, payload: D, last: bool, limit: usize) -> Detached
where
    E: EndpointHandlers,
    D: DataPayload<E>,
{
    if !D::HANDLER.streams && D::HANDLER.feed.is_some() {
        Detached::Fed(dispatch.feed(D::HANDLER, payload.part(), last, limit), D::KIND)
    } else {
        Detached::Data(payload.into_message(), last)
    }
}

/// Whether a handler is called with each payload as it is: it is annotated, and neither reads a stream nor has a stream
/// decoder. Decided at compile time.
#[inline]
const fn is_plain(handler: &Handler) -> bool {
    handler.exists() && !handler.streams && handler.feed.is_none()
}

/// Whether an endpoint reads messages while they arrive; decided at compile time.
#[inline]
pub(super) const fn streams<E: EndpointHandlers>() -> bool {
    E::TEXT.streams || E::BINARY.streams
}

impl ConnectionIo {
    /// Whether [`next_call`](Self::next_call) may have a call. Asked first, because a place for a call has its price too.
    #[inline]
    pub(crate) fn may_have_call<E: EndpointHandlers>(&self) -> bool {
        self.reader.has_input() || E::PRESENCE.exists() || self.is_unusual()
    }

    /// Whether a call may come before the messages in the input.
    #[inline(never)]
    fn is_unusual(&self) -> bool {
        self.slow_path.is_some() || self.inbox.is_some()
    }

    /// The call for the next message that has already arrived; `None` if the socket must be read, or other connections
    /// are served first.
    ///
    /// A handler that is an ordinary function runs right here and borrows its message from the buffer.
    #[inline]
    pub(crate) fn next_call<'d, E: EndpointHandlers>(
        &mut self,
        dispatch: &'d mut Dispatch<E>,
    ) -> Option<impl Future<Output = Reply> + Send + use<'d, E>> {
        if E::PRESENCE.exists() || self.slow_path.is_some() || self.inbox.is_some() {
            // in one place, so that the usual way has no further call to build
            match self.next_unusual(dispatch) {
                Slow::Nothing => return None,
                Slow::Call(invocation) => return Some(dispatch.call(invocation)),
                Slow::Usual => {}
            }
        }
        let (options, limit) = (self.decode_options::<E>(), self.reader.max_message_size());
        while self.reader.has_input() && self.reader.is_open() && !self.quantum.is_over() {
            let (cost, event) = match self.reader.next_event(&options) {
                Ok(decoded) => decoded,
                Err(violation) => {
                    self.on_violation(violation);
                    return None;
                }
            };
            self.quantum.spend_on_frame(cost);
            if let Some(violation) = exceeds::<E>(&mut self.inbox, event.as_ref()) {
                drop(event);
                self.on_violation(violation);
                return None;
            }
            match event {
                // the usual cases apart, so that the call is built in its place
                Some(Event::Text { text, last }) if is_plain(&E::TEXT) => {
                    let size = text.as_str().len();
                    self.session.tally().note_received(last);
                    let invocation = text.invocation(dispatch, last);
                    self.expect(&E::TEXT, size);
                    return Some(dispatch.call(invocation));
                }
                Some(Event::Binary { data, last }) if is_plain(&E::BINARY) => {
                    let size = data.as_slice().len();
                    self.session.tally().note_received(last);
                    let invocation = data.invocation(dispatch, last);
                    self.expect(&E::BINARY, size);
                    return Some(dispatch.call(invocation));
                }
                Some(event) => {
                    note_received(self.session.tally(), &event);
                    let event = detach(dispatch, event, limit);
                    if let Some(invocation) = self.route(dispatch, event) {
                        return Some(dispatch.call(invocation));
                    }
                }
                None => self.note_unfinished(),
            }
        }
        None
    }

    /// Notes the size of a message that is handed on owned.
    #[inline(always)]
    fn expect(&mut self, handler: &Handler, size: usize) {
        if handler.mode != Mode::Sync {
            self.reader.expect(size);
        }
    }

    /// The next invocation of the inbox; `None` if it is empty, or other connections are served first.
    pub(super) fn next_in_inbox<E: EndpointHandlers>(&mut self, dispatch: &mut Dispatch<E>) -> Option<Invocation> {
        while !self.quantum.is_over() {
            let invocation = match self.inbox.as_mut()?.pop()? {
                Invocation::Text(text, last) => self.call_owned(dispatch, Utf8Chunk::Owned(text), last),
                Invocation::Binary(data, last) => self.call_owned(dispatch, ByteChunk::Owned(data), last),
                other => self.call_dynamic(dispatch, other),
            };
            if invocation.is_some() {
                return invocation;
            }
        }
        None
    }

    /// The call for a message or part that waited in the inbox; `None` if more of it must arrive.
    #[inline(always)]
    pub(super) fn call_owned<E, D>(&mut self, dispatch: &mut Dispatch<E>, payload: D, last: bool) -> Option<Invocation>
    where
        E: EndpointHandlers,
        D: DataPayload<E>,
    {
        if is_plain(D::HANDLER) {
            return Some(payload.invocation(dispatch, last));
        }
        let limit = self.reader.max_message_size();
        let event = detach_data(dispatch, payload, last, limit);
        self.route(dispatch, event)
    }

    /// Routes an event to its handler. Returns the call that follows, if any.
    fn route<E: EndpointHandlers>(&mut self, dispatch: &mut Dispatch<E>, event: Detached) -> Option<Invocation> {
        let (message, last) = match event {
            Detached::Data(message, last) => (message, last),
            Detached::Fed(fed, kind) => return self.on_fed(dispatch, fed, kind),
            Detached::Control(Event::Pong(data)) => {
                let invocation = self.pong::<E>(data)?;
                return self.call_dynamic(dispatch, invocation);
            }
            Detached::Control(event) => {
                self.on_control(event);
                return None;
            }
        };
        let streams = match &message {
            Message::Text(_) => E::TEXT.streams,
            Message::Binary(_) => E::BINARY.streams,
        };
        if streams {
            let first = self.feed(message, last)?;
            return Some(self.begin_stream(first, last));
        }
        let invocation = self.dynamic_invocation(message.into(), last);
        self.reader.expect(invocation.size());
        self.call_dynamic(dispatch, invocation)
    }

    /// The call that follows after a stream decoder took a part, if any.
    fn on_fed<E: EndpointHandlers>(
        &mut self,
        dispatch: &mut Dispatch<E>,
        fed: Fed,
        kind: DataKind,
    ) -> Option<Invocation> {
        match fed {
            Fed::More => None,
            Fed::Ready => Some(dispatch.fed(kind)),
            Fed::Failed(error) => Some(Invocation::Settled(Err(error))),
            Fed::TooBig { limit, size } => {
                self.on_fed_too_big(limit, size);
                None
            }
        }
    }

    /// A stream decoder has taken more than the limit.
    pub(super) fn on_fed_too_big(&mut self, limit: usize, size: u64) {
        // messages behind this one must not be handled before the violation is reported, nor after it
        self.inbox.iter_mut().for_each(|inbox| inbox.drop_messages());
        self.on_violation(Violation::TooBig { limit, size });
    }

    /// Acts on a ping or a close frame, or on the end of a message without a handler.
    pub(super) fn on_control(&mut self, event: Event<'static>) {
        match event {
            Event::Ping(data) => {
                self.answer_ping(&data);
                self.charge_control(data.len());
            }
            Event::Close(reason) => self.on_close_frame(reason),
            Event::Discarded { kind } => {
                if let Some(added) = &mut self.dynamic_handlers {
                    added.forget_held();
                }
                self.log_discarded(MessageKind::of(kind));
            }
            // a handler takes these
            Event::Text { .. } | Event::Binary { .. } | Event::Pong(_) => {}
        }
    }

    /// The call for a pong of the peer; `None` if it answers an automatic ping, or no handler takes it.
    pub(super) fn pong<E: EndpointHandlers>(&mut self, data: Binary) -> Option<Invocation> {
        // a pong may arrive between two parts of a message
        self.note_unfinished();
        let base = self.session.open_set().base;
        if let Some(pinged) = self.timers.take_answer(&data, base) {
            if let Some(pinged) = pinged {
                let round_trip = pinged.elapsed();
                self.session.set_rtt(round_trip);
                self.session.open_set().measures.round_trips.observe(round_trip);
            }
            return None;
        }
        if E::PONG.exists() {
            return Some(Invocation::Pong(Pong::new(data)));
        }
        let is_wanted = self.dynamic_handlers.as_ref().is_some_and(|added| added.of(MessageKind::Pong).is_some());
        if !is_wanted {
            self.charge_control(data.len());
        }
        is_wanted.then(|| self.dynamic_invocation(Payload::Pong(Pong::new(data)), true))
    }

    /// How the decoder delivers text and binary messages.
    #[inline]
    pub(super) fn decode_options<E: EndpointHandlers>(&self) -> DecodeOptions {
        let limit = self.reader.max_message_size();
        let delivery = |handler: &Handler, kind: MessageKind| match handler {
            Handler { mode: Mode::Missing, .. } => {
                self.dynamic_handlers.as_ref().map_or(Delivery::Discard, |added| added.delivery(kind, limit))
            }
            Handler { parts: true, .. } => Delivery::Parts,
            Handler { max_size, .. } => Delivery::Whole { limit: max_size.unwrap_or(limit) },
        };
        DecodeOptions { text: delivery(&E::TEXT, MessageKind::Text), binary: delivery(&E::BINARY, MessageKind::Binary) }
    }

    /// The call for a message whose first part has arrived.
    pub(super) fn begin_stream(&mut self, first: Message, last: bool) -> Invocation {
        let pipe = Pipe::new(self.writer.shared_queue());
        let is_text = matches!(first, Message::Text(_));
        pipe.push(first, last);
        self.inbox.get_or_insert_default().begin_stream(&pipe, last);
        self.charge_streamed();
        if !self.reader.is_open() {
            self.break_stream(Error::closed);
        }
        if is_text {
            Invocation::TextStream(TextStream::new(pipe))
        } else {
            Invocation::BinaryStream(BinaryStream::new(pipe))
        }
    }

    /// Passes a part to the handler that reads its message; returns the part if there is no such handler.
    #[inline]
    pub(super) fn feed(&mut self, part: Message, last: bool) -> Option<Message> {
        match &mut self.inbox {
            Some(inbox) => inbox.feed(part, last),
            None => Some(part),
        }
    }

    /// Drops the rest of a message whose handler has returned.
    pub(super) fn discard_stream(&mut self) {
        self.break_stream(Error::unread);
    }

    /// Fails the stream of a message that will not be completed.
    pub(super) fn break_stream(&mut self, error: impl FnOnce() -> Error) {
        if let Some(inbox) = &mut self.inbox {
            inbox.break_stream(error);
        }
    }
}

/// Counts a message that has arrived.
#[inline]
pub(super) fn note_received(tally: &Tally, event: &Event<'_>) {
    match event {
        Event::Text { last, .. } | Event::Binary { last, .. } => tally.note_received(*last),
        Event::Discarded { .. } => tally.note_received(true),
        Event::Ping(_) | Event::Pong(_) | Event::Close(_) => {}
    }
}

/// Counts a part against its handler's limit for the whole message. Returns the violation if the message exceeds it.
#[inline]
pub(super) fn exceeds<E: EndpointHandlers>(
    inbox: &mut Option<Box<Inbox>>,
    event: Option<&Event<'_>>,
) -> Option<Violation> {
    if E::TEXT.max_total.is_none() && E::BINARY.max_total.is_none() {
        return None;
    }
    let (handler, size, last) = match event? {
        Event::Text { text, last } => (&E::TEXT, text.as_str().len(), *last),
        Event::Binary { data, last } => (&E::BINARY, data.as_slice().len(), *last),
        _ => return None,
    };
    let limit = handler.max_total?;
    let size = inbox.get_or_insert_default().add_to_total(size, last);
    (size > limit).then_some(Violation::TooBig { limit: usize::try_from(limit).unwrap_or(usize::MAX), size })
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::config::Limits;
    use crate::endpoint::contract::Reply;
    use crate::error::Error;
    use crate::handshake::path::PathParams;
    use crate::handshake::request::{HandshakeRequest, Transport};
    use crate::session::{OpenSet, Session, SessionInit};
    use crate::transport::socket::Socket;
    use endpoint_wire::close::CloseReason;
    use endpoint_wire::frame::OpCode;
    use endpoint_wire::text::Text;

    /// Takes binary messages and never replies.
    struct Taker;

    impl EndpointHandlers for Taker {
        const BINARY: Handler = Handler::SYNC;

        fn on_open(&mut self, _: &Session) -> impl Future<Output = Reply> + Send {
            ready(Ok(None))
        }
        fn on_text(&mut self, _: &Session, _: Text, _: bool) -> impl Future<Output = Reply> + Send {
            ready(Ok(None))
        }
        fn on_text_sync(&mut self, _: &Session, _: &str, _: bool) -> Reply {
            Ok(None)
        }
        fn on_binary(&mut self, _: &Session, _: Binary, _: bool) -> impl Future<Output = Reply> + Send {
            ready(Ok(None))
        }
        fn on_binary_sync(&mut self, _: &Session, _: &[u8], _: bool) -> Reply {
            Ok(None)
        }
        fn on_pong(&mut self, _: &Session, _: Pong) -> impl Future<Output = Reply> + Send {
            ready(Ok(None))
        }
        fn on_close(&mut self, _: &Session, _: CloseReason) -> impl Future<Output = Result<(), Error>> + Send {
            ready(Ok(()))
        }
        fn on_error(&mut self, _: &Session, _: Error) -> impl Future<Output = Result<(), Error>> + Send {
            ready(Ok(()))
        }
    }

    /// A connection that has decoded `early`, and its peer.
    fn io_with(early: &'static [u8]) -> (ConnectionIo, Dispatch<Taker>, DuplexStream) {
        let (io, peer) = duplex(1024);
        let parts = http::Request::new(()).into_parts().0;
        let limits = Limits { send_queue_bytes: 1024, ..Limits::default() };
        let set = Arc::new(OpenSet::new("/", "Taker", limits));
        let request = HandshakeRequest::new(&parts, PathParams::default(), Transport::default());
        let (response, subprotocol, deflation, rare) = <_>::default();
        let init = SessionInit { request, response, subprotocol, deflation, endpoint: set, rare };
        let session = Session::new(init, None);
        let io =
            ConnectionIo::new(Socket::Other(Box::new(io)), bytes::Bytes::from_static(early), session.clone(), None);
        let mut both = (io, Dispatch::new(Taker, session, None), peer);
        decode(&mut both.0, &mut both.1);
        both
    }

    /// A connection that has read and decoded `bytes`; the thread's buffer is still lent to it.
    async fn io_after(bytes: &[u8]) -> (ConnectionIo, Dispatch<Taker>, DuplexStream) {
        let (mut io, mut dispatch, mut peer) = io_with(b"");
        peer.write_all(bytes).await.unwrap();
        poll_fn(|cx| io.poll_input::<Taker>(cx)).await;
        decode(&mut io, &mut dispatch);
        assert!(io.reader.buffer().0);
        (io, dispatch, peer)
    }

    fn decode(io: &mut ConnectionIo, dispatch: &mut Dispatch<Taker>) {
        while let Some(call) = io.next_call(dispatch) {
            let settled = pin!(call).poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(settled, Poll::Ready(Ok(None))), "{settled:?}");
        }
        assert!(!io.reader.has_input());
    }

    fn waits(io: &mut ConnectionIo) {
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(io.poll_input::<Taker>(cx).is_pending());
        assert_eq!(io.reader.buffer(), (false, 0), "the waiting connection holds a read buffer");
    }

    #[tokio::test]
    async fn idle_connection_has_no_buffer() {
        waits(&mut io_after(b"\x82\x82\0\0\0\0ab").await.0);
    }

    #[tokio::test]
    async fn connection_that_waits_until_its_peer_reads_has_no_read_buffer() {
        let (mut io, _dispatch, _peer) = io_after(b"\x82\x82\0\0\0\0ab").await;
        io.writer.buffer().push(true, OpCode::Binary, &[0; 10_000]);
        waits(&mut io);
    }

    #[tokio::test]
    async fn connection_that_waits_for_the_rest_of_a_large_message_has_no_read_buffer() {
        let started = b"\x82\xfe\xff\xff\0\0\0\0ab";
        waits(&mut io_after(started).await.0);
        // also if the bytes came with the handshake, in the connection's own buffer
        waits(&mut io_with(started).0);
    }
}
