//! Choices out of the bytes of an input; zero when they are used up, so that every input means something.

/// The bytes that are not used up.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to the next `end`, which is used up too.
    pub fn until(&mut self, end: u8) -> &'a [u8] {
        let count = self.0.iter().position(|byte| *byte == end).unwrap_or(self.0.len());
        let taken = self.take(count);
        self.take(1);
        taken
    }

    /// `payload` over and over: a square number of times, or up to a length where something changes.
    pub fn stretch(&mut self, payload: &[u8]) -> Vec<u8> {
        const LENGTHS: [usize; 16] =
            [63, 64, 125, 126, 127, 255, 256, 16_383, 16_384, 16_385, 65_534, 65_535, 65_536, 65_537, 98_304, 131_072];
        let len = match usize::from(self.byte()) {
            times @ ..240 => (payload.len() * times * times).min(128 << 10),
            place => LENGTHS[place - 240],
        };
        payload.iter().copied().cycle().take(len).collect()
    }

    /// Sizes of pieces to cut a stream into, up to seven, small ones and large ones; at least one, and none is zero.
    pub fn sizes(&mut self) -> Vec<usize> {
        let sizes: Vec<_> = (0..self.byte() % 8)
            .map(|_| match usize::from(self.byte()) {
                small @ ..128 => small + 1,
                large => (large - 127) * 300,
            })
            .collect();
        if sizes.is_empty() { vec![usize::MAX] } else { sizes }
    }
}
