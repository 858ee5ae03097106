//! A chat of Tomcat: a `static` set of sessions, a path parameter, an encoder, a decoder, a configurator.
//!
//! ```java
//! @ServerEndpoint(value = "/chat/{room}", encoders = MessageEncoder.class, decoders = MessageDecoder.class,
//!                 configurator = ChatConfigurator.class)
//! public class Chat {
//!     private static final Set<Session> SESSIONS = new CopyOnWriteArraySet<>();
//!     private String nickname;
//!     …
//! }
//! ```

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex};

use endpoint_runtime::prelude::*;

use crate::support::{Client, TestServer};

// private static final Set<Session> SESSIONS = new CopyOnWriteArraySet<>();
static SESSIONS: LazyLock<Mutex<HashSet<Session>>> = LazyLock::new(Mutex::default);

/// `class Message { String from, text; }`
struct ChatMessage {
    from: String,
    text: String,
}

// class MessageDecoder implements Decoder.Text<Message>
#[derive(Default)]
struct MessageDecoder;

impl TextDecoder for MessageDecoder {
    type Object = ChatMessage;

    fn will_decode(&mut self, text: &str) -> bool {
        text.contains(':')
    }

    fn decode(&mut self, text: Text) -> Result<ChatMessage, Error> {
        match text.split_once(':') {
            Some((from, line)) => Ok(ChatMessage { from: from.to_owned(), text: line.trim().to_owned() }),
            None => Err(Error::decode(text, "no colon")),
        }
    }
}

// class MessageEncoder implements Encoder.Text<Message>
#[derive(Default)]
struct MessageEncoder;

impl TextEncoder for MessageEncoder {
    type Object = ChatMessage;

    fn encode(&mut self, message: &ChatMessage) -> Result<Text, Error> {
        Ok(format!("{}: {}", message.from, message.text).into())
    }
}

// class ChatConfigurator extends ServerEndpointConfig.Configurator
#[derive(Default)]
struct ChatConfigurator;

/// `config.getUserProperties().put("nickname", …)`
#[derive(Clone)]
struct Nickname(String);

impl Configurator<Chat> for ChatConfigurator {
    fn check_origin(&self, _: &HandshakeRequest, policy: Result<(), Refusal>) -> Result<(), Refusal> {
        policy
    }

    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        let name = request.cookie("nickname").ok_or_else(|| Refusal::new(http::StatusCode::UNAUTHORIZED))?;
        response.properties().insert(Nickname(name.into()));
        Ok(())
    }
}

#[server_endpoint(
    "/chat/{room}",
    encoders(MessageEncoder),
    decoders(MessageDecoder),
    configurator = ChatConfigurator
)]
#[derive(Default)]
struct Chat {
    nickname: String,
}

impl Chat {
    #[on_open]
    fn start(&mut self, session: &Session, #[path_param] room: &str) -> Result<(), Error> {
        self.nickname = session.properties().get::<Nickname>().map(|Nickname(name)| name).unwrap_or_default();
        SESSIONS.lock().unwrap().insert(session.clone());
        broadcast(room, &ChatMessage { from: "*".into(), text: format!("{} has joined", self.nickname) })
    }

    #[on_close]
    fn end(&mut self, session: &Session, #[path_param] room: &str) -> Result<(), Error> {
        SESSIONS.lock().unwrap().remove(session);
        broadcast(room, &ChatMessage { from: "*".into(), text: format!("{} has disconnected", self.nickname) })
    }

    #[on_message(text)]
    fn incoming(&mut self, message: ChatMessage, #[path_param] room: &str) -> Result<(), Error> {
        broadcast(room, &ChatMessage { from: self.nickname.clone(), text: message.text })
    }

    #[on_error]
    fn on_error(&mut self, error: &Error, session: &Session) {
        let answer = ChatMessage { from: "*".into(), text: format!("not understood: {}", error.text().unwrap_or("")) };
        drop(session.async_remote().send_object(&answer));
    }
}

// for (Session client : SESSIONS) if (client.getPathParameters().get("room").equals(room)) client.getAsyncRemote()…
fn broadcast(room: &str, message: &ChatMessage) -> Result<(), Error> {
    for client in SESSIONS.lock().unwrap().iter().filter(|client| client.path_param("room") == Some(room)) {
        client.async_remote().send_object(message)?;
    }
    Ok(())
}

async fn enter(server: &TestServer, room: &str, nickname: &str) -> Client {
    let cookie = format!("Cookie: theme=dark; nickname={nickname}");
    Client::connect_with(server.addr, &format!("/chat/{room}"), &[&cookie]).await
}

#[tokio::test]
async fn chat_behaves_as_in_java() {
    let server = TestServer::of::<Chat>().await;
    let mut ann = enter(&server, "blue", "ann").await;
    ann.expect_text("*: ann has joined").await;
    let mut ben = enter(&server, "blue", "ben").await;
    ben.expect_text("*: ben has joined").await;
    ann.expect_text("*: ben has joined").await;
    let mut cid = enter(&server, "red", "cid").await;
    cid.expect_text("*: cid has joined").await;
    ann.text("ann: hello").await;
    ann.expect_text("ann: hello").await;
    ben.expect_text("ann: hello").await;
    ben.text("no colon here").await;
    ben.expect_text("*: not understood: no colon here").await;
    ben.close(1000, "").await;
    ben.expect_close(1000).await;
    ann.expect_text("*: ben has disconnected").await;
    let (answer, _) = Client::try_connect(server.addr, "/chat/blue", &[]).await;
    assert_eq!(answer.status, 401);
    cid.text("x: still here").await;
    cid.expect_text("cid: still here").await;
}
