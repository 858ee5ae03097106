//! The window that a DEFLATE block may refer to: a ring of the last bytes.

/// The last bytes of an inflater's output; the inflater does not expose its own window. The ring grows as it fills.
#[derive(Debug)]
pub(super) struct History {
    bytes: Vec<u8>,
    /// Index of the oldest byte, once the ring is full.
    oldest: usize,
    most: usize,
}

impl History {
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), oldest: 0, most }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.oldest = 0;
    }

    pub(super) fn push(&mut self, new: &[u8]) {
        let mut new = &new[new.len().saturating_sub(self.most)..];
        let (len, free) = (self.bytes.len(), self.most - self.bytes.len());
        if free > 0 && !new.is_empty() {
            let (fits, rest) = new.split_at(new.len().min(free));
            if self.bytes.capacity() - len < fits.len() {
                self.bytes.reserve_exact(fits.len().max(len).min(free));
            }
            self.bytes.extend_from_slice(fits);
            new = rest;
        }
        while !new.is_empty() {
            let (fits, rest) = new.split_at(new.len().min(self.most - self.oldest));
            self.bytes[self.oldest..self.oldest + fits.len()].copy_from_slice(fits);
            self.oldest = (self.oldest + fits.len()) % self.most;
            new = rest;
        }
    }

    /// Bytes of memory allocated.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The content, oldest byte first.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        let (newer, older) = self.bytes.split_at(self.oldest);
        [older, newer]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_the_last_bytes_in_order() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for step in [1, 3, 7, 8, 9, 30] {
            let mut history = History::new(8);
            for (place, piece) in bytes.chunks(step).enumerate() {
                history.push(piece);
                let end = (place * step + piece.len()).min(bytes.len());
                assert_eq!(history.parts().concat(), bytes[end.saturating_sub(8)..end], "by {step}");
                assert!(history.bytes.capacity() <= 8);
            }
        }
    }
}
