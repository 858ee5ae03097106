//! Fields of an entry as bytes: numbers in network byte order, and blocks with their length before them.

use bytes::{BufMut, Bytes};

/// A length as it is written. A longer block does not fit into a packet of any engine.
pub(crate) fn length_of(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes with their length before them.
pub(crate) fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    out.put_u32(length_of(block.len()));
    out.put_slice(block);
}

pub(crate) fn put_option(out: &mut Vec<u8>, text: Option<&str>) {
    out.put_u8(u8::from(text.is_some()));
    if let Some(text) = text {
        put_block(out, text.as_bytes());
    }
}

/// Reads fields one after another; `None` where the bytes end early or are invalid.
pub(crate) struct Reader(pub(crate) Bytes);

impl Reader {
    pub(crate) fn take(&mut self, bytes: usize) -> Option<Bytes> {
        (bytes <= self.0.len()).then(|| self.0.split_to(bytes))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.as_ref().try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_be_bytes)
    }

    pub(crate) fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn block(&mut self) -> Option<Bytes> {
        let bytes = usize::try_from(self.u32()?).ok()?;
        self.take(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.block()?.into()).ok()
    }

    pub(crate) fn option(&mut self) -> Option<Option<String>> {
        if self.bool()? { self.text().map(Some) } else { Some(None) }
    }

    /// A list of items of at least `least` bytes each: memory grows with the bytes that are there, never with the number
    /// that was claimed.
    pub(crate) fn list<T>(&mut self, least: usize, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.u32()?).ok()?;
        if count > self.0.len() / least.max(1) {
            return None;
        }
        (0..count).map(|_| item(self)).collect()
    }
}
