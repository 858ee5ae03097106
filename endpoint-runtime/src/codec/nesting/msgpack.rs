//! Counts the depth of MessagePack: a level is an array or a map.

use super::Open;

/// Whether the first value in `data` has more than `limit` levels. Invalid MessagePack may count as less; its decoder
/// stops there.
pub(crate) fn exceeds(mut data: &[u8], limit: usize) -> bool {
    let mut open = Open::new();
    loop {
        let Some((size, inside)) = value(data) else { return false };
        if inside.is_some_and(|values| !open.begin(values, limit)) {
            return true;
        }
        let Some(rest) = data.get(size..) else { return false };
        data = rest;
        if open.end() {
            return false;
        }
    }
}

/// Bytes of the first value without the values inside it, and the number of those if it is an array or a map.
#[inline]
fn value(data: &[u8]) -> Option<(usize, Option<u64>)> {
    let (&first, rest) = data.split_first()?;
    let number = |bytes: usize| Some(rest.get(..bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    // if a length does not fit a `usize`, the value cannot end either
    let long = |header: usize, bytes: u64| Some((usize::try_from(bytes).ok()?.checked_add(header)?, None));
    match first {
        // one-byte integers; nil, false, true
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Some((1, None)),
        0x80..=0x8f => Some((1, Some(2 * u64::from(first & 0x0f)))),
        0x90..=0x9f => Some((1, Some(u64::from(first & 0x0f)))),
        0xa0..=0xbf => Some((1 + usize::from(first & 0x1f), None)),
        // never used
        0xc1 => None,
        // bin 8, 16, 32
        0xc4..=0xc6 => long(1 + (1 << (first - 0xc4)), number(1 << (first - 0xc4))?),
        // ext 8, 16, 32, with a type
        0xc7..=0xc9 => long(2 + (1 << (first - 0xc7)), number(1 << (first - 0xc7))?),
        // float 32, 64
        0xca | 0xcb => Some((1 + (4 << (first - 0xca)), None)),
        // uint, int 8, 16, 32, 64
        0xcc..=0xd3 => Some((1 + (1 << (first & 0x03)), None)),
        // fixext 1, 2, 4, 8, 16, with a type
        0xd4..=0xd8 => Some((2 + (1 << (first - 0xd4)), None)),
        // str 8, 16, 32
        0xd9..=0xdb => long(1 + (1 << (first - 0xd9)), number(1 << (first - 0xd9))?),
        // array 16, 32
        0xdc | 0xdd => Some((1 + (2 << (first - 0xdc)), Some(number(2 << (first - 0xdc))?))),
        // map 16, 32
        0xde | 0xdf => Some((1 + (2 << (first - 0xde)), Some(2 * number(2 << (first - 0xde))?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_maps_are_levels_and_string_contents_are_not() {
        let rows: [(&[u8], usize); 10] = [
            (b"\x01", 0),
            (b"\x90", 1),
            (b"\x93\x91\x01\x80\x81\x02\x91\x03", 3),
            // only the first value counts
            (b"\x91\x01\x91\x91\x91\x01", 1),
            (b"\xa4\x91\x91\x91\x91", 0),
            (b"\x92\xd9\x03\x91\x91\x91\x90", 2),
            (b"\x95\xc4\x01\x91\xc5\x00\x01\x91\xda\x00\x01\x91\xdb\x00\x00\x00\x01\x91\xdd\x00\x00\x00\x01\x90", 3),
            (b"\x95\xc7\x01\x07\x91\xc8\x00\x01\x07\x91\xd4\x07\x91\xd8\x0716 bytes, inside\xde\x00\x01\x01\x90", 3),
            (b"\xdc\x00\x0b\xcc\xff\xcd..\xce....\xcf........\xd0.\xd1..\xd2....\xd3........\xca....\xcb........\x90", 2),
            (b"\x91\x91\xc1\x91", 2),
        ];
        for (data, depth) in rows {
            assert!(!exceeds(data, depth), "{data:x?}");
            assert!(depth == 0 || exceeds(data, depth - 1), "{data:x?}");
        }
    }

    #[test]
    fn length_beyond_the_data_ends_the_scan() {
        let lengths: [&[u8]; 5] =
            [b"\xdd\xff\xff\xff\xff\x01", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff.", b"\xc6\xff", b"\xd9"];
        for data in lengths {
            assert!(!exceeds(data, 1), "{data:x?}");
        }
    }
}
