//! Counts the depth of CBOR (RFC 8949): a level is an array, a map or a tag.

use super::Open;

/// Whether the first value in `data` has more than `limit` levels. Invalid CBOR may count as less; its decoder stops
/// there.
pub(crate) fn exceeds(mut data: &[u8], limit: usize) -> bool {
    let mut open = Open::new();
    loop {
        let inside = match head(&mut data) {
            None => return false,
            Some(Head::Leaf) => None,
            Some(Head::Holds(values)) => Some(values),
            Some(Head::Break) => {
                let left = open.innermost();
                // a value without a length counts down from `ENDLESS`; no message is long enough to reach half of it
                if *left < ENDLESS / 2 {
                    return false;
                }
                *left = 1;
                None
            }
        };
        if inside.is_some_and(|values| !open.begin(values, limit)) {
            return true;
        }
        if open.end() {
            return false;
        }
    }
}

/// The remaining values of a value that only a break ends: more than any message has.
const ENDLESS: u64 = u64::MAX;

enum Head {
    /// A value without values inside, such as a string with its bytes.
    Leaf,
    /// A value with this many values inside.
    Holds(u64),
    /// The end of a value without a length (RFC 8949 §3.2.1).
    Break,
}

/// Consumes the head of a value, and all of a string.
#[inline]
fn head(data: &mut &[u8]) -> Option<Head> {
    let (major, argument) = argument(data)?;
    Some(match (major, argument) {
        (0 | 1, Some(_)) => Head::Leaf,
        (2 | 3, Some(len)) => skip(data, len)?,
        (2 | 3, None) => chunks(data, major)?,
        (4, argument) => Head::Holds(argument.unwrap_or(ENDLESS)),
        (5, Some(pairs)) => Head::Holds(pairs.saturating_mul(2)),
        (5, None) => Head::Holds(ENDLESS),
        (6, Some(_)) => Head::Holds(1),
        (7, Some(_)) => Head::Leaf,
        (7, None) => Head::Break,
        _ => return None,
    })
}

/// Consumes the first byte of a head and the number after it; for a float, the number is its bits.
#[inline]
fn argument(data: &mut &[u8]) -> Option<(u8, Option<u64>)> {
    let (&first, rest) = data.split_first()?;
    *data = rest;
    let (major, minor) = (first >> 5, first & 0x1f);
    let bytes = match minor {
        ..24 => return Some((major, Some(minor.into()))),
        24..28 => 1_usize << (minor - 24),
        31 => return Some((major, None)),
        // reserved
        _ => return None,
    };
    let number = data.get(..bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    *data = data.get(bytes..)?;
    Some((major, Some(number)))
}

fn skip(data: &mut &[u8], len: u64) -> Option<Head> {
    *data = data.get(usize::try_from(len).ok()?..)?;
    Some(Head::Leaf)
}

/// Consumes the chunks of a string up to its end. RFC 8949 §3.2.3 requires each to have a length; the decoder takes
/// more.
fn chunks(data: &mut &[u8], of: u8) -> Option<Head> {
    let mut nested = 1_u64;
    while nested > 0 {
        match argument(data)? {
            (7, None) => nested -= 1,
            (major, None) if major == of => nested += 1,
            (major, Some(len)) if major == of => _ = skip(data, len)?,
            _ => return None,
        }
    }
    Some(Head::Leaf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_maps_and_tags_are_levels_and_string_contents_are_not() {
        let rows: [(&[u8], usize); 15] = [
            (b"\x01", 0),
            (b"\x80", 1),
            (b"\x83\x81\x01\xa0\xa1\x02\x81\x03", 3),
            (b"\xc0\xc0\xd8\x20\x01", 3),
            // only the first value counts
            (b"\x81\x01\x81\x81\x81\x01", 1),
            (b"\x64\x81\x81\x81\x81", 0),
            (b"\x82\x58\x03\x81\x81\x81\x80", 2),
            // without lengths
            (b"\x9f\xff", 1),
            (b"\x82\x9f\x01\x81\x02\xff\x81\x80", 3),
            (b"\x82\xbf\x01\x02\x03\x9f\xff\xff\xc1\x1a....", 3),
            (b"\x82\x7f\x63\x81\x81\x81\x78\x01a\xff\x80", 2),
            (b"\x82\x7f\x7f\x61\x81\xff\xff\x80", 2),
            (b"\x82\x5f\x41\x81\xff\x81\x80", 3),
            (b"\x86\x20\xf4\xf8\xff\xf9..\xfa....\xfb........", 1),
            (b"\x81\x81\xff\x81\x81", 2),
        ];
        for (data, depth) in rows {
            assert!(!exceeds(data, depth), "{data:x?}");
            assert!(depth == 0 || exceeds(data, depth - 1), "{data:x?}");
        }
    }

    #[test]
    fn length_beyond_the_data_ends_the_scan() {
        let lengths: [&[u8]; 5] = [
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"\x7f\x78",
            b"\xff",
        ];
        for data in lengths {
            assert!(!exceeds(data, 1), "{data:x?}");
        }
    }
}
