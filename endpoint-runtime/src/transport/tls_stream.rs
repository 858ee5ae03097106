//! The server's half of TLS on a socket, by the unbuffered interface of rustls: an idle connection owns no buffer.
//!
//! Records are decrypted and encrypted in a buffer that the thread lends. The stream keeps only what does not fit
//! anywhere else: the beginning of a record, bytes that the socket did not take.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use tokio_rustls::rustls::server::UnbufferedServerConnection;
use tokio_rustls::rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use tokio_rustls::rustls::{self, ServerConfig};

use super::buffers;

/// The name of HTTP/2 over TLS in ALPN (RFC 9113 §3.2).
#[cfg(feature = "http2")]
pub(super) const ALPN_HTTP2: &[u8] = b"h2";

/// Maximum bytes that one write encrypts: four records of the largest size, which fit into a lent buffer.
const MOST_AT_ONCE: usize = 64 << 10;

/// A socket behind TLS, after the handshake.
pub(crate) struct TlsStream<S> {
    io: S,
    session: UnbufferedServerConnection,
    /// `None` while there is nothing: an idle connection is small.
    pending: Option<Box<Pending>>,
    /// The peer sent `close_notify`: what came is complete.
    has_ended: bool,
    /// We sent `close_notify`, or an alert that ends the connection.
    is_shut: bool,
}

/// What was received, decrypted or encrypted, and not taken yet.
#[derive(Default)]
struct Pending {
    /// Records that were received and not processed: the last one is most often incomplete.
    records: Vec<u8>,
    /// What was decrypted and not read.
    plain: BytesMut,
    /// What was encrypted and not written.
    outgoing: BytesMut,
    /// Why nothing more can be received.
    failure: Option<rustls::Error>,
}

impl Pending {
    /// Writes what waits for the socket.
    fn poll_send<S: AsyncWrite + Unpin>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, &self.outgoing))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Gives `bytes` to the socket, behind what waits. What it does not take is kept.
    fn send<S: AsyncWrite + Unpin>(&mut self, io: &mut S, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        if let Poll::Ready(sent) = self.poll_send(io, cx) {
            sent?;
            while !bytes.is_empty() {
                match Pin::new(&mut *io).poll_write(cx, bytes)? {
                    Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(count) => bytes = &bytes[count..],
                    Poll::Pending => break,
                }
            }
        }
        self.outgoing.extend_from_slice(bytes);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.plain.is_empty() && self.outgoing.is_empty() && self.failure.is_none()
    }
}

