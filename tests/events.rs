//! Messages by event: which handler gets what, what is sent back, and what becomes of a message that is none of them.

mod support;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Event, ServerContainer};
use serde::{Deserialize, Serialize};
use support::{Client, TestServer};

#[derive(Deserialize)]
struct Say {
    line: String,
}

#[derive(Serialize)]
struct Said<'a> {
    line: &'a str,
    room: &'a str,
}

#[server_endpoint("/chat/{room}", events("chat.say", "chat.leave", "é\"{}", "count", ""))]
#[derive(Default)]
struct Chat {
    count: usize,
    last: String,
}

impl Chat {
    #[on_message(event = "chat.say")]
    async fn say(&mut self, Json(say): Json<Say>, session: &Session) -> Result<Option<Json<String>>, Error> {
        // suspended, as handlers may be
        tokio::task::yield_now().await;
        if say.line == "fail" {
            return Err(Error::user("as you like"));
        }
        let reply = Event::new("chat.said", Said { line: &say.line, room: session.path_param("room").unwrap_or("") });
        session.open_sessions().async_remote().send_object(&reply)?;
        Ok((say.line == "answer").then(|| Json("received".to_owned())))
    }

    #[on_message(event = "count")]
    fn count(&mut self, by: &Json<Option<usize>>) -> Json<usize> {
        self.count += by.unwrap_or(1);
        Json(self.count)
    }

    #[on_error]
    async fn failed(&mut self, error: &Error, session: &Session) {
        let kind = if error.is_decode() { "decode" } else { "other" };
        session.basic_remote().send_text(format!("{kind} {:?} {error}", error.text())).await.unwrap();
    }
}

// handlers of events may stand anywhere
mod elsewhere {
    use super::*;

    impl Chat {
        #[on_message(event = "chat.leave")]
        async fn leave(&mut self, session: Session) {
            session.close();
        }

        #[on_message(event = "é\"{}")]
        fn odd(&mut self, event: Event<Vec<u8>>, #[path_param] room: &str) -> Option<Event<String>> {
            self.last = format!("{} {:?} {room}", event.name, event.data);
            Some(Event::new("odd", self.last.clone()))
        }

        #[on_message(event = "")]
        fn nothing(&self) {}
    }
}

/// Ordinary functions only, beside one for all other text.
#[server_endpoint("/rest", events("add"))]
#[derive(Default)]
struct Rest(i64);

impl Rest {
    #[on_message(event = "add")]
    fn add(&mut self, Json(add): Json<i64>) -> Json<i64> {
        self.0 += add;
        Json(self.0)
    }

    #[on_message]
    fn rest(&mut self, text: &str) -> String {
        format!("rest: {text}")
    }

    #[on_message]
    fn data(&mut self, data: Vec<u8>) -> Vec<u8> {
        data
    }
}

/// The others are events, too.
#[server_endpoint("/others", events("add"))]
#[derive(Default)]
struct Others;

impl Others {
    #[on_message(event = "add")]
    fn add(&mut self, Json((a, b)): Json<(i64, i64)>) -> Json<i64> {
        Json(a + b)
    }

    #[on_message]
    async fn other(&mut self, event: Event<serde_json::Value>) -> String {
        tokio::task::yield_now().await;
        format!("{} {}", event.name, event.data)
    }
}

#[server_endpoint("/query", events("ask"))]
#[derive(Default)]
struct Query;

impl Query {
    #[on_message(event = "ask")]
    fn ask(&mut self, #[query_param] page: u32, state: State<String>) -> Json<String> {
        Json(format!("{page} {}", state.as_str()))
    }
}

async fn serve() -> TestServer {
    let container = ServerContainer::builder().register::<Chat>().register::<Rest>().register::<Others>();
    TestServer::with(container.register::<Query>().state("state".to_owned())).await
}

/// What is said, and what comes back.
async fn table(client: &mut Client, rows: &[(&str, &str)]) {
    for (input, expected) in rows {
        client.text(input).await;
        client.expect_text(expected).await;
    }
}

