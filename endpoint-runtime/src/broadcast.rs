//! One message for many sessions, and what became of it.

use crate::codec::Encode;
use crate::config::Overflow;
use crate::error::Error;
use crate::message::{Binary, Message};
use crate::outbound::{Moment, Refused};
use crate::remote::{How, Shared};
use crate::session::OpenSessions;
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

    /// Queues the message that `object` becomes, such as [`Json`](crate::Json), for each session. It is encoded once.
    ///
    /// # Errors
    /// [`Error::is_encode`] if it cannot be encoded; then nobody is sent anything.
    pub fn send_object<T: Encode + ?Sized>(self, object: &T) -> Result<Report, Error> {
        Ok(self.send(object.encode()?))
    }

    fn send(self, message: Message) -> Report {
        let (mut shared, mut report) = (Shared::new(message, self.how), Report::default());
        let moment = Moment::now();
        for (index, session) in self.sessions.iter().enumerate() {
            let at_once = (index < AT_ONCE).then_some(moment);
            match shared.offer(session.outbound(), at_once) {
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
