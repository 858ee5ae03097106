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
