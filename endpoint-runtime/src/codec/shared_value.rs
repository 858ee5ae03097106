//! Properties of sessions that travel between the nodes of a cluster, as JSON.

use bytes::Bytes;

/// A type of property that an endpoint can share (`shared(Profile)`): with the feature `json`, every type that serde
/// writes and reads, and that owns its data.
#[diagnostic::on_unimplemented(
    message = "properties of type `{Self}` cannot be shared with other nodes",
    note = "implement Serialize and Deserialize for it, and enable the feature `json`"
)]
pub trait SharedValue: Sized + Send + Sync + 'static {
    /// Writes the value; `None` if that fails.
    #[doc(hidden)]
    fn write(&self) -> Option<Bytes>;

    /// Reads a value; `None` if it is not one.
    #[doc(hidden)]
    fn read(value: &Bytes) -> Option<Self>;
}

#[cfg(feature = "json")]
impl<T: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static> SharedValue for T {
    fn write(&self) -> Option<Bytes> {
        serde_json::to_vec(self).ok().map(Bytes::from)
    }

    fn read(value: &Bytes) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }
}