/// What to encrypt.
#[derive(Clone, Copy)]
enum Outbound<'a> {
    Nothing,
    Data(&'a [u8]),
    CloseNotify,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Runs the handshake, beginning with the bytes `early` of the client. If it fails, the socket comes back; the alert
    /// that tells the client why was written, if the socket took it.
    pub(crate) async fn accept(config: Arc<ServerConfig>, early: Vec<u8>, io: S) -> Result<Self, (io::Error, S)> {
        let session = match UnbufferedServerConnection::new(config) {
            Ok(session) => session,
            Err(error) => return Err((invalid(error), io)),
        };
        let pending = Some(Box::new(Pending { records: early, ..Pending::default() }));
        let mut stream = Self { io, session, pending, has_ended: false, is_shut: false };
        match poll_fn(|cx| stream.with_pending(|stream, pending| stream.poll_handshake(cx, pending))).await {
            Ok(()) => Ok(stream),
            Err(error) => Err((error, stream.io)),
        }
    }

    /// Whether HTTP/2 was negotiated by ALPN (RFC 7301).
    #[cfg(feature = "http2")]
    pub(crate) fn is_http2(&self) -> bool {
        self.session.alpn_protocol() == Some(ALPN_HTTP2)
    }

    /// The client's certificates in DER as verified, its own first, and the SHA-256 of that one; `None` if it presented
    /// none.
    pub(crate) fn peer_certificates(&self) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
        let chain = self.session.peer_certificates()?;
        let hash = TLS13_AES_128_GCM_SHA256.tls13()?.common.hash_provider;
        let own = hash.hash(chain.first()?);
        Some((chain.iter().map(|certificate| certificate.to_vec()).collect(), own.as_ref().to_vec()))
    }

    /// Takes out what is pending, and puts back what is left of it.
    fn with_pending<R>(&mut self, f: impl FnOnce(&mut Self, &mut Pending) -> R) -> R {
        let mut pending = self.pending.take().map(|pending| *pending).unwrap_or_default();
        let result = f(self, &mut pending);
        self.pending = (!pending.is_empty()).then(|| Box::new(pending));
        result
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>, pending: &mut Pending) -> Poll<io::Result<()>> {
        loop {
            let mut records = std::mem::take(&mut pending.records);
            let nothing = &mut ReadBuf::new(&mut []);
            let used = self.process(pending, &mut records, nothing, Outbound::Nothing, &mut Vec::new()).used;
            records.drain(..used);
            if let Some(error) = pending.failure.clone() {
                // the alert is a courtesy: the error counts
                let _ = pending.poll_send(&mut self.io, cx);
                return Poll::Ready(Err(invalid(error)));
            }
            pending.records = records;
            ready!(pending.poll_send(&mut self.io, cx))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = buffers::lend_for_records();
            let room = buffer.len() - pending.records.len();
            let mut into = ReadBuf::new(&mut buffer[..room]);
            let read = Pin::new(&mut self.io).poll_read(cx, &mut into);
            let has_read = !into.filled().is_empty();
            pending.records.extend_from_slice(into.filled());
            buffers::return_from_records(buffer);
            ready!(read)?;
            match (has_read, room) {
                (true, _) => {}
                (false, 0) => return Poll::Ready(Err(too_large())),
                (false, _) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    /// Reads and decrypts until there is something to return.
    fn poll_decrypt(
        &mut self,
        cx: &mut Context<'_>,
        pending: &mut Pending,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffer = buffers::lend_for_records();
        let mut filled = pending.records.len();
        buffer[..filled].copy_from_slice(&pending.records);
        let read = self.poll_decrypt_in(&mut buffer, &mut filled, cx, pending, into);
        if pending.records != buffer[..filled] {
            pending.records = buffer[..filled].to_vec();
        }
        buffers::return_from_records(buffer);
        read
    }

    /// `buffer` begins with `filled` bytes of records.
    fn poll_decrypt_in(
        &mut self,
        buffer: &mut [u8],
        filled: &mut usize,
        cx: &mut Context<'_>,
        pending: &mut Pending,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        loop {
            if *filled > 0 {
                let used = self.process(pending, &mut buffer[..*filled], into, Outbound::Nothing, &mut Vec::new()).used;
                buffer.copy_within(used..*filled, 0);
                *filled -= used;
                if into.filled().len() > before {
                    return Poll::Ready(Ok(()));
                }
                if pending.failure.is_some() || self.has_ended {
                    *filled = 0;
                    return self.poll_ended(cx, pending);
                }
            }
            if *filled == buffer.len() {
                return Poll::Ready(Err(too_large()));
            }
            let mut records = ReadBuf::new(&mut buffer[*filled..]);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut records))?;
            if records.filled().is_empty() {
                // without a `close_notify`, the end may have been made by somebody else (RFC 8446 §6.1)
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            *filled += records.filled().len();
        }
    }

    /// The end of what is received.
    fn poll_ended(&mut self, cx: &mut Context<'_>, pending: &mut Pending) -> Poll<io::Result<()>> {
        let Some(error) = pending.failure.clone() else { return Poll::Ready(Ok(())) };
        let _ = pending.poll_send(&mut self.io, cx);
        Poll::Ready(Err(invalid(error)))
    }

    /// Encrypts at most [`MOST_AT_ONCE`] bytes and gives them to the socket. What it does not take is kept.
    fn encrypt(&mut self, cx: &mut Context<'_>, pending: &mut Pending, outbound: Outbound<'_>) -> io::Result<()> {
        let mut buffer = buffers::lend_for_records();
        let mut records = std::mem::take(&mut pending.records);
        let done = self.process(pending, &mut records, &mut ReadBuf::new(&mut []), outbound, &mut buffer);
        records.drain(..done.used);
        pending.records = records;
        let result = match done.encrypted {
            0 => Err(io::ErrorKind::BrokenPipe.into()),
            count => pending.send(&mut self.io, cx, &buffer[..count]),
        };
        buffers::return_from_records(buffer);
        result
    }
}

/// How far [`TlsStream::process`] came.
struct Processed {
    /// Bytes of the input that are no longer needed.
    used: usize,
    /// Bytes that were written to the buffer for records.
    encrypted: usize,
}

impl<S> TlsStream<S> {
    /// Processes `input` until `into` is full or more input is needed, and then encrypts `outbound` to `encrypted`. What
    /// rustls itself sends, such as tickets and alerts, goes to `outgoing`.
    ///
    /// rustls must see all of the input that it did not discard: the beginning of a record counts.
    fn process(
        &mut self,
        pending: &mut Pending,
        input: &mut [u8],
        into: &mut ReadBuf<'_>,
        outbound: Outbound<'_>,
        encrypted: &mut Vec<u8>,
    ) -> Processed {
        let mut processed = Processed { used: 0, encrypted: 0 };
        // after a failure only the alert is of interest: rustls must not see the input again
        while pending.failure.is_none() || self.session.wants_write() {
            let UnbufferedStatus { mut discard, state, .. } =
                self.session.process_tls_records(&mut input[processed.used..]);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        let count = record.payload.len().min(into.remaining());
                        into.put_slice(&record.payload[..count]);
                        pending.plain.extend_from_slice(&record.payload[count..]);
                    }
                    into.remaining() > 0 || !matches!(outbound, Outbound::Nothing)
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut pending.outgoing, |place| match data.encode(place) {
                        Ok(count) => Ok(count),
                        Err(EncodeError::InsufficientSize(more)) => Err(Some(more)),
                        Err(EncodeError::AlreadyEncoded) => Err(None),
                    })
                    .is_some()
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // it is in `outgoing`, in front of all that is encrypted later
                    data.done();
                    true
                }
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    processed.encrypted = encrypt(traffic, outbound, encrypted).unwrap_or_default();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.has_ended = true;
                    true
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => false,
                // early data is off (`TlsConfig::from_rustls`), and there is no other state
                Ok(_) => {
                    pending.failure = Some(rustls::Error::General("unexpected state of a TLS connection".into()));
                    false
                }
                Err(error) => {
                    pending.failure.get_or_insert(error);
                    self.is_shut = true;
                    true
                }
            };
            processed.used += discard;
            if !goes_on {
                break;
            }
        }
        processed
    }
}

