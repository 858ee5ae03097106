//! JSON in text messages, through serde. Only with the cargo feature `json`, which is on by default.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::nesting::{self, TooDeep};
use crate::codec::wrapper::wrapper;
use crate::codec::{BorrowMessage, DecodeBinary, DecodeText, Encode};
use crate::error::excerpt::excerpt;
use crate::error::{BoxError, Error, Kind};
use endpoint_wire::message::{Binary, Message};
use endpoint_wire::text::Text;

/// A value sent as JSON in a text message: the payload of a handler, a reply, an object to send.
///
/// ```
/// use endpoint_runtime::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct Say {
///     line: String,
/// }
///
/// #[derive(Serialize)]
/// struct Said<'a> {
///     room: &'a str,
///     line: String,
/// }
///
/// #[server_endpoint("/chat/{room}")]
/// #[derive(Default)]
/// struct Chat;
///
/// impl Chat {
///     #[on_message]
///     async fn say(&mut self, Json(say): Json<Say>, session: &Session, #[path_param] room: &str) -> Result<(), Error> {
///         let said = Json(Said { room, line: say.line });
///         session.open_sessions().async_remote().send_object(&said)?;
///         Ok(())
///     }
/// }
/// ```
///
/// Text that is not JSON of this type is an error for `on_error` with [`is_decode`](Error::is_decode), and
/// [`Error::text`] is the received text; a value that serde cannot write as JSON is one with
/// [`is_encode`](Error::is_encode). [`Error::downcast_ref`] gives serde's own error, with line and column. Text nested
/// more deeply than [`max_nesting`](crate::ContainerBuilder::max_nesting) is an error with `is_decode`, too.
///
/// Messages are text in both directions. With `#[on_message(binary)]` a handler takes it from binary frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(pub T);

wrapper!(Json);

impl<T: DeserializeOwned> DecodeText for Json<T> {
    fn decode_text(text: Text) -> Result<Self, Error> {
        Self::decode_str(&text)
    }

    fn decode_str(text: &str) -> Result<Self, Error> {
        Self::borrow_message(text)
    }
}

/// For `#[on_message(binary)]`: JSON from clients that send it in binary frames.
impl<T: DeserializeOwned> DecodeBinary for Json<T> {
    fn decode_binary(data: Binary) -> Result<Self, Error> {
        Self::borrow_message(data.as_slice())
    }
}

/// For a `T` that borrows from the message, as `Json<Say<'_>>` does.
impl<'m, T: Deserialize<'m>> BorrowMessage<'m, str> for Json<T> {
    fn borrow_message(text: &'m str) -> Result<Self, Error> {
        read_str(text).map(Self).map_err(|error| {
            let failure = format!("is not JSON for type {}", std::any::type_name::<T>());
            Error::undecodable(text.into(), &failure, error)
        })
    }
}

/// For `#[on_message(binary)]`.
impl<'m, T: Deserialize<'m>> BorrowMessage<'m, [u8]> for Json<T> {
    fn borrow_message(data: &'m [u8]) -> Result<Self, Error> {
        read_slice(data).map(Self).map_err(|error| {
            let failure = format!("is not JSON for type {}", std::any::type_name::<T>());
            Error::undecodable(data.into(), &failure, error)
        })
    }
}

impl<T: Serialize> Encode for Json<T> {
    fn encode(&self) -> Result<Message, Error> {
        serde_json::to_string(&self.0).map(Message::from).map_err(|error| {
            let text = format!(
                "a value of type {} cannot be encoded as JSON: {}",
                std::any::type_name::<T>(),
                excerpt(&error)
            );
            Error::with_source(Kind::Encode, text, error)
        })
    }
}

/// Levels that `serde_json` reads by default.
const SERDE_LEVELS: usize = 127;

fn read_str<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BoxError> {
    Ok(read(serde_json::Deserializer::from_str(text), is_deep(text.as_bytes())?)?)
}

fn read_slice<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, BoxError> {
    Ok(read(serde_json::Deserializer::from_slice(data), is_deep(data)?)?)
}

/// Whether `data` has more levels than `serde_json` reads by default; an error if it exceeds the current bound.
pub(crate) fn is_deep(data: &[u8]) -> Result<bool, TooDeep> {
    if nesting::limit() > SERDE_LEVELS && (data.len() <= SERDE_LEVELS || !nesting::json::exceeds(data, SERDE_LEVELS)) {
        return Ok(false);
    }
    TooDeep::check(data, nesting::json::exceeds)?;
    Ok(nesting::limit() > SERDE_LEVELS)
}

/// Reads exactly one value; `deep` lifts the bound of `serde_json`, for data that [`is_deep`] has checked.
pub(crate) fn read<'a, T, R>(mut reader: serde_json::Deserializer<R>, deep: bool) -> Result<T, serde_json::Error>
where
    T: Deserialize<'a>,
    R: serde_json::de::Read<'a>,
{
    if deep {
        reader.disable_recursion_limit();
    }
    let value = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn value_round_trips() {
        let value = Json(vec![(1, "a".to_owned()), (2, "\u{1f600}\"".to_owned())]);
        let Message::Text(text) = value.encode().unwrap() else { panic!("JSON is text") };
        assert_eq!(Json::decode_text(text).unwrap(), value);
    }

    #[test]
    fn invalid_json_and_wrong_type_are_errors_with_text_and_position() {
        for text in ["", "{", "[1, 2", "[\"a\"]", "[1] x"] {
            let error = Json::<Vec<u8>>::decode_str(text).unwrap_err();
            assert!(error.is_decode());
            assert_eq!(error.text(), Some(text));
            assert_eq!(error.downcast_ref::<serde_json::Error>().unwrap().line(), 1, "{text}");
        }
        let error = Json::<Vec<u8>>::decode_str("[300]").unwrap_err().to_string();
        assert!(error.starts_with("the text message \"[300]\" is not JSON for type alloc::vec::Vec<u8>: "), "{error}");
        assert!(error.contains("line 1 column 4"), "{error}");
    }

    #[test]
    fn values_without_a_json_representation_cannot_be_encoded() {
        let error = Json(HashMap::from([((1, 2), 3)])).encode().unwrap_err();
        assert!(error.is_encode() && !error.is_decode());
        assert!(error.to_string().contains("cannot be encoded as JSON: key must be a string"), "{error}");
    }
}
