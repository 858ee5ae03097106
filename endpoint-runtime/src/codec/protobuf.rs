//! Protocol Buffers as binary messages, by prost. Only with the cargo feature `protobuf`.

use bytes::{Buf, BufMut};
use prost::DecodeError;

use prost::encoding::{DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint, message};

use crate::codec::nesting;
use crate::codec::wrapper::wrapper;
use crate::codec::{DecodeBinary, Encode};
use crate::error::Error;
use endpoint_wire::message::{Binary, Message};

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
///
/// Messages inside of messages are read 100 deep, or [`max_nesting`](crate::ContainerBuilder::max_nesting) if that is less;
/// more is an error with `is_decode`. The 100 are `prost`'s: do not switch its feature `no-recursion-limit` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protobuf<T>(pub T);

wrapper!(Protobuf);

impl<T: prost::Message + Default> DecodeBinary for Protobuf<T> {
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        read(&data).map(Self).map_err(|error| {
            let failure = format!("is no Protocol Buffers message of type {}", std::any::type_name::<T>());
            Error::undecodable(data.into(), &failure, error)
        })
    }
}

/// The levels that prost reads. Its own bound cannot be set; it cannot be lifted either, except by a feature of prost.
const PROST_LEVELS: usize = 100;

fn read<T: prost::Message + Default>(data: &[u8]) -> Result<T, DecodeError> {
    let limit = nesting::limit();
    // a level is a key and a length, or two keys, so so few bytes have none that is too deep
    if limit >= PROST_LEVELS || data.len() / 2 <= limit {
        return T::decode(data);
    }
    Inside::decode(PROST_LEVELS - limit, data)
}

/// A message that lies inside of others which hold nothing else: they use up the levels that prost would read beyond the
/// bound. Bytes alone do not tell where a message is, a string, or any field that the type does not have.
#[derive(Debug, Default)]
struct Inside<T> {
    levels: usize,
    message: T,
}

impl<T: prost::Message + Default> Inside<T> {
    fn decode(levels: usize, data: &[u8]) -> Result<T, DecodeError> {
        const KEY: usize = 1;
        let mut lengths = Vec::with_capacity(levels);
        let mut len = data.len();
        for _ in 0..levels {
            lengths.push(len);
            len += KEY + encoded_len_varint(len as u64);
        }
        let mut wrapped = Vec::with_capacity(len);
        for len in lengths.into_iter().rev() {
            encode_key(1, WireType::LengthDelimited, &mut wrapped);
            encode_varint(len as u64, &mut wrapped);
        }
        wrapped.extend_from_slice(data);
        let mut inside = Self { levels, message: T::default() };
        prost::Message::merge(&mut inside, wrapped.as_slice()).map(|()| inside.message)
    }
}

impl<T: prost::Message + Default> prost::Message for Inside<T> {
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let Some(levels) = self.levels.checked_sub(1) else {
            return self.message.merge_field(tag, wire_type, buf, context);
        };
        self.levels = levels;
        message::merge(wire_type, self, buf, context)
    }

    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {}
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
