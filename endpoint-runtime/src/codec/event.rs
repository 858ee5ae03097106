//! Messages by event: JSON text such as `{"event": "chat.say", "data": …}`. Only with the cargo feature `json`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::codec::json;
use crate::codec::json::Json;
use crate::codec::{DecodeText, Encode, IntoError};
use crate::error::excerpt::excerpt;
use crate::error::{BoxError, Error, Kind};
use endpoint_wire::message::Message;
use endpoint_wire::text::Text;

/// An event with its data: `{"event": "chat.say", "data": …}` as JSON in a text message.
///
/// An endpoint that lists events has one handler for each, with its own data type:
///
/// ```
/// use endpoint_runtime::Event;
/// use endpoint_runtime::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct Say {
///     line: String,
/// }
///
/// #[derive(Serialize)]
/// struct Said {
///     line: String,
/// }
///
/// #[server_endpoint("/chat", events("chat.say", "chat.leave"))]
/// #[derive(Default)]
/// struct Chat;
///
/// impl Chat {
///     #[on_message(event = "chat.say")]
///     async fn say(&mut self, say: Json<Say>, session: &Session) -> Result<(), Error> {
///         let said = Event::new("chat.said", Said { line: say.into_inner().line });
///         session.open_sessions().async_remote().send_object(&said)?;
///         Ok(())
///     }
///
///     #[on_message(event = "chat.leave")]
///     fn leave(&mut self, session: &Session) {
///         session.close();
///     }
/// }
/// ```
///
/// - The handler of an event takes its data as [`Json`], or the event as an `Event<T>`, or neither. Missing data is
///   `null`. The handler returns `Json<T>`, which is sent back under the event's own name, or an `Event<T>` with its
///   own name; `()`, `Option` and `Result` work as in every handler.
/// - A text message that is none of the listed events goes whole to the endpoint's ordinary text handler, if it has
///   one; `Event<serde_json::Value>` takes every event. Without such a handler `on_error` is called
///   ([`is_decode`](Error::is_decode)), and the session continues.
/// - A listed event without a handler does not compile, nor does an event with two handlers, or one that is not listed.
///
/// If all messages are known in one place, an enum does the same with one handler and a `match`:
///
/// ```
/// use endpoint_runtime::prelude::*;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// #[serde(tag = "event", content = "data")]
/// enum Wish {
///     #[serde(rename = "chat.say")]
///     Say { line: String },
///     #[serde(rename = "chat.leave")]
///     Leave,
/// }
///
/// #[server_endpoint("/chat")]
/// #[derive(Default)]
/// struct Chat;
///
/// impl Chat {
///     #[on_message]
///     async fn wish(&mut self, Json(wish): Json<Wish>, session: &Session) -> Option<String> {
///         match wish {
///             Wish::Say { line } => Some(line),
///             Wish::Leave => {
///                 session.close();
///                 None
///             }
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<T> {
    /// Name of the event.
    pub name: Cow<'static, str>,
    /// Data of the event.
    pub data: T,
}

impl<T> Event<T> {
    /// Creates an event to send.
    pub fn new(name: impl Into<Cow<'static, str>>, data: T) -> Self {
        Self { name: name.into(), data }
    }
}

impl<T: Serialize> Encode for Event<T> {
    fn encode(&self) -> Result<Message, Error> {
        envelope(&self.name, &self.data)
    }
}

impl<T: DeserializeOwned> DecodeText for Event<T> {
    fn decode_text(text: Text) -> Result<Self, Error> {
        Self::decode_str(&text)
    }

    fn decode_str(text: &str) -> Result<Self, Error> {
        match Occurrence::of(text) {
            Ok(occurrence) => Self::from_event(&occurrence),
            Err(error) => Err(Error::undecodable(text.into(), "is not an event", error)),
        }
    }
}

/// Encodes an event as a message.
fn envelope<T: Serialize>(name: &str, data: &T) -> Result<Message, Error> {
    let written = serde_json::to_string(name).and_then(|name| Ok((name, serde_json::to_string(data)?)));
    match written {
        Ok((name, data)) => Ok(format!("{{\"event\":{name},\"data\":{data}}}").into()),
        Err(error) => {
            let type_name = std::any::type_name::<T>();
            let text =
                format!("the event {name:?} with data of type {type_name} cannot be encoded: {}", excerpt(&error));
            Err(Error::with_source(Kind::Encode, text, error))
        }
    }
}

/// A received event, with its data still as text.
#[derive(Debug)]
pub struct Occurrence<'a> {
    message: &'a str,
    name: Cow<'a, str>,
    data: &'a str,
    /// Its nesting is within the endpoint's bound, and exceeds the default bound of serde_json.
    deep: bool,
}

impl<'a> Occurrence<'a> {
    /// Parses a message.
    pub fn of(message: &'a str) -> Result<Self, BoxError> {
        let deep = json::is_deep(message.as_bytes())?;
        let Envelope { name, data } = serde_json::from_str(message)?;
        Ok(Self { message, name, data: data.map_or("null", RawValue::get), deep })
    }

    /// Name of the event.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn data<T: Deserialize<'a>>(&self) -> Result<T, Error> {
        json::read(serde_json::Deserializer::from_str(self.data), self.deep).map_err(|error| {
            let type_name = std::any::type_name::<T>();
            let name = excerpt(&*self.name).to_string();
            let failure = format!("is an event {name:?} whose data is not JSON for type {type_name}");
            Error::undecodable(self.message.into(), &failure, error)
        })
    }
}