#[tokio::test]
async fn each_event_has_its_handler_and_its_own_data() {
    let server = serve().await;
    let mut client = server.connect("/chat/blue").await;
    let rows = [
        (r#"{"event":"chat.say","data":{"line":"hi"}}"#, r#"{"event":"chat.said","data":{"line":"hi","room":"blue"}}"#),
        (r#"{"event":"count"}"#, r#"{"event":"count","data":1}"#),
        (r#"{"data":5,"event":"count","id":[{}]}"#, r#"{"event":"count","data":6}"#),
        (r#"{"event":"\u00e9\"{}","data":[1,2]}"#, r#"{"event":"odd","data":"é\"{} [1, 2] blue"}"#),
    ];
    table(&mut client, &rows).await;
    // the answer comes under the name of the question
    client.text(r#"{"event":"chat.say","data":{"line":"answer"}}"#).await;
    client.expect_text(r#"{"event":"chat.said","data":{"line":"answer","room":"blue"}}"#).await;
    client.expect_text(r#"{"event":"chat.say","data":"received"}"#).await;
    client.text(r#"{"event":""}"#).await;
    client.expect_silence().await;
    client.text(r#"{"event":"chat.leave"}"#).await;
    client.expect_close(1000).await;
}

#[tokio::test]
async fn unlisted_event_or_wrong_data_is_an_error_and_the_session_continues() {
    let server = serve().await;
    let mut client = server.connect("/chat/blue").await;
    let rows = [
        (
            r#"{"event":"chat.sing"}"#,
            "is not one of the endpoint's events: \"chat.sing\" is not one of chat.say, chat.leave, ",
        ),
        (r#"{"data":1}"#, "is not one of the endpoint's events: missing field `event` at line 1 column 10"),
        ("hello", "is not one of the endpoint's events: expected value at line 1 column 1"),
        (
            r#"{"event":"chat.say"}"#,
            "is an event \"chat.say\" whose data is not JSON for type events::Say: invalid type",
        ),
        (
            r#"{"event":"count","data":"x"}"#,
            "is an event \"count\" whose data is not JSON for type core::option::Option<usize>",
        ),
    ];
    for (input, sentence) in rows {
        client.text(input).await;
        let reply = String::from_utf8(client.expect(support::TEXT).await).unwrap();
        assert!(reply.starts_with(&format!("decode {:?} the text message ", Some(input))), "{reply}");
        assert!(reply.contains(sentence), "{reply}");
    }
    client.text(r#"{"event":"chat.say","data":{"line":"fail"}}"#).await;
    client.expect_text("other None as you like").await;
    table(&mut client, &[(r#"{"event":"count"}"#, r#"{"event":"count","data":1}"#)]).await;
}

#[tokio::test]
async fn other_text_goes_to_the_ordinary_handler() {
    let server = serve().await;
    let mut client = server.connect("/rest").await;
    let rows = [
        (r#"{"event":"add","data":2}"#, r#"{"event":"add","data":2}"#),
        (r#"{"event":"sub","data":2}"#, r#"rest: {"event":"sub","data":2}"#),
        ("hello", "rest: hello"),
        (r#"{"event":"add","data":-5}"#, r#"{"event":"add","data":-3}"#),
    ];
    table(&mut client, &rows).await;
    client.binary(b"data").await;
    assert_eq!(client.expect(support::BINARY).await, b"data");
    let mut client = server.connect("/others").await;
    let rows = [
        (r#"{"event":"add","data":[1,2]}"#, r#"{"event":"add","data":3}"#),
        (r#"{"event":"sub","data":[1,2]}"#, "sub [1,2]"),
        (r#"{"event":"none"}"#, "none null"),
    ];
    table(&mut client, &rows).await;
    // it takes events only, and has no on_error
    client.text("hello").await;
    client.expect_close(1007).await;
}

#[tokio::test]
async fn event_handler_takes_the_parameters_of_every_handler() {
    let server = serve().await;
    let mut client = server.connect("/query?page=7").await;
    table(&mut client, &[(r#"{"event":"ask"}"#, r#"{"event":"ask","data":"7 state"}"#)]).await;
    // its parameters are checked before the handshake is accepted
    let (answer, _) = Client::try_connect(server.addr, "/query", &[]).await;
    assert_eq!(answer.status, 400);
    // and so is its state, when the container is built
    let error = ServerContainer::builder().register::<Query>().build().unwrap_err();
    assert!(error.is_deployment() && error.to_string().contains("String"), "{error}");
}
