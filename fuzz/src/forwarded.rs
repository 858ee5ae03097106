//! Any headers about a client: reading them never panics, an address that the last trusted proxy adds in a line of its own
//! always counts, and an address is only found if the headers have it.

use endpoint_runtime::ForwardedHeaders;
use endpoint_runtime::fuzzing::client;
use http::{HeaderMap, HeaderValue};

use crate::input::Input;

const TRUSTED: &[&str] = &["10.0.0.0/8", "fd00::/8"];

/// The first byte chooses the family, the rest is lines.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let (which, name, added) = match input.byte() {
        b'f' => (ForwardedHeaders::Rfc7239, "forwarded", "for=192.0.2.1"),
        _ => (ForwardedHeaders::XForwarded, "x-forwarded-for", "192.0.2.1"),
    };
    let mut headers = HeaderMap::new();
    for line in input.0.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            for other in ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"] {
                headers.append(other, value.clone());
            }
            headers.append(name, value);
        }
    }
    let (addr, ..) = client(&headers, which, TRUSTED);
    if let Some(addr) = addr {
        assert!(headers.contains_key(name), "{addr} is in no header");
        // with nobody trusted, the last hop alone counts
        let (last, ..) = client(&headers, which, &[]);
        assert!(last.is_some(), "{addr} was found behind an illegible hop");
    }
    headers.append(name, HeaderValue::from_static(added));
    let (addr, ..) = client(&headers, which, TRUSTED);
    assert_eq!(addr, "192.0.2.1:0".parse().ok(), "what the proxy added was lost");
}