/// Encrypts to the beginning of `place`, which grows as needed. Returns the number of bytes, or `None` if the keys are
/// exhausted.
fn encrypt<D>(mut traffic: WriteTraffic<'_, D>, outbound: Outbound<'_>, place: &mut Vec<u8>) -> Option<usize> {
    loop {
        let encrypted = match outbound {
            Outbound::Nothing => return None,
            Outbound::Data(data) => traffic.encrypt(data, place),
            Outbound::CloseNotify => traffic.queue_close_notify(place),
        };
        match encrypted {
            Ok(count) => return Some(count),
            Err(EncryptError::InsufficientSize(more)) => place.resize(more.required_size, 0),
            Err(EncryptError::EncryptExhausted) => return None,
        }
    }
}

/// Appends what `encode` writes, which is asked again with as much space as it needs.
fn append(
    place: &mut BytesMut,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> Option<()> {
    let begin = place.len();
    loop {
        match encode(&mut place[begin..]) {
            Ok(count) => {
                place.truncate(begin + count);
                return Some(());
            }
            Err(Some(more)) => place.resize(begin + more.required_size, 0),
            Err(None) => {
                place.truncate(begin);
                return None;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.get_mut().with_pending(|this, pending| {
            if !pending.plain.is_empty() {
                let count = pending.plain.len().min(into.remaining());
                into.put_slice(&pending.plain[..count]);
                pending.plain.advance(count);
                return Poll::Ready(Ok(()));
            }
            if pending.failure.is_some() || this.has_ended {
                return this.poll_ended(cx, pending);
            }
            this.poll_decrypt(cx, pending, into)
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().with_pending(|this, pending| {
            // what waits is bounded by what one call encrypts
            ready!(pending.poll_send(&mut this.io, cx))?;
            if this.is_shut {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let data = &data[..data.len().min(MOST_AT_ONCE)];
            if !data.is_empty() {
                this.encrypt(cx, pending, Outbound::Data(data))?;
            }
            Poll::Ready(Ok(data.len()))
        })
    }

    /// Encrypts what `parts` have together, so that a frame's header is not a record of its own.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = parts.iter().filter(|part| !part.is_empty());
        let first = filled.next().map_or(&[][..], |part| part);
        if filled.next().is_none() || first.len() >= MOST_AT_ONCE {
            return self.poll_write(cx, first);
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut data = Vec::with_capacity(len.min(MOST_AT_ONCE));
        for part in parts {
            let room = data.capacity() - data.len();
            data.extend_from_slice(&part[..part.len().min(room)]);
        }
        self.poll_write(cx, &data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.with_pending(|this, pending| pending.poll_send(&mut this.io, cx)))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    /// Sends `close_notify` and closes our half of the socket.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.with_pending(|this, pending| {
            if !std::mem::replace(&mut this.is_shut, true) {
                this.encrypt(cx, pending, Outbound::CloseNotify)?;
            }
            pending.poll_send(&mut this.io, cx)
        }))?;
        match ready!(Pin::new(&mut this.io).poll_shutdown(cx)) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").finish_non_exhaustive()
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a TLS handshake message is too large")
}
