//! Violations of the protocol or of a limit by the peer, each with its close code.

use crate::close::{CloseCode, CloseReason};

/// A peer's violation of the protocol or of a limit. It closes the connection with its close code (RFC 6455 §7.4.1).
///
/// Exhaustive on purpose: `endpoint-runtime` decides for each violation which kind of error the application receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A frame that RFC 6455 §5 does not allow: 1002.
    Protocol(&'static str),
    /// Text, or a close reason, that is not UTF-8: 1007.
    NotUtf8,
    /// A compressed message that is not valid DEFLATE (RFC 7692 §7.2.2): 1007.
    NotDeflate,
    /// A message that exceeds its limit; `size` is the number of bytes known so far: 1009.
    TooBig {
        /// Maximum size of a message, in bytes.
        limit: usize,
        /// Bytes known so far.
        size: u64,
    },
    /// A message that arrives too slowly; `received` of its bytes have arrived: 1008.
    TooSlow {
        /// Bytes received so far.
        received: u64,
        /// Seconds that these bytes took.
        seconds: u64,
    },
    /// More messages or bytes than the peer's rate allows: 1008.
    TooFast,
    /// The unfinished messages of all sessions leave no space for this one: 1013.
    NoRoom,
}

impl Violation {
    pub(crate) fn close_code(self) -> CloseCode {
        match self {
            Self::Protocol(_) => CloseCode::ProtocolError,
            Self::NotUtf8 | Self::NotDeflate => CloseCode::NotConsistent,
            Self::TooBig { .. } => CloseCode::TooBig,
            Self::TooSlow { .. } | Self::TooFast => CloseCode::ViolatedPolicy,
            Self::NoRoom => CloseCode::TryAgainLater,
        }
    }

    /// The reason to close with.
    pub fn close_reason(self) -> CloseReason {
        CloseReason::truncating(self.close_code(), &self.to_string())
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protocol(text) => f.write_str(text),
            Self::NotUtf8 => f.write_str("the text is not UTF-8"),
            Self::NotDeflate => f.write_str("the message cannot be decompressed"),
            Self::TooBig { limit, size } => {
                write!(f, "a message of at least {size} bytes exceeds the limit of {limit}")
            }
            Self::TooSlow { received, seconds } => {
                write!(f, "a message arrives too slowly: {received} bytes in {seconds} seconds")
            }
            Self::TooFast => f.write_str("the peer sends more than its rate allows"),
            Self::NoRoom => f.write_str("no memory left in the budget for unfinished messages"),
        }
    }
}

impl std::error::Error for Violation {}

/// Lets a transport that reads frames itself report a violation.
impl From<Violation> for std::io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, violation)
    }
}
