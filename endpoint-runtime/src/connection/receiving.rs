//! Events whose turn comes later: messages wait in the inbox, or pass the gate.

use std::ops::ControlFlow::{self, Break, Continue};

use super::io::ConnectionIo;
use super::routing::{exceeds, note_received};
use crate::endpoint::contract::EndpointHandlers;
use crate::endpoint::invocation::Invocation;
use endpoint_wire::event::{DecodeOptions, Event};
use endpoint_wire::message::Message;

impl ConnectionIo {
    /// Decodes the input into the inbox while a handler runs, up to the inbox's limits.
    pub(super) fn decode_into_inbox<E: EndpointHandlers>(&mut self) {
        let options = self.decode_options::<E>();
        while self.reader.has_input() && self.reader.is_open() && self.inbox_has_space() && !self.quantum.is_over() {
            match self.decode_owned::<E>(&options) {
                Continue(invocation) => self.enqueue(invocation),
                Break(()) => return,
            }
        }
        self.reader.release_if_empty();
    }

    /// Decodes once. Returns the call that waits for its turn, if any; `Break` after a violation.
    #[inline(always)]
    pub(super) fn decode_owned<E: EndpointHandlers>(
        &mut self,
        options: &DecodeOptions,
    ) -> ControlFlow<(), Option<Invocation>> {
        let (cost, event) = match self.reader.next_event(options) {
            Ok((cost, event)) => (cost, event.map(Event::into_owned)),
            Err(violation) => {
                self.on_violation(violation);
                return Break(());
            }
        };
        self.quantum.spend_on_frame(cost);
        if let Some(violation) = exceeds::<E>(&mut self.inbox, event.as_ref()) {
            self.on_violation(violation);
            return Break(());
        }
        Continue(match event {
            Some(event) => self.receive::<E>(event),
            None => {
                self.note_unfinished();
                None
            }
        })
    }

    /// Takes an event that is handled later: control frames act at once. Returns the call of a message.
    pub(super) fn receive<E: EndpointHandlers>(&mut self, event: Event<'static>) -> Option<Invocation> {
        note_received(self.session.tally(), &event);
        let (message, last) = match event {
            Event::Text { text, last } => (Message::Text(text.into_text()), last),
            Event::Binary { data, last } => (Message::Binary(data.into_binary()), last),
            Event::Pong(data) => return self.pong::<E>(data),
            control => {
                self.on_control(control);
                return None;
            }
        };
        let Some(message) = self.feed(message, last) else {
            self.charge_streamed();
            return None;
        };
        let exists = match &message {
            Message::Text(_) => E::TEXT.exists(),
            Message::Binary(_) => E::BINARY.exists(),
        };
        let invocation =
            if exists { invocation_of(message, last) } else { self.dynamic_invocation(message.into(), last) };
        self.reader.expect(invocation.size());
        Some(invocation)
    }

    /// Has a call wait in the inbox.
    pub(super) fn enqueue(&mut self, invocation: Option<Invocation>) {
        if let Some(invocation) = invocation {
            self.inbox.get_or_insert_default().push(invocation);
        }
    }
}

fn invocation_of(message: Message, last: bool) -> Invocation {
    match message {
        Message::Text(text) => Invocation::Text(text, last),
        Message::Binary(data) => Invocation::Binary(data, last),
    }
}
