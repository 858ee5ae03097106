//! Texts that others have made, or had a part in, as they stand in errors, logs and answers: no longer than is useful.

use std::fmt::{self, Write};

/// The most bytes of one text from outside: a name, a value, what a parser complains about.
pub(crate) const EXCERPT: usize = 256;

/// What it displays, cut to so many bytes at the end of a character; then `…` follows. No more than that is written
/// anywhere, however long the whole is.
pub(crate) struct Brief<T> {
    value: T,
    most: usize,
}

/// The beginning of a text from outside.
pub(crate) fn excerpt<T: fmt::Display>(value: T) -> Brief<T> {
    Brief { value, most: EXCERPT }
}

/// The beginning of a text, up to `most` bytes.
pub(crate) fn within<T: fmt::Display>(value: T, most: usize) -> Brief<T> {
    Brief { value, most }
}

/// Cuts a text that is there already.
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
        // the rest need not be made
        Err(fmt::Error)
    }
}

/// The last place, up to `most`, at which a character ends.
fn boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stays_and_what_is_long_ends_with_a_whole_character() {
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
    fn no_more_is_asked_for_than_is_shown() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("again ")?;
                }
            }
        }
        assert_eq!(within(Endless, 10).to_string(), "again agai…");
        /// An implementation that does not care whether it could write.
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
