//! The key that the nodes of a cluster share, and the tags that it makes.

use std::fmt;

use sha1::{Digest, Sha1};

use super::backplane::Subject;

/// Bytes of a tag: HMAC-SHA-1 (RFC 2104), which stays secure as a code for authentication, and needs no crate that the
/// opening handshake does not need anyway.
pub(crate) const TAG: usize = 20;

/// Bytes of a block of SHA-1.
const BLOCK: usize = 64;

/// A key, prepared for both hashes of an HMAC.
#[derive(Clone)]
pub(crate) struct Key {
    inner: Sha1,
    outer: Sha1,
}

impl Key {
    pub(crate) fn new(secret: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        if secret.len() > BLOCK {
            block[..TAG].copy_from_slice(&Sha1::digest(secret));
        } else {
            block[..secret.len()].copy_from_slice(secret);
        }
        Self {
            inner: Sha1::new().chain_update(block.map(|byte| byte ^ 0x36)),
            outer: Sha1::new().chain_update(block.map(|byte| byte ^ 0x5c)),
        }
    }

    /// The tag of a packet, which holds for its subject alone.
    pub(crate) fn tag(&self, subject: Subject, header: &[u8], entries: &[u8]) -> [u8; TAG] {
        let subject = subject.to_string();
        // no subject contains a zero, so that no other division of the same bytes has this tag
        let inner = self.inner.clone().chain_update(subject).chain_update([0]);
        let inner = inner.chain_update(header).chain_update(entries).finalize();
        self.outer.clone().chain_update(inner).finalize().into()
    }

    /// Whether this is the tag, in a time that does not depend on the bytes.
    pub(crate) fn is_tag(&self, tag: &[u8], subject: Subject, header: &[u8], entries: &[u8]) -> bool {
        let expected = self.tag(subject, header, entries);
        let differing = tag.iter().zip(expected).fold(0, |differing, (a, b)| differing | (a ^ b));
        tag.len() == TAG && std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The HMAC of `text`.
    fn hmac(secret: &[u8], text: &[u8]) -> String {
        let key = Key::new(secret);
        let inner = key.inner.chain_update(text).finalize();
        let tag: [u8; TAG] = key.outer.chain_update(inner).finalize().into();
        data_encoding::HEXLOWER.encode(&tag)
    }

    #[test]
    fn hmac_of_the_test_cases_of_rfc_2202() {
        assert_eq!(hmac(&[0x0b; 20], b"Hi There"), "b617318655057264e28bc0b6fb378c8ef146be00");
        assert_eq!(hmac(b"Jefe", b"what do ya want for nothing?"), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(
            hmac(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "aa4ae5e15272d00e95705637ce8a3b55ed402112"
        );
    }
}
