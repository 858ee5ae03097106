//! Sizes and durations in text: `"64KiB"`, `"60s"`.

use syn::{Error, LitStr, Result};

const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

const TIME_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// `"64KiB"` in bytes.
pub(super) fn bytes(literal: &LitStr) -> Result<u64> {
    amount(literal, &SIZE_UNITS, "size", "64KiB")
}

/// `"60s"` in milliseconds.
pub(super) fn millis(literal: &LitStr) -> Result<u64> {
    amount(literal, &TIME_UNITS, "duration", "60s")
}

/// So many in a time, and at most so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateText {
    pub(super) count: u64,
    pub(super) millis: u64,
    pub(super) burst: Option<u64>,
}

/// `"20/s burst 40"`: messages.
pub(super) fn message_rate(literal: &LitStr) -> Result<RateText> {
    rate(literal, |text| text.parse().ok(), "20/s burst 40")
}

/// `"64KiB/s burst 1MiB"`: bytes.
pub(super) fn byte_rate(literal: &LitStr) -> Result<RateText> {
    rate(literal, |text| number_with_unit(text, &SIZE_UNITS), "64KiB/s burst 1MiB")
}

fn rate(literal: &LitStr, amount: fn(&str) -> Option<u64>, example: &str) -> Result<RateText> {
    let text = literal.value();
    let parsed = parse_rate(&text, amount).ok_or_else(|| {
        let message = format!(
            "invalid rate {text:?}: write an amount, `/`, a time (s, m, h or such as 10s), and optionally `burst` and an \
             amount, as in {example:?}"
        );
        Error::new_spanned(literal, message)
    })?;
    if parsed.count == 0 || parsed.millis == 0 || parsed.burst == Some(0) {
        return Err(Error::new_spanned(literal, "a rate and its burst must be at least 1"));
    }
    Ok(parsed)
}

fn parse_rate(text: &str, amount: fn(&str) -> Option<u64>) -> Option<RateText> {
    let (rate, burst) = match text.split_once(" burst ") {
        Some((rate, burst)) => (rate, Some(amount(digits_first(burst.trim())?)?)),
        None => (text, None),
    };
    let (count, time) = rate.split_once('/')?;
    let (count, time) = (amount(digits_first(count.trim())?)?, time.trim());
    let millis = match time.starts_with(|first: char| first.is_ascii_digit()) {
        true => number_with_unit(time, &TIME_UNITS)?,
        false => TIME_UNITS.iter().find(|(name, _)| *name == time)?.1,
    };
    Some(RateText { count, millis, burst })
}

/// The text, if it begins with a digit: not with a sign.
fn digits_first(text: &str) -> Option<&str> {
    text.starts_with(|first: char| first.is_ascii_digit()).then_some(text)
}

fn amount(literal: &LitStr, units: &[(&str, u64)], noun: &str, example: &str) -> Result<u64> {
    let text = literal.value();
    number_with_unit(&text, units).ok_or_else(|| {
        let units = units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let message = format!("invalid {noun} {text:?}: write a whole number and a unit ({units}), as in {example:?}");
        Error::new_spanned(literal, message)
    })
}

fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;

    use super::*;

    fn literal(text: &str) -> LitStr {
        LitStr::new(text, Span::call_site())
    }

    fn bytes_of(text: &str) -> Option<u64> {
        bytes(&literal(text)).ok()
    }

    fn millis_of(text: &str) -> Option<u64> {
        millis(&literal(text)).ok()
    }

    #[test]
    fn sizes_are_in_bytes() {
        assert_eq!(bytes_of("1B"), Some(1));
        assert_eq!(bytes_of("64KiB"), Some(65_536));
        assert_eq!(bytes_of("2 MB"), Some(2_000_000));
        assert_eq!(bytes_of("1GiB"), Some(1 << 30));
    }

    #[test]
    fn durations_are_in_milliseconds() {
        assert_eq!(millis_of("500ms"), Some(500));
        assert_eq!(millis_of("60s"), Some(60_000));
        assert_eq!(millis_of("5m"), Some(300_000));
    }

    fn rate_of(text: &str) -> Option<(u64, u64, Option<u64>)> {
        message_rate(&literal(text)).ok().map(|rate| (rate.count, rate.millis, rate.burst))
    }

    #[test]
    fn rates_have_an_amount_a_time_and_perhaps_a_burst() {
        assert_eq!(rate_of("20/s"), Some((20, 1000, None)));
        assert_eq!(rate_of("20/s burst 40"), Some((20, 1000, Some(40))));
        assert_eq!(rate_of("10 / 5m burst 3"), Some((10, 300_000, Some(3))));
        assert_eq!(rate_of("1/h"), Some((1, 3_600_000, None)));
        let bytes = byte_rate(&literal("64KiB/s burst 1MiB")).unwrap();
        assert_eq!(bytes, RateText { count: 64 << 10, millis: 1000, burst: Some(1 << 20) });
    }

    #[test]
    fn other_text_is_no_rate() {
        for text in [
            "",
            "20",
            "/s",
            "20/",
            "20/x",
            "-1/s",
            "+1/s",
            "0/s",
            "1/0s",
            "1/s burst 0",
            "1/s burst",
            "1/s 40",
            "1.5/s",
            "2KiB/s",
            "1/s/s",
        ] {
            assert_eq!(rate_of(text), None, "{text}");
        }
        assert!(byte_rate(&literal("64/s")).is_err());
        let message = message_rate(&literal("fast")).unwrap_err().to_string();
        assert!(message.contains("\"20/s burst 40\""), "{message}");
    }

    #[test]
    fn every_rate_that_is_written_is_read_and_no_text_panics() {
        use proptest::prelude::*;
        let mut runner = proptest::test_runner::TestRunner::default();
        let written = (1..u64::MAX, 0..4usize, 1..1000u64, prop::option::of(1..u64::MAX));
        runner
            .run(&written, |(count, unit, times, burst)| {
                let (name, millis) = TIME_UNITS[unit];
                let burst_text = burst.map_or_else(String::new, |burst| format!(" burst {burst}"));
                let read = rate_of(&format!("{count}/{times}{name}{burst_text}"));
                prop_assert_eq!(read, Some((count, times * millis, burst)));
                Ok(())
            })
            .unwrap();
        runner
            .run(&"[0-9smhKiB/ +.-]{0,12}( burst [0-9KiB]{0,4})?|\\PC*", |text| {
                let _ = (rate_of(&text), byte_rate(&literal(&text)));
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn text_without_a_number_or_a_unit_and_what_overflows_is_refused() {
        for text in [
            "",
            "64",
            "KiB",
            "1.5MiB",
            "-1B",
            "64kib",
            "64 parsecs",
            "99999999999999999999B",
            "18446744073709551615GiB",
        ] {
            assert_eq!(bytes_of(text), None, "{text}");
        }
        let message = millis(&literal("1min")).unwrap_err().to_string();
        assert!(message.contains("(ms, s, m, h)"), "{message}");
    }
}