/// The error for a message that is none of the listed events, if no other handler takes text.
pub(crate) fn no_event(message: &str, listed: &[&str]) -> Error {
    let reason = match Occurrence::of(message) {
        Ok(occurrence) => format!("{:?} is not one of {}", excerpt(&*occurrence.name).to_string(), listed.join(", ")),
        Err(error) => excerpt(error).to_string(),
    };
    Error::undecodable(message.into(), "is not one of the endpoint's events", reason)
}

/// `{"event": …, "data": …}`; other fields are ignored.
struct Envelope<'a> {
    name: Cow<'a, str>,
    data: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with \"event\" and \"data\"")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut name, mut data) = (None, None);
                while let Some(Word(key)) = map.next_key()? {
                    match &*key {
                        "event" if name.is_some() => return Err(A::Error::duplicate_field("event")),
                        "data" if data.is_some() => return Err(A::Error::duplicate_field("data")),
                        "event" => name = Some(map.next_value::<Word<'de>>()?.0),
                        "data" => data = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                let name = name.ok_or_else(|| A::Error::missing_field("event"))?;
                Ok(Envelope { name, data })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A string, borrowed from the message if it has no escapes.
struct Word<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Word<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Letters;
        impl<'de> Visitor<'de> for Letters {
            type Value = Word<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Word(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Word(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Letters)
    }
}

/// A type that the handler of an event can take.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the data of an event",
    label = "does not implement `FromEvent`",
    note = "write Json<T> for the data, or Event<T> for name and data, where T: serde::Deserialize"
)]
pub trait FromEvent<'m>: Sized {
    /// Creates the value from a received event, whose message it may borrow.
    fn from_event(occurrence: &Occurrence<'m>) -> Result<Self, Error>;
}

impl<'m, T: Deserialize<'m>> FromEvent<'m> for Json<T> {
    fn from_event(occurrence: &Occurrence<'m>) -> Result<Self, Error> {
        occurrence.data().map(Self)
    }
}

impl<'m, T: Deserialize<'m>> FromEvent<'m> for Event<T> {
    fn from_event(occurrence: &Occurrence<'m>) -> Result<Self, Error> {
        Ok(Self::new(occurrence.name().to_owned(), occurrence.data()?))
    }
}

/// A type that the handler of an event can return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from the handler of an event",
    label = "does not implement `IntoEventReply`",
    note = "return (), Json<T> to reply with the same event name, Event<T> to reply with another, an Option of these, or a Result whose error converts into a boxed error"
)]
pub trait IntoEventReply {
    /// The message to send back, or none.
    fn into_event_reply(self, name: &str) -> Result<Option<Message>, Error>;
}

impl IntoEventReply for () {
    fn into_event_reply(self, _: &str) -> Result<Option<Message>, Error> {
        Ok(None)
    }
}

impl<T: Serialize> IntoEventReply for Json<T> {
    fn into_event_reply(self, name: &str) -> Result<Option<Message>, Error> {
        envelope(name, &self.0).map(Some)
    }
}

impl<T: Serialize> IntoEventReply for Event<T> {
    fn into_event_reply(self, _: &str) -> Result<Option<Message>, Error> {
        self.encode().map(Some)
    }
}

impl<T: IntoEventReply> IntoEventReply for Option<T> {
    fn into_event_reply(self, name: &str) -> Result<Option<Message>, Error> {
        self.map_or(Ok(None), |reply| reply.into_event_reply(name))
    }
}

impl<T: IntoEventReply, E: IntoError> IntoEventReply for Result<T, E> {
    fn into_event_reply(self, name: &str) -> Result<Option<Message>, Error> {
        self.map_err(IntoError::into_error)?.into_event_reply(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_data_in_any_order_and_other_fields_ignored() {
        for text in [
            r#"{"event":"a.b","data":[1,2]}"#,
            r#" {"id": {"event": 7}, "data": [1, 2], "event": "a.b"} "#,
            r#"{"\u0065vent":"a\u002eb","data":[1,2]}"#,
        ] {
            assert_eq!(Event::decode_str(text).unwrap(), Event::new("a.b", vec![1, 2]), "{text}");
        }
        assert_eq!(Event::decode_str(r#"{"event":""}"#).unwrap(), Event::new("", ()));
    }

    #[test]
    fn invalid_events_are_errors_with_the_text() {
        for text in [
            "",
            "[]",
            r#"{"data":1}"#,
            r#"{"event":1}"#,
            r#"{"event":"a","event":"b"}"#,
            r#"{"event":"a","data":1,"data":1}"#,
            r#"{"event":"a"} {}"#,
            r#"{"event":"a","data":"x"}"#,
        ] {
            let error = Event::<u8>::decode_str(text).unwrap_err();
            assert!(error.is_decode());
            assert_eq!(error.text(), Some(text));
        }
    }

    #[test]
    fn an_event_is_written_as_it_is_read() {
        let event = Event::new("a\"b", "\u{1f600}".to_owned());
        let Message::Text(text) = event.encode().unwrap() else { panic!("an event is text") };
        assert_eq!(&*text, "{\"event\":\"a\\\"b\",\"data\":\"\u{1f600}\"}");
        assert_eq!(Event::decode_text(text).unwrap(), event);
    }
}
