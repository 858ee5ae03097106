//! Reasons why a message is not sent.

use crate::error::{Error, Kind};

/// The reason why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Closed,
    Full,
    /// Another message is being sent in parts.
    OtherMessage,
    /// The queue was full, and the overflow policy drops the message.
    Dropped,
    TimedOut,
    /// An interceptor dropped the message.
    Discarded,
    /// An interceptor refused the message.
    Intercepted,
    /// The transport takes only whole messages.
    #[cfg(feature = "adopted")]
    InParts,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Closed => Error::closed(),
            Refused::Full => Error::new(Kind::QueueFull, "the send queue is full: the peer reads too slowly"),
            Refused::OtherMessage => {
                Error::new(Kind::QueueFull, "the part was not queued: another message is being sent in parts")
            }
            Refused::Dropped => Error::new(Kind::QueueFull, "the message was dropped: the send queue is full"),
            Refused::TimedOut => Error::new(Kind::Timeout, "the message was not sent within the send timeout"),
            Refused::Discarded => Error::new(Kind::Refused, "the message was not sent: an interceptor dropped it"),
            Refused::Intercepted => Error::new(Kind::Refused, "the message was not sent: an interceptor refused it"),
            #[cfg(feature = "adopted")]
            Refused::InParts => Error::new(
                Kind::Unsupported,
                "a message cannot be sent in parts: the session's external socket takes only whole messages",
            ),
        }
    }
}
