//! Headers and payloads that are traced and logged: a trace is read as it was written, and no secret with a name is shown.

use endpoint_runtime::fuzzing::{redacted, trace_context};

/// Not a part of any name, and not in the input.
const SECRET: &str = "9c1f7e";

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some((trace, parent)) = trace_context(text) {
        assert!(trace != 0 && parent != 0);
        assert_eq!(&text[3..52], format!("{trace:032x}-{parent:016x}"));
    }
    let plain = redacted(text);
    assert!(plain.len() <= text.len() * 11, "a redaction is much longer than its text");
    if text.contains(SECRET) {
        return;
    }
    // a secret in JSON, whatever is around it
    let value = text.replace('\\', "\\\\").replace('"', "\\\"");
    for json in [format!("{{\"api_key\":\"{value}{SECRET}\"}}"), format!("{{\"n\":1,\"token\":\"{SECRET}{value}")] {
        assert!(!redacted(&json).contains(SECRET), "{json}");
    }
}
