//! A line of the load: who sent it in which phase, its number there, and when. Pure.

use std::fmt::Write;

/// What a line tells its receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Lines of an earlier phase are no deliveries of this one.
    pub phase: u32,
    pub sender: usize,
    pub number: u32,
    /// Nanoseconds since the driver started.
    pub sent: u64,
}

impl Line {
    /// Writes it, filled up to `size` bytes.
    pub fn write(&self, size: usize, out: &mut String) {
        let Self { phase, sender, number, sent } = self;
        let start = out.len();
        write!(out, "{phase} {sender} {number} {sent} ").expect("a String takes all");
        while out.len() < start + size {
            out.push('.');
        }
    }

    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let phase = words.next()?.parse().ok()?;
        let sender = words.next()?.parse().ok()?;
        let number = words.next()?.parse().ok()?;
        let sent = words.next()?.parse().ok()?;
        Some(Self { phase, sender, number, sent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_size_and_is_read_back() {
        let line = Line { phase: 2, sender: 17, number: 123_456, sent: 9_876_543_210 };
        let mut text = String::new();
        line.write(100, &mut text);
        assert_eq!(text.len(), 100);
        assert_eq!(Line::read(&text), Some(line));
        assert_eq!(Line::read("2 17 x 1 "), None);
    }
}
