//! Messages that wait for a handler, and the message that a handler reads while it arrives.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::{INBOX_BYTES, INBOX_MESSAGES};
use crate::endpoint::invocation::Invocation;
use crate::error::Error;
use crate::session::stream::Pipe;
use endpoint_wire::message::Message;

/// Messages that arrived while a handler was running.
#[derive(Default)]
pub(super) struct Inbox {
    messages: VecDeque<Invocation>,
    bytes: usize,
    /// Number of messages that no handler receives.
    dropped: u64,
    stream: Stream,
    /// Bytes so far of a message in parts whose total is limited.
    total: u64,
    /// Bytes that went to a stream and are not charged to a rate yet.
    streamed: usize,
}

/// The message whose handler was called with its first part.
#[derive(Default)]
enum Stream {
    /// No such message is incomplete.
    #[default]
    Idle,
    /// The handler reads the parts.
    Read(Arc<Pipe>),
    /// The handler has returned, or the message will not be completed: its further parts are dropped.
    Dropped,
}

impl Inbox {
    pub(super) fn push(&mut self, invocation: Invocation) {
        self.bytes += invocation.size();
        self.messages.push_back(invocation);
    }

    pub(super) fn pop(&mut self) -> Option<Invocation> {
        let invocation = self.messages.pop_front()?;
        self.bytes -= invocation.size();
        Some(invocation)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Drops the messages that wait.
    pub(super) fn drop_messages(&mut self) {
        self.dropped = self.unhandled();
        (self.messages, self.bytes) = (VecDeque::new(), 0);
    }

    /// Number of messages that were received whole, and were dropped or still wait.
    pub(super) fn unhandled(&self) -> u64 {
        self.dropped + self.messages.iter().filter(|invocation| invocation.ends_message()).count() as u64
    }

    /// Whether a message, or a part of the stream, may be added.
    pub(super) fn has_space(&self) -> bool {
        let takes_parts = match &self.stream {
            Stream::Read(pipe) => pipe.has_room(),
            Stream::Idle | Stream::Dropped => true,
        };
        self.messages.len() < INBOX_MESSAGES && self.bytes < INBOX_BYTES && takes_parts
    }

    /// Passes a part to the handler that reads its message. Returns the part if there is no such handler.
    pub(super) fn feed(&mut self, part: Message, last: bool) -> Option<Message> {
        match &self.stream {
            Stream::Idle => return Some(part),
            Stream::Read(pipe) => {
                self.streamed += size_of(&part);
                pipe.push(part, last);
            }
            Stream::Dropped => self.streamed += size_of(&part),
        }
        if last {
            self.stream = Stream::Idle;
        }
        None
    }

    /// Begins a stream whose first part is in `pipe`: moves its parts there that arrived while another handler ran. Only
    /// pongs can stand between them. `complete` tells whether the first part was the last one.
    pub(super) fn begin_stream(&mut self, pipe: &Arc<Pipe>, mut complete: bool) {
        for invocation in std::mem::take(&mut self.messages) {
            let size = invocation.size();
            let (part, last) = match invocation {
                Invocation::Text(text, last) if !complete => (Message::Text(text), last),
                Invocation::Binary(data, last) if !complete => (Message::Binary(data), last),
                other => {
                    self.messages.push_back(other);
                    continue;
                }
            };
            self.bytes -= size;
            self.streamed += size;
            pipe.push(part, last);
            complete = last;
        }
        if !complete {
            self.stream = Stream::Read(pipe.clone());
        }
    }

    /// Takes the number of bytes that went to a stream since the last call.
    pub(super) fn take_streamed(&mut self) -> usize {
        std::mem::take(&mut self.streamed)
    }

    /// Fails the stream of a message that will not be completed.
    pub(super) fn break_stream(&mut self, error: impl FnOnce() -> Error) {
        if let Stream::Read(pipe) = &self.stream {
            pipe.fail(error());
            self.stream = Stream::Dropped;
        }
    }

    /// Adds a part to the total of its message. Returns the total so far.
    pub(super) fn add_to_total(&mut self, size: usize, last: bool) -> u64 {
        let total = self.total.saturating_add(size as u64);
        self.total = if last { 0 } else { total };
        total
    }
}

/// Size of a message in bytes.
pub(super) fn size_of(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(data) => data.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use endpoint_wire::message::Pong;

    #[test]
    fn parts_and_pongs_that_wait_are_no_messages() {
        let mut inbox = Inbox::default();
        for last in [false, false, true] {
            inbox.push(Invocation::Text("part".into(), last));
        }
        inbox.push(Invocation::Pong(Pong::new(vec![1].into())));
        inbox.push(Invocation::Binary(vec![1].into(), true));
        assert_eq!(inbox.unhandled(), 2);
        inbox.drop_messages();
        assert_eq!(inbox.unhandled(), 2);
    }
}
