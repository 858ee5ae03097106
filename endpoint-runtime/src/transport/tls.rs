//! TLS for a server: the certificates it presents, those it wants from clients, resumption. Uses rustls with the ring
//! provider; installs nothing for the whole process.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::server::NoServerSessionStorage;

use super::certificates::{Certificates, pem, provider, tls_error};
use super::client_certificates::ClientCertificates;
use super::first_bytes;
#[cfg(feature = "http2")]
use super::tls_stream::ALPN_HTTP2;
use super::tls_stream::TlsStream;
use crate::config::{TLS_HANDSHAKE_TIMEOUT, TLS_WATCH_INTERVAL};
use crate::error::{Error, Kind};
use crate::observe::log_rate::LogRate;
use crate::transport::socket::Io;

/// The protocol negotiated by ALPN (RFC 7301): a handshake is an upgrade of HTTP/1.1.
pub(super) const ALPN: &[u8] = b"http/1.1";

/// The certificates that a [`Server`](crate::Server) presents, with their keys, and those that it wants from its clients
/// (cargo feature `tls`).
///
/// Clones share the certificates: keep one to [`reload`](Self::reload) them while the server runs. Supports TLS 1.2 and
/// 1.3. A client that connects again resumes its session with a ticket, which the server does not store (RFC 8446 §2.2,
/// RFC 5077); the key of the tickets changes every 6 hours, and a ticket is valid for at most 12 hours. A client that
/// speaks HTTP without TLS gets a 400 that says so.
///
/// ```no_run
/// # use endpoint_runtime::{Error, Server, TlsConfig};
/// # async fn f() -> Result<(), Error> {
/// let tls = TlsConfig::from_files("cert.pem", "key.pem")?;
/// Server::builder().tls(tls).bind("0.0.0.0:443").await?.run().await
/// # }
/// ```
#[derive(Clone)]
pub struct TlsConfig {
    /// `None` if the configuration is one of rustls.
    certificates: Option<Arc<Certificates>>,
    config: Arc<ServerConfig>,
    handshake_timeout: Duration,
    watch: Option<Duration>,
    /// For clients without TLS.
    log: Arc<LogRate>,
}

impl TlsConfig {
    /// Reads a certificate chain, the server's first, and the key of the first, all in PEM; both may be in one file
    /// that is passed twice.
    ///
    /// # Errors
    /// [`Error::is_tls`] if there is no certificate or no key, or if they do not match.
    pub fn from_pem(certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::presenting(Certificates::from_pem(certificates.as_ref(), key.as_ref())?)
    }

