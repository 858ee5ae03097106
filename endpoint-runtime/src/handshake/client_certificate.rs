//! The certificate of a client, as the handshake shows it.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::request::HandshakeRequest;

/// A client's certificate, verified by the TLS handshake (cargo feature `tls`), from
/// [`HandshakeRequest::client_certificate`].
///
/// Clones share it. `Debug` prints the fingerprint.
#[derive(Clone)]
pub struct ClientCertificate(Arc<Presented>);

/// What a client presented.
struct Presented {
    chain: Vec<Vec<u8>>,
    fingerprint: String,
    common_name: Option<String>,
    dns_names: Vec<String>,
    uris: Vec<String>,
}

impl ClientCertificate {
    /// A verified chain in DER, the client's own certificate first, and the SHA-256 of that one.
    pub(crate) fn new(chain: Vec<Vec<u8>>, sha256: &[u8]) -> Option<Self> {
        let own = chain.first()?.as_slice().into();
        let (mut common_name, mut dns_names, mut uris) = (None, Vec::new(), Vec::new());
        // a configuration of one's own may have accepted what does not parse
        if let Ok(parsed) = webpki::EndEntityCert::try_from(&own) {
            common_name = common_name_of(parsed.subject());
            dns_names = parsed.valid_dns_names().map(str::to_owned).collect();
            uris = parsed.valid_uri_names().map(str::to_owned).collect();
        }
        let fingerprint = HEXLOWER.encode(sha256);
        Some(Self(Arc::new(Presented { chain, fingerprint, common_name, dns_names, uris })))
    }

    /// The certificate in DER (X.509, RFC 5280 §4).
    pub fn der(&self) -> &[u8] {
        self.chain().next().unwrap_or_default()
    }

    /// The chain as the client sent it, each certificate in DER: its own, then intermediate ones.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.0.chain.iter().map(Vec::as_slice)
    }

    /// The SHA-256 of the certificate in DER: 64 hexadecimal digits in lower case, without separators. It identifies one
    /// certificate; a renewed one has another.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// The common name (CN) of the subject: the last one, if there are several and it is text. Two authorities may issue
    /// the same name; with several authorities, compare the issuer in [`der`](Self::der) as well.
    pub fn common_name(&self) -> Option<&str> {
        self.0.common_name.as_deref()
    }

    /// The DNS names among the subject's alternative names.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.0.dns_names.iter().map(String::as_str)
    }

    /// The URIs among the subject's alternative names, such as `spiffe://example.org/billing`.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.0.uris.iter().map(String::as_str)
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl HandshakeRequest {
    /// The certificate that the client presented and this server verified (cargo feature `tls`); `None` if it presented
    /// none, or if none was requested with `TlsConfig::client_certificates`.
    ///
    /// It is available while the handshake runs, as [`extensions`](Self::extensions) are, which contain it as well: make
    /// a principal of it in a handshake hook. A session does not keep it.
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.extensions().get()
    }
}

/// The tag of an object identifier, a sequence, a set (X.690 §8).
const OID: u8 = 6;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// The tags of the kinds of text that are UTF-8 or part of it: `UTF8String`, `PrintableString`, `IA5String`.
const TEXT: [u8; 3] = [12, 19, 22];

/// `id-at-commonName`, 2.5.4.3 (RFC 5280 appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// The last common name of a subject, which is the content of a `Name` in DER (RFC 5280 §4.1.2.4): sets of sequences of
/// an identifier and a value.
fn common_name_of(mut name: &[u8]) -> Option<String> {
    let mut found = None;
    while !name.is_empty() {
        let mut set = expect(&mut name, SET)?;
        while !set.is_empty() {
            let mut attribute = expect(&mut set, SEQUENCE)?;
            let is_common_name = expect(&mut attribute, OID)? == COMMON_NAME;
            let (tag, value) = value(&mut attribute)?;
            if is_common_name && TEXT.contains(&tag) {
                found = std::str::from_utf8(value).ok().map(str::to_owned);
            }
        }
    }
    found
}

/// Takes the next value, which must have this tag.
fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    value(input).filter(|value| value.0 == tag).map(|value| value.1)
}

/// Takes the next value of DER: its tag, its content. Longer lengths than 65,535 bytes do not occur in a name.
fn value<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (len, head) = match **input {
        [_, len @ ..=0x7f, ..] => (usize::from(len), 2),
        [_, 0x81, len, ..] => (usize::from(len), 3),
        [_, 0x82, high, low, ..] => (usize::from(u16::from_be_bytes([high, low])), 4),
        _ => return None,
    };
    let tag = *input.first()?;
    let content = input.get(head..head + len)?;
    *input = input.get(head + len..)?;
    Some((tag, content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = match u16::try_from(content.len()).unwrap() {
            len @ ..=0x7f => vec![len as u8],
            len @ ..=0xff => vec![0x81, len as u8],
            len => [&[0x82], &len.to_be_bytes()[..]].concat(),
        };
        [&[tag], &*len, content].concat()
    }

    fn attribute(oid: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        der(SET, &der(SEQUENCE, &[der(OID, oid), der(tag, text)].concat()))
    }

    #[test]
    fn last_common_name_that_is_text_counts() {
        let organisation = attribute(&[0x55, 4, 10], 12, b"Example");
        let name = |text: &[u8]| attribute(COMMON_NAME, 12, text);
        assert_eq!(common_name_of(&organisation), None);
        assert_eq!(common_name_of(&name(b"ann")).as_deref(), Some("ann"));
        assert_eq!(common_name_of(&[organisation, name(b"ann"), name(b"bob")].concat()).as_deref(), Some("bob"));
        assert_eq!(common_name_of(&attribute(COMMON_NAME, 30, b"\0a")), None);
        assert_eq!(common_name_of(&name(b"\xff")), None);
    }

    proptest! {
        #[test]
        fn common_names_of_any_length_are_found(text in "\\PC{0,300}") {
            prop_assert_eq!(common_name_of(&attribute(COMMON_NAME, 12, text.as_bytes())), Some(text));
        }

        #[test]
        fn arbitrary_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), end in 0usize..40) {
            let _ = common_name_of(&bytes);
            let name = attribute(COMMON_NAME, 12, b"somebody at example.org");
            let cut = &name[..end.min(name.len() - 1)];
            prop_assert_eq!(common_name_of(cut), None);
        }
    }
}
