//! CBOR (RFC 8949) in binary messages, through serde. Only with the cargo feature `cbor`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::nesting::{self, TooDeep};
use crate::codec::wrapper::wrapper;
use crate::codec::{DecodeBinary, Encode};
use crate::error::excerpt::excerpt;
use crate::error::{BoxError, Error, Kind};
use endpoint_wire::message::{Binary, Message};

/// A value sent as CBOR (RFC 8949) in a binary message: the payload of a handler, a reply, an object to send.
///
/// ```
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::Cbor;
///
/// #[server_endpoint("/sum")]
/// #[derive(Default)]
/// struct Sum;
///
/// impl Sum {
///     #[on_message]
///     fn sum(&mut self, numbers: Cbor<Vec<f64>>) -> Cbor<f64> {
///         Cbor(numbers.iter().sum())
///     }
/// }
/// ```
///
/// A struct is a map with the names of its fields. A message holds exactly one value.
///
/// Data that is not CBOR of this type is an error for `on_error` with [`is_decode`](Error::is_decode), and
/// [`Error::bytes`] is the received data; a value that serde cannot write is one with [`is_encode`](Error::is_encode).
/// Data nested more deeply than [`max_nesting`](crate::ContainerBuilder::max_nesting) is an error with `is_decode`,
/// too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cbor<T>(pub T);

wrapper!(Cbor);

impl<T: DeserializeOwned> DecodeBinary for Cbor<T> {
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        read(&data).map(Self).map_err(|failure| {
            let type_name = std::any::type_name::<T>();
            Error::undecodable(data.into(), &format!("is not CBOR for type {type_name}"), failure)
        })
    }
}

fn read<T: DeserializeOwned>(data: &[u8]) -> Result<T, BoxError> {
    TooDeep::check(data, nesting::cbor::exceeds)?;
    let mut rest = data;
    // ciborium's default bound, 256, does not fit every stack; it also counts an enum that is a text and so not a level
    let limit = nesting::limit().saturating_add(1);
    let value =
        ciborium::de::from_reader_with_recursion_limit(&mut rest, limit).map_err(|error| excerpt(error).to_string())?;
    if !rest.is_empty() {
        return Err(format!("{} extra bytes after the value", rest.len()).into());
    }
    Ok(value)
}

impl<T: Serialize> Encode for Cbor<T> {
    fn encode(&self) -> Result<Message, Error> {
        let mut data = Vec::new();
        match ciborium::into_writer(&self.0, &mut data) {
            Ok(()) => Ok(data.into()),
            Err(error) => {
                let type_name = std::any::type_name::<T>();
                let text = format!("a value of type {type_name} cannot be encoded as CBOR: {}", excerpt(&error));
                Err(Error::with_source(Kind::Encode, text, excerpt(error).to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_round_trips() {
        let value = Cbor(vec![(1u8, "a".to_owned())]);
        assert_eq!(value.encode().unwrap(), Message::from(b"\x81\x82\x01\x61a".to_vec()));
        assert_eq!(Cbor::decode_binary(b"\x81\x82\x01\x61a".into()).unwrap(), value);
    }

    #[test]
    fn wrong_type_and_trailing_data_are_errors_with_the_bytes() {
        let deep = [0x81; 10_000];
        for data in [&b""[..], b"\x81", b"\x61a", b"\x81\x01\x00", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", &deep] {
            let error = Cbor::<Vec<u8>>::decode_binary(data.into()).unwrap_err();
            assert!(error.is_decode());
            assert_eq!(error.bytes(), Some(data));
        }
    }
}
