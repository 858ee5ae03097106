//! The client's side of the opening handshake (RFC 6455 §4.1): writes the offer, and checks the response against it.
//!
//! Pure: it writes and reads headers; the caller owns the socket.

use data_encoding::BASE64;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use super::accept_key::derive_accept_key;
use super::extensions::{self, agree};
use super::server::{elements, has_token, only};
use crate::config::Compression;
use endpoint_wire::extension::Extension;

/// Headers of the handshake itself, which the application cannot set.
pub(crate) const OURS: [HeaderName; 8] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

/// A client's offer, kept until the response is checked.
#[derive(Debug)]
pub(crate) struct Offer {
    key: String,
    subprotocols: Vec<String>,
    compression: Compression,
}

/// The parts of an offer that a server accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub(crate) subprotocol: Option<String>,
    pub(crate) extension: Option<Extension>,
}

impl Offer {
    /// `nonce` is random (RFC 6455 §4.1).
    pub(crate) fn new(nonce: [u8; 16], subprotocols: Vec<String>, compression: Compression) -> Self {
        Self { key: BASE64.encode(&nonce), subprotocols, compression }
    }

    /// Writes the offer into the headers of a request.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let subprotocols = (!self.subprotocols.is_empty()).then(|| self.subprotocols.join(", "));
        for (name, value) in [
            (header::SEC_WEBSOCKET_KEY, Some(self.key.clone())),
            (header::SEC_WEBSOCKET_PROTOCOL, subprotocols),
            (header::SEC_WEBSOCKET_EXTENSIONS, extensions::offer(&self.compression)),
        ] {
            // base64, tokens and constants: all visible ASCII
            if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                headers.insert(name, value);
            }
        }
    }

    /// The server's agreement, or the mistake in its response.
    pub(crate) fn check(
        &self,
        version: Version,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Agreement, &'static str> {
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err("the server did not switch protocols");
        }
        if version < Version::HTTP_11 {
            return Err("the server uses HTTP/1.0, which does not support upgrades");
        }
        if !has_token(headers, header::UPGRADE, "websocket") || !has_token(headers, header::CONNECTION, "upgrade") {
            return Err("the server did not switch to WebSocket");
        }
        let accept = only(headers, header::SEC_WEBSOCKET_ACCEPT).map(|accept| accept.as_bytes().trim_ascii());
        if accept != Some(derive_accept_key(self.key.as_bytes()).as_bytes()) {
            return Err("the server's Sec-WebSocket-Accept does not match the request's key");
        }
        // one of the offered ones, or none; an empty element of a list does not count (RFC 9110 §5.6.1.2)
        let mut chosen = elements(headers, header::SEC_WEBSOCKET_PROTOCOL);
        let subprotocol = chosen.next();
        let offered = subprotocol.is_none_or(|chosen| self.subprotocols.iter().any(|offered| offered == chosen));
        let malformed = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().any(|line| line.to_str().is_err());
        if !offered || malformed || chosen.next().is_some() {
            return Err("the server selected a subprotocol that was not offered");
        }
        let extension = agree(headers, &self.compression)?;
        Ok(Agreement { subprotocol: subprotocol.map(str::to_owned), extension })
    }
}

/// Whether `name` may be offered as a subprotocol: a token (RFC 6455 §4.1).
pub(crate) fn is_subprotocol(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(extensions::is_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An offer with the key of the example in RFC 6455 §1.3.
    fn offer(subprotocols: &[&str]) -> Offer {
        let subprotocols = subprotocols.iter().map(|&name| name.to_owned()).collect();
        Offer::new(*b"the sample nonce", subprotocols, Compression::OFF)
    }

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn check(replaced: &[(&str, &str)]) -> Result<Agreement, &'static str> {
        let sound = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", ACCEPT)];
        let kept = sound.iter().filter(|(name, _)| !replaced.iter().any(|(other, _)| other == name));
        let mut headers = HeaderMap::new();
        for (name, value) in kept.chain(replaced).filter(|(_, value)| !value.is_empty()) {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        offer(&["chat.v2", "chat.v1"]).check(Version::HTTP_11, StatusCode::SWITCHING_PROTOCOLS, &headers)
    }

    #[test]
    fn rfc_example_is_requested_and_accepted() {
        let mut headers = HeaderMap::new();
        offer(&["chat", "superchat"]).write(&mut headers);
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat, superchat"),
        ] {
            assert_eq!(headers[name], value);
        }
        assert_eq!(headers.len(), 5);
        assert_eq!(check(&[]), Ok(Agreement::default()));
    }

    #[test]
    fn header_variants_of_servers_are_accepted() {
        for replaced in [&[("upgrade", "WebSocket")][..], &[("connection", "keep-alive, UPGRADE")], &[("x-other", "1")]]
        {
            assert_eq!(check(replaced), Ok(Agreement::default()), "{replaced:?}");
        }
    }

    #[test]
    fn validated_subprotocol_is_the_reported_one() {
        for (answer, reported) in [
            ("chat.v1", Some("chat.v1")),
            ("chat.v1,", Some("chat.v1")),
            (" ,\tchat.v2 , ", Some("chat.v2")),
            (",", None),
        ] {
            let agreement = check(&[("sec-websocket-protocol", answer)]).unwrap();
            assert_eq!(agreement.subprotocol.as_deref(), reported, "{answer:?}");
        }
    }

    #[test]
    fn each_invalid_response_is_rejected() {
        for (replaced, about) in [
            (&[("upgrade", "")][..], "WebSocket"),
            (&[("upgrade", "h2c")], "WebSocket"),
            (&[("connection", "keep-alive")], "WebSocket"),
            (&[("sec-websocket-accept", "")], "Accept"),
            (&[("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOO=")], "Accept"),
            (&[("sec-websocket-accept", "S3PPLMBITXAQ9KYGZZHZRBK+XOO=")], "Accept"),
            (&[("sec-websocket-accept", ACCEPT), ("sec-websocket-accept", ACCEPT)], "Accept"),
            (&[("sec-websocket-protocol", "soap")], "subprotocol"),
            (&[("sec-websocket-protocol", "CHAT.V1")], "subprotocol"),
            (&[("sec-websocket-protocol", "chat.v1, chat.v2")], "subprotocol"),
            (&[("sec-websocket-protocol", "chat.v1"), ("sec-websocket-protocol", "chat.v1")], "subprotocol"),
            (&[("sec-websocket-extensions", "permessage-deflate")], "extension"),
            (&[("sec-websocket-extensions", "x")], "extension"),
        ] {
            let mistake = check(replaced).expect_err(about);
            assert!(mistake.contains(about), "{replaced:?}: {mistake}");
        }
        let headers = HeaderMap::new();
        assert!(offer(&[]).check(Version::HTTP_11, StatusCode::OK, &headers).is_err());
        assert!(offer(&[]).check(Version::HTTP_10, StatusCode::SWITCHING_PROTOCOLS, &headers).is_err());
    }
}
