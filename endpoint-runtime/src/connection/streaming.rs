//! Messages that a handler reads while they arrive, and the total size limit of messages in parts.

use std::sync::Arc;

use super::io::{ConnectionIo, Inbox};
use crate::endpoint::contract::{EndpointHandlers, Handler};
use crate::endpoint::dispatch::Invocation;
use crate::error::Error;
use crate::session::stream::{BinaryStream, Pipe, TextStream};
use endpoint_wire::Violation;
use endpoint_wire::event::Event;
use endpoint_wire::message::Message;

/// A message whose handler was called with the first part.
pub(super) struct Feed {
    /// `None` if the rest is discarded.
    pub(super) pipe: Option<Arc<Pipe>>,
}

/// Whether an endpoint reads messages while they arrive; decided at compile time.
#[inline]
pub(super) const fn streams<E: EndpointHandlers>() -> bool {
    E::TEXT.streams || E::BINARY.streams
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
    let (handler, size, last): (&Handler, _, _) = match event? {
        Event::Text { text, last } => (&E::TEXT, text.as_str().len(), *last),
        Event::Binary { data, last } => (&E::BINARY, data.as_slice().len(), *last),
        _ => return None,
    };
    let limit = handler.max_total?;
    let total = &mut inbox.get_or_insert_default().total;
    *total = total.saturating_add(size as u64);
    let size = *total;
    if last {
        *total = 0;
    }
    (size > limit).then_some(Violation::TooBig { limit: usize::try_from(limit).unwrap_or(usize::MAX), size })
}

impl ConnectionIo {
    /// The call for a message whose first part has arrived.
    pub(super) fn begin_stream(&mut self, first: Message, last: bool) -> Invocation {
        let (pipe, inbox) = (Pipe::new(self.send_queue.clone()), self.inbox.get_or_insert_default());
        let text = matches!(first, Message::Text(_));
        pipe.push(first, last);
        let mut complete = last;
        // parts that came while another handler ran; only pongs can stand between them
        let waiting = std::mem::take(&mut inbox.messages);
        for work in waiting {
            match work {
                Invocation::Text(part, last) if !complete => {
                    inbox.bytes -= part.len();
                    pipe.push(Message::Text(part), last);
                    complete = last;
                }
                Invocation::Binary(part, last) if !complete => {
                    inbox.bytes -= part.len();
                    pipe.push(Message::Binary(part), last);
                    complete = last;
                }
                work => inbox.messages.push_back(work),
            }
        }
        if !complete {
            inbox.feed = Some(Feed { pipe: Some(pipe.clone()) });
        }
        if !complete && !self.is_reading() {
            self.break_stream(Error::closed);
        }
        if text {
            Invocation::TextStream(TextStream::new(pipe))
        } else {
            Invocation::BinaryStream(BinaryStream::new(pipe))
        }
    }

    /// Passes a part to the handler that reads its message; returns the part if there is no such handler.
    pub(super) fn feed(&mut self, part: Message, last: bool) -> Option<Message> {
        let Some(inbox) = &mut self.inbox else { return Some(part) };
        let Some(feed) = &inbox.feed else { return Some(part) };
        if let Some(pipe) = &feed.pipe {
            pipe.push(part, last);
        }
        if last {
            inbox.feed = None;
        }
        None
    }

    /// Discards the rest of a message whose handler has returned.
    pub(super) fn discard_stream(&mut self) {
        if self.inbox.as_ref().is_some_and(|inbox| inbox.feed.is_some()) {
            self.break_stream(Error::unread);
        }
    }

    /// Fails the stream of a message that will not be completed.
    pub(super) fn break_stream(&mut self, error: impl FnOnce() -> Error) {
        let feed = self.inbox.as_mut().and_then(|inbox| inbox.feed.as_mut());
        if let Some(pipe) = feed.and_then(|feed| feed.pipe.take()) {
            pipe.fail(error());
        }
    }
}
