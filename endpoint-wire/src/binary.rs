//! The binary message: owned, cheap to clone, and without an allocation if small.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

/// Messages up to this many bytes are stored inside the value itself, which makes [`Binary`] and
/// [`Text`](crate::text::Text) 40 bytes large. For `endpoint-runtime`: with it [`encode::small`](crate::encode::small)
/// copies a fixed length.
pub const INLINE: usize = 38;

/// A binary message: cheap to clone, and without an allocation up to 38 bytes.
///
/// Dereferences to `[u8]`. Converts from and into `Vec<u8>` and [`Bytes`] without copying where the source owns a
/// larger buffer.
#[derive(Clone)]
pub struct Binary(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, data: [u8; INLINE] },
    Shared(Bytes),
}

impl Binary {
    /// An empty message.
    pub const fn new() -> Self {
        Self(Repr::Inline { len: 0, data: [0; INLINE] })
    }

    /// The inline storage and the length in bytes, if the bytes are stored inline. For `endpoint-runtime`, as
    /// [`INLINE`].
    #[inline]
    pub fn inline(&self) -> Option<(&[u8; INLINE], usize)> {
        match &self.0 {
            Repr::Inline { len, data } => Some((data, usize::from(*len))),
            Repr::Shared(_) => None,
        }
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, data } => &data[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

/// Copies at most [`INLINE`] bytes, in two pieces of fixed length that may overlap: those compile to no function call.
#[inline]
fn inline(source: &[u8]) -> [u8; INLINE] {
    let (mut data, len) = ([0; INLINE], source.len());
    match len {
        32.. => {
            data[..32].copy_from_slice(&source[..32]);
            data[32..len].copy_from_slice(&source[32..]);
        }
        16..32 => {
            data[..16].copy_from_slice(&source[..16]);
            data[len - 16..len].copy_from_slice(&source[len - 16..]);
        }
        8..16 => {
            data[..8].copy_from_slice(&source[..8]);
            data[len - 8..len].copy_from_slice(&source[len - 8..]);
        }
        _ => data[..len].copy_from_slice(source),
    }
    data
}

impl Default for Binary {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Binary {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Binary {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for Binary {
    #[inline]
    fn from(source: &[u8]) -> Self {
        if source.len() <= INLINE {
            // INLINE fits a u8
            Self(Repr::Inline { len: source.len() as u8, data: inline(source) })
        } else {
            Self(Repr::Shared(Bytes::copy_from_slice(source)))
        }
    }
}

impl<const N: usize> From<&[u8; N]> for Binary {
    fn from(source: &[u8; N]) -> Self {
        Self::from(&source[..])
    }
}

impl<const N: usize> From<[u8; N]> for Binary {
    fn from(source: [u8; N]) -> Self {
        Self::from(&source[..])
    }
}

impl From<&Vec<u8>> for Binary {
    fn from(source: &Vec<u8>) -> Self {
        Self::from(&source[..])
    }
}

impl From<Vec<u8>> for Binary {
    fn from(source: Vec<u8>) -> Self {
        if source.len() <= INLINE { Self::from(&source[..]) } else { Self(Repr::Shared(Bytes::from(source))) }
    }
}

impl From<Bytes> for Binary {
    fn from(source: Bytes) -> Self {
        if source.len() <= INLINE { Self::from(&source[..]) } else { Self(Repr::Shared(source)) }
    }
}

impl From<&Binary> for Binary {
    fn from(source: &Binary) -> Self {
        source.clone()
    }
}

impl From<&Bytes> for Binary {
    fn from(source: &Bytes) -> Self {
        source.clone().into()
    }
}

impl From<Cow<'_, [u8]>> for Binary {
    fn from(source: Cow<'_, [u8]>) -> Self {
        match source {
            Cow::Borrowed(data) => data.into(),
            Cow::Owned(data) => data.into(),
        }
    }
}

impl From<Box<[u8]>> for Binary {
    fn from(source: Box<[u8]>) -> Self {
        Vec::from(source).into()
    }
}

/// Shares larger data, without copying it.
impl From<Arc<[u8]>> for Binary {
    fn from(source: Arc<[u8]>) -> Self {
        if source.len() <= INLINE { Self::from(&source[..]) } else { Self(Repr::Shared(Bytes::from_owner(source))) }
    }
}

impl From<Binary> for Vec<u8> {
    fn from(source: Binary) -> Self {
        match source.0 {
            Repr::Inline { len, data } => data[..usize::from(len)].to_vec(),
            Repr::Shared(bytes) => bytes.into(),
        }
    }
}

impl From<Binary> for Bytes {
    fn from(source: Binary) -> Self {
        match source.0 {
            Repr::Inline { len, data } => Bytes::copy_from_slice(&data[..usize::from(len)]),
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for Binary {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Binary {}

impl Hash for Binary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self[..].hash(state);
    }
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_read_back_what_went_in() {
        for len in (0..=INLINE + 1).chain([1000]) {
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            assert_eq!(&*Binary::from(&data[..]), &data[..]);
            assert_eq!(Vec::from(Binary::from(data.clone())), data);
            assert_eq!(Bytes::from(Binary::from(Bytes::from(data.clone()))), data);
        }
    }
}
