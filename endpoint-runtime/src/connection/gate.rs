//! What stands between a message and its handler, where anything does: the rates of the peer, and interceptors.
//!
//! A connection without either has no gate, and no message asks for one: see [`SlowPath`].

use std::ops::ControlFlow::{Break, Continue};
use std::sync::OnceLock;

use tokio::time::Instant;

use super::inbox::Inbox;
use super::io::ConnectionIo;
use super::routing::streams;
use super::slow_path::{Gate, Slow, SlowPath, has_rates, own_rates};
use crate::codec::session_coders::{Fed, Part};
use crate::endpoint::call;
use crate::endpoint::contract::{EndpointHandlers, Handler};
use crate::endpoint::dispatch::Dispatch;
use crate::endpoint::invocation::{Invocation, Received};
use crate::error::{Error, Kind};
use crate::limits::meter::{self, Charged};
use crate::session::message_handler::MessageKind;
use endpoint_wire::Violation;
use endpoint_wire::event::{ByteChunk, Utf8Chunk};
use endpoint_wire::message::{DataKind, Message};

/// The handler of a kind of message, and those of listed events if it is text.
fn handlers_of<E: EndpointHandlers>(kind: MessageKind) -> (&'static Handler, &'static [Handler]) {
    match kind {
        MessageKind::Text => (&E::TEXT, E::EVENTS),
        MessageKind::Binary => (&E::BINARY, &[]),
        MessageKind::Pong => (&E::PONG, &[]),
    }
}

/// A message or a part that comes to the gate.
struct Taken {
    kind: MessageKind,
    size: usize,
    last: bool,
}

impl ConnectionIo {
    /// The next call of a session that has ended or that has a gate, for a change of presence, or for a message that waits in
    /// the inbox.
    #[inline(never)]
    pub(super) fn next_unusual<E: EndpointHandlers>(&mut self, dispatch: &mut Dispatch<E>) -> Slow {
        if !self.handles_received() {
            return Slow::Nothing;
        }
        if streams::<E>() {
            self.discard_stream();
        }
        if self.has_presence_change::<E>() {
            if let Some(change) = self.session.next_presence_change(self.has_input()) {
                return Slow::Call(Invocation::Presence(change));
            }
        }
        if self.gate().is_none() {
            return self.next_in_inbox(dispatch).map_or(Slow::Usual, Slow::Call);
        }
        while !self.is_paused() {
            let Some(invocation) = self.take_owned::<E>() else { break };
            if let Some(invocation) = self.pass_gate(dispatch, invocation) {
                return Slow::Call(invocation);
            }
        }
        Slow::Nothing
    }

    /// The next message of the inbox, decoded if necessary. Unlike while a handler runs, only one is decoded, so that its
    /// reply is sent before what comes after it is looked at.
    fn take_owned<E: EndpointHandlers>(&mut self) -> Option<Invocation> {
        let options = self.decode_options::<E>();
        while !self.quantum.is_over() {
            if let Some(invocation) = self.inbox.as_mut().and_then(|inbox| inbox.pop()) {
                return Some(invocation);
            }
            if !(self.reader.has_input() && self.reader.is_open()) {
                break;
            }
            match self.decode_owned::<E>(&options) {
                Continue(None) => {}
                Continue(invocation) => return invocation,
                Break(()) => break,
            }
        }
        None
    }

    /// Charges a message, and makes the call of its interceptors and its handler. `None` if nothing is called.
    fn pass_gate<E: EndpointHandlers>(
        &mut self,
        dispatch: &mut Dispatch<E>,
        invocation: Invocation,
    ) -> Option<Invocation> {
        let taken = match &invocation {
            Invocation::Text(text, last) => Taken { kind: MessageKind::Text, size: text.len(), last: *last },
            Invocation::Binary(data, last) => Taken { kind: MessageKind::Binary, size: data.len(), last: *last },
            Invocation::Pong(pong) => Taken { kind: MessageKind::Pong, size: pong.data().len(), last: true },
            Invocation::Added(added) => Taken { kind: added.1.kind(), size: added.1.size(), last: added.2 },
            _ => return Some(invocation),
        };
        match self.charge::<E>(&taken, &invocation, dispatch) {
            Charged::Admitted | Charged::Slowed(_) => {}
            Charged::Reported => return Some(Invocation::Settled(Err(self.over_rate(&taken)))),
            Charged::Dropped => return None,
            Charged::Closes => {
                self.close_over_rate();
                return None;
            }
        }
        if self.gate().is_some_and(|gate| gate.intercepts) {
            self.intercept(dispatch, taken, invocation)
        } else {
            self.call_taken(dispatch, invocation)
        }
    }

