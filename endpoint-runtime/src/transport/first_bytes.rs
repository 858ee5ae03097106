//! What a client says first on a port that speaks TLS: TLS, or HTTP by mistake.

use std::io;
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Maximum bytes that are read before TLS begins: a usual `ClientHello` in one read.
const FIRST: usize = 2 << 10;

/// The longest word that may be a method of HTTP; the longest registered one has 17 letters.
const LONGEST_METHOD: usize = 20;

/// Maximum bytes that are read and dropped before a connection is closed, so that the close does not become a reset,
/// which would drop our answer: the rest of a request's head.
const MOST_DROPPED: u64 = 64 << 10;

/// Maximum time for that: a few round trips.
const LINGER: Duration = Duration::from_secs(1);

/// The answer to HTTP.
const ANSWER: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 62\r\n\
    Connection: close\r\n\r\nThis port speaks TLS: use https:// or wss:// in the address.\r\n";

/// What begins with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    /// TLS, or nothing known, which the TLS handshake refuses.
    Tls,
    Http,
    /// More bytes are needed.
    Unknown,
}

fn speaks(bytes: &[u8]) -> Speaks {
    let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    match bytes.get(letters) {
        Some(b' ') if letters > 0 => Speaks::Http,
        None if letters <= LONGEST_METHOD => Speaks::Unknown,
        _ => Speaks::Tls,
    }
}

/// Reads the first bytes of a client. `None` if it speaks HTTP.
///
/// # Errors
/// Those of the socket, and its end.
pub(super) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(FIRST);
    loop {
        match speaks(&bytes) {
            Speaks::Tls => return Ok(Some(bytes)),
            Speaks::Http => return Ok(None),
            Speaks::Unknown if io.read_buf(&mut (&mut bytes).limit(FIRST)).await? == 0 => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Speaks::Unknown => {}
        }
    }
}

/// Answers HTTP, within a limited time.
pub(super) async fn refuse(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    if let Ok(Ok(())) = timeout(LINGER, io.write_all(ANSWER.as_bytes())).await {
        close(io).await;
    }
}

/// Closes a socket so that the other side can read what was written.
pub(super) async fn close(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let closing = async {
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(MOST_DROPPED), &mut tokio::io::sink()).await
    };
    // the connection ends either way
    let _ = timeout(LINGER, closing).await;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn methods_are_http_and_records_are_tls() {
        for (bytes, expected) in [
            (&b""[..], Speaks::Unknown),
            (b"G", Speaks::Unknown),
            (b"GET", Speaks::Unknown),
            (b"GET ", Speaks::Http),
            (b"GET / HTTP/1.1\r\n", Speaks::Http),
            (b"PRI * HTTP/2.0\r\n", Speaks::Http),
            (b"UPDATEREDIRECTREF /", Speaks::Http),
            (b"VERSION-CONTROL /", Speaks::Http),
            (b" GET", Speaks::Tls),
            (b"get ", Speaks::Tls),
            (b"GET\0", Speaks::Tls),
            (b"ABCDEFGHIJKLMNOPQRSTU", Speaks::Tls),
            (&[0x16], Speaks::Tls),
            (&[0x16, 3, 1], Speaks::Tls),
            (&[0x80, 0x2e], Speaks::Tls),
        ] {
            assert_eq!(speaks(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn answer_has_the_length_that_it_states() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }

    proptest! {
        #[test]
        fn verdict_is_final_and_comes_within_the_first_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let verdicts: Vec<_> = (0..=bytes.len()).map(|end| speaks(&bytes[..end])).collect();
            let first = verdicts.iter().position(|verdict| *verdict != Speaks::Unknown).unwrap_or(verdicts.len());
            prop_assert!(first <= LONGEST_METHOD + 1);
            prop_assert!(verdicts[first..].iter().all(|verdict| *verdict == verdicts[first]));
        }
    }
}
