//! The trace that a request belongs to: the header `traceparent` of W3C Trace Context, read strictly.

/// The trace and the span of the caller (W3C Trace Context, Level 1, §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace_id: u128,
    pub(crate) parent_id: u64,
    /// Whether the caller may record the trace.
    pub(crate) is_sampled: bool,
}

/// Characters of the parts, with their separators, of version 00.
const LENGTH: usize = 55;

impl TraceContext {
    /// Reads a header's value; `None` if it is not valid, so that the request begins a new trace.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let (known, rest) = bytes.split_at_checked(LENGTH)?;
        let (version, known) = (hex(&known[..2])?, &known[2..]);
        let is_separated = known[0] == b'-' && known[33] == b'-' && known[50] == b'-';
        // a later version may have further parts; 255 is none
        let is_known = match version {
            0 => rest.is_empty(),
            255 => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !is_separated || !is_known {
            return None;
        }
        let (trace_id, parent_id) = (hex(&known[1..33])?, u64::try_from(hex(&known[34..50])?).ok()?);
        let flags = hex(&known[51..53])?;
        (trace_id != 0 && parent_id != 0).then_some(Self { trace_id, parent_id, is_sampled: flags & 1 == 1 })
    }
}

/// The number of hexadecimal digits, which are lower-case.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn valid_header_is_read() {
        let context = TraceContext::parse(VALID).unwrap();
        assert_eq!(format!("{:032x}", context.trace_id), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(format!("{:016x}", context.parent_id), "b7ad6b7169203331");
        assert!(context.is_sampled);
        let unsampled = TraceContext::parse(&VALID.replace("-01", "-02")).unwrap();
        assert!(!unsampled.is_sampled);
    }

    #[test]
    fn later_version_may_have_further_parts() {
        for valid in [VALID.replacen("00", "cc", 1), format!("{}-what-the-future", VALID.replacen("00", "01", 1))] {
            assert!(TraceContext::parse(&valid).is_some(), "{valid}");
        }
    }

    #[test]
    fn invalid_header_begins_a_new_trace() {
        let zero_trace = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let zero_parent = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let invalid = [
            zero_trace.to_owned(),
            zero_parent.to_owned(),
            VALID.to_uppercase(),
            VALID.replacen("00", "ff", 1),
            VALID.replacen("00", "0x", 1),
            format!("{VALID}-more"),
            format!("{} ", VALID.replacen("00", "01", 1)),
            format!(" {VALID}"),
            VALID.replace("-01", "_01"),
            VALID[..54].to_owned(),
            String::new(),
            "é".repeat(30),
        ];
        for header in invalid {
            assert_eq!(TraceContext::parse(&header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(header in any::<String>()) {
            let _ = TraceContext::parse(&header);
        }

        #[test]
        fn any_trace_is_read_back(trace_id in 1..=u128::MAX, parent_id in 1..=u64::MAX, flags in any::<u8>()) {
            let header = format!("00-{trace_id:032x}-{parent_id:016x}-{flags:02x}");
            let expected = TraceContext { trace_id, parent_id, is_sampled: flags & 1 == 1 };
            prop_assert_eq!(TraceContext::parse(&header), Some(expected));
        }

        #[test]
        fn one_changed_byte_never_moves_a_part(place in 0..LENGTH, byte in 0u8..128) {
            let mut header = VALID.as_bytes().to_vec();
            header[place] = byte;
            let header = String::from_utf8(header).unwrap();
            if let Some(context) = TraceContext::parse(&header) {
                let same = format!("{:032x}-{:016x}", context.trace_id, context.parent_id);
                prop_assert_eq!(&header[3..52], same);
            }
        }
    }
}
