//! Incremental UTF-8 validation (RFC 6455 §8.1), so that a bad byte fails the connection at once.

use crate::text;

/// From this length on the vectorised check is faster than the standard library's.
const SIMD_FROM: usize = 64;

/// All of `data` as text; `None` if it is not UTF-8.
#[inline]
pub fn whole(data: &[u8]) -> Option<&str> {
    if data.len() >= SIMD_FROM {
        return simdutf8::basic::from_utf8(data).ok();
    }
    text::ascii(data).or_else(|| std::str::from_utf8(data).ok())
}

/// Number of bytes at the front of `data` that are complete characters, if the rest is the beginning of one; `None` if
/// no continuation can make `data` valid.
#[inline]
pub fn valid_prefix(data: &[u8]) -> Option<usize> {
    match simdutf8::compat::from_utf8(data) {
        Ok(_) => Some(data.len()),
        Err(error) if error.error_len().is_none() => Some(error.valid_up_to()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_character_is_waited_for_and_a_wrong_byte_is_not() {
        let sign = "言".as_bytes();
        assert_eq!(valid_prefix(&sign[..1]), Some(0));
        assert_eq!(valid_prefix(&sign[..2]), Some(0));
        assert_eq!(valid_prefix(sign), Some(3));
        assert_eq!(valid_prefix(b"ab\xe8\xa8"), Some(2));
        // a surrogate, an overlong form and a code above U+10FFFF are invalid from their second byte on
        assert_eq!(valid_prefix(b"\xed\xa0"), None);
        assert_eq!(valid_prefix(b"\xc0"), None);
        assert_eq!(valid_prefix(b"\xf4\x90"), None);
    }

    #[test]
    fn short_and_long_text_are_judged_alike() {
        for len in [0, 1, SIMD_FROM - 1, SIMD_FROM, 1000] {
            let mut data = vec![b'a'; len];
            assert!(whole(&data).is_some());
            data.push(0xff);
            assert!(whole(&data).is_none());
        }
    }
}
