//! Metas of presence: what an application tells about a user's device, as JSON.

#[cfg(feature = "json")]
use std::any::Any;

use bytes::Bytes;

#[cfg(feature = "json")]
use crate::error::{Error, Kind};

/// A type that a [`Presence`](crate::Presence) may contain for each device: `()`, which reads no meta, and with the
/// feature `json` every type that serde reads and that owns its data.
pub trait PresenceMeta: Sized + 'static {
    /// Reads a meta; `None` if it is not of this type.
    #[doc(hidden)]
    fn read(meta: &Bytes) -> Option<Self>;
}

#[cfg(not(feature = "json"))]
impl PresenceMeta for () {
    fn read(_: &Bytes) -> Option<Self> {
        Some(())
    }
}

#[cfg(feature = "json")]
impl<M: serde::de::DeserializeOwned + 'static> PresenceMeta for M {
    fn read(meta: &Bytes) -> Option<Self> {
        // `()` reads any meta, though it is only `null` for serde
        unit().or_else(|| serde_json::from_slice(meta).ok())
    }
}

/// The value of `()`, if that is `M`.
#[cfg(feature = "json")]
fn unit<M: 'static>() -> Option<M> {
    let mut unit: Option<M> = None;
    if let Some(slot) = (&mut unit as &mut dyn Any).downcast_mut::<Option<()>>() {
        *slot = Some(());
    }
    unit
}

/// The meta as JSON, in at most `limit` bytes.
#[cfg(feature = "json")]
pub(crate) fn write<T: serde::Serialize + ?Sized>(meta: &T, limit: usize) -> Result<Bytes, Error> {
    let name = std::any::type_name::<T>();
    let json = serde_json::to_vec(meta).map_err(|error| {
        let text = format!("a presence meta of type {name} cannot be encoded as JSON");
        Error::with_source(Kind::Encode, text, error)
    })?;
    if json.len() > limit {
        let text =
            format!("a presence meta of type {name} has {} bytes as JSON, and at most {limit} are allowed", json.len());
        return Err(Error::new(Kind::Encode, text));
    }
    Ok(json.into())
}

#[cfg(all(test, feature = "json"))]
mod tests {
    use super::*;

    #[test]
    fn unit_reads_every_meta_and_other_types_only_their_own() {
        let meta = write(&("away", 5), 100).unwrap();
        assert_eq!(<()>::read(&meta), Some(()));
        assert_eq!(<(String, u8)>::read(&meta), Some(("away".into(), 5)));
        assert_eq!(u8::read(&meta), None);
    }

    #[test]
    fn large_meta_is_an_encode_error() {
        assert!(write("1234", 6).is_ok());
        let error = write("12345", 6).unwrap_err();
        assert!(error.is_encode());
        assert_eq!(error.to_string(), "a presence meta of type str has 7 bytes as JSON, and at most 6 are allowed");
    }
}
