//! JSON: as the payload, as the reply, as an object that is sent; and what happens to what is none.

mod support;

use std::collections::HashMap;

use endpoint_runtime::{ServerContainer, prelude::*};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use support::{BINARY, Client, Journal, TEXT, TestServer, frame};

#[derive(Debug, Deserialize)]
struct Say {
    line: String,
    #[serde(default)]
    loud: bool,
}

/// Borrows: what is sent as JSON need not be owned.
#[derive(Serialize)]
struct Said<'a> {
    line: &'a str,
    len: usize,
}

/// Has no form in JSON.
#[derive(Debug)]
struct Unspeakable;

impl Serialize for Unspeakable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("there are no words for it"))
    }
}

fn is_kind(error: &Error) -> &'static str {
    match (error.is_decode(), error.is_encode()) {
        (true, false) => "decode",
        (false, true) => "encode",
        _ => "other",
    }
}

/// What `on_error` is told.
fn describe(error: &Error) -> String {
    format!("{} {:?} {:?}", is_kind(error), error.text(), error.bytes())
}

#[server_endpoint("/later")]
struct Later(Journal);

impl Later {
    #[on_message]
    async fn say(&mut self, Json(say): Json<Say>, session: &Session) -> Option<Json<String>> {
        if say.loud {
            session.basic_remote().send_object(&Json("SILENCE!")).await.unwrap();
            return None;
        }
        Some(Json(say.line))
    }

    #[on_error]
    fn failed(&mut self, error: &Error) {
        self.0.note(describe(error));
    }
}

#[server_endpoint("/now")]
#[derive(Default)]
struct Now {
    last: String,
}

impl Now {
    #[on_message]
    fn say(&mut self, say: &Json<Say>) -> Json<Said<'_>> {
        self.last.clone_from(&say.line);
        Json(Said { line: &self.last, len: self.last.len() })
    }
}

/// Returns what cannot be encoded, or sends it.
#[server_endpoint("/speechless")]
struct Speechless(Journal);

impl Speechless {
    #[on_message]
    async fn reply(&mut self, how: String, session: &Session) -> Result<Option<Json<Unspeakable>>, Error> {
        let object = Json(Unspeakable);
        let refused = match how.as_str() {
            "basic" => session.basic_remote().send_object(&object).await.unwrap_err(),
            "async" => session.async_remote().send_object(&object).unwrap_err(),
            "broadcast" => session.open_sessions().async_remote().send_object(&object).unwrap_err(),
            _ => return Ok(Some(object)),
        };
        self.0.note(format!("{how}: {} {refused}", is_kind(&refused)));
        Err(refused)
    }

    #[on_error]
    async fn failed(&mut self, error: &Error, session: &Session) {
        self.0.note(format!("on_error: {}", is_kind(error)));
        session.basic_remote().send_text("sorry").await.unwrap();
    }
}

/// The same without an `on_error`.
#[server_endpoint("/speechless-alone")]
#[derive(Default)]
struct Alone;

impl Alone {
    #[on_message]
    fn reply(&mut self, _: Json<HashMap<String, u8>>) -> Json<Unspeakable> {
        Json(Unspeakable)
    }
}

/// Sends what it is told to everybody, as one object, and counts its encodings.
#[server_endpoint("/crowd")]
#[derive(Default)]
struct Crowd;

struct Counted<'a>(&'a std::sync::atomic::AtomicUsize);

impl Serialize for Counted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) as u64)
    }
}

impl Crowd {
    #[on_open]
    async fn open(&self, session: &Session) {
        session.async_remote().send_object(&Json(["welcome"])).unwrap().await.unwrap();
    }

    #[on_message]
    async fn tell(&self, _text: String, session: &Session) -> Json<(usize, usize)> {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let report = session.open_sessions().async_remote().send_object(&Json(Counted(&count))).unwrap();
        Json((report.sent, count.into_inner()))
    }
}

