//! Input: read into a lent buffer, decoded in place, then handed on or kept.

use std::future::Future;
use std::io;
use std::task::{Context, Poll, ready};

use super::io::{ConnectionIo, Input};
use super::streaming::{exceeds, streams};
use crate::codec::session_coders::{Fed, Part};
use crate::endpoint::contract::{EndpointHandlers, Handler, Mode, Reply};
use crate::endpoint::dispatch::{Dispatch, Invocation};
use crate::session::message_handler::{MessageKind, Payload};
use crate::transport::buffers;
use endpoint_wire::Violation;
use endpoint_wire::decode::{Decoder, OWN_FROM};
use endpoint_wire::event::{DecodeOptions, Delivery, Event};
use endpoint_wire::message::{Binary, Message, Pong};

/// Largest message size that is expected to repeat, and to arrive in one piece.
const OWN_MOST: usize = 64 << 10;

/// Bytes read beyond the expected message: its header, and small messages after it.
const OWN_MORE: usize = 256;

impl ConnectionIo {
    /// The call for the next message that has already arrived; `None` if the socket must be read, or other connections
    /// are served first.
    ///
    /// A handler that is an ordinary function runs right here and borrows its message from the buffer.
    #[inline]
    pub(crate) fn next_call<'d, E: EndpointHandlers>(
        &mut self,
        dispatch: &'d mut Dispatch<E>,
    ) -> Option<impl Future<Output = Reply> + Send + use<'d, E>> {
        if streams::<E>() {
            self.discard_stream();
        }
        while let Some(work) = self.inbox.as_mut().and_then(|inbox| inbox.pop()) {
            let work = match work {
                work @ Invocation::Added(_) => match self.call_dynamic(dispatch, work) {
                    Some(work) => work,
                    None => continue,
                },
                Invocation::Text(text, last) if E::TEXT.streams => self.begin_stream(Message::Text(text), last),
                Invocation::Binary(data, last) if E::BINARY.streams => self.begin_stream(Message::Binary(data), last),
                Invocation::Text(text, last) if E::TEXT.feed.is_some() => {
                    let fed = dispatch.feed(&E::TEXT, Part::Text(&text), last, self.max_message_size);
                    match self.fed(dispatch, fed, true) {
                        Some(work) => work,
                        None if self.violation.is_some() => return None,
                        None => continue,
                    }
                }
                Invocation::Binary(data, last) if E::BINARY.feed.is_some() => {
                    let fed = dispatch.feed(&E::BINARY, Part::Binary(&data), last, self.max_message_size);
                    match self.fed(dispatch, fed, false) {
                        Some(work) => work,
                        None if self.violation.is_some() => return None,
                        None => continue,
                    }
                }
                Invocation::Text(text, last) if E::TEXT.mode == Mode::Sync => {
                    Invocation::Settled(dispatch.text_sync(&text, last))
                }
                Invocation::Binary(data, last) if E::BINARY.mode == Mode::Sync => {
                    Invocation::Settled(dispatch.binary_sync(&data, last))
                }
                work => work,
            };
            return Some(dispatch.call(work));
        }
        let rules = self.rules::<E>();
        while !self.input.is_empty() && self.is_reading() && !self.quantum.is_over() {
            let Input { buffer, start, end, lent } = &mut self.input;
            let before = *end - *start;
            let step = if *lent {
                self.decoder.next(&rules, &mut buffer[*start..*end]).map(|(used, event)| {
                    *start += used;
                    event
                })
            } else {
                self.decoder.next_owned(&rules, buffer, *start..*end).map(|(rest, event)| {
                    (*start, *end) = (rest.start, rest.end);
                    event
                })
            };
            self.quantum.spend_on_frame(before - (*end - *start) + self.decoder.take_work());
            let event = match step {
                Ok(event) => event,
                Err(violation) => {
                    self.on_violation(violation);
                    return None;
                }
            };
            if let Some(violation) = exceeds::<E>(&mut self.inbox, event.as_ref()) {
                drop(event);
                self.on_violation(violation);
                return None;
            }
            match event {
                Some(Event::Text { text, last }) if E::TEXT.streams => {
                    let part = Message::Text(text.into_text());
                    if let Some(first) = self.feed(part, last) {
                        return Some(dispatch.call(self.begin_stream(first, last)));
                    }
                }
                Some(Event::Binary { data, last }) if E::BINARY.streams => {
                    let part = Message::Binary(data.into_binary());
                    if let Some(first) = self.feed(part, last) {
                        return Some(dispatch.call(self.begin_stream(first, last)));
                    }
                }
                Some(Event::Text { text, last }) if E::TEXT.feed.is_some() => {
                    let fed = dispatch.feed(&E::TEXT, Part::Text(text.as_str()), last, self.max_message_size);
                    if let Some(work) = self.fed(dispatch, fed, true) {
                        return Some(dispatch.call(work));
                    }
                }
                Some(Event::Binary { data, last }) if E::BINARY.feed.is_some() => {
                    let fed = dispatch.feed(&E::BINARY, Part::Binary(data.as_slice()), last, self.max_message_size);
                    if let Some(work) = self.fed(dispatch, fed, false) {
                        return Some(dispatch.call(work));
                    }
                }
                Some(Event::Text { text, last }) if E::TEXT.mode == Mode::Sync => {
                    let reply = dispatch.text_sync(text.as_str(), last);
                    return Some(dispatch.call(Invocation::Settled(reply)));
                }
                Some(Event::Binary { data, last }) if E::BINARY.mode == Mode::Sync => {
                    let reply = dispatch.binary_sync(data.as_slice(), last);
                    return Some(dispatch.call(Invocation::Settled(reply)));
                }
                Some(Event::Text { text, last }) => {
                    let text = text.into_text();
                    self.expected_bytes = text.len() as u32;
                    if E::TEXT.mode == Mode::Missing {
                        let work = self.dynamic_invocation(Payload::Text(text), last);
                        match self.call_dynamic(dispatch, work) {
                            Some(work) => return Some(dispatch.call(work)),
                            None => continue,
                        }
                    }
                    return Some(dispatch.call(Invocation::Text(text, last)));
                }
                Some(Event::Binary { data, last }) => {
                    let data = data.into_binary();
                    self.expected_bytes = data.len() as u32;
                    if E::BINARY.mode == Mode::Missing {
                        let work = self.dynamic_invocation(Payload::Binary(data), last);
                        match self.call_dynamic(dispatch, work) {
                            Some(work) => return Some(dispatch.call(work)),
                            None => continue,
                        }
                    }
                    return Some(dispatch.call(Invocation::Binary(data, last)));
                }
                Some(Event::Ping(data)) => self.answer_ping(&data),
                Some(Event::Pong(data)) => {
                    if let Some(work) = self.pong::<E>(data).and_then(|work| self.call_dynamic(dispatch, work)) {
                        return Some(dispatch.call(work));
                    }
                }
                Some(Event::Close(reason)) => self.on_close_frame(reason),
                Some(Event::Unwanted { text }) => self.discarded(text),
                None => self.leave_unfinished(),
            }
        }
        None
    }

    /// The call that follows after a part was given to a stream decoder, if any.
    fn fed<E: EndpointHandlers>(&mut self, dispatch: &mut Dispatch<E>, fed: Fed, text: bool) -> Option<Invocation> {
        match fed {
            Fed::More => None,
            Fed::Ready => Some(dispatch.fed(text)),
            Fed::Failed(error) => Some(Invocation::Settled(Err(error))),
            Fed::TooBig { limit, size } => {
                self.on_violation(Violation::TooBig { limit, size });
                None
            }
        }
    }

    /// Decodes the input into the inbox while a handler runs, up to the inbox's limits.
    pub(super) fn decode_into_inbox<E: EndpointHandlers>(&mut self) {
        let rules = self.rules::<E>();
        while !self.input.is_empty() && self.is_reading() && self.inbox_has_room() && !self.quantum.is_over() {
            let Input { buffer, start, end, .. } = &mut self.input;
            let (used, event) = match self.decoder.next(&rules, &mut buffer[*start..*end]) {
                Ok(step) => step,
                Err(violation) => return self.on_violation(violation),
            };
            let event = event.map(|event| event.into_owned());
            self.input.start += used;
            self.quantum.spend_on_frame(used + self.decoder.take_work());
            if let Some(event) = event {
                if let Some(violation) = exceeds::<E>(&mut self.inbox, Some(&event)) {
                    return self.on_violation(violation);
                }
                self.enqueue_event::<E>(event);
            } else {
                self.leave_unfinished();
            }
        }
        if self.input.is_empty() {
            self.input.release();
        }
    }

    /// Takes an event while a handler runs: control frames act at once, messages wait in the inbox.
    pub(super) fn enqueue_event<E: EndpointHandlers>(&mut self, event: Event<'static>) {
        let work = match event {
            Event::Text { text, last } => match self.feed(Message::Text(text.into_text()), last) {
                Some(Message::Text(text)) if E::TEXT.exists() => Invocation::Text(text, last),
                Some(Message::Text(text)) => self.dynamic_invocation(Payload::Text(text), last),
                _ => return,
            },
            Event::Binary { data, last } => match self.feed(Message::Binary(data.into_binary()), last) {
                Some(Message::Binary(data)) if E::BINARY.exists() => Invocation::Binary(data, last),
                Some(Message::Binary(data)) => self.dynamic_invocation(Payload::Binary(data), last),
                _ => return,
            },
            Event::Ping(data) => return self.answer_ping(&data),
            Event::Pong(data) => match self.pong::<E>(data) {
                Some(work) => work,
                None => return,
            },
            Event::Close(reason) => return self.on_close_frame(reason),
            Event::Unwanted { text } => return self.discarded(text),
        };
        self.expected_bytes = work.size() as u32;
        self.inbox.get_or_insert_default().push(work);
    }

    /// Keeps the peer's violation, and stops reading.
    #[cold]
    pub(super) fn on_violation(&mut self, violation: Violation) {
        self.reading = false;
        if violation == Violation::NoRoom {
            if let Some(not_logged) = self.session.endpoint().log.no_room.due() {
                let (endpoint, path) = (self.session.endpoint().name, &*self.session.endpoint().path);
                tracing::warn!(
                    endpoint,
                    path,
                    not_logged,
                    "a message found no room in the receive or compression budget"
                );
            }
        }
        // a running handler may delay the report: free the memory now
        (self.decoder, self.unfinished) = (Decoder::default(), None);
        self.break_stream(|| violation.into());
        self.violation = Some(Box::new(violation));
    }

    /// Whether input still matters: reading has not stopped, and the peer has not sent its close frame.
    #[inline]
    pub(super) fn is_reading(&self) -> bool {
        self.reading && !self.close_received
    }

    pub(super) fn inbox_has_room(&self) -> bool {
        self.inbox.as_ref().is_none_or(|inbox| inbox.has_room())
    }

    pub(super) fn pong<E: EndpointHandlers>(&mut self, data: Binary) -> Option<Invocation> {
        // a pong may arrive between two parts of a message
        self.leave_unfinished();
        if let Some(pinged) = self.clock.take_answer(&data) {
            if let Some(pinged) = pinged {
                self.session.set_rtt(pinged.instant(self.session.endpoint().base).elapsed());
            }
            return None;
        }
        if E::PONG.exists() {
            return Some(Invocation::Pong(Pong::new(data)));
        }
        let wanted = self.dynamic_handlers.as_ref().is_some_and(|added| added.has(MessageKind::Pong));
        wanted.then(|| self.dynamic_invocation(Payload::Pong(Pong::new(data)), true))
    }

    /// How the decoder delivers text and binary messages.
    #[inline]
    fn rules<E: EndpointHandlers>(&self) -> DecodeOptions {
        let limit = self.max_message_size;
        let take = |handler: &Handler, kind: MessageKind| match handler {
            Handler { mode: Mode::Missing, .. } => {
                self.dynamic_handlers.as_ref().map_or(Delivery::Discard, |added| added.take(kind, limit))
            }
            Handler { parts: true, .. } => Delivery::Parts,
            Handler { max_size, .. } => Delivery::Whole { limit: max_size.unwrap_or(limit) },
        };
        DecodeOptions { text: take(&E::TEXT, MessageKind::Text), binary: take(&E::BINARY, MessageKind::Binary) }
    }

    pub(super) fn log_dropped(&mut self, text: bool) {
        if !std::mem::replace(&mut self.logged_dropped, true) {
            if let Some(not_logged) = self.session.endpoint().log.unwanted.due() {
                let kind = if text { "text" } else { "binary" };
                let endpoint = self.session.endpoint().name;
                tracing::warn!(not_logged, endpoint, session = %self.session.id(), "a {kind} message was dropped: the endpoint has no handler for it");
            }
        }
    }

    /// Waits for input, a queued message or a limit. Flushes first, unless the batch goes on.
    pub(crate) fn poll_input<E: EndpointHandlers>(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.attach(cx);
        loop {
            self.collect();
            let is_over = self.quantum.is_over();
            let may_go_on = self.may_go_on(cx);
            if is_over && may_go_on && !self.input.is_empty() && !self.is_behind() {
                // the batch goes on in the next quantum
                return Poll::Ready(());
            }
            let blocked = self.poll_flush(cx).is_pending();
            if self.end.is_some() && !self.has_unhandled() {
                return Poll::Ready(());
            }
            if may_go_on && !self.quantum.is_over() && (!(blocked || self.has_backlog) || !self.is_behind()) {
                if !self.input.is_empty() {
                    // the previous quantum ended in the middle of a batch
                    return Poll::Ready(());
                }
                match self.poll_read::<E>(cx) {
                    Poll::Ready(()) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            // once the grace period for closing has ended, there is nothing to wait for
            if self.unfinished.is_some() {
                self.release_finished();
            }
            if !self.poll_clock(cx) && !self.clock.abandon {
                self.input.put_aside();
                self.suspend(cx);
                return Poll::Pending;
            }
            if self.violation.is_some() {
                // a message that takes too long is a violation, too
                return Poll::Ready(());
            }
        }
    }

    /// Reads once: straight into a large message's own buffer, or into the thread's buffer.
    pub(super) fn poll_read<E: EndpointHandlers>(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let most = self.quantum.most();
        if let Some((place, room)) = self.decoder.direct(self.expected_bytes as usize) {
            // the input is used up, and the peer may be slow: hold no buffer while waiting
            self.input.release();
            let read = ready!(self.socket.poll_append(cx, place, room.min(most)));
            let Some(count) = self.read_result(read) else { return Poll::Ready(()) };
            self.quantum.spend(count);
            match self.decoder.filled(count) {
                Ok(Some(event)) => self.enqueue_event::<E>(event),
                Ok(None) => self.leave_unfinished(),
                Err(violation) => self.on_violation(violation),
            }
            return Poll::Ready(());
        }
        // the last read emptied the socket: wait without a buffer
        if std::mem::take(&mut self.drained) && self.socket.poll_readable(cx).is_pending() {
            self.input.release();
            return Poll::Pending;
        }
        if (OWN_FROM..=OWN_MOST).contains(&(self.expected_bytes as usize)) {
            return self.poll_read_owned(cx);
        }
        if !self.input.lent {
            self.input = Input { buffer: buffers::lend_for_reading(), start: 0, end: 0, lent: true };
        }
        let most = self.input.buffer.len().min(most);
        match self.socket.poll_read(cx, &mut self.input.buffer[..most]) {
            Poll::Pending => {
                self.input.release();
                Poll::Pending
            }
            Poll::Ready(read) => {
                let count = self.read_result(read).unwrap_or(0);
                self.drained = count < most;
                (self.input.start, self.input.end) = (0, count);
                if count == 0 {
                    self.input.release();
                }
                Poll::Ready(())
            }
        }
    }

    /// Reads into a buffer that the next message may take over: most likely it is as large as the last one.
    fn poll_read_owned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.input.release();
        if self.socket.poll_readable(cx).is_pending() {
            return Poll::Pending;
        }
        // more than the expected bytes: a partly filled buffer shows that the socket is empty for now
        let room = self.expected_bytes as usize + OWN_MORE;
        let mut buffer = Vec::with_capacity(room);
        let read = ready!(self.socket.poll_append(cx, &mut buffer, room));
        if self.read_result(read).is_some() {
            self.input = Input { start: 0, end: buffer.len(), buffer, lent: false };
        }
        Poll::Ready(())
    }

    #[cold]
    fn on_read_error(&mut self, error: io::Error) {
        // a transport that reads frames itself reports their violations as I/O errors
        #[cfg(feature = "adopted")]
        if let Some(violation) = error.get_ref().and_then(|inner| inner.downcast_ref::<Violation>()) {
            return self.on_violation(*violation);
        }
        self.on_disconnect(&format!("the connection failed while reading: {error}"));
    }

    pub(super) fn read_result(&mut self, read: io::Result<usize>) -> Option<usize> {
        match read {
            Ok(count @ 1..) => {
                self.clock.heard = true;
                Some(count)
            }
            Ok(_) => {
                self.on_disconnect("the peer ended the connection without a close frame");
                None
            }
            Err(error) => {
                self.on_read_error(error);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Waker;

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

        fn on_open(&mut self, _: &Session) -> impl Future<Output = Result<(), Error>> + Send {
            ready(Ok(()))
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
        let terms = SessionInit { request, response, subprotocol, deflation, endpoint: set, rare };
        let session = Session::new(terms, None);
        let io = ConnectionIo::new(Socket::Other(Box::new(io)), bytes::Bytes::from_static(early), session.clone());
        let mut both = (io, Dispatch::new(Taker, session), peer);
        decode(&mut both.0, &mut both.1);
        both
    }

    /// A connection that has read and decoded `said`; the thread's buffer is still lent to it.
    async fn io_after(said: &[u8]) -> (ConnectionIo, Dispatch<Taker>, DuplexStream) {
        let (mut io, mut dispatch, mut peer) = io_with(b"");
        peer.write_all(said).await.unwrap();
        poll_fn(|cx| io.poll_input::<Taker>(cx)).await;
        decode(&mut io, &mut dispatch);
        assert!(io.input.lent);
        (io, dispatch, peer)
    }

    fn decode(io: &mut ConnectionIo, dispatch: &mut Dispatch<Taker>) {
        while let Some(call) = io.next_call(dispatch) {
            let settled = pin!(call).poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(settled, Poll::Ready(Ok(None))), "{settled:?}");
        }
        assert!(io.input.is_empty());
    }

    fn waits(io: &mut ConnectionIo) {
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(io.poll_input::<Taker>(cx).is_pending());
        assert!(!io.input.lent, "the thread's buffer is still lent");
        assert_eq!(io.input.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn idle_connection_has_no_buffer() {
        waits(&mut io_after(b"\x82\x82\0\0\0\0ab").await.0);
    }

    #[tokio::test]
    async fn connection_that_waits_until_its_peer_reads_has_no_read_buffer() {
        let (mut io, _dispatch, _peer) = io_after(b"\x82\x82\0\0\0\0ab").await;
        io.write_buffer().push(true, OpCode::Binary, &[0; 10_000]);
        waits(&mut io);
    }

    #[tokio::test]
    async fn connection_that_waits_for_the_rest_of_a_large_message_has_no_read_buffer() {
        let begun = b"\x82\xfe\xff\xff\0\0\0\0ab";
        waits(&mut io_after(begun).await.0);
        // nor a buffer of its own for bytes that came with the handshake
        waits(&mut io_with(begun).0);
    }
}
