//! Negotiates extensions: the client's offers (RFC 6455 §9.1) against the endpoint's settings (RFC 7692 §7.1).

use std::borrow::Cow;

use http::header::{self, HeaderMap};

use crate::config::Compression;
use endpoint_wire::extension::{Extension, MAX_WINDOW_BITS, PERMESSAGE_DEFLATE, Parameter};

/// The answer to a client's extension offers: accepts the first offer of permessage-deflate that can be met.
///
/// An offer with an unknown, repeated or malformed parameter is skipped (RFC 7692 §7); a header that does not follow
/// the grammar offers nothing.
pub(crate) fn negotiate(headers: &HeaderMap, compression: &Compression) -> Option<Extension> {
    if !compression.is_on() {
        return None;
    }
    choose(&offers(headers), compression)
}

/// A client's offers, in its order.
pub(crate) fn offers(headers: &HeaderMap) -> Vec<ExtensionOffer<'_>> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
    // all lines form one list, so every line must be well-formed
    let offers: Option<Vec<_>> = lines.map(|line| Grammar(line.as_bytes()).list()).collect();
    offers.unwrap_or_default().into_iter().flatten().collect()
}

/// The answer to the first of `offers` that can be met.
pub(crate) fn choose<'o>(
    offers: impl IntoIterator<Item = &'o ExtensionOffer<'o>>,
    compression: &Compression,
) -> Option<Extension> {
    if !compression.is_on() {
        return None;
    }
    offers.into_iter().find_map(|offer| accept(offer, compression))
}

/// The answer to one offer; `None` declines it.
fn accept(offer: &ExtensionOffer<'_>, compression: &Compression) -> Option<Extension> {
    if offer.name != PERMESSAGE_DEFLATE {
        return None;
    }
    let window = compression.max_window_bits();
    let mut answer: Vec<Parameter> = Vec::new();
    for (place, (name, value)) in offer.parameters.iter().enumerate() {
        if offer.parameters[..place].iter().any(|(earlier, _)| earlier == name) {
            return None;
        }
        match (*name, value.as_deref()) {
            ("server_no_context_takeover", None) => answer.push(Parameter::ServerNoContextTakeover),
            // a hint (§7.1.1.2), which is accepted
            ("client_no_context_takeover", None) => answer.push(Parameter::ClientNoContextTakeover),
            // compressors do not support a window of 8 bits
            ("server_max_window_bits", Some(bits)) => {
                let bits = window_bits(bits).filter(|bits| *bits > 8)?;
                answer.push(Parameter::ServerMaxWindowBits(bits.min(window)));
            }
            // a window larger than the client's can decompress everything it sends
            ("client_max_window_bits", bits) => {
                let bits = bits.map_or(Some(MAX_WINDOW_BITS), window_bits)?.min(window);
                if bits < MAX_WINDOW_BITS {
                    answer.push(Parameter::ClientMaxWindowBits(bits));
                }
            }
            _ => return None,
        }
    }
    if !compression.takes_over() {
        for ours in [Parameter::ServerNoContextTakeover, Parameter::ClientNoContextTakeover] {
            // both may be in the answer without having been offered (§7.1.1)
            if !answer.contains(&ours) {
                answer.push(ours);
            }
        }
    }
    Some(Extension::permessage_deflate(answer))
}

/// Parses a number from 8 to 15 without a leading zero (§7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// A client's offer (RFC 7692 §7.1); `None` if compression is off.
#[cfg(feature = "client")]
pub(crate) fn offer(compression: &Compression) -> Option<String> {
    if !compression.is_on() {
        return None;
    }
    let mut offer = PERMESSAGE_DEFLATE.to_owned();
    if !compression.takes_over() {
        offer += "; server_no_context_takeover; client_no_context_takeover";
    }
    match compression.max_window_bits() {
        // without a number: the server may choose one
        MAX_WINDOW_BITS => offer += "; client_max_window_bits",
        bits => offer += &format!("; server_max_window_bits={bits}; client_max_window_bits={bits}"),
    }
    Some(offer)
}