    /// The call without interceptors.
    fn call_taken<E: EndpointHandlers>(
        &mut self,
        dispatch: &mut Dispatch<E>,
        invocation: Invocation,
    ) -> Option<Invocation> {
        match invocation {
            Invocation::Text(text, last) => self.call_owned(dispatch, Utf8Chunk::Owned(text), last),
            Invocation::Binary(data, last) => self.call_owned(dispatch, ByteChunk::Owned(data), last),
            other => self.call_dynamic(dispatch, other),
        }
    }

    /// The call of the interceptors. `None` if a stream or a stream decoder waits for more of the message.
    fn intercept<E: EndpointHandlers>(
        &mut self,
        dispatch: &mut Dispatch<E>,
        taken: Taken,
        invocation: Invocation,
    ) -> Option<Invocation> {
        let Taken { kind, mut size, last } = taken;
        let (handler, events) = handlers_of::<E>(kind);
        let mut is_decoded = false;
        let invocation = match invocation {
            Invocation::Text(text, last) if handler.streams => {
                let first = self.feed(Message::Text(text), last)?;
                self.begin_stream(first, last)
            }
            Invocation::Binary(data, last) if handler.streams => {
                let first = self.feed(Message::Binary(data), last)?;
                self.begin_stream(first, last)
            }
            Invocation::Text(text, last) if handler.feed.is_some() => {
                let fed = dispatch.feed(handler, Part::Text(&text), last, self.reader.max_message_size());
                (is_decoded, size) = (true, self.count_decoded(size, last));
                self.when_fed(fed, DataKind::Text)?
            }
            Invocation::Binary(data, last) if handler.feed.is_some() => {
                let fed = dispatch.feed(handler, Part::Binary(&data), last, self.reader.max_message_size());
                (is_decoded, size) = (true, self.count_decoded(size, last));
                self.when_fed(fed, DataKind::Binary)?
            }
            Invocation::Added(mut added) => {
                if added.0.is_none() {
                    added.0 = self.dynamic_handlers.as_ref().and_then(|handlers| handlers.of(kind).cloned());
                }
                Invocation::Added(added)
            }
            other => other,
        };
        if matches!(invocation, Invocation::Settled(_)) {
            return Some(invocation);
        }
        let handler = handler.exists().then_some(handler);
        let event = OnceLock::new();
        let received = Received { invocation, kind, size, last, is_decoded, handler, events, event };
        Some(Invocation::Intercepted(Box::new(received)))
    }

    /// Adds a part to the size of a message that a stream decoder decodes. Returns the size so far.
    fn count_decoded(&mut self, part: usize, last: bool) -> usize {
        let Some(gate) = self.gate_mut() else { return part };
        let size = gate.decoded.saturating_add(part);
        gate.decoded = if last { 0 } else { size };
        size
    }

    /// The call of a handler whose payload a stream decoder has decoded, if it is complete.
    fn when_fed(&mut self, fed: Fed, kind: DataKind) -> Option<Invocation> {
        match fed {
            Fed::Ready => Some(match kind {
                DataKind::Text => Invocation::Text(<_>::default(), true),
                DataKind::Binary => Invocation::Binary(<_>::default(), true),
            }),
            Fed::Failed(error) => Some(Invocation::Settled(Err(error))),
            Fed::TooBig { limit, size } => {
                self.on_fed_too_big(limit, size);
                None
            }
            Fed::More => None,
        }
    }

    fn gate(&self) -> Option<&Gate> {
        self.slow_path.as_ref()?.gate.as_deref()
    }

    fn gate_mut(&mut self) -> Option<&mut Gate> {
        self.slow_path.as_mut()?.gate.as_deref_mut()
    }
}

