//! What comes in: read into a buffer that is lent, decoded where it lies, handed on or kept.

use std::future::Future;
use std::io;
use std::task::{Context, Poll, ready};

use super::{Input, Link};
use crate::buffer;
use crate::config::{INBOX_BYTES, INBOX_MESSAGES};
use crate::dispatch::{Dispatch, Work};
use crate::endpoint::{Endpoint, Handler, Mode, Reply};
use crate::message::{Binary, Pong};
use crate::session::Session;
use crate::wire::Violation;
use crate::wire::decode::{Event, OWN_FROM, Rules, Take};
use crate::wire::frame::OpCode;

/// Up to this size a message is expected to come again, and in one piece.
const OWN_MOST: usize = 64 << 10;

/// So much more than that is read at a time: its header, and small messages after it.
const OWN_MORE: usize = 256;

impl Link {
    /// The call for the next message that is here already; `None` if the socket has to be asked.
    ///
    /// A handler that is an ordinary function is called right here, with its message where it lies.
    #[inline]
    pub(crate) fn work<'d, E: Endpoint>(
        &mut self,
        dispatch: &'d mut Dispatch<E>,
    ) -> Option<impl Future<Output = Reply> + Send + use<'d, E>> {
        if let Some(work) = self.inbox.pop_front() {
            self.inbox_bytes -= size(&work);
            let work = match work {
                Work::Text(text, last) if E::TEXT.mode == Mode::Sync => Work::Settled(dispatch.text_now(&text, last)),
                Work::Binary(data, last) if E::BINARY.mode == Mode::Sync => {
                    Work::Settled(dispatch.binary_now(&data, last))
                }
                work => work,
            };
            return Some(dispatch.call(work));
        }
        while !self.input.is_empty() && self.listens() {
            let Input { buffer, start, end, lent } = &mut self.input;
            let step = if *lent {
                self.decoder.next(&self.rules, &mut buffer[*start..*end]).map(|(used, event)| {
                    *start += used;
                    event
                })
            } else {
                self.decoder.next_owned(&self.rules, buffer, *start..*end).map(|(rest, event)| {
                    (*start, *end) = (rest.start, rest.end);
                    event
                })
            };
            let event = match step {
                Ok(event) => event,
                Err(violation) => {
                    self.fails(violation);
                    return None;
                }
            };
            match event {
                Some(Event::Text { text, last }) if E::TEXT.mode == Mode::Sync => {
                    let reply = dispatch.text_now(text.as_str(), last);
                    return Some(dispatch.call(Work::Settled(reply)));
                }
                Some(Event::Binary { data, last }) if E::BINARY.mode == Mode::Sync => {
                    let reply = dispatch.binary_now(data.as_slice(), last);
                    return Some(dispatch.call(Work::Settled(reply)));
                }
                Some(Event::Text { text, last }) => {
                    let text = text.into_text();
                    self.expected = text.len();
                    return Some(dispatch.call(Work::Text(text, last)));
                }
                Some(Event::Binary { data, last }) => {
                    let data = data.into_binary();
                    self.expected = data.len();
                    return Some(dispatch.call(Work::Binary(data, last)));
                }
                Some(Event::Ping(data)) => self.answer_ping(&data),
                Some(Event::Pong(data)) => {
                    if let Some(work) = self.pong::<E>(data) {
                        return Some(dispatch.call(work));
                    }
                }
                Some(Event::Close(reason)) => self.peer_closes(reason),
                Some(Event::Unwanted { text }) => self.unwanted(text),
                None => {}
            }
        }
        None
    }

    /// Decodes what is here into the inbox, as far as it has room: a handler is running.
    pub(super) fn gather<E: Endpoint>(&mut self) {
        while !self.input.is_empty() && self.listens() && self.inbox_has_room() {
            let Input { buffer, start, end, .. } = &mut self.input;
            let (used, event) = match self.decoder.next(&self.rules, &mut buffer[*start..*end]) {
                Ok(step) => step,
                Err(violation) => return self.fails(violation),
            };
            let event = event.map(|event| event.into_owned());
            self.input.start += used;
            if let Some(event) = event {
                self.keep::<E>(event);
            }
        }
        if self.input.is_empty() {
            self.input.release();
        }
    }

    /// Takes an event while its turn has not come: control frames at once, messages to the inbox.
    pub(super) fn keep<E: Endpoint>(&mut self, event: Event<'static>) {
        let work = match event {
            Event::Text { text, last } => Work::Text(text.into_text(), last),
            Event::Binary { data, last } => Work::Binary(data.into_binary(), last),
            Event::Ping(data) => return self.answer_ping(&data),
            Event::Pong(data) => match self.pong::<E>(data) {
                Some(work) => work,
                None => return,
            },
            Event::Close(reason) => return self.peer_closes(reason),
            Event::Unwanted { text } => return self.unwanted(text),
        };
        self.inbox_bytes += size(&work);
        self.inbox.push_back(work);
    }

    /// The peer broke the protocol: nothing more is read.
    #[cold]
    fn fails(&mut self, violation: Violation) {
        self.reading = false;
        self.violation = Some(Box::new(violation));
    }

    /// Whether what comes still matters: neither broken off, nor closed by the peer.
    #[inline]
    pub(super) fn listens(&self) -> bool {
        self.reading && !self.close_received
    }

    pub(super) fn inbox_has_room(&self) -> bool {
        self.inbox.len() < INBOX_MESSAGES && self.inbox_bytes < INBOX_BYTES
    }

    pub(super) fn answer_ping(&mut self, data: &[u8]) {
        if !self.close_sent {
            self.room().push(true, OpCode::Pong, data);
        }
    }

    pub(super) fn pong<E: Endpoint>(&mut self, data: Binary) -> Option<Work> {
        if self.clock.ping.is_some_and(|ping| ping[..] == data[..]) {
            self.clock.ping = None;
            return None;
        }
        E::PONG.exists().then(|| Work::Pong(Pong::new(data)))
    }

    pub(super) fn unwanted(&mut self, text: bool) {
        if !std::mem::replace(&mut self.warned_unwanted, true) {
            let kind = if text { "text" } else { "binary" };
            let endpoint = self.session.endpoint().name;
            tracing::warn!(endpoint, session = %self.session.id(), "a {kind} message was dropped: the endpoint has no handler for it");
        }
    }

    /// Waits for something to do: octets, an outbound message, a limit. Flushes first.
    pub(crate) fn poll_input<E: Endpoint>(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.attach(cx);
        loop {
            self.collect();
            let blocked = self.poll_flush(cx).is_pending();
            if self.end.is_some() {
                return Poll::Ready(());
            }
            if !blocked || self.out.len() < self.limits().send_queue_bytes {
                match self.poll_read::<E>(cx) {
                    Poll::Ready(()) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            if !self.poll_clock(cx) {
                self.input.put_aside();
                return Poll::Pending;
            }
        }
    }

    /// Reads once: into a large message's own place, or into the thread's buffer.
    pub(super) fn poll_read<E: Endpoint>(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.rules = rules::<E>(&self.session);
        if let Some((place, room)) = self.decoder.direct() {
            // nothing is left in it, and the peer may take its time
            self.input.release();
            let read = ready!(self.socket.poll_append(cx, place, room));
            let Some(count) = self.read_result(read) else { return Poll::Ready(()) };
            match self.decoder.filled(count) {
                Ok(Some(event)) => self.keep::<E>(event),
                Ok(None) => {}
                Err(violation) => self.fails(violation),
            }
            return Poll::Ready(());
        }
        if (OWN_FROM..=OWN_MOST).contains(&self.expected) {
            return self.poll_read_owned(cx);
        }
        if !self.input.lent {
            self.input = Input { buffer: buffer::lend_for_reading(), start: 0, end: 0, lent: true };
        }
        match self.socket.poll_read(cx, &mut self.input.buffer) {
            Poll::Pending => {
                self.input.release();
                Poll::Pending
            }
            Poll::Ready(read) => {
                let count = self.read_result(read).unwrap_or(0);
                (self.input.start, self.input.end) = (0, count);
                if count == 0 {
                    self.input.release();
                }
                Poll::Ready(())
            }
        }
    }

    /// Reads into a buffer that the next message may take over: it will most likely be as large as the last.
    fn poll_read_owned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.input.release();
        if self.socket.poll_readable(cx).is_pending() {
            return Poll::Pending;
        }
        // some more than is expected: a buffer that is not filled tells that there is nothing more for now
        let room = self.expected + OWN_MORE;
        let mut buffer = Vec::with_capacity(room);
        let read = ready!(self.socket.poll_append(cx, &mut buffer, room));
        if self.read_result(read).is_some() {
            self.input = Input { start: 0, end: buffer.len(), buffer, lent: false };
        }
        Poll::Ready(())
    }

    pub(super) fn read_result(&mut self, read: io::Result<usize>) -> Option<usize> {
        match read {
            Ok(count @ 1..) => {
                self.clock.heard = true;
                Some(count)
            }
            Ok(_) => {
                self.lost("the peer ended the connection without a close frame");
                None
            }
            Err(error) => {
                self.lost(&format!("the connection failed while reading: {error}"));
                None
            }
        }
    }
}

/// What a message takes up in the inbox.
fn size(work: &Work) -> usize {
    match work {
        Work::Text(text, _) => text.len(),
        Work::Binary(data, _) => data.len(),
        Work::Pong(pong) => pong.data().len(),
        Work::Settled(_) => 0,
    }
}

/// How the messages of an endpoint are taken.
#[inline]
pub(super) fn rules<E: Endpoint>(session: &Session) -> Rules {
    let take = |handler: &Handler| match handler {
        Handler { mode: Mode::Missing, .. } => Take::Discard,
        Handler { parts: true, .. } => Take::Parts,
        Handler { max_size, .. } => Take::Whole { limit: max_size.unwrap_or_else(|| session.max_message_size()) },
    };
    Rules { text: take(&E::TEXT), binary: take(&E::BINARY) }
}
