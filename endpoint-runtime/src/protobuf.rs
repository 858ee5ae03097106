//! Protocol Buffers as binary messages, by prost. Only with the cargo feature `protobuf`.

use crate::codec::wrapper::wrapper;
use crate::codec::{DecodeBinary, Encode};
use crate::error::Error;
use crate::message::{Binary, Message};

/// A message of Protocol Buffers that travels in a binary message: the payload of a handler, a reply, an object to send.
/// `T` is what `prost` generates, or anything else that implements `prost::Message`.
///
/// ```ignore
/// #[on_message]
/// fn mirror(&mut self, Protobuf(point): Protobuf<Point>) -> Protobuf<Point> {
///     Protobuf(Point { x: point.y, y: point.x })
/// }
/// ```
///
/// Data that is no such message is an error for `on_error` with [`is_decode`](Error::is_decode), and [`Error::bytes`] is
/// what came. To encode never fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protobuf<T>(pub T);

wrapper!(Protobuf);

impl<T: prost::Message + Default> DecodeBinary for Protobuf<T> {
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        T::decode(data.as_slice()).map(Self).map_err(|error| {
            let failure = format!("is no Protocol Buffers message of type {}", std::any::type_name::<T>());
            Error::undecodable(data.into(), &failure, error)
        })
    }
}

impl<T: prost::Message> Encode for Protobuf<T> {
    fn encode(&self) -> Result<Message, Error> {
        Ok(self.0.encode_to_vec().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_went() {
        let value = Protobuf("testing".to_owned());
        let data = b"\x0a\x07testing";
        assert_eq!(value.encode().unwrap(), Message::from(data.to_vec()));
        assert_eq!(Protobuf::decode_binary(data.into()).unwrap(), value);
        // nothing at all is a message of nothing but defaults
        assert_eq!(Protobuf::<String>::decode_binary(Binary::new()).unwrap(), Protobuf(String::new()));
    }

    #[test]
    fn what_is_no_such_message_is_refused_with_its_bytes() {
        for data in [&b"\x0a\x07test"[..], b"\x0a\x01\xff", b"\xff"] {
            let error = Protobuf::<String>::decode_binary(data.into()).unwrap_err();
            assert!(error.is_decode());
            assert_eq!(error.bytes(), Some(data));
        }
    }
}
