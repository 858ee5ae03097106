//! Rates as text, for settings that are read when a program starts: `20/s burst 40`, `64KiB/s`.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::rate::Rate;

/// The text is not a [`Rate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRate(());

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a rate is written such as "20/s", "20/s burst 40", "100/10m" or "64KiB/s""#)
    }
}

impl Error for InvalidRate {}

/// The same text as in an annotation: a count or a size, a slash, a time, and possibly `burst` with another count or size.
///
/// ```
/// # use endpoint_runtime::Rate;
/// assert_eq!("20/s burst 40".parse(), Ok(Rate::per_second(20).burst(40)));
/// assert_eq!("64KiB/s".parse(), Ok(Rate::per_second(64 << 10)));
/// assert!("twenty a second".parse::<Rate>().is_err());
/// ```
impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        parse(text).ok_or(InvalidRate(()))
    }
}

fn parse(text: &str) -> Option<Rate> {
    let mut words = text.split_ascii_whitespace();
    let (count, time) = words.next()?.split_once('/')?;
    let rate = Rate::new(amount(count)?, duration(time)?);
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Some(rate),
        (Some("burst"), Some(burst), None) => Some(rate.burst(amount(burst)?)),
        _ => None,
    }
}

/// A number of at least one, and its unit.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    digits.parse().ok().filter(|number| *number > 0).map(|number| (number, unit))
}

/// A count, or a size in bytes.
fn amount(text: &str) -> Option<u64> {
    let (number, unit) = number(text)?;
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

/// A time; a unit alone is one of it.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match number(text) {
        Some(both) => both,
        None if text.starts_with(|first: char| first.is_ascii_digit()) => return None,
        None => (1, text),
    };
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_texts() {
        let seconds = Duration::from_secs;
        for (text, rate) in [
            ("1/s", Rate::per_second(1)),
            ("20/s burst 40", Rate::per_second(20).burst(40)),
            (" 20/s  burst 40 ", Rate::per_second(20).burst(40)),
            ("100/10m", Rate::new(100, seconds(600))),
            ("5/h", Rate::new(5, seconds(3600))),
            ("5/250ms", Rate::new(5, Duration::from_millis(250))),
            ("64KiB/s", Rate::per_second(64 << 10)),
            ("1MiB/s burst 4MiB", Rate::per_second(1 << 20).burst(4 << 20)),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text:?}");
        }
    }

    #[test]
    fn invalid_texts() {
        for text in [
            "",
            "20",
            "/s",
            "20/",
            "0/s",
            "20/0s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "20/s burst",
            "20/s burst 0",
            "20/s burst 4 5",
            "20/s bursts 4",
            "20 /s",
            "20/d",
            "20kb/s",
            "99999999999999999999/s",
            "20/99999999999999999999h",
            "18446744073709551615GiB/s",
            "٣/s",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate(())), "{text:?}");
        }
    }
}