/// The extension that a server agreed to in answer to that offer, or none. Fails, as the connection then must, if the
/// answer does not fit the offer (RFC 6455 §4.1, RFC 7692 §7.1).
#[cfg(feature = "client")]
pub(crate) fn agree(headers: &HeaderMap, compression: &Compression) -> Result<Option<Extension>, &'static str> {
    const MALFORMED: &str = "the server's Sec-WebSocket-Extensions header is malformed";
    const NOT_OFFERED: &str = "the server selected an extension that was not offered";
    const NOT_AS_OFFERED: &str = "the server selected parameters of permessage-deflate that were not offered";
    let mut agreed = None;
    for line in headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS) {
        for answer in Grammar(line.as_bytes()).list().ok_or(MALFORMED)? {
            if answer.name != PERMESSAGE_DEFLATE || !compression.is_on() || agreed.is_some() {
                return Err(NOT_OFFERED);
            }
            agreed = Some(answered(&answer, compression).ok_or(NOT_AS_OFFERED)?);
        }
    }
    Ok(agreed)
}

/// The extension of `answer`; `None` if it does not fit the offer.
#[cfg(feature = "client")]
fn answered(answer: &ExtensionOffer<'_>, compression: &Compression) -> Option<Extension> {
    let window = compression.max_window_bits();
    let mut agreed: Vec<Parameter> = Vec::new();
    for (place, (name, value)) in answer.parameters.iter().enumerate() {
        if answer.parameters[..place].iter().any(|(earlier, _)| earlier == name) {
            return None;
        }
        agreed.push(match (*name, value.as_deref()) {
            ("server_no_context_takeover", None) => Parameter::ServerNoContextTakeover,
            ("client_no_context_takeover", None) => Parameter::ClientNoContextTakeover,
            ("server_max_window_bits", Some(bits)) => {
                Parameter::ServerMaxWindowBits(window_bits(bits).filter(|bits| *bits <= window)?)
            }
            ("client_max_window_bits", Some(bits)) => {
                Parameter::ClientMaxWindowBits(window_bits(bits).filter(|bits| *bits <= window)?)
            }
            _ => return None,
        });
    }
    let has_window = agreed.iter().any(|parameter| matches!(parameter, Parameter::ServerMaxWindowBits(_)));
    // the answer must contain everything that was required of the server
    let keeps_to = (compression.takes_over() || agreed.contains(&Parameter::ServerNoContextTakeover))
        && (window == MAX_WINDOW_BITS || has_window);
    keeps_to.then(|| Extension::permessage_deflate(agreed))
}

/// An extension as requested by a client or answered by a server (RFC 6455 §9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionOffer<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

impl ExtensionOffer<'_> {
    /// The extension's name, such as `permessage-deflate`.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Name and value of each parameter, in order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.parameters.iter().map(|(name, value)| (*name, value.as_deref()))
    }
}

/// The unparsed rest of a header line.
struct Grammar<'a>(&'a [u8]);

impl<'a> Grammar<'a> {
    // extension-list = 1#extension
    // extension      = token *( ";" extension-param )
    /// Parses the whole line; `None` if it is malformed.
    fn list(mut self) -> Option<Vec<ExtensionOffer<'a>>> {
        let mut offers = Vec::new();
        loop {
            // a list may have empty elements (RFC 9110 §5.6.1.2)
            while self.sign(b',') {}
            if self.0.is_empty() {
                return Some(offers);
            }
            let mut offer = ExtensionOffer { name: self.token()?, parameters: Vec::new() };
            while self.sign(b';') {
                offer.parameters.push(self.parameter()?);
            }
            offers.push(offer);
            if !self.0.is_empty() && !self.sign(b',') {
                return None;
            }
        }
    }

    // extension-param = token [ "=" (token | quoted-string) ]
    fn parameter(&mut self) -> Option<(&'a str, Option<Cow<'a, str>>)> {
        let name = self.token()?;
        if !self.sign(b'=') {
            return Some((name, None));
        }
        let value = if self.sign(b'"') { Cow::Owned(self.quoted()?) } else { Cow::Borrowed(self.token()?) };
        Some((name, Some(value)))
    }

    /// Consumes `sign` if it comes next, with the blanks around it.
    fn sign(&mut self, sign: u8) -> bool {
        self.blanks();
        let Some((first, rest)) = self.0.split_first() else { return false };
        if *first != sign {
            return false;
        }
        self.0 = rest;
        // inside quotes blanks would count; a token has none, so they are an error there (RFC 6455 §9.1)
        if sign != b'"' {
            self.blanks();
        }
        true
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| !is_token(*byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        std::str::from_utf8(token).ok().filter(|token| !token.is_empty())
    }

    /// Parses the rest of a quoted string, which must be a token once unescaped.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        loop {
            let (first, rest) = self.0.split_first()?;
            let (byte, rest) = match first {
                b'"' => {
                    self.0 = rest;
                    return (!value.is_empty()).then_some(value);
                }
                b'\\' => rest.split_first()?,
                byte => (byte, rest),
            };
            if !is_token(*byte) {
                return None;
            }
            value.push(char::from(*byte));
            self.0 = rest;
        }
    }
}

