//! Sizes and times as they are written in attributes: `"64KiB"`, `"500ms"`.

const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// `"64KiB"` in bytes, or the sentence that says what is wrong.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    amount(text, &SIZES).ok_or_else(|| {
        format!("{text:?} is not a size: write a whole number with a unit, as in \"64KiB\"; units are {}", list(&SIZES))
    })
}

/// `"60s"` in milliseconds, or the sentence that says what is wrong.
pub(crate) fn millis(text: &str) -> Result<u64, String> {
    amount(text, &TIMES).ok_or_else(|| {
        format!("{text:?} is not a time: write a whole number with a unit, as in \"60s\"; units are {}", list(&TIMES))
    })
}

fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn list(units: &[(&str, u64)]) -> String {
    units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_bytes() {
        assert_eq!(bytes("1B"), Ok(1));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("2 MB"), Ok(2_000_000));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
    }

    #[test]
    fn times_count_milliseconds() {
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("60s"), Ok(60_000));
        assert_eq!(millis("5m"), Ok(300_000));
    }

    #[test]
    fn what_has_no_number_no_unit_or_no_end_is_refused() {
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
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(millis("1min").unwrap_err().ends_with("units are ms, s, m, h"));
    }
}
