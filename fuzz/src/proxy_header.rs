//! The first bytes of a connection: reading a header of the PROXY protocol never panics, any split of the input gives the same,
//! and a reader that takes the missing bytes never takes one that is not the header's.

use endpoint_runtime::fuzzing::{ProxyHeader, proxy_header};

/// The longest header that is accepted.
const LONGEST: usize = 4 << 10;

pub fn run(input: &[u8]) {
    let whole = proxy_header(input);
    let mut read = 0;
    let last = loop {
        match proxy_header(&input[..read]) {
            ProxyHeader::Incomplete { missing } => {
                assert!(missing > 0 && read + missing <= LONGEST, "{read} and {missing} missing");
                if read + missing > input.len() {
                    break ProxyHeader::Incomplete { missing };
                }
                read += missing;
            }
            other => break other,
        }
    };
    match last {
        ProxyHeader::Incomplete { .. } => {
            // the rest is shorter than what is missing: it may still show that there is no header
            assert!(!matches!(whole, ProxyHeader::Complete { .. }), "a header that a reader waits for");
        }
        last => {
            assert_eq!(last, whole, "the header differs with what follows it");
            if let ProxyHeader::Complete { length, .. } = whole {
                assert_eq!(read, length, "a reader took bytes of what follows");
            }
        }
    }
    // once it is known what it is, more bytes change nothing
    let mut known = None;
    for end in 0..=input.len().min(300) {
        let found = proxy_header(&input[..end]);
        match known {
            Some(known) => assert_eq!(found, known, "it changed at {end}"),
            None if !matches!(found, ProxyHeader::Incomplete { .. }) => known = Some(found),
            None => {}
        }
    }
}
