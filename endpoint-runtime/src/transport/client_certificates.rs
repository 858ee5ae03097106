//! Which certificates a server wants from its clients.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateRevocationListDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;

use super::certificates::{chain, provider, tls_error};
use crate::error::{Error, Kind};

/// The client certificates that a server requests and verifies (mutual TLS, cargo feature `tls`), for
/// [`TlsConfig::client_certificates`](crate::TlsConfig::client_certificates).
///
/// A certificate must be signed by one of the authorities, directly or through intermediates that the client sends, be
/// within its validity, and allow client authentication. Its names are not checked: who may connect is decided in the
/// handshake, see [`HandshakeRequest::client_certificate`](crate::HandshakeRequest::client_certificate).
#[derive(Clone)]
pub struct ClientCertificates {
    authorities: Arc<RootCertStore>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    is_optional: bool,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCertificates {
    /// Refuses a client without a certificate of one of these authorities, which are in PEM. The TLS handshake then
    /// fails; no request is read.
    ///
    /// # Errors
    /// [`Error::is_tls`] if it contains no certificate, or one that cannot be an authority.
    pub fn required(authorities: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::new(authorities.as_ref(), false)
    }

    /// Admits a client without a certificate as well. One that is presented must be valid, as for
    /// [`required`](Self::required).
    ///
    /// # Errors
    /// As [`required`](Self::required).
    pub fn optional(authorities: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::new(authorities.as_ref(), true)
    }

    /// Refuses certificates that one of these revocation lists contains (CRLs in PEM, RFC 5280 §5). With lists, a
    /// certificate whose issuer has none is refused. Intermediate certificates are not looked up, and the date of the
    /// next list is not enforced. Repeated calls add lists.
    ///
    /// # Errors
    /// [`Error::is_tls`] if it contains no list, or an invalid one.
    pub fn revoked(mut self, lists: impl AsRef<[u8]>) -> Result<Self, Error> {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(lists.as_ref()).collect();
        let lists = lists.map_err(|error| tls_error("the revocation lists are not valid PEM", error))?;
        if lists.is_empty() {
            return Err(Error::new(Kind::Tls, "the PEM contains no revocation list"));
        }
        self.revoked.extend(lists);
        self.verifier = verifier(&self.authorities, &self.revoked, self.is_optional)?;
        Ok(self)
    }

    fn new(authorities: &[u8], is_optional: bool) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in chain(authorities)? {
            roots.add(certificate).map_err(|error| tls_error("a certificate is not valid as a trust anchor", error))?;
        }
        let authorities = Arc::new(roots);
        let verifier = verifier(&authorities, &[], is_optional)?;
        Ok(Self { authorities, revoked: Vec::new(), is_optional, verifier })
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }
}

fn verifier(
    authorities: &Arc<RootCertStore>,
    revoked: &[CertificateRevocationListDer<'static>],
    is_optional: bool,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let builder = WebPkiClientVerifier::builder_with_provider(authorities.clone(), provider())
        .with_crls(revoked.iter().cloned())
        .only_check_end_entity_revocation();
    let builder = if is_optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|error| tls_error("the client certificates cannot be verified", error))
}

impl fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificates")
            .field("is_optional", &self.is_optional)
            .field("authorities", &self.authorities.len())
            .field("revocation_lists", &self.revoked.len())
            .finish_non_exhaustive()
    }
}