/// Whether a token may contain `byte` (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const KEEPING: Compression = Compression::ON.context_takeover(true);

    fn answer(lines: &[&[u8]], compression: &Compression) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_bytes(line).unwrap());
        }
        negotiate(&headers, compression).map(|extension| extension.to_string())
    }

    #[track_caller]
    fn assert_answer(lines: &[&str], compression: Compression, expected: Option<&str>) {
        let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let expected = expected.map(|rest| format!("permessage-deflate{rest}"));
        assert_eq!(answer(&bytes, &compression), expected, "{lines:?} under {compression:?}");
    }

    #[test]
    fn each_offer_has_its_answer() {
        let narrow = KEEPING.window_bits(10);
        for (offer, default, keeping, narrowed) in [
            ("", Some("; server_no_context_takeover; client_no_context_takeover"), Some(""), Some("")),
            (
                "; client_max_window_bits",
                Some("; server_no_context_takeover; client_no_context_takeover"),
                Some(""),
                Some("; client_max_window_bits=10"),
            ),
            (
                "; client_no_context_takeover",
                Some("; client_no_context_takeover; server_no_context_takeover"),
                Some("; client_no_context_takeover"),
                Some("; client_no_context_takeover"),
            ),
            (
                "; server_max_window_bits=12; server_no_context_takeover",
                Some("; server_max_window_bits=12; server_no_context_takeover; client_no_context_takeover"),
                Some("; server_max_window_bits=12; server_no_context_takeover"),
                Some("; server_max_window_bits=10; server_no_context_takeover"),
            ),
            (
                "; server_max_window_bits=9; client_max_window_bits=9",
                Some(
                    "; server_max_window_bits=9; client_max_window_bits=9; server_no_context_takeover; \
                     client_no_context_takeover",
                ),
                Some("; server_max_window_bits=9; client_max_window_bits=9"),
                Some("; server_max_window_bits=9; client_max_window_bits=9"),
            ),
            (
                "; client_max_window_bits=8",
                Some("; client_max_window_bits=8; server_no_context_takeover; client_no_context_takeover"),
                Some("; client_max_window_bits=8"),
                Some("; client_max_window_bits=8"),
            ),
            (
                "; server_max_window_bits=\"1\\5\"",
                Some("; server_max_window_bits=15; server_no_context_takeover; client_no_context_takeover"),
                Some("; server_max_window_bits=15"),
                Some("; server_max_window_bits=10"),
            ),
            ("; server_max_window_bits=8", None, None, None),
            ("; server_max_window_bits", None, None, None),
            ("; server_max_window_bits=16", None, None, None),
            ("; server_max_window_bits=7", None, None, None),
            ("; server_max_window_bits=09", None, None, None),
            ("; server_max_window_bits=+9", None, None, None),
            ("; client_max_window_bits=0", None, None, None),
            ("; client_max_window_bits=99999999999999999999", None, None, None),
            ("; client_max_window_bits; client_max_window_bits", None, None, None),
            ("; server_no_context_takeover=1", None, None, None),
            ("; client_no_context_takeover=true", None, None, None),
            ("; mystery", None, None, None),
            ("; Server_No_Context_Takeover", None, None, None),
        ] {
            let line = format!("permessage-deflate{offer}");
            assert_answer(&[&line], Compression::ON, default);
            assert_answer(&[&line], KEEPING, keeping);
            assert_answer(&[&line], narrow, narrowed);
            assert_answer(&[&line], Compression::OFF, None);
        }
    }

    #[test]
    fn first_acceptable_offer_is_taken() {
        for lines in [
            &["permessage-deflate; mystery, permessage-deflate"][..],
            &["x-unknown; a=b; c, permessage-deflate"],
            &["x-unknown", "permessage-deflate; server_max_window_bits=8", "permessage-deflate"],
            &[" ,, permessage-deflate , permessage-deflate; client_max_window_bits=9"],
            &["permessage-deflate", "permessage-bzip2"],
            &["permessage-deflate\t"],
        ] {
            assert_answer(lines, KEEPING, Some(""));
        }
        assert_answer(
            &["permessage-deflate ;\tserver_max_window_bits = 11"],
            KEEPING,
            Some("; server_max_window_bits=11"),
        );
        for lines in [&[][..], &[""], &["x-webkit-deflate-frame"], &["permessage-deflate2"], &["Permessage-Deflate"]] {
            assert_answer(lines, KEEPING, None);
        }
    }

    #[test]
    fn a_malformed_header_offers_nothing() {
        for line in [
            "permessage-deflate;",
            "permessage-deflate;;",
            "permessage-deflate; =1",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"10",
            "permessage-deflate; server_max_window_bits=\"\"",
            "permessage-deflate; server_max_window_bits=\"10\\",
            "permessage-deflate; server_max_window_bits=\" 10\"",
            "permessage-deflate; server_max_window_bits=\"10\"9",
            "permessage-deflate permessage-deflate",
            "permessage-deflate, x y",
            "permessage-deflate, \"",
            "permessage-deflate, é",
            "; permessage-deflate",
            "=",
        ] {
            assert_answer(&[line], KEEPING, None);
            assert_answer(&["permessage-deflate", line], KEEPING, None);
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn response_never_exceeds_the_offer() {
        let none = HeaderMap::new();
        assert_eq!(agree(&none, &KEEPING), Ok(None));
        assert_eq!(offer(&Compression::OFF), None);
        let narrow = KEEPING.window_bits(10);
        for (compression, answer, agreed) in [
            (KEEPING, "permessage-deflate", true),
            (KEEPING, "permessage-deflate; client_no_context_takeover; server_no_context_takeover", true),
            (KEEPING, "permessage-deflate; client_max_window_bits=8; server_max_window_bits=8", true),
            (KEEPING, "permessage-deflate; client_max_window_bits", false),
            (KEEPING, "permessage-deflate; server_max_window_bits=16", false),
            (KEEPING, "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", false),
            (KEEPING, "permessage-deflate; mystery", false),
            (KEEPING, "permessage-deflate, permessage-deflate", false),
            (KEEPING, "permessage-deflate; server_no_context_takeover=1", false),
            (KEEPING, "x-webkit-deflate-frame", false),
            (KEEPING, "permessage-deflate;", false),
            (Compression::ON, "permessage-deflate", false),
            (Compression::ON, "permessage-deflate; server_no_context_takeover", true),
            (Compression::OFF, "permessage-deflate", false),
            (narrow, "permessage-deflate", false),
            (narrow, "permessage-deflate; server_max_window_bits=10", true),
            (narrow, "permessage-deflate; server_max_window_bits=11", false),
            (narrow, "permessage-deflate; server_max_window_bits=9; client_max_window_bits=11", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(answer).unwrap());
            let came = agree(&headers, &compression);
            assert_eq!(came.is_ok(), agreed, "{answer} under {compression:?}: {came:?}");
            if let Ok(extension) = came {
                assert_eq!(extension.unwrap().to_string(), answer);
            }
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn client_and_server_negotiate_with_each_other() {
        for ours in [Compression::ON, KEEPING, KEEPING.window_bits(9), Compression::ON.window_bits(12)] {
            for theirs in [Compression::ON, KEEPING, KEEPING.window_bits(9), Compression::ON.window_bits(12)] {
                let offered = offer(&ours).unwrap();
                let answered = answer(&[offered.as_bytes()], &theirs).expect("an answer");
                let mut headers = HeaderMap::new();
                headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(&answered).unwrap());
                assert!(matches!(agree(&headers, &ours), Ok(Some(_))), "{offered}: {answered}");
            }
        }
    }

    /// Whether `answer` is legal for a client that made `offers` (RFC 7692 §7.1).
    fn is_legal(answer: &ExtensionOffer<'_>, offers: &[ExtensionOffer<'_>]) -> bool {
        let value = |offer: &ExtensionOffer<'_>, name: &str| {
            let found = offer.parameters.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.as_deref().map(|bits| bits.parse::<u8>().unwrap()))
        };
        offers.iter().filter(|offer| offer.name == "permessage-deflate").any(|offer| {
            let names = answer.parameters.iter().map(|(name, _)| *name);
            let server = match (value(offer, "server_max_window_bits"), value(answer, "server_max_window_bits")) {
                (None, None) => true,
                (Some(Some(offered)), Some(Some(answered))) => (9..=offered).contains(&answered),
                _ => false,
            };
            let client = match (value(offer, "client_max_window_bits"), value(answer, "client_max_window_bits")) {
                (_, None) => true,
                (Some(offered), Some(Some(answered))) => (8..=offered.unwrap_or(15)).contains(&answered),
                _ => false,
            };
            let no_context_takeover = value(offer, "server_no_context_takeover").is_none()
                || value(answer, "server_no_context_takeover").is_some();
            server
                && client
                && no_context_takeover
                && names.clone().all(|name| {
                    names.clone().filter(|other| *other == name).count() == 1
                        && matches!(
                            name,
                            "server_no_context_takeover"
                                | "client_no_context_takeover"
                                | "server_max_window_bits"
                                | "client_max_window_bits"
                        )
                })
        })
    }

    fn settings() -> impl Strategy<Value = Compression> {
        (any::<bool>(), 9u8..=15).prop_map(|(keep, bits)| Compression::ON.context_takeover(keep).window_bits(bits))
    }

    /// Generates header lines from the relevant words.
    fn lines() -> impl Strategy<Value = Vec<String>> {
        let word = proptest::sample::select(vec![
            "permessage-deflate",
            "permessage-deflate",
            "server_max_window_bits",
            "client_max_window_bits",
            "8",
            "9",
            "15",
            "16",
            "=",
            "=",
            "=\"10\"",
            "\\",
            "\"",
            ";",
            ";",
            ";",
            ",",
            ",",
            " ",
            "x",
            "; server_no_context_takeover",
            "; client_no_context_takeover",
            "; client_max_window_bits=12",
        ]);
        let line = proptest::collection::vec(word, 0..14).prop_map(|words| words.concat());
        proptest::collection::vec(line, 0..3)
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic_and_responses_are_valid(
            wild in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..3),
            tame in lines(),
            compression in settings(),
        ) {
            let wild = wild.iter().map(|line| &line[..]).filter(|line| HeaderValue::from_bytes(line).is_ok());
            answer(&wild.collect::<Vec<_>>(), &compression);
            let tame: Vec<&[u8]> = tame.iter().map(|line| line.as_bytes()).collect();
            if let Some(text) = answer(&tame, &compression) {
                let answers = Grammar(text.as_bytes()).list();
                let answers = answers.expect("an answer that parses");
                let [answer] = &answers[..] else { panic!("{text}") };
                let offers: Vec<_> = tame.iter().flat_map(|line| Grammar(line).list().unwrap()).collect();
                let sound: Vec<_> = offers.into_iter().filter(|offer| accept(offer, &compression).is_some()).collect();
                prop_assert!(is_legal(answer, &sound), "{text} for {sound:?}");
            }
        }
    }
}
