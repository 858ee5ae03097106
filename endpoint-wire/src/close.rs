//! Close codes (RFC 6455 §7.4), close reasons with their phrase, and the side that began the close.

use std::fmt;

use crate::source_search;
use crate::text::Text;

/// Maximum length of a reason phrase, in bytes of UTF-8: a control frame's 125 less the code's two (RFC 6455 §5.5).
pub const MAX_REASON_BYTES: usize = 123;

/// A status code of RFC 6455 §7.4, under the names of Jakarta's `CloseReason.CloseCodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    NormalClosure,
    /// 1001: the server is going down, or the browser has left the page.
    GoingAway,
    /// 1002: the peer broke the protocol.
    ProtocolError,
    /// 1003: the peer sent a kind of data that cannot be accepted.
    CannotAccept,
    /// 1005: the close frame carried no code. Never on the wire.
    NoStatusCode,
    /// 1006: the connection ended without a close frame. Never on the wire.
    ClosedAbnormally,
    /// 1007: the data does not match its kind, such as text that is not UTF-8.
    NotConsistent,
    /// 1008: a policy was violated.
    ViolatedPolicy,
    /// 1009: a message was too big.
    TooBig,
    /// 1010: the client needed an extension that the server did not agree to.
    NoExtension,
    /// 1011: the server met an unexpected condition.
    UnexpectedCondition,
    /// 1012: the server restarts; come back later.
    ServiceRestart,
    /// 1013: the server is overloaded; come back later.
    TryAgainLater,
    /// 1014: a gateway received an invalid response from its upstream server.
    BadGateway,
    /// 1015: the TLS handshake failed. Never on the wire.
    TlsHandshakeFailure,
    /// Any other number; libraries register 3000–3999, applications use 4000–4999 freely.
    Other(u16),
}

impl CloseCode {
    /// The number on the wire.
    pub const fn as_u16(self) -> u16 {
        match self {
            Self::NormalClosure => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::CannotAccept => 1003,
            Self::NoStatusCode => 1005,
            Self::ClosedAbnormally => 1006,
            Self::NotConsistent => 1007,
            Self::ViolatedPolicy => 1008,
            Self::TooBig => 1009,
            Self::NoExtension => 1010,
            Self::UnexpectedCondition => 1011,
            Self::ServiceRestart => 1012,
            Self::TryAgainLater => 1013,
            Self::BadGateway => 1014,
            Self::TlsHandshakeFailure => 1015,
            Self::Other(code) => code,
        }
    }

    /// Whether a close frame may carry this code (RFC 6455 §7.4.1 and §7.4.2, IANA's registry): 1000–1003, 1007–1014
    /// and 3000–4999. Not 1004 (reserved), nor 1005, 1006 and 1015, which exist only locally.
    pub const fn is_sendable(self) -> bool {
        matches!(self.as_u16(), 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        match code {
            1000 => Self::NormalClosure,
            1001 => Self::GoingAway,
            1002 => Self::ProtocolError,
            1003 => Self::CannotAccept,
            1005 => Self::NoStatusCode,
            1006 => Self::ClosedAbnormally,
            1007 => Self::NotConsistent,
            1008 => Self::ViolatedPolicy,
            1009 => Self::TooBig,
            1010 => Self::NoExtension,
            1011 => Self::UnexpectedCondition,
            1012 => Self::ServiceRestart,
            1013 => Self::TryAgainLater,
            1014 => Self::BadGateway,
            1015 => Self::TlsHandshakeFailure,
            other => Self::Other(other),
        }
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.as_u16()
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_u16().fmt(f)
    }
}

/// The side that began the close of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Initiator {
    /// The peer sent a close frame.
    Peer,
    /// This application called `close` or `close_with`.
    Application,
    /// This library closed it: a limit, a protocol error of the peer, a failed handler, a shutdown.
    Container,
    /// The connection was lost without a close frame.
    Transport,
}

/// Why a session ends or ended: a code, a phrase of at most 123 bytes, and the side that began the close.
#[derive(Clone, PartialEq, Eq)]
pub struct CloseReason(Parts);

