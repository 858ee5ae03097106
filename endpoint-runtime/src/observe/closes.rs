//! How sessions ended: counts by close code and by the side that began the close. Both are closed sets, so a peer cannot
//! create new classes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use endpoint_wire::close::{CloseCode, CloseReason, Initiator};

/// The codes that are counted apart: those of RFC 6455 §7.4.1 and of IANA's registry. All others are counted together.
const CODES: [CloseCode; 15] = [
    CloseCode::NormalClosure,
    CloseCode::GoingAway,
    CloseCode::ProtocolError,
    CloseCode::CannotAccept,
    CloseCode::NoStatusCode,
    CloseCode::ClosedAbnormally,
    CloseCode::NotConsistent,
    CloseCode::ViolatedPolicy,
    CloseCode::TooBig,
    CloseCode::NoExtension,
    CloseCode::UnexpectedCondition,
    CloseCode::ServiceRestart,
    CloseCode::TryAgainLater,
    CloseCode::BadGateway,
    CloseCode::TlsHandshakeFailure,
];

const INITIATORS: [Initiator; 4] =
    [Initiator::Peer, Initiator::Application, Initiator::Container, Initiator::Transport];

/// The ends of an endpoint's sessions.
#[derive(Debug, Default)]
pub(crate) struct CloseCounters([[AtomicU64; INITIATORS.len()]; CODES.len() + 1]);

impl CloseCounters {
    pub(crate) fn add(&self, reason: &CloseReason) {
        let code = CODES.iter().position(|code| *code == reason.code()).unwrap_or(CODES.len());
        let initiator = INITIATORS.iter().position(|initiator| *initiator == reason.initiator()).unwrap_or_default();
        self.0[code][initiator].fetch_add(1, Relaxed);
    }

    /// The counts that are not zero.
    pub(crate) fn now(&self) -> Vec<CloseCount> {
        let mut counts = Vec::new();
        for (row, code) in self.0.iter().zip(CODES.iter().map(|code| Some(code.as_u16())).chain([None])) {
            for (cell, initiator) in row.iter().zip(INITIATORS) {
                let count = cell.load(Relaxed);
                if count > 0 {
                    counts.push(CloseCount { code, initiator: name_of(initiator), count });
                }
            }
        }
        counts
    }
}

fn name_of(initiator: Initiator) -> &'static str {
    match initiator {
        Initiator::Peer => "peer",
        Initiator::Application => "application",
        Initiator::Container => "container",
        _ => "transport",
    }
}

/// How many sessions ended in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseCount {
    /// The close code that `on_close` saw; `None` for all codes of applications and libraries together, so that a peer
    /// cannot make up classes.
    pub code: Option<u16>,
    /// The side that began the close: `peer`, `application`, `container` or `transport`
    /// ([`Initiator`](crate::Initiator)).
    pub initiator: &'static str,
    /// Number of sessions.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_applications_are_counted_together() {
        let counters = CloseCounters::default();
        for code in [1000, 4000, 4001, 3000] {
            counters.add(&CloseReason::truncating(CloseCode::from(code), "").by(Initiator::Peer));
        }
        counters.add(&CloseReason::truncating(CloseCode::ClosedAbnormally, "").by(Initiator::Transport));
        let counts: Vec<_> = counters.now().iter().map(|it| (it.code, it.initiator, it.count)).collect();
        assert_eq!(counts, [(Some(1000), "peer", 1), (Some(1006), "transport", 1), (None, "peer", 3)]);
    }
}
