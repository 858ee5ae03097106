//! Frame masking (RFC 6455 §5.3): each byte XOR the key's byte at its index modulo four.

use multiversion::multiversion;

/// From this size on, detecting the machine's vector instructions at run time pays off.
const LONG: usize = 256;

/// Masks or unmasks `data` in place; its first byte is byte number `offset` of the payload.
#[inline]
pub fn apply(data: &mut [u8], key: [u8; 4], offset: usize) {
    let key = rotate(key, offset);
    if data.len() < LONG { words(data, key) } else { vectors(data, key) }
}

/// Masks with the widest vectors of the machine, not only those of the compile target.
#[multiversion(targets("x86_64+avx2"))]
fn vectors(data: &mut [u8], key: [u8; 4]) {
    words(data, key);
}

/// Masks eight bytes at a time; the compiler widens this to the vectors it may use.
#[inline(always)]
fn words(data: &mut [u8], key: [u8; 4]) {
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let mut words = data.chunks_exact_mut(8);
    for word in &mut words {
        let masked =
            u64::from_ne_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]) ^ wide;
        word.copy_from_slice(&masked.to_ne_bytes());
    }
    let mut rest = words.into_remainder();
    if let [a, b, c, d, after @ ..] = rest {
        (*a, *b, *c, *d) = (*a ^ key[0], *b ^ key[1], *c ^ key[2], *d ^ key[3]);
        rest = after;
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// The key rotated so that it starts at byte number `offset` of the payload.
fn rotate(mut key: [u8; 4], offset: usize) -> [u8; 4] {
    key.rotate_left(offset % 4);
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_gives_what_the_definition_says(
            data in prop::collection::vec(any::<u8>(), 0..4 * super::LONG),
            key: [u8; 4],
            cut in 0..2 * super::LONG,
        ) {
            let expected: Vec<u8> = data.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut whole = data.clone();
            super::apply(&mut whole, key, 0);
            prop_assert_eq!(&whole, &expected);
            let mut parts = data;
            let cut = cut.min(parts.len());
            let (a, b) = parts.split_at_mut(cut);
            super::apply(a, key, 0);
            super::apply(b, key, cut);
            prop_assert_eq!(parts, expected);
        }
    }
}