/// The parts of a [`CloseReason`]: what a [search](crate::source_search) finds in an error that hides the reason.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    code: CloseCode,
    reason: Text,
    initiator: Initiator,
}

impl From<Parts> for CloseReason {
    fn from(parts: Parts) -> Self {
        Self(parts)
    }
}

impl CloseReason {
    /// Creates a reason to close with.
    ///
    /// # Errors
    /// [`ReasonTooLong`] if `reason` has more than [`MAX_REASON_BYTES`] bytes of UTF-8 (Jakarta's `CloseReason`
    /// throws there as well); use [`CloseReason::truncating`] for phrases whose length you don't know.
    pub fn new(code: CloseCode, reason: &str) -> Result<Self, ReasonTooLong> {
        if reason.len() > MAX_REASON_BYTES {
            return Err(ReasonTooLong { bytes: reason.len() });
        }
        Ok(Self::truncating(code, reason))
    }

    /// Creates a reason to close with; cuts the phrase to [`MAX_REASON_BYTES`] on a character boundary.
    pub fn truncating(code: CloseCode, reason: &str) -> Self {
        let mut end = reason.len().min(MAX_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self(Parts { code, reason: Text::from(&reason[..end]), initiator: Initiator::Application })
    }

    /// The status code.
    pub fn code(&self) -> CloseCode {
        self.0.code
    }

    /// The phrase, which may be empty (Jakarta's `getReasonPhrase`, never null).
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The side that began the close.
    pub fn initiator(&self) -> Initiator {
        self.0.initiator
    }

    /// Returns the same reason with another initiator.
    pub fn by(mut self, initiator: Initiator) -> Self {
        self.0.initiator = initiator;
        self
    }
}

/// A close reason of more than [`MAX_REASON_BYTES`] bytes, which no close frame can carry.
///
/// Converts into an `Error` of the runtime whose `is_too_big` is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonTooLong {
    bytes: usize,
}

impl ReasonTooLong {
    /// Length of the reason, in bytes.
    pub fn bytes(self) -> usize {
        self.bytes
    }
}

impl fmt::Display for ReasonTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a close reason of {} bytes exceeds the limit of {MAX_REASON_BYTES} bytes", self.bytes)
    }
}

impl std::error::Error for ReasonTooLong {}

/// Creates a reason without a phrase.
impl From<CloseCode> for CloseReason {
    fn from(code: CloseCode) -> Self {
        Self::truncating(code, "")
    }
}

/// Returned as an error from a handler, it closes the session.
impl std::error::Error for CloseReason {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        source_search::runs().then_some(&self.0)
    }
}

impl std::error::Error for Parts {}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() { write!(f, "{}", self.code) } else { write!(f, "{} {}", self.code, &*self.reason) }
    }
}

impl fmt::Debug for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { code, reason, initiator } = &self.0;
        let mut out = f.debug_struct("CloseReason");
        out.field("code", code).field("reason", reason).field("initiator", initiator).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_the_round_trip() {
        for code in 0..=u16::MAX {
            assert_eq!(CloseCode::from(code).as_u16(), code);
        }
    }

    #[test]
    fn sendable_codes_are_those_of_the_rfc() {
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert!(CloseCode::from(code).is_sendable(), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!CloseCode::from(code).is_sendable(), "{code}");
        }
    }

    #[test]
    fn reason_is_limited_in_bytes_and_cut_on_a_character() {
        assert!(CloseReason::new(CloseCode::NormalClosure, &"x".repeat(123)).is_ok());
        assert!(CloseReason::new(CloseCode::NormalClosure, &"x".repeat(124)).is_err_and(|error| error.bytes() == 124));
        // 41 characters of three bytes are 123; the 42nd is cut off whole
        assert!(CloseReason::new(CloseCode::NormalClosure, &"言".repeat(42)).is_err());
        assert_eq!(CloseReason::truncating(CloseCode::NormalClosure, &"言".repeat(42)).reason(), "言".repeat(41));
        assert_eq!(
            CloseReason::truncating(CloseCode::NormalClosure, &format!("x{}", "言".repeat(41))).reason().len(),
            121
        );
    }
}
