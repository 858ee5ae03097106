//! Properties that an endpoint marks as shared: other nodes may ask for them, and select sessions by them.

use std::any::{Any, TypeId};
use std::fmt;

use bytes::Bytes;

use super::rare::{Rare, TypeMap};
use crate::codec::shared_value::SharedValue;

/// A type of property that an endpoint shares.
#[derive(Clone, Copy)]
pub struct SharedProperty {
    pub(crate) name: &'static str,
    type_id: fn() -> TypeId,
    write: fn(&dyn Any) -> Option<Bytes>,
}

impl SharedProperty {
    /// The type `T`, by this name.
    pub const fn of<T: SharedValue>(name: &'static str) -> Self {
        Self { name, type_id: TypeId::of::<T>, write: |value| value.downcast_ref::<T>()?.write() }
    }

    /// Whether it is the type `T`.
    pub(super) fn is<T: 'static>(&self) -> bool {
        (self.type_id)() == TypeId::of::<T>()
    }

    /// The value among these, as bytes.
    fn find(&self, properties: &TypeMap) -> Option<Bytes> {
        (self.write)(&**properties.get(&(self.type_id)())?)
    }
}

/// Writes the value of the shared property of this name. The value's own code runs under the lock on the properties.
pub(super) fn value<S>(shared: &[SharedProperty], name: &str, rare: &Rare<S>) -> Option<Bytes> {
    shared.iter().find(|property| property.name == name)?.find(&rare.properties())
}

impl fmt::Debug for SharedProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedProperty").field(&self.name).finish()
    }
}
