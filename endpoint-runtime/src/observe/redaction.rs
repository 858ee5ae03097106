//! Secrets in texts that are logged: values whose names tell that they are secret, and JSON Web Tokens.
//!
//! It does not parse a format, because a cut text has none. It looks for names that are followed by `:` or `=`.

/// Names of secrets, without `-` and `_`, in lower case. A name that ends with one of [`ENDS`] is one as well.
const NAMES: [&str; 14] = [
    "auth",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "jwt",
    "key",
    "passphrase",
    "passwd",
    "pwd",
    "session",
    "sessionid",
    "sid",
    "signature",
];

const ENDS: [&str; 7] = ["token", "secret", "password", "apikey", "accesskey", "privatekey", "cookie"];

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";

/// The least characters of a JSON Web Token: shorter ones are words.
const LEAST_TOKEN: usize = 20;

/// `text` without the values of secrets. `more` are further names, without `-` and `_`, in lower case.
pub(crate) fn redacted(text: &str, more: &[String]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if !is_of_name(first) {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let end = rest.find(|char| !is_of_name(char)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if is_token(name) {
            out.push_str(REDACTED);
            rest = after;
            continue;
        }
        out.push_str(name);
        rest = after;
        let Some(value) = value_after(after).filter(|_| is_secret(name, more)) else { continue };
        let (before, value) = after.split_at(after.len() - value.len());
        out.push_str(before);
        out.push_str(REDACTED);
        rest = &value[length_of_value(value, is_of_a_line(name))..];
    }
    out
}

fn is_of_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-' | '.')
}

/// Whether these are the parts of a JSON Web Token (RFC 7519 §3): the first is an object, encoded as base64url.
fn is_token(word: &str) -> bool {
    word.len() >= LEAST_TOKEN && word.starts_with("eyJ")
}

fn is_secret(name: &str, more: &[String]) -> bool {
    // of `user.password` and `headers.Cookie` the last part decides
    let last = name.rsplit('.').next().unwrap_or(name);
    let plain: String =
        last.chars().filter(char::is_ascii_alphanumeric).map(|char| char.to_ascii_lowercase()).collect();
    NAMES.contains(&&*plain) || ENDS.iter().any(|end| plain.ends_with(end)) || more.contains(&plain)
}

/// Whether the value of this name may have spaces: that of a header.
fn is_of_a_line(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("authorization") || name.ends_with("cookie")
}

/// The text from the value on, if the text after a name has one: after a quote of the name, spaces, and `:` or `=`.
fn value_after(text: &str) -> Option<&str> {
    let text = text.trim_start_matches('\\').trim_start_matches(['"', '\'']).trim_start();
    Some(text.strip_prefix([':', '='])?.trim_start_matches([' ', '\t', '\r', '\n']))
}

/// The number of bytes of a value: of a string with its quotes, of an array or object up to the end of the text, or of
/// a word.
fn length_of_value(text: &str, is_line: bool) -> usize {
    let escapes = text.len() - text.trim_start_matches('\\').len();
    let mut chars = text[escapes..].char_indices();
    match chars.next() {
        Some((_, quote @ ('"' | '\''))) => {
            let mut backslashes = 0;
            for (index, char) in chars {
                // in a string inside a string, the quotes are escaped as often as the first one
                if char == quote && backslashes == escapes {
                    return escapes + index + 1;
                }
                backslashes = if char == '\\' { backslashes + 1 } else { 0 };
                if escapes == 0 && backslashes == 2 {
                    backslashes = 0;
                }
            }
            text.len()
        }
        Some((_, '[' | '{')) => text.len(),
        _ if is_line => text.find(['\r', '\n', '"']).unwrap_or(text.len()),
        _ => text.find(|char: char| char.is_whitespace() || "&,;\"'}])>".contains(char)).unwrap_or(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> String {
        redacted(text, &[])
    }

    #[test]
    fn values_of_secret_names_are_redacted() {
        for (text, expected) in [
            (r#"{"token":"s3cr3t","n":1}"#, r#"{"token":[redacted],"n":1}"#),
            (r#"{"access_token" : "a\"b", "n":1}"#, r#"{"access_token" : [redacted], "n":1}"#),
            (r#"{"a":{"clientSecret":"x"}}"#, r#"{"a":{"clientSecret":[redacted]}}"#),
            (r#"{"password":123}"#, r#"{"password":[redacted]}"#),
            (r#"{"password":["a","b"]}"#, r#"{"password":[redacted]"#),
            (r#"{"password":"cut of"#, r#"{"password":[redacted]"#),
            (r#"{"end":"\\","apiKey":"x"}"#, r#"{"end":"\\","apiKey":[redacted]}"#),
            (r#"{"token":"\\","n":"x"}"#, r#"{"token":[redacted],"n":"x"}"#),
            (r#""{\"token\":\"s3cr3t\",\"n\":1}""#, r#""{\"token\":[redacted],\"n\":1}""#),
            ("wss://host/?room=1&access_token=abc&x=2", "wss://host/?room=1&access_token=[redacted]&x=2"),
            ("?key=abc", "?key=[redacted]"),
            ("Authorization: Bearer abc def\nHost: x", "Authorization: [redacted]\nHost: x"),
            ("Cookie: a=1; b=2\r\nX: y", "Cookie: [redacted]\r\nX: y"),
            ("headers.Set-Cookie=a b", "headers.Set-Cookie=[redacted]"),
            ("say eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig now", "say [redacted] now"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn other_text_stays() {
        for text in [
            "",
            r#"{"text":"the token is lost","keys":3}"#,
            "my password is not said here",
            "monkey=1&tokens=2",
            "héllo: wörld",
            "eyJshort",
        ] {
            assert_eq!(plain(text), text);
        }
    }

    #[test]
    fn further_names_are_redacted() {
        assert_eq!(redacted(r#"{"pin_code":1,"x":2}"#, &["pincode".to_owned()]), r#"{"pin_code":[redacted],"x":2}"#);
    }

    proptest! {
        #[test]
        fn any_secret_in_json_is_redacted(secret in any::<String>(), cut in any::<prop::sample::Index>()) {
            // a mark at each place, to find any rest
            let marked = format!("SECRET{secret}SECRET");
            let quoted = marked.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("{{\"refresh_token\":\"{quoted}\",\"n\":1}}");
            prop_assert_eq!(plain(&text), "{\"refresh_token\":[redacted],\"n\":1}");
            let cut = cut.index(text.len());
            let cut = (0..=cut).rev().find(|index| text.is_char_boundary(*index)).unwrap();
            prop_assert!(!plain(&text[..cut]).contains("SECRET"));
        }

        #[test]
        fn any_text_is_read_to_its_end(text in any::<String>()) {
            let _ = plain(&text);
        }
    }
}