/// Rates.
impl ConnectionIo {
    fn charge<E: EndpointHandlers>(
        &mut self,
        taken: &Taken,
        invocation: &Invocation,
        dispatch: &Dispatch<E>,
    ) -> Charged {
        let own = if const { has_rates::<E>() } { own_rate::<E>(taken.kind, invocation, dispatch) } else { None };
        let Some(gate) = self.gate_mut() else { return Charged::Admitted };
        let first = gate.is_between || taken.kind == MessageKind::Pong;
        if taken.kind != MessageKind::Pong {
            gate.is_between = taken.last;
        }
        let Some(meter) = &mut gate.meter else { return Charged::Admitted };
        let received = meter::Received { bytes: taken.size, first, last: taken.last, own };
        let charged = meter.charge(received, Instant::now());
        if matches!(charged, Charged::Admitted | Charged::Slowed(_)) && handlers_of::<E>(taken.kind).0.streams {
            // the rest goes to the handler's stream
            gate.is_between = true;
        }
        if first || matches!(charged, Charged::Slowed(_)) {
            self.note_charged(charged);
        }
        charged
    }

    /// Charges a control frame of the peer.
    pub(super) fn charge_control(&mut self, size: usize) {
        self.charge_always(1, size);
    }

    /// Charges parts of a stream that went to its handler.
    pub(super) fn charge_streamed(&mut self) {
        let streamed = self.inbox.as_mut().map_or(0, |inbox| inbox.take_streamed());
        self.charge_always(0, streamed);
    }

    fn charge_always(&mut self, messages: usize, bytes: usize) {
        let Some(meter) = self.gate_mut().and_then(|gate| gate.meter.as_mut()) else { return };
        let charged = meter.charge_always(messages, bytes, Instant::now());
        self.note_charged(charged);
        if charged == Charged::Closes {
            self.close_over_rate();
        }
    }

    /// Counts what exceeds a rate, and begins a pause.
    fn note_charged(&mut self, charged: Charged) {
        if charged != Charged::Admitted {
            self.session.open_set().counters.rate_limited.add(1);
        }
        let Charged::Slowed(wait) = charged else { return };
        if let Some(gate) = self.gate_mut() {
            gate.paused_until = Some(super::timers::after(Instant::now(), wait));
            self.timers.check_soon();
        }
    }

    /// Ends the session: the peer has sent too much. What was received after that is not handled.
    fn close_over_rate(&mut self) {
        self.inbox.iter_mut().for_each(|inbox| inbox.drop_messages());
        self.on_violation(Violation::TooFast);
    }

    fn over_rate(&self, taken: &Taken) -> Error {
        let kind = match taken.kind {
            MessageKind::Text => "text message",
            MessageKind::Binary => "binary message",
            MessageKind::Pong => "pong",
        };
        let text = format!("a {kind} of {} bytes was dropped: the peer sends more than its rate allows", taken.size);
        Error::new(Kind::RateLimited, text)
    }

    /// Whether the socket is not read because the peer has sent too much. What was received before a violation or the end of
    /// the session is handled without a pause.
    pub(super) fn is_paused(&self) -> bool {
        self.slow_path.as_ref().is_some_and(|slow| slow.is_paused()) && !self.reader.has_violation()
    }

    /// Whether messages wait that the slow path may handle now.
    pub(super) fn has_waiting(&self, slow: &SlowPath) -> bool {
        let waits = |inbox: &Inbox| !inbox.is_empty();
        slow.gate.is_some() && !self.is_paused() && self.inbox.as_deref().is_some_and(waits)
    }

    /// Ends a pause that is over. Returns when the pause ends.
    pub(super) fn check_pause(&mut self, now: Instant) -> Option<Instant> {
        let until = self.gate()?.paused_until?;
        // nothing is read, so the peer's silence proves nothing
        self.timers.note_heard();
        if until > now {
            return Some(until);
        }
        self.gate_mut()?.paused_until = None;
        None
    }
}

/// The index of the own rate of the handler of a message.
fn own_rate<E: EndpointHandlers>(kind: MessageKind, invocation: &Invocation, dispatch: &Dispatch<E>) -> Option<usize> {
    let (handler, events) = handlers_of::<E>(kind);
    let name = match invocation {
        Invocation::Text(text, _) if !events.is_empty() => call::event_name(dispatch.session(), text),
        Invocation::Added(_) => return None,
        _ => None,
    };
    let chosen = call::choose(Some(handler), events, || name.as_deref())?;
    // by name: a method that takes both kinds has one rate
    own_rates::<E>().position(|(with_rate, _)| (with_rate.name, with_rate.event) == (chosen.name, chosen.event))
}
