//! TLS for a server's certificate, shared with a client's trust. Uses rustls with the ring provider; installs nothing
//! for the whole process.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::{TlsAcceptor, client};

use super::tls_stream::TlsStream;
use crate::config::TLS_HANDSHAKE_TIMEOUT;
use crate::error::{BoxError, Error, Kind};
use crate::transport::socket::Io;
use tokio::io::{AsyncRead, AsyncWrite};

/// The protocol negotiated by ALPN (RFC 7301): a handshake is an upgrade of HTTP/1.1.
pub(super) const ALPN: &[u8] = b"http/1.1";

/// The certificate that a [`Server`](crate::Server) presents, with its key (cargo feature `tls`).
///
/// Clones share the certificate: keep one to [`reload`](Self::reload) it while the server runs. Supports TLS 1.2 and
/// 1.3. Does not request client certificates.
///
/// ```no_run
/// # use endpoint_runtime::{Error, Server, TlsConfig};
/// # async fn f() -> Result<(), Error> {
/// let tls = TlsConfig::from_pem(std::fs::read("cert.pem")?, std::fs::read("key.pem")?)?;
/// Server::builder().tls(tls).bind("0.0.0.0:443").await?.run().await
/// # }
/// ```
#[derive(Clone)]
pub struct TlsConfig {
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
    handshake_timeout: Duration,
}

impl TlsConfig {
    /// Reads a certificate chain, the server's first, and the key of the first, all in PEM; both may be in one file
    /// that is passed twice.
    ///
    /// # Errors
    /// [`Error::is_tls`] if there is no certificate or no key, or if they do not match.
    pub fn from_pem(certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        let provider = provider();
        let shown = Arc::new(Shown(RwLock::new(certified(certificates.as_ref(), key.as_ref(), &provider)?)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| tls_error("TLS is not available", error))?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { shown, acceptor: Arc::new(config).into(), handshake_timeout: TLS_HANDSHAKE_TIMEOUT })
    }

    /// Creates a self-signed certificate for these names and addresses: for development, and for tests. Only clients
    /// trust it that are configured to, with [`certificate_pem`](Self::certificate_pem) (cargo feature
    /// `dev-certificate`).
    ///
    /// ```no_run
    /// # use endpoint_runtime::{Error, TlsConfig};
    /// let tls = TlsConfig::self_signed(["localhost", "127.0.0.1", "::1"])?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_tls`] if one of them is not a valid name.
    #[cfg(feature = "dev-certificate")]
    pub fn self_signed<I: IntoIterator<Item = S>, S: Into<String>>(names: I) -> Result<Self, Error> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let made = rcgen::generate_simple_self_signed(names);
        let made = made.map_err(|error| tls_error("cannot create a certificate", error))?;
        Self::from_pem(made.cert.pem(), made.signing_key.serialize_pem())
    }

    /// Presents another certificate from the next handshake on. Open connections continue.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem); the previous certificate then stays in use.
    pub fn reload(&self, certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<(), Error> {
        let certified = certified(certificates.as_ref(), key.as_ref(), &provider())?;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }

    /// The certificate chain in use, in PEM, without the key.
    pub fn certificate_pem(&self) -> String {
        self.shown.get().cert.iter().map(|certificate| pem(certificate)).collect()
    }

    /// Limits the time a client may take for the TLS handshake. Default: 10 seconds.
    #[must_use]
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// Runs the server's half of the TLS handshake, within its limit.
    pub(crate) async fn accept<S: Io>(&self, stream: S) -> io::Result<server::TlsStream<S>> {
        let accepting = self.acceptor.accept(stream);
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let accepting = TlsStream::accept(self.acceptor.config().clone(), Vec::new(), stream);
        let accepting = async { accepting.await.map_err(|error| error.0) };
        timeout(self.handshake_timeout, accepting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Prints the number of certificates, never the key.
impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("certificates", &self.shown.get().cert.len())
            .field("handshake_timeout", &self.handshake_timeout)
            .finish_non_exhaustive()
    }
}

/// The certificate in use.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    fn get(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

/// Takes the TLS stream out of hyper's upgraded connection, if it is one of ours, over an accepted socket `S` or of a client;
/// with the bytes already read.
pub(crate) fn take_stream<S: Io + 'static>(upgraded: Upgraded) -> Result<(Box<dyn Io>, Bytes), Upgraded> {
    let upgraded = match upgraded.downcast::<TokioIo<server::TlsStream<S>>>() {
/// Takes the TLS stream out of hyper's upgraded connection, if it is one of ours; with the bytes already read.
pub(crate) fn take_stream(upgraded: Upgraded) -> Result<(Box<dyn Io>, Bytes), Upgraded> {
    let upgraded = match upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() {
        Ok(parts) => return Ok((Box::new(parts.io.into_inner()), parts.read_buf)),
        Err(upgraded) => upgraded,
    };
    let parts = upgraded.downcast::<TokioIo<client::TlsStream<TcpStream>>>()?;
    Ok((Box::new(parts.io.into_inner()), parts.read_buf))
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub(super) fn tls_error(what: &str, error: impl Into<BoxError>) -> Error {
    let error = error.into();
    Error::with_source(Kind::Tls, format!("{what}: {error}"), error)
}

pub(super) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| tls_error("the certificates are not valid PEM", error))?;
    if chain.is_empty() { Err(Error::new(Kind::Tls, "the PEM contains no certificate")) } else { Ok(chain) }
}

fn certified(certificates: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
    let chain = chain(certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| tls_error("the key is not valid PEM", error))?;
    let certified = CertifiedKey::from_der(chain, key, provider);
    Ok(Arc::new(certified.map_err(|error| tls_error("the certificate does not match the key", error))?))
}

/// Encodes a certificate as PEM (RFC 7468).
fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|digit| char::from(*digit)));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}
