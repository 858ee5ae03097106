//! JSON from and to a client of the test kit.

use std::any::type_name;
use std::error::Error as _;
use std::future::Future;
use std::panic::Location;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::TestClient;
use super::transcript::Traffic;
use crate::codec::json::Json;
use crate::codec::{DecodeText, Encode};
use endpoint_wire::message::Message;

/// Messages as JSON (cargo feature `json`).
impl TestClient {
    /// Sends a value as JSON in a text message, like [`send_text`](Self::send_text).
    ///
    /// ```
    /// # use endpoint_runtime::prelude::*;
    /// # use endpoint_runtime::test::TestServer;
    /// #[derive(serde::Deserialize, serde::Serialize, PartialEq, Debug)]
    /// struct Say { line: String }
    ///
    /// # #[server_endpoint("/echo")] #[derive(Default)] struct Echo;
    /// # impl Echo { #[on_message] fn say(&self, say: Json<Say>) -> Json<Say> { say } }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let mut client = TestServer::of::<Echo>().connect("/echo").await;
    /// client.send_json(&Say { line: "hello".to_owned() }).await;
    /// let said: Say = client.expect_json().await;
    /// assert_eq!(said.line, "hello");
    /// # }
    /// ```
    ///
    /// # Panics
    /// The value cannot be written as JSON; or as [`send_text`](Self::send_text).
    #[track_caller]
    pub fn send_json<T: Serialize>(&mut self, value: &T) -> impl Future<Output = ()> + use<'_, T> {
        match Json(value).encode() {
            Ok(Message::Text(text)) => self.send_text(text),
            Ok(Message::Binary(_)) => unreachable!("JSON is text"),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next thing must be a text message with JSON of type `T`; returns the value.
    ///
    /// # Panics
    /// It is something else, or not JSON of this type, or nothing arrives within the limit.
    #[track_caller]
    pub fn expect_json<T: DeserializeOwned>(&mut self) -> impl Future<Output = T> + use<'_, T> {
        let (place, wanted) = (Location::caller(), format!("JSON of type {}", type_name::<T>()));
        async move {
            let text = match self.receive(&wanted, false, place).await {
                Traffic::Text(text) => text,
                other => self.fail(place, &wanted, &other),
            };
            match Json::decode_str(&text) {
                Ok(Json(value)) => value,
                Err(error) => {
                    // serde's own error, with line and column
                    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                    self.fail(place, &wanted, &format_args!("{}: {cause}", Traffic::Text(text)))
                }
            }
        }
    }
}
