//! The client's opening handshake: one fixed nonce, so that the answer is a constant too (RFC 6455, section 1.3). Pure.

use std::net::SocketAddr;

const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What the raw TCP floor answers, whatever it is asked.
pub const CANNED_RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const LONGEST_RESPONSE: usize = 16 << 10;

/// What browsers offer (RFC 7692).
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

pub fn request(addr: SocketAddr, path: &str, offers_deflate: bool) -> Vec<u8> {
    let offer = if offers_deflate { OFFER } else { "" };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {NONCE}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
    )
    .into_bytes()
}

/// The state of an answer read so far.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// More bytes must come.
    Incomplete,
    /// A valid 101; what follows after this many bytes is frames.
    Accepted(usize),
    /// Any other status.
    Refused(u16),
    /// Not an answer to this request.
    Wrong(&'static str),
}

pub fn read_answer(bytes: &[u8]) -> Answer {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() > LONGEST_RESPONSE { Answer::Wrong("an endless response") } else { Answer::Incomplete };
    };
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return Answer::Wrong("a response that is not text") };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|rest| rest.get(..3));
    match status.and_then(|digits| digits.parse().ok()) {
        None => return Answer::Wrong("a response that is not HTTP/1.1"),
        Some(101) => {}
        Some(other) => return Answer::Refused(other),
    }
    let accepted = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT);
    if accepted { Answer::Accepted(end + 4) } else { Answer::Wrong("a 101 without a valid Sec-WebSocket-Accept") }
}

/// The parameters of permessage-deflate, if the answer accepts it.
pub fn deflate_in(answer: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let mut headers = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let (_, value) = headers.find(|(name, _)| *name == "sec-websocket-extensions")?;
    Some(value.trim().strip_prefix("permessage-deflate")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canned_response_is_accepted_only_when_whole() {
        for end in 0..CANNED_RESPONSE.len() {
            assert_eq!(read_answer(&CANNED_RESPONSE[..end]), Answer::Incomplete);
        }
        assert_eq!(read_answer(CANNED_RESPONSE), Answer::Accepted(CANNED_RESPONSE.len()));
    }

    #[test]
    fn frames_after_the_answer_are_left_over() {
        let bytes = [CANNED_RESPONSE, b"\x81\x00"].concat();
        assert_eq!(read_answer(&bytes), Answer::Accepted(CANNED_RESPONSE.len()));
    }

    #[test]
    fn an_accepted_extension_is_found_with_its_parameters() {
        assert_eq!(deflate_in(CANNED_RESPONSE), None);
        let answer =
            b"HTTP/1.1 101 X\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n\r\n";
        assert_eq!(deflate_in(answer).as_deref(), Some("; client_max_window_bits=12"));
    }

    #[test]
    fn another_status_is_a_refusal() {
        assert_eq!(read_answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), Answer::Refused(404));
    }

    #[test]
    fn a_wrong_accept_is_wrong() {
        let bytes = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
        assert!(matches!(read_answer(bytes), Answer::Wrong(_)));
        assert!(matches!(read_answer(b"SSH-2.0\r\n\r\n"), Answer::Wrong(_)));
    }
}
