//! Counts the depth of JSON: a level is an array or an object.

/// Whether `text` has more than `limit` levels. Invalid JSON may count as less; its decoder stops there.
pub(crate) fn exceeds(text: &[u8], limit: usize) -> bool {
    // most messages have fewer brackets, in strings or not, than allowed levels; counting is far cheaper than reading
    openings(text) > limit && reads_deeper(text, limit)
}

/// Number of bytes that are `[` or `{`; the two differ in one bit.
fn openings(text: &[u8]) -> usize {
    // one-byte sums, for the vector units
    let sum = |part: &[u8]| part.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
    text.chunks(u8::MAX as usize).map(|part| usize::from(sum(part))).sum()
}

/// Reads 64 bytes at a time, with a bit mask per kind of byte: a branch for each byte costs as much as decoding.
fn reads_deeper(text: &[u8], limit: usize) -> bool {
    // `in_string`: all ones while a string continues; `escapes`: its next byte is escaped
    let (mut depth, mut in_string, mut escapes) = (0_usize, 0_u64, false);
    for block in text.chunks(64) {
        let mut bytes = [b' '; 64];
        bytes[..block.len()].copy_from_slice(block);
        let Kinds { mut quotes, backslashes, opening, closing } = Kinds::of(&bytes);
        if backslashes != 0 || escapes {
            let escaped;
            (escaped, escapes) = after_backslashes(backslashes, escapes);
            quotes &= !escaped;
        }
        let inside = between(quotes) ^ in_string;
        in_string = if inside >> 63 == 1 { u64::MAX } else { 0 };
        let (opening, closing) = (opening & !inside, closing & !inside);
        let (opens, closes) = (opening.count_ones() as usize, closing.count_ones() as usize);
        if depth + opens > limit && is_deeper(opening, closing, depth, limit) {
            return true;
        }
        // valid JSON never closes more than is open; text that does is never decoded
        depth = (depth + opens).saturating_sub(closes);
    }
    false
}

/// Whether the depth exceeds `limit` within one block.
fn is_deeper(opening: u64, closing: u64, mut depth: usize, limit: usize) -> bool {
    let mut rest = opening | closing;
    while rest != 0 {
        let first = rest & rest.wrapping_neg();
        rest ^= first;
        match opening & first {
            0 => depth = depth.saturating_sub(1),
            _ if depth == limit => return true,
            _ => depth += 1,
        }
    }
    false
}

/// Positions of the significant bytes; the lowest bit is the first byte.
#[derive(Default)]
struct Kinds {
    quotes: u64,
    backslashes: u64,
    opening: u64,
    closing: u64,
}

impl Kinds {
    #[inline]
    fn of(bytes: &[u8; 64]) -> Self {
        /// The bit in which `[` differs from `{`, and `]` from `}`.
        const CASE: u64 = all(0x20);
        let mut kinds = Self::default();
        let mut words = &bytes[..];
        let mut place = 0;
        while let Some((word, rest)) = words.split_first_chunk() {
            let word = u64::from_le_bytes(*word);
            let shift = 8 * place;
            kinds.quotes |= equal(word, b'"') << shift;
            kinds.backslashes |= equal(word, b'\\') << shift;
            kinds.opening |= equal(word | CASE, b'{') << shift;
            kinds.closing |= equal(word | CASE, b'}') << shift;
            (words, place) = (rest, place + 1);
        }
        kinds
    }
}

/// Repeats a byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Compares each of eight bytes with `byte`; returns eight bits.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    let differing = word ^ all(byte);
    // sets the highest bit of each byte that is zero, then moves these bits together
    let zero = !(((differing & all(0x7f)) + all(0x7f)) | differing | all(0x7f));
    (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The bytes after backslashes, each of which escapes one; and whether the last escapes the next block's first byte.
fn after_backslashes(backslashes: u64, escapes: bool) -> (u64, bool) {
    let mut escaped = u64::from(escapes);
    let mut rest = backslashes & !escaped;
    let mut goes_on = false;
    while rest != 0 {
        let first = rest & rest.wrapping_neg();
        let next = first << 1;
        goes_on = next == 0;
        escaped |= next;
        rest &= !(first | next);
    }
    (escaped, goes_on)
}

/// The positions from each opening quote to the byte before the closing one.
#[inline]
fn between(quotes: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(quotes, |bits, step| bits ^ bits << step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computes the depth byte by byte.
    fn depth(text: &[u8]) -> usize {
        let (mut depth, mut most, mut bytes) = (0_usize, 0, text.iter());
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => loop {
                    match bytes.next() {
                        Some(b'"') | None => break,
                        Some(b'\\') => _ = bytes.next(),
                        Some(_) => {}
                    }
                },
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            most = most.max(depth);
        }
        most
    }

    /// Generates texts in which brackets close what is open, and strings hold anything.
    fn text() -> impl Strategy<Value = String> {
        let word = proptest::collection::vec(proptest::sample::select(br#"[]{}\\""ab"#.to_vec()), 0..40);
        let string = word.prop_map(|word| {
            let escaped = |byte: u8| match byte {
                b'"' | b'\\' => format!("\\{}", char::from(byte)),
                byte => char::from(byte).to_string(),
            };
            format!("\"{}\"", word.into_iter().map(escaped).collect::<String>())
        });
        let leaf = prop_oneof![string, Just("17".to_owned())];
        leaf.prop_recursive(20, 200, 4, |inner| {
            (proptest::collection::vec(inner, 0..4), any::<bool>()).prop_map(|(inner, object)| match object {
                true => {
                    format!("{{{}}}", inner.iter().map(|value| format!("\"k\":{value}")).collect::<Vec<_>>().join(","))
                }
                false => format!("[{}]", inner.join(", ")),
            })
        })
    }

    proptest! {
        #[test]
        fn block_scan_matches_byte_scan(text in text(), padding in 0usize..130) {
            let text = format!("{}{text}", " ".repeat(padding));
            let depth = depth(text.as_bytes());
            prop_assert!(!reads_deeper(text.as_bytes(), depth));
            prop_assert!(depth == 0 || reads_deeper(text.as_bytes(), depth - 1));
        }
    }

    #[test]
    fn arrays_and_objects_are_levels_and_string_contents_are_not() {
        let rows: [(&str, usize); 8] = [
            ("1", 0),
            ("[]", 1),
            ("[[1],[2],{},[3]]", 2),
            (r#"{"a":{"b":[{"c":1}]},"d":[[]]}"#, 4),
            (r#"["[[[[[[[[", "{{{{", "]"]"#, 1),
            (r#"["\"[[[[\\", [1], "\\", [["\""]]]"#, 3),
            (r#"{"[[[":"[\u005b[["}"#, 1),
            ("[1,[2]", 2),
        ];
        for (text, depth) in rows {
            assert!(!exceeds(text.as_bytes(), depth), "{text}");
            assert!(depth == 0 || exceeds(text.as_bytes(), depth - 1), "{text}");
        }
    }

    #[test]
    fn every_bracket_of_a_long_text_counts() {
        for len in [0, 1, 254, 255, 256, 1000] {
            assert_eq!(openings("[{".repeat(len).as_bytes()), 2 * len);
            assert_eq!(openings("]}()\x7f;".repeat(len).as_bytes()), 0);
        }
    }
}
