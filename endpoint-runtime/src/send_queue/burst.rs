//! Frames of successive broadcasts in one shared piece: a session's queue has one entry for all of them, and nothing is
//! copied for it.

use bytes::Bytes;

use super::write_buffer::Frames;

/// Maximum length of a piece, so that a slow reader's session holds few bytes that are not for it.
const MOST: usize = 16 << 10;

/// The frames of a burst so far; the last one can be told apart.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    before: Bytes,
    /// The frames in `before`, and the last one.
    all: Bytes,
}

impl Burst {
    /// Adds a frame to those before, or starts a new piece with it.
    pub(crate) fn add(before: Option<Bytes>, frame: &[u8]) -> Self {
        let before = before.filter(|before| before.len() + frame.len() <= MOST).unwrap_or_default();
        let all = [&before, frame].concat();
        Self { before, all: all.into() }
    }

    /// All frames.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.all
    }

    /// The last frame.
    pub(crate) fn last(&self) -> &[u8] {
        &self.all[self.before.len()..]
    }

    /// Number of bytes of `before` in `piece`, if `piece` ends with them.
    fn end_of(&self, piece: &Bytes) -> Option<usize> {
        let is_end = !piece.is_empty()
            && piece.len() <= self.before.len()
            // the same address in the same memory, which is still allocated
            && piece.as_ptr() == self.before[self.before.len() - piece.len()..].as_ptr();
        is_end.then_some(piece.len())
    }
}

impl Frames {
    /// Appends the last frame of a burst.
    pub(crate) fn push_burst(&mut self, burst: &Burst) {
        let position = self.small.len();
        let large = self.large.get_or_insert_default();
        let last = large.payloads.back_mut().filter(|(last, _)| *last == position);
        if let Some((piece, len)) = last.and_then(|(_, piece)| burst.end_of(piece).map(|len| (piece, len))) {
            *piece = burst.all.slice(burst.before.len() - len..);
            large.len += burst.last().len();
            return;
        }
        large.push(position, burst.all.slice(burst.before.len()..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_burst_are_one_piece() {
        let (mut early, mut late) = (Frames::default(), Frames::default());
        early.small().extend_from_slice(b"<");
        let mut before = None;
        for (number, frame) in [b"one", b"two", b"six"].into_iter().enumerate() {
            let burst = Burst::add(before, frame);
            assert_eq!(burst.last(), frame);
            early.push_burst(&burst);
            if number > 0 {
                late.push_burst(&burst);
            }
            before = Some(burst.into_bytes());
        }
        assert_eq!((early.payloads().count(), early.len(), late.len()), (1, 10, 6));
        early.small().extend_from_slice(b">");
        // other bytes lie between them
        early.push_burst(&Burst::add(before, b"ten"));
        assert_eq!(early.payloads().count(), 2);
        assert_eq!(early.into_bytes(), b"<onetwosix>ten");
        assert_eq!(late.into_bytes(), b"twosix");
    }

    #[test]
    fn what_was_written_in_part_goes_on() {
        let mut frames = Frames::default();
        let burst = Burst::add(None, b"one");
        frames.push_burst(&burst);
        frames.advance(2);
        frames.push_burst(&Burst::add(Some(burst.into_bytes()), b"two"));
        assert_eq!((frames.payloads().count(), frames.len()), (1, 4));
        assert_eq!(frames.into_bytes(), b"etwo");
    }

    #[test]
    fn piece_has_a_limit() {
        let burst = Burst::add(None, &[1; MOST]);
        let next = Burst::add(Some(burst.clone().into_bytes()), &[2; 3]);
        let mut frames = Frames::default();
        frames.push_burst(&burst);
        frames.push_burst(&next);
        assert_eq!(next.clone().into_bytes(), [2; 3][..]);
        assert_eq!((frames.payloads().count(), frames.len()), (2, MOST + 3));
    }
}
