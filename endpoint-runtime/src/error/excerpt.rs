//! Excerpts of untrusted text for errors, logs and responses: bounded in length.

use std::fmt::{self, Write};

/// Maximum bytes of one untrusted text: a name, a value, the message of a parser.
pub(crate) const EXCERPT: usize = 256;

/// Displays `value` cut to `most` bytes at a character boundary, followed by `…` if it was longer. It never writes
/// more, however long the whole text is.
pub(crate) struct Brief<T> {
    value: T,
    most: usize,
}

/// The beginning of an untrusted text, up to [`EXCERPT`] bytes.
pub(crate) fn excerpt<T: fmt::Display>(value: T) -> Brief<T> {
    Brief { value, most: EXCERPT }
}

/// The beginning of a text, up to `most` bytes.
pub(crate) fn within<T: fmt::Display>(value: T, most: usize) -> Brief<T> {
    Brief { value, most }
}

/// Cuts an existing text to `most` bytes and appends `…`.
pub(crate) fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(boundary(text, most));
        text.push('…');
    }
}

impl<T: fmt::Display> fmt::Display for Brief<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limited = Limited { out: f, left: self.most, is_cut: false };
        let written = write!(limited, "{}", self.value);
        if limited.is_cut { f.write_str("…") } else { written }
    }
}

struct Limited<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    left: usize,
    is_cut: bool,
}

impl Write for Limited<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        if text.len() <= self.left {
            self.left -= text.len();
            return self.out.write_str(text);
        }
        self.is_cut = true;
        self.out.write_str(&text[..boundary(text, self.left)])?;
        // stops the formatting of the rest
        Err(fmt::Error)
    }
}

/// The last character boundary, up to `most`.
fn boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_kept_and_long_text_is_cut_at_a_character() {
        let rows = [("", ""), ("abcd", "abcd"), ("abcde", "abcd…"), ("aéé", "aé…"), ("😀", "😀"), ("a😀", "a…")];
        for (text, brief) in rows {
            assert_eq!(within(text, 4).to_string(), brief);
            let mut text = text.to_owned();
            cut(&mut text, 4);
            assert_eq!(text, brief);
        }
        assert_eq!(excerpt("x".repeat(256)).to_string(), "x".repeat(256));
        assert_eq!(excerpt("x".repeat(257)).to_string(), "x".repeat(256) + "…");
    }

    #[test]
    fn formatting_stops_at_the_limit() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("again ")?;
                }
            }
        }
        assert_eq!(within(Endless, 10).to_string(), "again agai…");
        /// An implementation that ignores write errors.
        struct Deaf;
        impl fmt::Display for Deaf {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                ["one", "two", "three"].iter().for_each(|word| _ = f.write_str(word));
                Ok(())
            }
        }
        assert_eq!(within(Deaf, 5).to_string(), "onetw…");
    }
}
