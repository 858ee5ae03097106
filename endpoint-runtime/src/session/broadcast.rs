//! One message for many sessions, and the report of its delivery.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::ClusterReport;
use crate::cluster::envelope::{Form, Publish};
use crate::cluster::node::{Node, Published};
use crate::codec::Object;
use crate::codec::session_coders::{Agreed, EncodeContext};
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
/// It addresses the sessions that were open when it was made. In a cluster, the remote of a [`Room`](crate::Room), of
/// a [`User`](crate::User), of [`Everyone`](crate::Everyone), of [`AnySession`](crate::AnySession), of
/// [`Everywhere`](crate::Everywhere), and of the selections that their `except` and
/// [`ServerContainer::rooms`](crate::ServerContainer::rooms) return sends to the sessions of other nodes as well, after
/// those of this one and without waiting for the engine: [`Report::published`], [`Report::everywhere`].
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
        let elsewhere = self.sessions.elsewhere();
        let wanted = elsewhere.filter(|elsewhere| elsewhere.node.is_wanted(&elsewhere.target.scope));
        // before anything is sent: it may fail
        let others = match wanted {
            Some(elsewhere) => encodings.other_forms(object, self.options, || elsewhere.node.subprotocols())?,
            None => Vec::new(),
        };
        let mut report = Report::default();
        if let Some(fan_out) = FanOut::to(&self.sessions) {
            if let [shared] = &mut encodings.messages[..] {
                fan_out.begin(shared);
            }
            report = self.enqueue(&fan_out, |session, direct, claimed| {
                match encodings.of(session) {
                    Some(shared) => shared.enqueue(session.send_queue(), direct, claimed),
                    // the subprotocol and the endpoint of a session never change
                    None => Err(Refused::Closed),
                }
            });
            fan_out.end(&report, encodings.messages.last_mut());
        }
        report.remote = self.publish(wanted.is_some(), || [encodings.forms(), others].concat());
        Ok(report)
    }

    fn send(self, message: Message) -> Report {
        let (fan_out, elsewhere) = (FanOut::to(&self.sessions), self.sessions.elsewhere());
        let is_wanted = elsewhere.is_some_and(|elsewhere| elsewhere.node.is_wanted(&elsewhere.target.scope));
        if fan_out.is_none() && elsewhere.is_none() {
            return Report::default();
        }
        let mut shared = SharedMessage::new(message, self.options);
        let mut report = Report::default();
        if let Some(fan_out) = fan_out {
            fan_out.begin(&mut shared);
            report = self
                .enqueue(&fan_out, |session, direct, claimed| shared.enqueue(session.send_queue(), direct, claimed));
            fan_out.end(&report, Some(&mut shared));
        }
        report.remote = self.publish(is_wanted, || vec![shared.to_form(None)]);
        report
    }

    /// Publishes the message to other nodes, after it was sent to the sessions here.
    fn publish(&self, is_wanted: bool, forms: impl FnOnce() -> Vec<Form>) -> Option<Box<Remote>> {
        let elsewhere = self.sessions.elsewhere()?;
        let published = if is_wanted {
            elsewhere.node.publish(Publish {
                target: elsewhere.target.clone(),
                except: self.sessions.excluded().as_slice().iter().map(|id| id.to_bits()).collect(),
                compressed: self.options.compressed,
                overflow: self.options.overflow,
                forms: forms(),
                copy: 0,
            })
        } else {
            Published::NotNeeded
        };
        Some(Box::new(Remote { node: elsewhere.node.clone(), published }))
    }

    /// Sends a message of another node to these sessions.
    pub(crate) fn deliver(sessions: OpenSessions, publish: &Publish) -> Report {
        let options =
            SendOptions { compressed: publish.compressed, overflow: publish.overflow, ..SendOptions::DEFAULT };
        let broadcast = Self { sessions, options };
        let Some(fan_out) = FanOut::to(&broadcast.sessions) else { return Report::default() };
        let forms = &publish.forms;
        let mut messages: Vec<_> = forms.iter().map(|form| SharedMessage::received(form, options)).collect();
        if let [shared] = &mut messages[..] {
            fan_out.begin(shared);
        }
        let report = broadcast.enqueue(&fan_out, |session, direct, claimed| {
            let of = |subprotocol| forms.iter().position(|form| form.subprotocol.as_deref() == subprotocol);
            let place = of(session.subprotocol()).or_else(|| of(None));
            match place.and_then(|place| messages.get_mut(place)) {
                Some(shared) => shared.enqueue(session.send_queue(), direct, claimed),
                // the sender cannot encode for this subprotocol
                None => Err(Refused::Full),
            }
        });
        fan_out.end(&report, messages.last_mut());
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
                    Err(Refused::Discarded | Refused::Intercepted) => report.intercepted += 1,
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

    /// The encodings for other nodes, by subprotocol: of two endpoints with the same, that of the first session.
    fn forms(&self) -> Vec<Form> {
        let mut places: Vec<_> = self.places.iter().map(|(speech, place)| (*place, speech.subprotocol)).collect();
        places.sort_unstable();
        let mut seen = HashSet::new();
        places.retain(|(_, subprotocol)| seen.insert(*subprotocol));
        places.iter().filter_map(|(place, name)| Some(self.messages.get(*place)?.to_form(*name))).collect()
    }

    /// The encodings for sessions of other nodes whose subprotocol no session here has: one for all of them, or if the
    /// encoding depends on the subprotocol, one for each that an endpoint supports.
    ///
    /// # Errors
    /// Encoding fails for each of them, and there is no session here.
    fn other_forms<T: Object<By> + ?Sized, By>(
        &self,
        object: &T,
        options: SendOptions,
        supported: impl FnOnce() -> Vec<String>,
    ) -> Result<Vec<Form>, Error> {
        let has = |name: Option<&str>| self.places.keys().any(|speech| speech.subprotocol == name);
        if has(None) {
            return Ok(Vec::new());
        }
        let form = |name: Option<&str>| {
            let agreed = Agreed { subprotocol: name.map(Into::into), coders: None };
            let message = object.message_for(&EncodeContext(&agreed))?;
            Ok(SharedMessage::new(message, options).to_form(name))
        };
        let error = match form(None) {
            Ok(form) => return Ok(vec![form]),
            Err(error) => error,
        };
        let names = supported().into_iter().filter(|name| !has(Some(name)));
        let forms: Vec<_> = names.filter_map(|name| form(Some(&name)).ok()).collect();
        if forms.is_empty() && self.messages.is_empty() { Err(error) } else { Ok(forms) }
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

    fn end(self, report: &Report, shared: Option<&mut SharedMessage>) {
        let count = report.sent + report.dropped + report.closed + report.intercepted;
        if SendQueue::is_in_handler() {
            fairness::charge(count * if self.direct.is_some() { WRITTEN } else { QUEUED });
        }
        let pause = PAUSE * u32::try_from(count).unwrap_or(u32::MAX);
        self.first.send_queue().end_broadcast(pause, shared.and_then(SharedMessage::take_burst));
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

/// The outcome of a broadcast. Two reports are equal if their counts are.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Number of sessions of this node for which the message was queued.
    pub sent: usize,
    /// Number of sessions left out because their queue was full.
    pub dropped: usize,
    /// Number of sessions left out because they had closed, or were closed because their queue was full.
    pub closed: usize,
    /// Number of older messages dropped to make space.
    pub evicted: usize,
    /// Number of sessions left out because an interceptor dropped or refused their message.
    pub intercepted: usize,
    /// The way to other nodes, in a cluster.
    remote: Option<Box<Remote>>,
}

/// The way of a message to other nodes.
#[derive(Clone, Debug)]
struct Remote {
    node: Arc<Node>,
    published: Published,
}

impl Report {
    /// Whether every open session of this node was reached, and the message is on its way to the other nodes.
    ///
    /// # Errors
    /// [`Error::is_queue_full`] if a session was left out; [`Error::is_cluster`] as [`published`](Self::published).
    pub fn complete(&self) -> Result<(), Error> {
        if self.dropped == 0 { self.published() } else { Err(Refused::Full.into()) }
    }

    /// Whether the message is on its way to the other nodes of the cluster that have sessions for it. Ok without a
    /// cluster.
    ///
    /// # Errors
    /// [`Error::is_cluster`]: the engine cannot be reached, is behind, or does not take so large a message. Local
    /// sessions have it.
    pub fn published(&self) -> Result<(), Error> {
        match &self.remote {
            Some(remote) => match remote.published {
                Published::Refused(reason) => Err(remote.node.refusal(reason)),
                Published::NotNeeded | Published::Queued(_) => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Asks the other nodes whether the message has arrived, and for how many sessions. Resolves as soon as every node
    /// has answered or is declared dead, at the latest after the
    /// [request timeout](crate::cluster::Cluster::request_timeout); at once if no other node has sessions for it.
    ///
    /// A node that has confirmed has queued the message for its sessions, as [`sent`](Self::sent) says of this one. Ask
    /// soon: a node remembers the last 1,024 messages of each other node.
    ///
    /// ```
    /// use endpoint_runtime::Session;
    ///
    /// async fn announce(session: &Session) {
    ///     let report = session.room("42").async_remote().send_text("the match begins");
    ///     let report = report.everywhere().await;
    ///     println!("{} players, {} of {} nodes", report.here + report.elsewhere, report.nodes, report.of);
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// The message is not affected; the answers are ignored.
    pub async fn everywhere(self) -> ClusterReport {
        match self.remote {
            Some(remote) => remote.node.confirm(self.sent, &remote.published).await,
            None => ClusterReport::alone(self.sent),
        }
    }
}

impl PartialEq for Report {
    fn eq(&self, other: &Self) -> bool {
        let counts = |report: &Self| (report.sent, report.dropped, report.closed, report.evicted, report.intercepted);
        counts(self) == counts(other)
    }
}

impl Eq for Report {}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::codec::Encode;
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