#[tokio::test]
async fn json_is_the_payload_and_the_reply() {
    let server = TestServer::with(ServerContainer::builder().endpoint_with(|_| Ok(Later(Journal::default())))).await;
    let mut client = server.connect("/later").await;
    client.text(r#"{ "line": "a \"quoted\" é" }"#).await;
    client.expect_text(r#""a \"quoted\" é""#).await;
    client.text(r#"{"line":"x","loud":true}"#).await;
    client.expect_text(r#""SILENCE!""#).await;
    // None is no reply
    client.expect_silence().await;
}

#[tokio::test]
async fn sync_handler_takes_json_from_the_buffer_and_returns_borrowed_data() {
    let server = TestServer::of::<Now>().await;
    let mut client = server.connect("/now").await;
    for line in ["", "short", &"long".repeat(20_000)] {
        client.text(&format!(r#"{{"line":"{line}"}}"#)).await;
        client.expect_text(&format!(r#"{{"line":"{line}","len":{}}}"#, line.len())).await;
    }
}

#[tokio::test]
async fn undecodable_text_reaches_on_error_unchanged_and_the_session_continues() {
    let journal = Journal::default();
    let notes = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Later(notes.clone())));
    let server = TestServer::with(container).await;
    let mut client = server.connect("/later").await;
    let long = format!(r#"{{"lines":"{}"}}"#, "x".repeat(100));
    for bad in ["", "nonsense", r#"{"line":7}"#, &long] {
        client.text(bad).await;
        journal.expect(&format!("decode {:?} None", Some(bad))).await;
    }
    client.text(r#"{"line":"still here"}"#).await;
    client.expect_text(r#""still here""#).await;
    assert_eq!(journal.rest(), [""; 0]);
}

#[tokio::test]
async fn undecodable_text_without_on_error_closes_with_1007() {
    let server = TestServer::of::<Now>().await;
    let mut client = server.connect("/now").await;
    client.text("nonsense").await;
    client.expect_close(1007).await;
}

#[tokio::test]
async fn unencodable_reply_reaches_on_error_and_the_session_continues() {
    let journal = Journal::default();
    let (_server, mut client) = speechless(&journal).await;
    client.text("return it").await;
    client.expect_text("sorry").await;
    journal.expect("on_error: encode").await;
    client.text("return it").await;
    client.expect_text("sorry").await;
}

#[tokio::test]
async fn unencodable_object_is_an_error_for_the_sender() {
    for how in ["basic", "async", "broadcast"] {
        let journal = Journal::default();
        let (_server, mut client) = speechless(&journal).await;
        client.text(how).await;
        let note = journal.next().await;
        assert!(note.starts_with(&format!("{how}: encode a value of type json::Unspeakable cannot be")), "{note}");
        assert!(note.ends_with("there are no words for it"), "{note}");
        // the handler handed it on
        journal.expect("on_error: encode").await;
        client.expect_text("sorry").await;
    }
}

async fn speechless(journal: &Journal) -> (TestServer, Client) {
    let notes = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Speechless(notes.clone())));
    let server = TestServer::with(container).await;
    let client = server.connect("/speechless").await;
    (server, client)
}

#[tokio::test]
async fn unencodable_reply_without_on_error_closes_with_1011() {
    let server = TestServer::of::<Alone>().await;
    let mut client = server.connect("/speechless-alone").await;
    client.text("{}").await;
    client.expect_close(1011).await;
}

#[tokio::test]
async fn a_broadcast_encodes_its_object_once() {
    let server = TestServer::of::<Crowd>().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect("/crowd").await;
        client.expect_text(r#"["welcome"]"#).await;
        clients.push(client);
    }
    clients[0].text("go").await;
    for client in &mut clients {
        client.expect_text("0").await;
    }
    clients[0].expect_text("[3,1]").await;
}

#[tokio::test]
async fn binary_data_is_not_taken_for_json() {
    let server = TestServer::of::<Now>().await;
    let mut client = server.connect("/now").await;
    client.send_raw(&frame(0x80 | BINARY, br#"{"line":"x"}"#)).await;
    client.send_raw(&frame(0x80 | TEXT, br#"{"line":"y"}"#)).await;
    client.expect_text(r#"{"line":"y","len":1}"#).await;
}

/// Data that borrows from its message.
#[derive(Deserialize)]
struct Note<'a> {
    #[serde(borrow)]
    line: &'a str,
}

#[server_endpoint("/borrowed", events("now", "later"))]
#[derive(Default)]
struct Borrows;

impl Borrows {
    #[on_message]
    fn text<'a>(&mut self, Json(note): Json<Note<'a>>) -> &'a str {
        note.line
    }

    #[on_message(binary)]
    async fn binary(&mut self, note: Json<Note<'_>>) -> String {
        tokio::task::yield_now().await;
        format!("binary {}", note.line)
    }

    #[on_message(event = "now")]
    fn now(&mut self, Json(note): Json<Note<'_>>) -> Json<String> {
        Json(note.line.to_owned())
    }

    #[on_message(event = "later")]
    async fn later(&mut self, Json(note): Json<Note<'_>>) -> Json<String> {
        tokio::task::yield_now().await;
        Json(note.line.to_owned())
    }

    #[on_error]
    fn error(&mut self, error: &Error, session: &Session) -> Result<(), Error> {
        session.async_remote().send_text(format!("{}: {:?}", is_kind(error), error.text()));
        Ok(())
    }
}

#[tokio::test]
async fn data_may_borrow_from_its_message() {
    let server = TestServer::of::<Borrows>().await;
    let mut client = server.connect("/borrowed").await;
    client.text(r#"{"line":"text"}"#).await;
    client.expect_text("text").await;
    client.binary(br#"{"line":"data"}"#).await;
    client.expect_text("binary data").await;
    for event in ["now", "later"] {
        client.text(&format!(r#"{{"event":"{event}","data":{{"line":"x"}}}}"#)).await;
        client.expect_text(&format!(r#"{{"event":"{event}","data":"x"}}"#)).await;
    }
    // an escape cannot be borrowed
    client.text(r#"{"line":"\n"}"#).await;
    client.expect_text(r#"decode: Some("{\"line\":\"\\n\"}")"#).await;
}
