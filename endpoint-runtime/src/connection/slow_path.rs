//! What makes messages take the slow path: the end of the session, and the gate of rates and interceptors.

use tokio::time::Instant;

use super::end::End;
use crate::endpoint::contract::{EndpointHandlers, Handler};
use crate::endpoint::interceptor::Interceptors;
use crate::endpoint::invocation::Invocation;
use crate::limits::message_rate::MessageRate;
use crate::limits::meter::Meter;
use crate::limits::rate::Rate;

/// What makes the messages of a connection take the slow path. A connection asks for each message whether it has ended; a
/// gate is found by the same question, so that it costs nothing where there is none.
#[derive(Default)]
pub(super) struct SlowPath {
    /// `Some` once the session has ended.
    pub(super) end: Option<End>,
    pub(super) gate: Option<Box<Gate>>,
}

/// The rates and the interceptors of one session.
pub(crate) struct Gate {
    /// Whether messages pass interceptors.
    pub(super) intercepts: bool,
    /// Whether messages that no handler takes pass the gate.
    takes_unhandled: bool,
    pub(super) meter: Option<Meter>,
    /// Until when the socket is not read, because the peer has sent too much.
    pub(super) paused_until: Option<Instant>,
    /// Whether the next part begins a message.
    pub(super) is_between: bool,
    /// Bytes of a message that a stream decoder is decoding.
    pub(super) decoded: usize,
}

impl Gate {
    /// The gate of a session of endpoint `E`; `None` if there is nothing to check.
    pub(crate) fn of<E: EndpointHandlers>(
        interceptors: Option<&Interceptors>,
        rate: Option<MessageRate>,
    ) -> Option<Self> {
        let own =
            if const { has_rates::<E>() } { own_rates::<E>().map(|(_, rate)| rate).collect() } else { Vec::new() };
        let meter = Meter::of(rate, own);
        let intercepts = interceptors.is_some();
        let takes_unhandled = meter.is_some() || interceptors.is_some_and(Interceptors::takes_unhandled);
        let gate = Self { intercepts, takes_unhandled, meter, paused_until: None, is_between: true, decoded: 0 };
        (gate.intercepts || gate.meter.is_some()).then_some(gate)
    }

    /// Whether messages that no handler takes pass the gate as well.
    pub(super) fn takes_unhandled(&self) -> bool {
        self.takes_unhandled
    }
}

/// Whether a handler of `E` has a rate of its own; decided at compile time.
pub(super) const fn has_rates<E: EndpointHandlers>() -> bool {
    let mut has_rate = E::TEXT.rate.is_some() || E::BINARY.rate.is_some() || E::PONG.rate.is_some();
    let mut index = 0;
    while index < E::EVENTS.len() {
        has_rate = has_rate || E::EVENTS[index].rate.is_some();
        index += 1;
    }
    has_rate
}

/// The handlers of `E` with their own rates.
pub(super) fn own_rates<E: EndpointHandlers>() -> impl Iterator<Item = (&'static Handler, Rate)> {
    let kinds: [&'static Handler; 3] = [&E::TEXT, &E::BINARY, &E::PONG];
    kinds.into_iter().chain(E::EVENTS).filter_map(|handler| Some((handler, handler.rate?)))
}

impl SlowPath {
    /// Whether the socket is not read because the peer has sent too much.
    pub(super) fn is_paused(&self) -> bool {
        self.end.is_none() && self.gate.as_ref().is_some_and(|gate| gate.paused_until.is_some())
    }
}

/// What `next_unusual` tells the connection to do.
pub(super) enum Slow {
    /// Nothing may be called now.
    Nothing,
    Call(Invocation),
    /// Messages in the input are handled as usual.
    Usual,
}
