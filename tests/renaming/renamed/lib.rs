//! The attributes find the name that the manifest gives to the runtime.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use web_socket::prelude::*;
use web_socket::{Event, TextEncoder};

/// Takes everything that a handler can take.
#[server_endpoint(
    "/chat/{room}",
    events("say"),
    encoders(SaidEncoder),
    idle_timeout = Duration::from_secs(60),
    compression = on(level = 1),
    overflow = drop_oldest
)]
#[derive(Default)]
pub struct Chat;

#[derive(Deserialize, Serialize)]
struct Say {
    line: String,
}

struct Said(String);

#[derive(Default)]
struct SaidEncoder;

impl TextEncoder for SaidEncoder {
    type Object = Said;

    fn encode(&mut self, said: &Said) -> Result<Text, Error> {
        Ok(format!("said: {}", said.0).into())
    }
}

impl Chat {
    #[on_open]
    async fn open(&mut self, session: &web_socket::Session, #[path_param] room: String) -> Result<(), Error> {
        session.basic_remote().send_text(format!("welcome to {room}")).await
    }

    #[on_message]
    fn text(&self, text: &str, session: &Session, State(count): State<u8>) -> Result<Said, Error> {
        session.async_remote().send_object(&Said(count.to_string()))?;
        Ok(Said(text.to_owned()))
    }

    #[on_message]
    async fn binary(&self, data: web_socket::Bytes, #[query_param] page: Option<u8>) -> usize {
        data.len() + usize::from(page.unwrap_or_default())
    }

    #[on_message(event = "say")]
    async fn say(&self, Json(say): Json<Say>) -> Event<String> {
        Event::new("said", say.line)
    }

    #[on_close]
    fn close(&self, _: CloseReason, _: &HandshakeRequest) {}

    #[on_error]
    fn error(&self, _: &web_socket::Error) {}
}

#[client_endpoint]
#[derive(Default)]
pub struct Bot;

impl Bot {
    #[on_message]
    fn text(&self, _: String, _: web_socket::Session) {}
}

/// One instance for all connections.
#[server_endpoint("/shared", instance = shared)]
#[derive(Default)]
pub struct Shared;

impl Shared {
    #[on_message]
    async fn upload(&self, _: BinaryStream) {}
}

#[cfg(test)]
#[tokio::test]
async fn the_endpoint_works() {
    let server = web_socket::test::TestServer::new(ServerContainer::builder().discover().state(7u8).build().unwrap());
    let mut client = server.connect("/chat/blue").await;
    client.expect_text("welcome to blue").await;
    client.send_text("hello").await;
    client.expect_text("said: 7").await;
    client.expect_text("said: hello").await;
    client.send_text(r#"{"event":"say","data":{"line":"hi"}}"#).await;
    client.expect_text(r#"{"event":"said","data":"hi"}"#).await;
}
