//! The depth of JSON: a level is an array or an object.

/// Whether `text` has more than `limit` levels. What is no JSON may count as less; its decoder stops there.
pub(crate) fn exceeds(text: &[u8], limit: usize) -> bool {
    // most messages have fewer brackets than levels allowed, those in strings included: to count is far cheaper than to read
    openings(text) > limit && reads_deeper(text, limit)
}

/// How many bytes are `[` or `{`; the two differ in one bit.
fn openings(text: &[u8]) -> usize {
    // sums of one byte each, for the vector units
    let sum = |part: &[u8]| part.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
    text.chunks(u8::MAX as usize).map(|part| usize::from(sum(part))).sum()
}

fn reads_deeper(text: &[u8], limit: usize) -> bool {
    let (mut depth, mut bytes) = (0, text.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => loop {
                match bytes.next() {
                    Some(b'"') | None => break,
                    Some(b'\\') => _ = bytes.next(),
                    Some(_) => {}
                }
            },
            b'[' | b'{' if depth == limit => return true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_objects_are_levels_and_what_stands_in_strings_is_not() {
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
    fn no_bracket_of_a_long_text_is_overlooked() {
        for len in [0, 1, 254, 255, 256, 1000] {
            assert_eq!(openings("[{".repeat(len).as_bytes()), 2 * len);
            assert_eq!(openings("]}()\x7f;".repeat(len).as_bytes()), 0);
        }
    }
}
