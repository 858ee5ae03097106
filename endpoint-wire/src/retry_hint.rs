//! When a peer that is asked to leave should come back, written in the phrase of its close reason. Pure.

use std::fmt;
use std::time::Duration;

use crate::close::CloseReason;

/// When the peer should connect again: a time to wait, and a range from which it adds a random part, so that peers that
/// were closed together do not come back together.
///
/// It travels as the phrase of a close reason, because a close frame has no other space (RFC 6455 §5.5.1):
///
/// ```text
/// hint      = "retry=" number *( ";" name "=" value )
/// name      = "spread" | any other
/// number    = 1*DIGIT        ; milliseconds
/// ```
///
/// The phrase begins with `retry`. `spread` is optional and its value is a number; without it there is no range.
/// Parameters with other names are reserved, and ignored. Names are case-sensitive, and there is no white space. A phrase
/// with `retry` or `spread` twice, or that breaks any of these rules, is no hint, but an ordinary phrase. A number that is
/// too large for 64 bits counts as the largest.
///
/// The peer waits for `retry`, plus a random part of `spread`. It should limit both: whoever sends the hint may be wrong or
/// hostile.
///
/// ```
/// # use std::time::Duration;
/// # use endpoint_wire::close::{CloseCode, CloseReason};
/// # use endpoint_wire::retry_hint::RetryHint;
/// let hint = RetryHint::new(Duration::from_millis(3200), Duration::from_secs(20));
/// assert_eq!(hint.to_string(), "retry=3200;spread=20000");
/// let reason = CloseReason::truncating(CloseCode::ServiceRestart, &hint.to_string());
/// assert_eq!(reason.retry_hint(), Some(hint));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryHint {
    retry: Duration,
    spread: Duration,
}

impl RetryHint {
    /// Wait for `retry` and a random part of `spread`. Both travel in whole milliseconds.
    pub const fn new(retry: Duration, spread: Duration) -> Self {
        Self { retry, spread }
    }

    /// The hint in a phrase; `None` if the phrase is none.
    pub fn parse(phrase: &str) -> Option<Self> {
        let (mut retry, mut spread) = (None, None);
        for (index, parameter) in phrase.split(';').enumerate() {
            let (name, value) = parameter.split_once('=')?;
            let known = match name {
                "retry" => &mut retry,
                "spread" if index > 0 => &mut spread,
                _ if index > 0 && !name.is_empty() => continue,
                _ => return None,
            };
            if known.replace(millis(value)?).is_some() {
                return None;
            }
        }
        Some(Self { retry: retry?, spread: spread.unwrap_or_default() })
    }

    /// The time to wait.
    pub const fn retry(self) -> Duration {
        self.retry
    }

    /// The range of the random time to wait as well; zero if there is none.
    pub const fn spread(self) -> Duration {
        self.spread
    }
}

fn millis(number: &str) -> Option<Duration> {
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_millis(number.parse().unwrap_or(u64::MAX)))
}

/// The phrase: at most 60 bytes, so that every close frame has space for it.
impl fmt::Display for RetryHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "retry={};spread={}", self.retry.as_millis(), self.spread.as_millis())
    }
}

impl CloseReason {
    /// When the peer wants this side to connect again, if the [`reason`](Self::reason) is a [`RetryHint`].
    pub fn retry_hint(&self) -> Option<RetryHint> {
        RetryHint::parse(self.reason())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::close::{CloseCode, MAX_REASON_BYTES};

    fn parsed(phrase: &str) -> Option<(u64, u64)> {
        let hint = RetryHint::parse(phrase)?;
        Some([hint.retry(), hint.spread()].map(|time| u64::try_from(time.as_millis()).unwrap()).into())
    }

    #[test]
    fn phrases_that_follow_the_rules_are_hints() {
        for (phrase, hint) in [
            ("retry=3200;spread=20000", (3200, 20_000)),
            ("retry=0", (0, 0)),
            ("retry=007;spread=0", (7, 0)),
            ("retry=1;to=b.example;spread=2", (1, 2)),
            ("retry=1;to=;spread=2", (1, 2)),
            ("retry=1;a=b=c;spread=2", (1, 2)),
            ("retry=99999999999999999999;spread=1", (u64::MAX, 1)),
        ] {
            assert_eq!(parsed(phrase), Some(hint), "{phrase}");
        }
    }

    #[test]
    fn other_phrases_are_no_hints() {
        for phrase in [
            "",
            "the server is shutting down",
            "retry",
            "retry=",
            "retry=soon",
            "retry=-1",
            "retry=+1",
            "retry=1.5",
            "retry=1 ",
            " retry=1",
            "Retry=1",
            "retry=١",
            "spread=1",
            "spread=1;retry=1",
            "to=b;retry=1",
            "retry=1;retry=1",
            "retry=1;spread=1;spread=1",
            "retry=1;spread=x",
            "retry=1;spread",
            "retry=1;=1",
            "retry=1;;spread=1",
            "retry=1;",
            "retry=1; spread",
        ] {
            assert_eq!(parsed(phrase), None, "{phrase:?}");
        }
    }

    proptest! {
        #[test]
        fn hint_survives_the_round_trip_in_whole_milliseconds(retry in any::<Duration>(), spread in any::<Duration>()) {
            let phrase = RetryHint::new(retry, spread).to_string();
            prop_assert!(phrase.len() <= 60 && phrase.len() <= MAX_REASON_BYTES);
            let reason = CloseReason::new(CloseCode::GoingAway, &phrase).unwrap();
            let whole = |time: Duration| Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            prop_assert_eq!(reason.retry_hint(), Some(RetryHint::new(whole(retry), whole(spread))));
        }

        #[test]
        fn any_phrase_is_parsed_without_a_panic_and_hints_are_stable(
            phrase in prop_oneof!["\\PC*", "(retry|spread|[a-z]*)=[0-9]{0,22}(;(retry|spread|[a-z]*)=[0-9]{0,22}){0,3}"],
        ) {
            if let Some(hint) = RetryHint::parse(&phrase) {
                prop_assert!(phrase.starts_with("retry="));
                prop_assert_eq!(RetryHint::parse(&hint.to_string()), Some(hint));
            }
        }
    }
}
