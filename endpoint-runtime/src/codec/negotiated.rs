//! Messages in the format that the subprotocol selects. Only with the cargo feature `json`.

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "cbor")]
use crate::codec::cbor::Cbor;
use crate::codec::json::Json;
#[cfg(feature = "msgpack")]
use crate::codec::msgpack::MessagePack;
use crate::codec::session_coders::EncodeContext;
use crate::codec::wrapper::wrapper;
use crate::codec::{DecodeBinary, DecodeText, Encode};
use crate::error::Error;
use crate::error::excerpt::excerpt;
use endpoint_wire::message::Message;

/// A value sent in the format that the session's subprotocol selects: the payload of a handler, a reply, an object to
/// send. One handler serves clients of every format.
///
/// ```
/// use endpoint_runtime::prelude::*;
/// use endpoint_runtime::Negotiated;
///
/// #[server_endpoint("/sum", subprotocols("sum.json", "sum.msgpack", "sum.cbor"))]
/// #[derive(Default)]
/// struct Sum;
///
/// impl Sum {
///     #[on_message]
///     fn sum(&mut self, numbers: Negotiated<Vec<f64>>) -> Negotiated<f64> {
///         Negotiated(numbers.iter().sum())
///     }
/// }
/// ```
///
/// The subprotocol's suffix selects the format: the text after the last dot, or all of it:
///
/// | Subprotocol | Format | Messages |
/// |---|---|---|
/// | `json` | [`Json`] | text; read from binary data as well |
/// | `msgpack` | `MessagePack`, with the cargo feature `msgpack` | binary |
/// | `cbor` | `Cbor`, with the cargo feature `cbor` | binary |
///
/// A message in another format than the agreed one is an error with [`is_decode`](Error::is_decode). Without an agreed
/// subprotocol that selects a format, reading and sending fail with errors that state this: `is_decode` and
/// [`is_encode`](Error::is_encode). A client that does not ask for a subprotocol gets none, so use [`Json`] for such
/// clients.
///
/// A handler of this type takes text and binary data, so its endpoint has no other handler for either. The type must be
/// spelled out in the handler's signature, since attributes see only tokens; so must a reply, if need be inside
/// `Option` and `Result`. A broadcast is encoded once for each subprotocol of its sessions; if one of them selects no
/// format, nothing is sent to any session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Negotiated<T>(pub T);

wrapper!(Negotiated);

/// The format that a subprotocol selects.
enum Form {
    Json,
    #[cfg(feature = "msgpack")]
    MessagePack,
    #[cfg(feature = "cbor")]
    Cbor,
}

impl Form {
    fn of(subprotocol: Option<&str>) -> Result<Self, String> {
        let Some(subprotocol) = subprotocol else {
            return Err("no subprotocol was negotiated, so the message format is unknown".into());
        };
        match subprotocol.rsplit('.').next().unwrap_or_default() {
            "json" => Ok(Self::Json),
            #[cfg(feature = "msgpack")]
            "msgpack" => Ok(Self::MessagePack),
            #[cfg(feature = "cbor")]
            "cbor" => Ok(Self::Cbor),
            _ => Err(format!(
                "the subprotocol {:?} does not name a known message format",
                excerpt(subprotocol).to_string()
            )),
        }
    }
}

impl<T: DeserializeOwned> Negotiated<T> {
    /// Decodes a message of a session with the encode context `context`.
    ///
    /// # Errors
    /// [`Error::is_decode`], with the message.
    pub fn decode(message: Message, context: &EncodeContext<'_>) -> Result<Self, Error> {
        let form = match Form::of(context.subprotocol()) {
            Ok(form) => form,
            Err(reason) => return Err(Error::decode(message, reason)),
        };
        match (form, message) {
            (Form::Json, Message::Text(text)) => Json::decode_text(text).map(|Json(value)| Self(value)),
            (Form::Json, Message::Binary(data)) => Json::decode_binary(data).map(|Json(value)| Self(value)),
            #[cfg(feature = "msgpack")]
            (Form::MessagePack, Message::Binary(data)) => {
                MessagePack::decode_binary(data).map(|MessagePack(value)| Self(value))
            }
            #[cfg(feature = "cbor")]
            (Form::Cbor, Message::Binary(data)) => Cbor::decode_binary(data).map(|Cbor(value)| Self(value)),
            #[cfg(any(feature = "msgpack", feature = "cbor"))]
            (_, message) => {
                let subprotocol = excerpt(context.subprotocol().unwrap_or_default()).to_string();
                Err(Error::decode(message, format!("messages of the subprotocol {subprotocol:?} are binary")))
            }
        }
    }
}

impl<T: Serialize> Encode for Negotiated<T> {
    /// Fails: the format is known only together with a session.
    fn encode(&self) -> Result<Message, Error> {
        Err(Error::encode("the message format depends on the subprotocol of a session, and there is no session"))
    }

    fn encode_for(&self, context: &EncodeContext<'_>) -> Result<Message, Error> {
        match Form::of(context.subprotocol()).map_err(Error::encode)? {
            Form::Json => Json(&self.0).encode(),
            #[cfg(feature = "msgpack")]
            Form::MessagePack => MessagePack(&self.0).encode(),
            #[cfg(feature = "cbor")]
            Form::Cbor => Cbor(&self.0).encode(),
        }
    }
}
