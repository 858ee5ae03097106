//! One message for many sessions, and the report of its delivery.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Object;
use crate::config::Overflow;
use crate::error::Error;
use crate::scheduling::fairness;
use crate::scheduling::flushers::Owed;
use crate::send_queue::{BroadcastTime, Refused, SendQueue};
use crate::session::open_sessions::OpenSessions;
use crate::session::send_options::SendOptions;
use crate::session::session::Session;
use crate::session::shared_message::SharedMessage;
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::text::Text;

/// Most sessions to which a broadcast writes directly; a larger broadcast is queued and left to flushers. Each write
/// costs a few microseconds, in which the thread does nothing else.
const DIRECT: usize = 128;

/// Time per session after a broadcast within which the next one belongs to the same burst, which is batched in the
/// queues: an eighth of the time that a write to each session takes.
const PAUSE: Duration = Duration::from_nanos(500);

/// Number of sessions handled together.
const STEP: usize = 16;

/// Number of sessions handed over to flushers at a time.
const HANDED_OVER: usize = 256;

/// Bytes per session charged to the quantum of the broadcasting handler: for direct writes, and for queued messages.
const WRITTEN: usize = 8 << 10;
const QUEUED: usize = 512;

/// A remote for many sessions. It encodes a message once, compresses it once for all sessions that compress to the
/// same bytes, and never waits for a peer.
///
/// It addresses the sessions that were open when it was made.
#[derive(Clone, Debug)]
pub struct Broadcast {
    sessions: OpenSessions,
    options: SendOptions,
}

impl OpenSessions {
    /// A remote that sends to all of these sessions; it never waits for a peer.
    pub fn async_remote(&self) -> Broadcast {
        Broadcast::to(self.clone())
    }
}

impl Broadcast {
    pub(super) fn to(sessions: OpenSessions) -> Self {
        Self { sessions, options: SendOptions::DEFAULT }
    }

    /// Disables compression for the sends of this remote; see
    /// [`BasicRemote::uncompressed`](crate::BasicRemote::uncompressed).
    #[must_use]
    pub fn uncompressed(mut self) -> Self {
        self.options.compressed = false;
        self
    }

    /// Sets the overflow policy for a session whose queue is full.
    #[must_use]
    pub fn on_overflow(mut self, overflow: Overflow) -> Self {
        self.options.overflow = Some(overflow);
        self
    }

    /// Queues a text message for each session.
    pub fn send_text(self, text: impl Into<Text>) -> Report {
        self.send(Message::Text(text.into()))
    }

    /// Queues a binary message for each session.
    pub fn send_binary(self, data: impl Into<Binary>) -> Report {
        self.send(Message::Binary(data.into()))
    }

    /// Encodes `object`, such as [`Json`](crate::Json), and queues the message for each session. It is encoded once for
    /// all sessions with the same subprotocol and, where an endpoint lists encoders, the same endpoint.
    ///
    /// # Errors
    /// [`Error::is_encode`] if encoding fails; then nothing is sent to any session.
    pub fn send_object<T: Object<By> + ?Sized, By>(self, object: &T) -> Result<Report, Error> {
        let mut encodings = Encodings::default();
        for session in self.sessions.addressed() {
            if encodings.of(session).is_none() {
                let message = object.message_for(&session.encode_context())?;
                encodings.add(session, SharedMessage::new(message, self.options));
            }
        }
        let Some(fan_out) = FanOut::to(&self.sessions) else { return Ok(Report::default()) };
        if let [shared] = &mut encodings.messages[..] {
            fan_out.begin(shared);
        }
        let report = self.enqueue(&fan_out, |session, direct, claimed| {
            match encodings.of(session) {
                Some(shared) => shared.enqueue(session.send_queue(), direct, claimed),
                // the subprotocol and the endpoint of a session never change
                None => Err(Refused::Closed),
            }
        });
        fan_out.end(&report, encodings.messages.pop());
        Ok(report)
    }

    fn send(self, message: Message) -> Report {
        let Some(fan_out) = FanOut::to(&self.sessions) else { return Report::default() };
        let mut shared = SharedMessage::new(message, self.options);
        fan_out.begin(&mut shared);
        let report =
            self.enqueue(&fan_out, |session, direct, claimed| shared.enqueue(session.send_queue(), direct, claimed));
        fan_out.end(&report, Some(shared));
        report
    }

    /// Enqueues the message for each session.
    fn enqueue<'a>(
        &'a self,
        fan_out: &FanOut<'a>,
        mut message: impl FnMut(&'a Session, Option<BroadcastTime>, &mut bool) -> Result<u32, Refused>,
    ) -> Report {
        let flushers = &fan_out.first.groups().flushers;
        let (mut report, mut owed) = (Report::default(), Owed::default());
        let (mut sessions, mut step) = (self.sessions.addressed(), Vec::with_capacity(STEP));
        loop {
            step.extend(sessions.by_ref().take(STEP));
            if step.is_empty() {
                break;
            }
            if fan_out.many {
                step.iter().for_each(|session: &&Session| session.send_queue().prefetch());
            }
            for session in step.drain(..) {
                let mut claimed = false;
                let enqueued = message(session, fan_out.direct, &mut claimed);
                if claimed {
                    owed.push(session.send_queue());
                }
                match enqueued {
                    Ok(evicted) => {
                        report.sent += 1;
                        report.evicted += evicted as usize;
                    }
                    Err(Refused::Closed) => report.closed += 1,
                    Err(_) => report.dropped += 1,
                }
            }
            if owed.len() >= HANDED_OVER {
                flushers.hand_over(&mut owed);
            }
        }
        if owed.len() > 0 {
            flushers.hand_over(&mut owed);
        }
        // rate-limited: a peer that does not read is left out of every broadcast
        if report.dropped > 0 {
            if let Some(first) = self.sessions.iter().next() {
                if let Some(not_logged) = first.open_set().log.broadcasts.due() {
                    tracing::warn!(report.dropped, not_logged, "a broadcast skipped peers whose send queue is full");
                }
            }
        }
        report
    }
}

