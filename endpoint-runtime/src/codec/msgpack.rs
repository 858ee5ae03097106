//! MessagePack in binary messages, through serde. Only with the cargo feature `msgpack`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::nesting::{self, TooDeep};
use crate::codec::wrapper::wrapper;
use crate::codec::{DecodeBinary, Encode};
use crate::error::excerpt::excerpt;
use crate::error::{BoxError, Error, Kind};
use endpoint_wire::message::{Binary, Message};

/// A value sent as MessagePack in a binary message: the payload of a handler, a reply, an object to send.
///
/// ```
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::MessagePack;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize, Serialize)]
/// struct Point {
///     x: i32,
///     y: i32,
/// }
///
/// #[server_endpoint("/plane")]
/// #[derive(Default)]
/// struct Plane;
///
/// impl Plane {
///     #[on_message]
///     fn mirror(&mut self, MessagePack(Point { x, y }): MessagePack<Point>) -> MessagePack<Point> {
///         MessagePack(Point { x: y, y: x })
///     }
/// }
/// ```
///
/// A struct is written as a map with the names of its fields, as programs in other languages expect; it is read from
/// such a map or from an array in the order of its fields. A message holds exactly one value.
///
/// Data that is not MessagePack of this type is an error for `on_error` with [`is_decode`](Error::is_decode), and
/// [`Error::bytes`] is the received data; a value that serde cannot write is one with [`is_encode`](Error::is_encode).
/// Data nested more deeply than [`max_nesting`](crate::ContainerBuilder::max_nesting) is an error with `is_decode`,
/// too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessagePack<T>(pub T);

wrapper!(MessagePack);

impl<T: DeserializeOwned> DecodeBinary for MessagePack<T> {
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        read(&data).map(Self).map_err(|failure| {
            let type_name = std::any::type_name::<T>();
            Error::undecodable(data.into(), &format!("is not MessagePack for type {type_name}"), failure)
        })
    }
}

fn read<T: DeserializeOwned>(data: &[u8]) -> Result<T, BoxError> {
    // rmp-serde counts arrays and maps, but not those that hold the variant of an enum
    TooDeep::check(data, nesting::msgpack::exceeds)?;
    let mut rest = data;
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    // rmp-serde's bound counts differently and must not be the lower one: an extension counts, and the last level is
    // refused
    reader.set_max_depth(nesting::limit().saturating_add(2));
    let value = T::deserialize(&mut reader)?;
    if !rest.is_empty() {
        return Err(format!("{} extra bytes after the value", rest.len()).into());
    }
    Ok(value)
}

impl<T: Serialize> Encode for MessagePack<T> {
    fn encode(&self) -> Result<Message, Error> {
        rmp_serde::to_vec_named(&self.0).map(Message::from).map_err(|error| {
            let type_name = std::any::type_name::<T>();
            let text = format!("a value of type {type_name} cannot be encoded as MessagePack: {}", excerpt(&error));
            Error::with_source(Kind::Encode, text, error)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Point {
        x: i32,
        y: i32,
    }

    #[test]
    fn struct_is_written_as_a_map_and_read_from_map_or_array() {
        let point = MessagePack(Point { x: 1, y: -1 });
        let map = b"\x82\xa1x\x01\xa1y\xff";
        assert_eq!(point.encode().unwrap(), Message::from(map.to_vec()));
        assert_eq!(MessagePack::decode_binary(map.into()).unwrap(), point);
        assert_eq!(MessagePack::decode_binary(b"\x92\x01\xff".into()).unwrap(), point);
    }

    #[test]
    fn wrong_type_and_trailing_data_are_errors_with_the_bytes() {
        for data in [&b""[..], b"\x82\xa1x\x01", b"\xa1x", b"\x92\x01\xff\x00", b"\xdd\xff\xff\xff\xff"] {
            let error = MessagePack::<Point>::decode_binary(data.into()).unwrap_err();
            assert!(error.is_decode());
            assert_eq!(error.bytes(), Some(data));
        }
    }
}
