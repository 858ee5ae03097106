//! Reads the header of the PROXY protocol from a connection, and not one byte more.

use std::{fmt, io};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::config::REQUEST_HEAD_TIMEOUT;
use crate::handshake::proxy_protocol::{InvalidHeader, Parsed, ProxyHeader, parse};

/// What a connection begins with.
pub(super) enum Beginning {
    Header(ProxyHeader),
    /// Something else; these bytes of it were read.
    Other(Bytes),
}

/// Why the beginning cannot be read.
pub(super) enum BadBeginning {
    Invalid(InvalidHeader),
    TimedOut,
    Io(io::Error),
}

impl fmt::Display for BadBeginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::TimedOut => f.write_str("it did not arrive in time"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// Reads the beginning of a connection, within the time for a request head.
pub(super) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Result<Beginning, BadBeginning> {
    timeout(REQUEST_HEAD_TIMEOUT, read_whole(socket)).await.unwrap_or(Err(BadBeginning::TimedOut))
}

async fn read_whole(socket: &mut (impl AsyncRead + Unpin)) -> Result<Beginning, BadBeginning> {
    let mut bytes = Vec::with_capacity(64);
    loop {
        match parse(&bytes).map_err(BadBeginning::Invalid)? {
            Parsed::Complete { header, .. } => return Ok(Beginning::Header(header)),
            Parsed::Absent => return Ok(Beginning::Other(bytes.into())),
            Parsed::Incomplete { missing } => {
                // bounded by the longest header
                let read = (&mut *socket).take(missing as u64).read_buf(&mut bytes).await;
                match read.map_err(BadBeginning::Io)? {
                    0 if bytes.is_empty() => return Ok(Beginning::Other(Bytes::new())),
                    0 => return Err(BadBeginning::Io(io::ErrorKind::UnexpectedEof.into())),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn header_in_single_bytes_leaves_what_follows() {
        let (mut near, mut far) = tokio::io::duplex(1);
        let writer = tokio::spawn(async move {
            near.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET").await.unwrap();
        });
        let Ok(Beginning::Header(header)) = read(&mut far).await else { panic!("no header") };
        assert_eq!(header.addresses.unwrap().0.to_string(), "192.0.2.1:56324");
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        writer.await.unwrap();
        assert_eq!(rest, b"GET");
    }

    #[tokio::test(start_paused = true)]
    async fn header_that_does_not_end_is_given_up() {
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_all(b"PROXY TCP4").await.unwrap();
        assert!(matches!(read(&mut far).await, Err(BadBeginning::TimedOut)));
        drop(near);
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_all(b"PROXY").await.unwrap();
        drop(near);
        assert!(matches!(read(&mut far).await, Err(BadBeginning::Io(_))));
    }

    #[tokio::test]
    async fn other_bytes_are_returned() {
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_all(b"POST /chat HTTP/1.1\r\n").await.unwrap();
        let Ok(Beginning::Other(bytes)) = read(&mut far).await else { panic!("a header") };
        assert_eq!(&*bytes, b"POST /chat HTTP");
    }
}
