//! How long do errors, log lines and answers become? Not longer than is useful, whatever a peer sends.

mod support;

use std::error::Error as _;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{
    Cbor, DecodeBinary, DecodeText, Encode, Event, Message, MessagePack, Negotiated, PathParams, ServerContainer,
};
use serde::{Deserialize, Serialize};
use support::{BINARY, Client, Log, TEXT, TestServer};

/// The most bytes of an error's text, with the sign that it was cut.
const LONGEST: usize = (1 << 10) + '…'.len_utf8();

/// What others have made of it.
const EXCERPT: usize = 256;

/// As long as a message may be, nearly.
const LONG: usize = 1_000_000;

fn long() -> String {
    "é".repeat(LONG / 2)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    #[allow(dead_code)]
    known: Option<u8>,
}

/// `{"ééé…": 1}`
#[derive(Serialize)]
struct Unknown(std::collections::BTreeMap<String, u8>);

fn unknown() -> Unknown {
    Unknown([(long(), 1)].into())
}

#[track_caller]
fn is_brief(error: &Error, most: usize) {
    let (shown, debug) = (error.to_string(), format!("{error:?}"));
    assert!(shown.len() <= most, "{} bytes: {shown:.2000}", shown.len());
    assert!(shown.contains('…'), "{shown}");
    assert!(debug.len() <= most + 20, "{} bytes: {debug:.3000}", debug.len());
}

