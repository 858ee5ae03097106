//! The certificates that a client trusts.

use std::fmt;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, client};

use super::certificates::{certified, chain, provider, tls_error};
use super::tls::ALPN;
use crate::error::{Error, Kind};

/// The certificates that a [`ClientContainer`](crate::ClientContainer) accepts from the server of a `wss://` URI, and the
/// one that it presents (cargo feature `tls`). Default: [`Trust::public`], and none.
#[derive(Clone)]
pub struct Trust(
    /// Always `Some`, because ring supports the default TLS versions.
    Option<Arc<ClientConfig>>,
);

impl Trust {
    /// Trusts the authorities that browsers trust, as listed by Mozilla; the list is compiled in.
    pub fn public() -> Self {
        Self::roots(RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()))
    }

    /// Trusts only these certificates, in PEM: those of a private authority, or a self-signed one.
    ///
    /// # Errors
    /// [`Error::is_tls`] if it contains no certificate.
    pub fn only(certificates: impl AsRef<[u8]>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in chain(certificates.as_ref())? {
            roots.add(certificate).map_err(|error| tls_error("a certificate is not valid as a trust anchor", error))?;
        }
        Ok(Self::roots(roots))
    }

    /// Presents this certificate chain to servers that request one (mutual TLS), with the key of its first certificate,
    /// all in PEM.
    ///
    /// # Errors
    /// [`Error::is_tls`] if there is no certificate or no key, or if they do not match.
    pub fn presenting(mut self, certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        let certified = certified(certificates.as_ref(), key.as_ref())?;
        if let Some(config) = &mut self.0 {
            Arc::make_mut(config).client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        }
        Ok(self)
    }

    fn roots(roots: RootCertStore) -> Self {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        Self(builder.ok().map(|builder| {
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![ALPN.to_vec()];
            Arc::new(config)
        }))
    }

    /// Runs the client's half of the TLS handshake: the server must be `host`, which is a name or an address.
    pub(crate) async fn connect(&self, host: &str, stream: TcpStream) -> Result<client::TlsStream<TcpStream>, Error> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| tls_error(&format!("{host:?} is not a valid TLS server name"), error))?;
        let config = self.0.clone().ok_or_else(|| Error::new(Kind::Tls, "TLS is not available"))?;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        connected.map_err(|error| tls_error(&format!("TLS handshake with {host} failed"), error))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}
