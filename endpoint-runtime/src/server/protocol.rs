//! What a client speaks on a connection without TLS, by its first bytes: HTTP/1.1 or HTTP/2.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// The first bytes of a client of HTTP/2 (RFC 9113 §3.4). `PRI` is reserved, so no request of HTTP/1.1 begins so.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of the first read: the head of a handshake by a browser, so that HTTP/1.1 needs no second one.
const FIRST_READ: usize = 4 << 10;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Reads until the first byte that differs from the preface of HTTP/2, or its end. Returns the bytes that were read as well.
/// A connection that ends before is of HTTP/1.1, whose implementation reports it.
///
/// # Errors
/// The socket failed.
///
/// # Cancel safety
/// If the future is dropped, the bytes that were read are lost.
pub(super) async fn detect(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<(Protocol, Bytes)> {
    let mut early = Vec::new();
    loop {
        let count = poll_fn(|cx| poll_read(socket, cx, &mut early)).await?;
        let protocol = if count == 0 { Some(Protocol::Http1) } else { decide(&early) };
        if let Some(protocol) = protocol {
            return Ok((protocol, Bytes::from(early)));
        }
    }
}

/// Reads more bytes. The buffer is on the stack of a poll, so a connection that waits for its first byte holds none.
fn poll_read(
    socket: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    early: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let mut space = [MaybeUninit::uninit(); FIRST_READ];
    let mut into = ReadBuf::uninit(&mut space);
    ready!(Pin::new(socket).poll_read(cx, &mut into))?;
    early.extend_from_slice(into.filled());
    Poll::Ready(Ok(into.filled().len()))
}

/// The protocol that begins with `early`; `None` if more bytes are needed.
fn decide(early: &[u8]) -> Option<Protocol> {
    if early.starts_with(PREFACE) {
        return Some(Protocol::Http2);
    }
    if PREFACE.starts_with(early) { None } else { Some(Protocol::Http1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn first_different_byte_decides() {
        assert_eq!(decide(b""), None);
        for len in 1..PREFACE.len() {
            assert_eq!(decide(&PREFACE[..len]), None);
            let mut other = PREFACE[..len].to_vec();
            other[len - 1] ^= 1;
            assert_eq!(decide(&other), Some(Protocol::Http1), "byte {len}");
        }
        assert_eq!(decide(PREFACE), Some(Protocol::Http2));
        for request in ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "PRI / HTTP/1.1\r\n"] {
            assert_eq!(decide(request.as_bytes()), Some(Protocol::Http1), "{request}");
        }
    }

    fn spoken(sent: &[u8], pieces: &[usize]) -> (Protocol, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = duplex(1 << 16);
            let sending = async move {
                let mut rest = sent;
                for piece in pieces {
                    let (now, later) = rest.split_at((*piece).min(rest.len()));
                    client.write_all(now).await.unwrap();
                    tokio::task::yield_now().await;
                    rest = later;
                }
                client.write_all(rest).await.unwrap();
            };
            let detecting = async {
                let (protocol, early) = detect(&mut server).await.unwrap();
                let mut all = Vec::from(early);
                server.read_to_end(&mut all).await.unwrap();
                (protocol, all)
            };
            tokio::join!(detecting, sending).0
        })
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_protocol_and_no_byte_is_lost(
            begins in 0..=PREFACE.len(),
            rest in prop::collection::vec(any::<u8>(), 0..100),
            pieces in prop::collection::vec(1..40usize, 0..6),
        ) {
            let sent = [&PREFACE[..begins], &rest].concat();
            let expected = if sent.starts_with(PREFACE) { Protocol::Http2 } else { Protocol::Http1 };
            prop_assert_eq!(spoken(&sent, &pieces), (expected, sent));
        }
    }
}
