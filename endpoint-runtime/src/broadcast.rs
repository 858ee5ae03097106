//! One message for many sessions, and what became of it.

use crate::codec::Encode;
use crate::config::Overflow;
use crate::error::Error;
use crate::message::{Binary, Message};
use crate::outbound::{Moment, Refused};
use crate::remote::{How, Shared};
use crate::session::{OpenSessions, Session};
use crate::text::Text;

/// A broadcast writes to so many sockets itself; the rest wake their connections. Each write costs a few microseconds,
/// in which the thread does nothing else.
const AT_ONCE: usize = 2048;

/// Speaks to many: a message is encoded once, compressed once where it is, and nobody waits for anybody.
#[derive(Clone, Copy, Debug)]
pub struct Broadcast<'a> {
    sessions: &'a OpenSessions,
    how: How,
}

impl<'a> Broadcast<'a> {
    pub(crate) fn to(sessions: &'a OpenSessions) -> Self {
        Self { sessions, how: How::DEFAULT }
    }

    /// Sends what follows as it is; see [`BasicRemote::uncompressed`](crate::BasicRemote::uncompressed).
    #[must_use]
    pub fn uncompressed(self) -> Self {
        Self { how: How { compressed: false, ..self.how }, ..self }
    }

    /// Says what is done for a session whose queue has no room.
    #[must_use]
    pub fn on_overflow(self, overflow: Overflow) -> Self {
        Self { how: How { overflow: Some(overflow), ..self.how }, ..self }
    }

    /// Queues a text message for each session.
    pub fn send_text(self, text: impl Into<Text>) -> Report {
        self.send(Message::Text(text.into()))
    }

    /// Queues a binary message for each session.
    pub fn send_binary(self, data: impl Into<Binary>) -> Report {
        self.send(Message::Binary(data.into()))
    }

    /// Queues the message that `object` becomes, such as [`Json`](crate::Json), for each session. It is encoded once for
    /// all that speak alike: that have the same subprotocol and, where an endpoint lists encoders, the same endpoint.
    ///
    /// # Errors
    /// [`Error::is_encode`] if it cannot be encoded; then nobody is sent anything.
    pub fn send_object<T: Encode + ?Sized>(self, object: &T) -> Result<Report, Error> {
        let mut dialects: Vec<(Speech<'a>, Shared)> = Vec::new();
        for session in self.sessions.addressed() {
            let speech = Speech::of(session);
            if dialects.iter().all(|(other, _)| *other != speech) {
                let message = object.encode_for(&session.dialect())?;
                dialects.push((speech, Shared::new(message, self.how)));
            }
        }
        Ok(self.offer(|session, at_once| {
            let speech = Speech::of(session);
            match dialects.iter_mut().find(|(other, _)| *other == speech) {
                Some((_, shared)) => shared.offer(session.outbound(), at_once),
                // what a session speaks never changes
                None => Err(Refused::Closed),
            }
        }))
    }

    fn send(self, message: Message) -> Report {
        let mut shared = Shared::new(message, self.how);
        self.offer(|session, at_once| shared.offer(session.outbound(), at_once))
    }

    /// Offers each session its message.
    fn offer(self, mut message: impl FnMut(&'a Session, Option<Moment>) -> Result<u32, Refused>) -> Report {
        let (mut report, moment) = (Report::default(), Moment::now());
        for (index, session) in self.sessions.addressed().enumerate() {
            let at_once = (index < AT_ONCE).then_some(moment);
            match message(session, at_once) {
                Ok(displaced) => {
                    report.sent += 1;
                    report.displaced += displaced as usize;
                }
                Err(Refused::Closed) => report.closed += 1,
                Err(_) => report.dropped += 1,
            }
        }
        if report.dropped > 0 {
            tracing::warn!(report.dropped, "a broadcast left out peers whose outbound queue is full");
        }
        report
    }
}

/// What the form of an object depends on.
#[derive(Clone, Copy, PartialEq)]
struct Speech<'a> {
    subprotocol: Option<&'a str>,
    /// Where it lists encoders.
    endpoint: Option<&'a str>,
}

impl<'a> Speech<'a> {
    fn of(session: &'a Session) -> Self {
        let endpoint = session.coders().map(|_| &*session.endpoint().path);
        Self { subprotocol: session.subprotocol(), endpoint }
    }
}

/// What became of a broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Queued for so many sessions.
    pub sent: usize,
    /// Left out because their queue was full.
    pub dropped: usize,
    /// Left out because they had closed, or were closed because their queue was full.
    pub closed: usize,
    /// So many older messages were dropped to make room.
    pub displaced: usize,
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
