//! Implements the table in the documentation of [`Reconnect`](super::reconnect::Reconnect): which session ends and
//! which failures lead to another attempt, and when the server wants it. Pure.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName};
use http::{Response, StatusCode};

use crate::error::{Error, Kind};
use endpoint_wire::close::{CloseCode, CloseReason, Initiator};
use endpoint_wire::retry_hint::RetryHint;

/// Whether the close reason rules out another attempt.
pub(crate) fn is_final(reason: &CloseReason) -> bool {
    match reason.initiator() {
        Initiator::Application => true,
        Initiator::Peer => matches!(
            reason.code(),
            CloseCode::NormalClosure
                | CloseCode::ProtocolError
                | CloseCode::CannotAccept
                | CloseCode::NotConsistent
                | CloseCode::ViolatedPolicy
                | CloseCode::TooBig
                | CloseCode::NoExtension
        ),
        _ => false,
    }
}

/// The delay that the server asked for when it closed the session.
pub(crate) fn hint(reason: &CloseReason) -> Option<RetryHint> {
    reason.retry_hint().filter(|_| reason.initiator() == Initiator::Peer)
}

/// Whether another attempt may succeed where this one failed.
pub(crate) fn may_pass(error: &Error) -> bool {
    match (error.response().map(Response::status), error.kind()) {
        (Some(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS), _) => true,
        (Some(status), _) => status.is_server_error(),
        // a panic in one attempt does not predict the next
        (None, Kind::Io | Kind::Timeout | Kind::Panic) => true,
        // of these, retry only an attempt that was broken off before it had a result
        (None, Kind::Tls | Kind::Handshake) => is_broken_off(error),
        _ => false,
    }
}

/// Whether the connection failed, as opposed to the content sent on it.
fn is_broken_off(error: &Error) -> bool {
    let mut is_broken_off = false;
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_parse() {
                return false;
            }
            is_broken_off = true;
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            // rustls rejects the peer, or the peer's alert rejects this side
            if error.kind() == io::ErrorKind::InvalidData {
                return false;
            }
            is_broken_off = true;
        }
        cause = error.source();
    }
    is_broken_off
}

/// The delay that a server asks for (RFC 9110 §10.2.3): a number of seconds, or a date, which is compared with the
/// response's `Date` if it has one.
pub(crate) fn retry_after(error: &Error, now: SystemTime) -> Option<Duration> {
    let headers = error.response()?.headers();
    let value = text(headers, header::RETRY_AFTER)?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // a number that does not fit means forever
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = text(headers, header::DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    // a date in the past asks for no delay
    until.duration_since(now).ok()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)]) -> Error {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        Error::answered("refused", response.body(Bytes::new()).unwrap())
    }

    #[test]
    fn responses_are_final_unless_they_are_temporary() {
        for (status, passes) in [
            (408, true),
            (425, true),
            (429, true),
            (500, true),
            (502, true),
            (503, true),
            (504, true),
            (101, false),
            (200, false),
            (301, false),
            (307, false),
            (400, false),
            (401, false),
            (403, false),
            (404, false),
            (407, false),
            (410, false),
            (421, false),
            (426, false),
        ] {
            assert_eq!(may_pass(&answer(status, &[])), passes, "{status}");
        }
    }

    #[test]
    fn failures_without_a_response_are_final_unless_the_connection_failed() {
        let io = |kind: Kind, cause: io::ErrorKind| Error::with_source(kind, "failed", io::Error::from(cause));
        for (error, passes) in [
            (io(Kind::Io, io::ErrorKind::ConnectionRefused), true),
            (Error::new(Kind::Timeout, "late"), true),
            (io(Kind::Tls, io::ErrorKind::UnexpectedEof), true),
            (io(Kind::Tls, io::ErrorKind::ConnectionReset), true),
            (io(Kind::Tls, io::ErrorKind::InvalidData), false),
            (Error::new(Kind::Tls, "not a name"), false),
            (io(Kind::Handshake, io::ErrorKind::ConnectionReset), true),
            (io(Kind::Handshake, io::ErrorKind::InvalidData), false),
            (Error::new(Kind::Handshake, "no such URI"), false),
            (Error::new(Kind::Decode, "no such parameter"), false),
            (Error::new(Kind::Deploy, "no such state"), false),
            (Error::new(Kind::Closed, "shut down"), false),
        ] {
            assert_eq!(may_pass(&error), passes, "{error:?}");
        }
    }

    #[test]
    fn close_codes_decide_whether_a_close_is_final() {
        for (code, initiator, ends) in [
            (1000, Initiator::Peer, true),
            (1001, Initiator::Peer, false),
            (1002, Initiator::Peer, true),
            (1003, Initiator::Peer, true),
            (1005, Initiator::Peer, false),
            (1007, Initiator::Peer, true),
            (1008, Initiator::Peer, true),
            (1009, Initiator::Peer, true),
            (1010, Initiator::Peer, true),
            (1011, Initiator::Peer, false),
            (1012, Initiator::Peer, false),
            (1013, Initiator::Peer, false),
            (4000, Initiator::Peer, false),
            (1000, Initiator::Application, true),
            (1001, Initiator::Application, true),
            (1006, Initiator::Transport, false),
            (1006, Initiator::Container, false),
            (1011, Initiator::Container, false),
        ] {
            let reason = CloseReason::truncating(CloseCode::from(code), "").by(initiator);
            assert_eq!(is_final(&reason), ends, "{reason:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        let now = httpdate::parse_http_date(NOW).unwrap();
        for (headers, seconds) in [
            (&[("retry-after", "3")][..], Some(3)),
            (&[("retry-after", " 0 ")], Some(0)),
            (&[("retry-after", "99999999999999999999999")], Some(u64::MAX)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], Some(30)),
            // the obsolete forms that a recipient must accept (RFC 9110 §5.6.7)
            (&[("retry-after", "Sunday, 06-Nov-94 08:50:07 GMT")], Some(30)),
            (&[("retry-after", "Sun Nov  6 08:50:07 1994")], Some(30)),
            // the server's clock is an hour behind
            (&[("retry-after", "Sun, 06 Nov 1994 07:50:07 GMT"), ("date", "Sun, 06 Nov 1994 07:49:37 GMT")], Some(30)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), ("date", "today")], Some(30)),
            // the date has passed
            (&[("retry-after", "Sun, 06 Nov 1994 07:50:07 GMT")], None),
            (&[("retry-after", "-3")], None),
            (&[("retry-after", "+3")], None),
            (&[("retry-after", "")], None),
            (&[("retry-after", "tomorrow")], None),
            (&[], None),
        ] {
            assert_eq!(retry_after(&answer(503, headers), now), seconds.map(Duration::from_secs), "{headers:?}");
        }
        assert_eq!(retry_after(&Error::new(Kind::Timeout, "late"), now), None);
    }
}