/// The encodings of an object, one for each kind of session.
#[derive(Default)]
struct Encodings<'a> {
    messages: Vec<SharedMessage>,
    places: HashMap<Speech<'a>, usize>,
    /// The last lookup: usually all sessions are of one kind, and nothing is hashed.
    last: Option<(Speech<'a>, usize)>,
}

impl<'a> Encodings<'a> {
    fn of(&mut self, session: &'a Session) -> Option<&mut SharedMessage> {
        let speech = Speech::of(session);
        let place = match self.last {
            Some((last, place)) if last == speech => place,
            _ => *self.places.get(&speech)?,
        };
        self.last = Some((speech, place));
        self.messages.get_mut(place)
    }

    /// Adds the encoding for the first session of its kind.
    fn add(&mut self, session: &'a Session, message: SharedMessage) {
        self.places.insert(Speech::of(session), self.messages.len());
        self.messages.push(message);
    }
}

/// How one broadcast is sent.
struct FanOut<'a> {
    /// The first session; its queue stores the time of the last broadcast to these sessions.
    first: &'a Session,
    /// Whether the broadcast closely follows another one.
    in_burst: bool,
    /// Set if the sessions are few enough to write to each of them directly.
    direct: Option<BroadcastTime>,
    many: bool,
}

impl<'a> FanOut<'a> {
    /// `None` if there are no sessions.
    fn to(sessions: &'a OpenSessions) -> Option<Self> {
        let (first, time) = (sessions.addressed().next()?, BroadcastTime::now());
        let in_burst = first.send_queue().is_in_burst(time);
        let many = sessions.addressed().nth(DIRECT).is_some();
        Some(Self { first, in_burst, direct: Some(time).filter(|_| !in_burst && !many), many })
    }

    fn begin(&self, shared: &mut SharedMessage) {
        let before = self.first.send_queue().take_burst();
        if self.in_burst && self.many {
            shared.join_burst(before);
        }
    }

    fn end(self, report: &Report, shared: Option<SharedMessage>) {
        let count = report.sent + report.dropped + report.closed;
        if SendQueue::is_in_handler() {
            fairness::charge(count * if self.direct.is_some() { WRITTEN } else { QUEUED });
        }
        let pause = PAUSE * u32::try_from(count).unwrap_or(u32::MAX);
        self.first.send_queue().end_broadcast(pause, shared.and_then(SharedMessage::into_burst));
    }
}

/// The attributes of a session that determine the encoding of an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Speech<'a> {
    subprotocol: Option<&'a str>,
    /// The address of the endpoint, if the endpoint lists encoders.
    endpoint: Option<usize>,
}

impl<'a> Speech<'a> {
    fn of(session: &'a Session) -> Self {
        let endpoint = session.coders().map(|_| Arc::as_ptr(session.open_set()).addr());
        Self { subprotocol: session.subprotocol(), endpoint }
    }
}

/// The outcome of a broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Number of sessions for which the message was queued.
    pub sent: usize,
    /// Number of sessions left out because their queue was full.
    pub dropped: usize,
    /// Number of sessions left out because they had closed, or were closed because their queue was full.
    pub closed: usize,
    /// Number of older messages dropped to make space.
    pub evicted: usize,
}

impl Report {
    /// Whether every open session was reached.
    ///
    /// # Errors
    /// [`Error::is_queue_full`] if one was left out.
    pub fn complete(&self) -> Result<(), Error> {
        if self.dropped == 0 { Ok(()) } else { Err(Refused::Full.into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::codec::Encode;
    use crate::codec::session_coders::EncodeContext;
    use crate::config::Limits;
    use crate::session::OpenSet;
    use crate::session::tests::speaking;

    /// Records the subprotocols for which it was encoded.
    struct Noted(RefCell<Vec<String>>);

    impl Encode for Noted {
        fn encode(&self) -> Result<Message, Error> {
            Ok(Message::Text("?".into()))
        }
        fn encode_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
            let subprotocol = context.subprotocol().unwrap_or_default().to_owned();
            self.0.borrow_mut().push(subprotocol.clone());
            Ok(Message::Text(subprotocol.into()))
        }
    }

    fn sessions(subprotocols: impl Iterator<Item = String>) -> OpenSessions {
        let endpoint = Arc::new(OpenSet::new("/", "Endpoint", Limits::default()));
        OpenSessions::just(subprotocols.map(|name| speaking(&endpoint, Some(name))))
    }

    #[test]
    fn object_is_encoded_once_per_encode_context() {
        let sessions = sessions((0..100).map(|number| (number % 3).to_string()));
        let object = Noted(RefCell::default());
        assert_eq!(sessions.async_remote().send_object(&object).unwrap().sent, 100);
        assert_eq!(object.0.into_inner(), ["0", "1", "2"]);
    }

    #[test]
    fn encoding_for_many_contexts_takes_linear_time() {
        let time = |count: usize| {
            let sessions = sessions((0..count).map(|number| format!("{number:08}")));
            let object = Noted(RefCell::default());
            let start = Instant::now();
            assert_eq!(sessions.async_remote().send_object(&object).unwrap().sent, count);
            assert_eq!(object.0.into_inner().len(), count);
            start.elapsed()
        };
        let (few, many) = (time(1_000), (0..3).map(|_| time(20_000)).min().unwrap());
        assert!(many < 80 * few + Duration::from_millis(50), "{few:?} for 1,000, and {many:?} for 20,000");
    }
}
