//! The number of bytes that HTTP/1.1 and WebSocket take for a message. A test compares them with those on the wire.

use http::HeaderMap;

/// hyper writes the time of the answer into its head.
const DATE: &str = "date: Sat, 21 Nov 2026 09:00:00 GMT\r\n";
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: 0123456789012345678901234567\r\n\r\n";

/// A GET request for `target`, which has no body.
pub fn of_request(target: &str, headers: &HeaderMap) -> usize {
    "GET  HTTP/1.1\r\n\r\n".len() + target.len() + of_headers(headers)
}

/// A response with all its headers, but for those that hyper adds.
pub fn of_answer(headers: &HeaderMap, body: &str) -> usize {
    "HTTP/1.1 200 OK\r\n\r\n".len() + DATE.len() + of_headers(headers) + body.len()
}

/// The response to a handshake: the key in it changes, its length does not.
pub fn of_acceptance() -> usize {
    ACCEPTED.len() + DATE.len()
}

/// A server's frame with a message below 126 bytes.
pub fn of_frame(message: &str) -> usize {
    2 + message.len()
}

fn of_headers(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum()
}
