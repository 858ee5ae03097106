//! The cookies of a request (RFC 6265 §5.4), as a browser sends them.

use super::request::HandshakeRequest;

impl HandshakeRequest {
    /// Names and values of the request's cookies, in order, including repeated names. Values are as they were sent: not
    /// decoded, and without the quotation marks around a value, if it has them (RFC 6265 §4.1.1).
    ///
    /// An entry without `=` is skipped, and so is a header that is not text.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        // a proxy may split the header into several lines (RFC 9113 §8.2.3)
        self.header_values("cookie").flat_map(|line| line.split(';')).filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let (name, value) = (name.trim_matches(BLANK), value.trim_matches(BLANK));
            let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            Some((name, unquoted.unwrap_or(value)))
        })
    }

    /// The value of the first cookie of this name, which is case-sensitive; `None` if there is none. The value is as it
    /// was sent, as by [`cookies`](Self::cookies).
    ///
    /// A browser sends the cookie with the longest matching path first. A peer may send any value: check it, as for a
    /// session key, or verify its signature.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::path::PathParams;
    use crate::handshake::request::Transport;

    fn request(lines: &[&[u8]]) -> HandshakeRequest {
        let mut request = http::Request::builder().uri("/");
        for line in lines {
            request = request.header("cookie", *line);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        HandshakeRequest::new(&parts, PathParams::default(), Transport::default())
    }

    #[test]
    fn cookies_are_read_in_order_from_every_line() {
        for (lines, expected) in [
            (&[][..], &[][..]),
            (&[&b"a=1"[..]], &[("a", "1")]),
            (&[b"a=1; b=2"], &[("a", "1"), ("b", "2")]),
            (&[b"a=1;b=2;", b"c=3"], &[("a", "1"), ("b", "2"), ("c", "3")]),
            (&[b" a = 1 ;\tb=2\t"], &[("a", "1"), ("b", "2")]),
            (&[b"a=1; a=2"], &[("a", "1"), ("a", "2")]),
            (&[b"a=x=y=="], &[("a", "x=y==")]),
            (&[b"a=\"b c\"; d=\"; e=\"\""], &[("a", "b c"), ("d", "\""), ("e", "")]),
            (&[b"a=; =b; c"], &[("a", ""), ("", "b")]),
            (&[b"a=%20%41"], &[("a", "%20%41")]),
            (&[b"a=\xff", b"b=1"], &[("b", "1")]),
        ] {
            let request = request(lines);
            assert_eq!(request.cookies().collect::<Vec<_>>(), expected, "{lines:?}");
        }
    }

    #[test]
    fn cookie_is_found_by_its_exact_name_and_the_first_wins() {
        let request = request(&[b"id=1; ID=2; id=3; x-id=4"]);
        assert_eq!((request.cookie("id"), request.cookie("ID"), request.cookie("Id")), (Some("1"), Some("2"), None));
    }
}