    /// As [`from_pem`](Self::from_pem), from files. A running server looks at them every minute and presents what
    /// changed from the next handshake on; see [`watch`](Self::watch).
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), and if a file cannot be read. Blocks while it reads.
    pub fn from_files(certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, Error> {
        Self::presenting(Certificates::from_files(certificates.as_ref(), key.as_ref())?)
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

    /// Uses a configuration of rustls as it is: its certificates, its verifier, its resumption (cargo feature `rustls`).
    /// Only the protocols of ALPN are set, if it has none. Use the types of
    /// [`endpoint_runtime::rustls`](crate::rustls), which is rustls 0.23: this is the one place where a type of another
    /// protocol library is part of this API, and another major version of it is a breaking change here.
    ///
    /// # Errors
    /// [`Error::is_tls`] if it accepts early data (`max_early_data_size`): a request in it may be a replay
    /// (RFC 8446 §8).
    #[cfg(feature = "rustls")]
    pub fn from_rustls(mut config: Arc<ServerConfig>) -> Result<Self, Error> {
        if config.max_early_data_size > 0 {
            return Err(Error::new(Kind::Tls, "early data is not supported: set `max_early_data_size` to 0"));
        }
        if config.alpn_protocols.is_empty() {
            Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
        }
        Ok(Self::new(None, config))
    }

    fn presenting(certificates: Certificates) -> Result<Self, Error> {
        let certificates = Arc::new(certificates);
        let config = configure(&certificates, None)?;
        Ok(Self::new(Some(certificates), config))
    }

    fn new(certificates: Option<Arc<Certificates>>, config: Arc<ServerConfig>) -> Self {
        let (handshake_timeout, watch) = (TLS_HANDSHAKE_TIMEOUT, Some(TLS_WATCH_INTERVAL));
        Self { certificates, config, handshake_timeout, watch, log: Arc::default() }
    }

    /// Adds a certificate for its own DNS names, in PEM as for [`from_pem`](Self::from_pem).
    ///
    /// The name that a client asks for (SNI, RFC 6066 §3) decides which certificate it sees: the one that has the name,
    /// else one with a wildcard for it (`*.example.org` for `a.example.org`), else the first, which a client that asks
    /// for no name sees as well. The earlier one wins if two have a name, but one with the same names as an added one
    /// replaces that, also while the server runs.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), and if it has no DNS name or this configuration is one of rustls.
    pub fn with_certificate(self, certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        self.with_certificate_for([""; 0], certificates, key)
    }

    /// As [`with_certificate`](Self::with_certificate), for these names instead of its own; a name may begin with `*.`.
    ///
    /// # Errors
    /// As [`with_certificate`](Self::with_certificate).
    pub fn with_certificate_for<I: IntoIterator<Item = S>, S: Into<String>>(
        self,
        names: I,
        certificates: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, Error> {
        let names = names.into_iter().map(Into::into).collect();
        self.certificates()?.add(names, certificates.as_ref(), key.as_ref())?;
        Ok(self)
    }

    /// As [`with_certificate`](Self::with_certificate), from files, which are watched as those of
    /// [`from_files`](Self::from_files) are.
    ///
    /// # Errors
    /// As [`with_certificate`](Self::with_certificate), and if a file cannot be read. Blocks while it reads.
    pub fn with_files(self, certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, Error> {
        self.certificates()?.add_files(Vec::new(), certificates.as_ref(), key.as_ref())?;
        Ok(self)
    }

    /// Requests certificates from clients and verifies them (mutual TLS). The opening request has what a client
    /// presented: [`HandshakeRequest::client_certificate`](crate::HandshakeRequest::client_certificate).
    ///
    /// Sessions are not resumed then, so that every connection verifies its certificate anew. The last call counts.
    ///
    /// ```no_run
    /// # use endpoint_runtime::{ClientCertificates, Error, TlsConfig};
    /// # fn f() -> Result<(), Error> {
    /// let clients = ClientCertificates::required(std::fs::read("clients-ca.pem")?)?;
    /// let tls = TlsConfig::from_files("cert.pem", "key.pem")?.client_certificates(clients)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::is_tls`] if this configuration is one of rustls, which has its own verifier.
    pub fn client_certificates(mut self, wanted: ClientCertificates) -> Result<Self, Error> {
        self.config = configure(self.certificates()?, Some(&wanted))?;
        Ok(self)
    }

    /// How often a running server looks at the files; `None` for never. Default: every minute, because certificates are
    /// renewed days before they expire, and two small reads a minute cost nothing.
    ///
    /// The content decides, not the time of a file, so a link that is replaced counts, as ACME clients and Kubernetes do
    /// it. A certificate and its key take effect together: while they do not match, or one of them is not complete, the
    /// previous pair stays in use. The log reports both, an unusable content once.
    #[must_use]
    pub fn watch(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.watch = interval.into();
        self
    }

    /// Presents another certificate instead of the first one from the next handshake on. Open connections continue, and
    /// clients that resume a session do not see the new one until they verify again.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), and if this configuration is one of rustls; the previous certificate then stays in
    /// use.
    pub fn reload(&self, certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<(), Error> {
        self.certificates()?.replace_default(certificates.as_ref(), key.as_ref())
    }

    /// Reads all files again, of [`from_files`](Self::from_files) and [`with_files`](Self::with_files), and presents
    /// their content from the next handshake on. Blocks while it reads.
    ///
    /// # Errors
    /// [`Error::is_tls`] if a file cannot be read or a pair is not usable, with the first reason; then nothing changes. Also
    /// if there are no files.
    pub fn reload_files(&self) -> Result<(), Error> {
        let certificates = self.certificates()?;
        if !certificates.has_files() {
            return Err(Error::new(Kind::Tls, "the certificates were not read from files: use `reload`"));
        }
        let (_, errors) = certificates.reload_files(false);
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    /// The first certificate chain in use, in PEM, without the key; empty if this configuration is one of rustls.
    pub fn certificate_pem(&self) -> String {
        self.certificates.as_ref().map(|it| it.default_chain()).unwrap_or_default().iter().map(pem).collect()
    }

    /// Limits the time a client may take for the TLS handshake. Default: 10 seconds.
    #[must_use]
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// Offers HTTP/2 by ALPN, before HTTP/1.1. A configuration of rustls that has protocols of its own keeps them.
    #[cfg(feature = "http2")]
    pub(crate) fn with_http2(mut self) -> Self {
        if self.config.alpn_protocols == [ALPN] {
            Arc::make_mut(&mut self.config).alpn_protocols.insert(0, ALPN_HTTP2.to_vec());
        }
        self
    }

    fn certificates(&self) -> Result<&Arc<Certificates>, Error> {
        let text = "a configuration of rustls has its own certificates and verifier: change them there";
        self.certificates.as_ref().ok_or_else(|| Error::new(Kind::Tls, text))
    }

    /// Runs the server's half of the TLS handshake, within its limit. A client that speaks HTTP is answered.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> io::Result<TlsStream<S>> {
        let accepting = async {
            let Some(early) = first_bytes::read(&mut stream).await? else {
                if let Some(not_logged) = self.log.due() {
                    tracing::info!(not_logged, "a client spoke HTTP to a port that speaks TLS, and got 400");
                }
                first_bytes::refuse(&mut stream).await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the client spoke HTTP without TLS"));
            };
            match TlsStream::accept(self.config.clone(), early, stream).await {
                Ok(stream) => Ok(stream),
                Err((error, mut stream)) => {
                    // so that the client reads the alert
                    first_bytes::close(&mut stream).await;
                    Err(error)
                }
            }
        };
        timeout(self.handshake_timeout, accepting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Looks at the files from time to time, forever; `None` if there are none to look at.
    pub(crate) fn watching(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        let (interval, certificates) = (self.watch?, self.certificates.clone()?);
        certificates.has_files().then_some(async move {
            loop {
                sleep(interval).await;
                let certificates = certificates.clone();
                // a file may be on a network
                let looked = tokio::task::spawn_blocking(move || certificates.reload_files(true)).await;
                let (replaced, errors) = looked.unwrap_or_default();
                if replaced > 0 {
                    tracing::info!(replaced, "certificates were replaced, because their files changed");
                }
                for error in errors {
                    tracing::warn!(%error, "the previous certificate stays in use");
                }
            }
        })
    }
}

/// A configuration of rustls that presents these certificates.
fn configure(
    certificates: &Arc<Certificates>,
    wanted: Option<&ClientCertificates>,
) -> Result<Arc<ServerConfig>, Error> {
    let unavailable = |error| tls_error("TLS is not available", error);
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(unavailable)?;
    let builder = match wanted {
        Some(wanted) => builder.with_client_cert_verifier(wanted.verifier()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates.clone());
    config.alpn_protocols = vec![ALPN.to_vec()];
    // a session is in its ticket or nowhere: no memory per client, and no lock
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if wanted.is_none() {
        config.ticketer = Ticketer::new().map_err(unavailable)?;
    } else {
        // a resumed session would not notice that its certificate was revoked or has expired
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// Prints the number of certificates, never a key.
impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("certificates", &self.certificates.as_ref().map(|certificates| certificates.len()))
            .field("handshake_timeout", &self.handshake_timeout)
            .field("watch", &self.watch)
            .finish_non_exhaustive()
    }
}

/// Takes the TLS stream out of hyper's upgraded connection, if it is one of ours, over an accepted socket `S` or of a client;
/// with the bytes already read.
pub(crate) fn take_stream<S: Io + 'static>(upgraded: Upgraded) -> Result<(Box<dyn Io>, Bytes), Upgraded> {
    let upgraded = match upgraded.downcast::<TokioIo<TlsStream<S>>>() {
        Ok(parts) => return Ok((Box::new(parts.io.into_inner()), parts.read_buf)),
        Err(upgraded) => upgraded,
    };
    let parts = upgraded.downcast::<TokioIo<client::TlsStream<TcpStream>>>()?;
    Ok((Box::new(parts.io.into_inner()), parts.read_buf))
}
