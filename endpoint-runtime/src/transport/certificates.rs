//! The certificates that a server presents: read from PEM, chosen by the name that the client asks for, replaced while
//! the server runs.

use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use data_encoding::BASE64;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::error::{BoxError, Error, Kind};

/// All certificates of a server. The first one is the default.
#[derive(Debug)]
pub(super) struct Certificates {
    known: RwLock<Arc<Known>>,
    /// Held while the certificates change, so that no change is lost.
    changing: Mutex<()>,
}

/// The certificates in use, in order, and which of them has a name.
#[derive(Clone, Debug, Default)]
struct Known {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    certified: Arc<CertifiedKey>,
    /// The names that were given for it; empty if those of the certificate count.
    given: Vec<String>,
    files: Option<Files>,
}

/// The files that a certificate is read from.
#[derive(Clone, Debug)]
struct Files {
    certificates: PathBuf,
    key: PathBuf,
    /// The hash of the last content, valid or not, so that an invalid one is reported once.
    seen: u64,
}

impl Files {
    /// Reads both files. The hash is of their content.
    fn read(&self, hasher: &RandomState) -> Result<(Vec<u8>, Vec<u8>, u64), Error> {
        let read = |path: &Path| fs::read(path).map_err(|error| tls_error(&format!("cannot read {path:?}"), error));
        let (certificates, key) = (read(&self.certificates)?, read(&self.key)?);
        let seen = hasher.hash_one((&certificates, &key));
        Ok((certificates, key, seen))
    }
}

impl Entry {
    /// The names that this entry is chosen for, in lower case.
    fn names(&self) -> Vec<String> {
        if self.given.is_empty() {
            self.certified.cert.first().map(names_of).unwrap_or_default()
        } else {
            self.given.clone()
        }
    }
}

impl Known {
    fn new(entries: Vec<Entry>) -> Self {
        let mut by_name = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            for name in entry.names() {
                by_name.entry(name).or_insert(index);
            }
        }
        Self { entries, by_name }
    }

    /// The certificate for a name: the one that has it, then the one with a wildcard for it, then the default.
    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        let index = self.by_name.get(&name).or_else(wildcard).copied().unwrap_or_default();
        self.entries.get(index).map(|entry| entry.certified.clone())
    }
}

impl Certificates {
    pub(super) fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, Error> {
        Ok(Self::new(Entry { certified: certified(certificates, key)?, given: Vec::new(), files: None }))
    }

    pub(super) fn from_files(certificates: &Path, key: &Path) -> Result<Self, Error> {
        Ok(Self::new(entry_of_files(certificates, key, Vec::new())?))
    }

    fn new(first: Entry) -> Self {
        Self { known: RwLock::new(Arc::new(Known::new(vec![first]))), changing: Mutex::new(()) }
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the certificates, all at once or not at all.
    fn change<R>(&self, change: impl FnOnce(&mut Vec<Entry>) -> Result<R, Error>) -> Result<R, Error> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.known().entries.clone();
        let result = change(&mut entries)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Known::new(entries));
        Ok(result)
    }

    /// The default chain.
    pub(super) fn default_chain(&self) -> Vec<CertificateDer<'static>> {
        self.known().entries.first().map(|entry| entry.certified.cert.clone()).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.known().entries.len()
    }

    /// Whether one of them is read from files.
    pub(super) fn has_files(&self) -> bool {
        self.known().entries.iter().any(|entry| entry.files.is_some())
    }

    /// Replaces the default.
    pub(super) fn replace_default(&self, certificates: &[u8], key: &[u8]) -> Result<(), Error> {
        let certified = certified(certificates, key)?;
        self.change(|entries| {
            if let Some(first) = entries.first_mut() {
                first.certified = certified;
            }
            Ok(())
        })
    }

    /// Adds a certificate for these names, or for its own if there are none.
    pub(super) fn add(&self, names: Vec<String>, certificates: &[u8], key: &[u8]) -> Result<(), Error> {
        self.put(Entry { certified: certified(certificates, key)?, given: lower(names), files: None })
    }

    /// As [`add`](Self::add), from files.
    pub(super) fn add_files(&self, names: Vec<String>, certificates: &Path, key: &Path) -> Result<(), Error> {
        self.put(entry_of_files(certificates, key, lower(names))?)
    }

    /// Adds an entry, in place of the one with the same names if there is one behind the default.
    fn put(&self, entry: Entry) -> Result<(), Error> {
        let names = entry.names();
        if names.is_empty() {
            let text = "the certificate contains no DNS name: pass the names to `with_certificate_for`";
            return Err(Error::new(Kind::Tls, text));
        }
        self.change(|entries| {
            let same = entries.iter().skip(1).position(|other| other.names() == names);
            match same.and_then(|index| entries.get_mut(index + 1)) {
                Some(other) => *other = entry,
                None => entries.push(entry),
            }
            Ok(())
        })
    }

    /// Reads the files again. Without `if_changed` every mistake is an error and nothing changes then; with it, a pair is
    /// skipped unless it changed, and a mistake is returned once for each content.
    pub(super) fn reload_files(&self, if_changed: bool) -> (usize, Vec<Error>) {
        let hasher = &HASHER;
        let (mut count, mut errors) = (0, Vec::new());
        let changed = self.change(|entries| {
            for entry in entries {
                let Some(files) = &mut entry.files else { continue };
                let read = files.read(hasher);
                // an unreadable file counts as a content of its own
                let seen = read.as_ref().map_or(0, |(_, _, seen)| *seen);
                if if_changed && seen == files.seen {
                    continue;
                }
                files.seen = seen;
                match read.and_then(|(certificates, key, _)| certified(&certificates, &key)) {
                    Ok(certified) => {
                        entry.certified = certified;
                        count += 1;
                    }
                    Err(error) => errors.push(files.explain(error)),
                }
            }
            if if_changed || errors.is_empty() { Ok(()) } else { Err(Error::new(Kind::Tls, "nothing changes")) }
        });
        if changed.is_err() { (0, errors) } else { (count, errors) }
    }
}

/// One for all hashes of contents, which are compared.
static HASHER: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);

impl Files {
    fn explain(&self, error: Error) -> Error {
        tls_error(&format!("{:?} and {:?} are not usable", self.certificates, self.key), error)
    }
}

fn entry_of_files(certificates: &Path, key: &Path, given: Vec<String>) -> Result<Entry, Error> {
    let mut files = Files { certificates: certificates.into(), key: key.into(), seen: 0 };
    let (certificates, key, seen) = files.read(&HASHER)?;
    files.seen = seen;
    let certified = certified(&certificates, &key).map_err(|error| files.explain(error))?;
    Ok(Entry { certified, given, files: Some(files) })
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.known().choose(hello.server_name())
    }
}

fn lower(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| name.to_ascii_lowercase()).collect()
}

/// The DNS names of a certificate, in lower case.
fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate);
    parsed.map(|parsed| parsed.valid_dns_names().map(str::to_ascii_lowercase).collect()).unwrap_or_default()
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

pub(super) fn certified(certificates: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, Error> {
    let chain = chain(certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| tls_error("the key is not valid PEM", error))?;
    let certified = CertifiedKey::from_der(chain, key, &provider());
    Ok(Arc::new(certified.map_err(|error| tls_error("the certificate does not match the key", error))?))
}

/// Encodes a certificate as PEM (RFC 7468).
pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|digit| char::from(*digit)));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}