#[test]
fn decode_error_shows_the_start_of_the_parsers_message() {
    let Message::Text(text) = Json(unknown()).encode().unwrap() else { panic!() };
    let Message::Binary(packed) = MessagePack(unknown()).encode().unwrap() else { panic!() };
    // ciborium takes no longer names
    let name = Unknown([("é".repeat(2_000), 1)].into());
    let Message::Binary(concise) = Cbor(name).encode().unwrap() else { panic!() };
    let errors = [
        Json::<Strict>::decode_text(text.clone()).unwrap_err(),
        Json::<Strict>::decode_binary(text.as_str().as_bytes().to_vec().into()).unwrap_err(),
        MessagePack::<Strict>::decode_binary(packed).unwrap_err(),
        Cbor::<Strict>::decode_binary(concise).unwrap_err(),
        Event::<Strict>::decode_text(format!(r#"{{"event":"{}","data":1}}"#, long()).as_str().into()).unwrap_err(),
        Event::<Strict>::decode_text(format!(r#"{{"event":"a","data":{text}}}"#).as_str().into()).unwrap_err(),
    ];
    for error in errors {
        is_brief(&error, 3 * EXCERPT);
        // all of it is there for those who want it
        assert!(error.is_decode());
        assert!(error.text().map_or_else(|| error.bytes().unwrap().len(), str::len) >= 4_000);
    }
    let error = Json::<Strict>::decode_text(text).unwrap_err();
    assert!(error.downcast_ref::<serde_json::Error>().is_some());
    let error = Error::decode("short", long());
    is_brief(&error, 2 * EXCERPT);
    is_brief(&Error::encode(long()), 2 * EXCERPT);
}

#[test]
fn application_error_has_a_larger_limit_and_a_complete_source() {
    let error = Error::user(long());
    is_brief(&error, LONGEST);
    assert_eq!(error.source().unwrap().to_string(), long());
    let text = "x".repeat(1 << 10);
    assert_eq!(Error::user(text.as_str()).to_string(), text);
    let io = Error::from(std::io::Error::other(long()));
    is_brief(&io, LONGEST);
}

#[test]
fn path_value_is_cut() {
    let parameters: PathParams = [("id", long())].into_iter().collect();
    is_brief(&parameters.parse::<u8>("id").unwrap_err(), 2 * EXCERPT);
}

// ---- over a connection ----

#[server_endpoint("/silent")]
#[derive(Default)]
struct Silent;
impl Silent {
    #[on_message]
    fn text(&mut self, _: Json<Strict>) {}
    #[on_message]
    fn binary(&mut self, data: Vec<u8>) -> Result<(), Error> {
        match data.first() {
            Some(0) => panic!("{}", long()),
            _ => Err(Error::user(serde_json::from_slice::<Strict>(&data).unwrap_err())),
        }
    }
}

#[server_endpoint("/reported")]
#[derive(Default)]
struct Reported;
impl Reported {
    #[on_message]
    fn text(&mut self, _: Json<Strict>) {}
    #[on_error]
    async fn failed(&mut self, error: &Error, session: &Session) -> Result<(), Error> {
        session.basic_remote().send_text(error.to_string()).await
    }
}

#[server_endpoint("/events", events("a"))]
#[derive(Default)]
struct Listing;
impl Listing {
    #[on_message(event = "a")]
    fn a(&mut self, _: Json<Strict>) {}
}

#[server_endpoint("/agreed", subprotocols("json"))]
#[derive(Default)]
struct Agreeing;
impl Agreeing {
    #[on_message]
    fn take(&mut self, _: Negotiated<Strict>) {}
}

#[server_endpoint("/path/{id}")]
#[derive(Default)]
struct Typed;
impl Typed {
    #[on_open]
    fn open(&mut self, #[path_param("id")] _: u8) {}
}

async fn serve() -> TestServer {
    let container = ServerContainer::builder().register::<Silent>().register::<Reported>().register::<Listing>();
    TestServer::with(container.register::<Agreeing>().register::<Typed>()).await
}

#[tokio::test]
async fn log_lines_do_not_grow_with_a_message() {
    let (log, server) = (Log::capture(), serve().await);
    let object = format!(r#"{{"{}":1}}"#, long());
    let rows = [
        ("/silent", TEXT, object.clone().into_bytes(), 1007),
        ("/silent", BINARY, object.clone().into_bytes(), 1011),
        ("/silent", BINARY, vec![0], 1011),
        ("/agreed", TEXT, object.clone().into_bytes(), 1007),
        ("/events", TEXT, format!(r#"{{"event":"{}"}}"#, long()).into_bytes(), 1007),
        ("/events", TEXT, format!(r#"{{"event":"a","data":{object}}}"#).into_bytes(), 1007),
    ];
    for (path, kind, data, code) in rows {
        let headers = ["Sec-WebSocket-Protocol: json"];
        let mut client = Client::connect_with(server.addr, path, &headers[usize::from(path != "/agreed")..]).await;
        client.send(0x80 | kind, data).await;
        client.expect_close(code).await;
        assert!(!log.lines(path).is_empty(), "{path} is not in the log");
    }
    let longest = log.lines("").into_iter().max_by_key(String::len).unwrap();
    assert!(longest.contains('…') && longest.len() < LONGEST + 400, "{} bytes: {longest:.3000}", longest.len());
}

#[tokio::test]
async fn on_error_receives_the_cut_text() {
    let server = serve().await;
    let mut client = server.connect("/reported").await;
    client.text(&format!(r#"{{"{}":1}}"#, long())).await;
    let text = String::from_utf8(client.expect(TEXT).await).unwrap();
    assert!(text.len() < 3 * EXCERPT && text.contains("unknown field `éé") && text.ends_with('…'), "{text:.2000}");
}

#[tokio::test]
async fn request_text_is_cut_in_the_log_and_in_the_response() {
    let (log, server) = (Log::capture(), serve().await);
    let path = format!("/path/{}", "9".repeat(8_000));
    let (answer, _) = Client::try_connect(server.addr, &path, &[]).await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.len() < EXCERPT, "{}", answer.body);
    let origin = format!("Origin: http://{}", "o".repeat(4_000));
    let (answer, _) = Client::try_connect(server.addr, "/silent", &[&origin]).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.len() < LONGEST, "{}", answer.body);
    let lines = log.lines("handshake refused");
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.len() < LONGEST), "{lines:?}");
}
