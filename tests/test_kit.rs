//! Whether the test kit tells the truth about an endpoint, and about what a test got wrong.
//!
//! The first tests are what a user of the kit would write for a chat; the others turn the kit on itself.

mod support;

use std::any::Any;
use std::future::Future;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::test::{Direction, TestClient, TestFrame, TestServer, Traffic};
use endpoint_runtime::{Configurator, HandshakeResponse};
use support::Journal;
use tokio::time::Instant;

// ---- an endpoint, and the tests of it ----

#[server_endpoint(
    "/chat/{room}",
    subprotocols("chat.v2", "chat.v1"),
    idle_timeout = "5m",
    pong_timeout = off,
    configurator = Door
)]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open]
    async fn enter(
        &mut self,
        session: &Session,
        #[path_param] room: u32,
        #[query_param] name: Option<String>,
    ) -> Result<(), Error> {
        let name = name.unwrap_or_else(|| "somebody".to_owned());
        session.join(room.to_string());
        session.basic_remote().send_text(format!("welcome to {room}, {name}")).await
    }

    #[on_message]
    async fn say(&mut self, line: String, session: &Session, #[path_param] room: u32) {
        if line == "later" {
            tokio::time::sleep(Duration::from_secs(40)).await;
        }
        session.room(room.to_string()).async_remote().send_text(line);
    }
}

#[derive(Default)]
struct Door;

impl Configurator<Chat> for Door {
    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        if request.headers().get("authorization").is_some_and(|token| token == "Bearer of bad news") {
            return Err(Refusal::new(http::StatusCode::UNAUTHORIZED)
                .with_header(http::header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"))
                .with_body("not you again"));
        }
        response.headers_mut().insert("x-door", http::HeaderValue::from_static("open"));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn two_clients_of_a_room_receive_the_message_and_a_third_does_not() {
    let server = TestServer::of::<Chat>();
    let mut ann = server.connect("/chat/1?name=Ann").await;
    let mut ben = server.connect("/chat/1?name=Ben").await;
    let mut cat = server.connect("/chat/2").await;
    ann.expect_text("welcome to 1, Ann").await;
    ben.expect_text("welcome to 1, Ben").await;
    cat.expect_text("welcome to 2, somebody").await;

    ann.send_text("anybody here?").await;
    ann.expect_text("anybody here?").await;
    ben.expect_text("anybody here?").await;
    cat.expect_nothing().await;
    assert_eq!(server.container().sessions().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn silent_client_is_pinged_and_ends_at_the_idle_timeout() {
    let (server, real) = (TestServer::of::<Chat>(), std::time::Instant::now());
    let mut client = server.request("/chat/1").silent().connect().await;
    let started = Instant::now();
    client.expect_text("welcome to 1, somebody").await;
    client.expect_ping().await;
    assert!((29..=31).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    let closed = loop {
        match client.next().await {
            Traffic::Ping(_) => {}
            other => break other,
        }
    };
    assert_eq!(closed, Traffic::Close { code: CloseCode::GoingAway, reason: "idle timeout".into() });
    // an eighth late at most
    assert!((300..=340).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert!(real.elapsed() < Duration::from_secs(20), "expected no delay, took {:?}", real.elapsed());
}

#[tokio::test(start_paused = true)]
async fn client_that_answers_pings_stays_open_for_hours() {
    let server = TestServer::of::<Chat>();
    let mut client = server.connect("/chat/1").await;
    client.expect_text("welcome to 1, somebody").await;
    tokio::time::sleep(Duration::from_secs(3 * 60 * 60)).await;
    client.expect_nothing().await;
    client.send_text("still here").await;
    client.expect_text("still here").await;
    let transcript = client.transcript();
    let pongs = transcript.entries().iter().filter(|entry| matches!(entry.what, Traffic::Pong(_)));
    assert!(pongs.count() > 300, "{transcript}");
}

#[tokio::test(start_paused = true)]
async fn refusals_have_status_headers_and_body() {
    let server = TestServer::of::<Chat>();
    let refusal = server.request("/chat/1").header("authorization", "Bearer of bad news").expect_refusal(401).await;
    assert_eq!(refusal.headers()["www-authenticate"], "Bearer");
    assert_eq!(refusal.body(), "not you again");
    for (request, status) in [
        (server.request("/chat/no-number"), 404),
        (server.request("/nowhere"), 404),
        (server.request("/chat/1").origin("https://elsewhere.example"), 403),
        (server.request("/chat/1").header("sec-websocket-version", "12"), 426),
        (server.request("/chat/1").without_header("upgrade"), 426),
        (server.request("/chat/1").without_header("sec-websocket-key"), 400),
        (server.request("/chat/1").header("Host", "elsewhere.example").origin("http://localhost"), 403),
    ] {
        let refusal = request.try_connect().await.expect_err("a refusal");
        assert_eq!(refusal.status(), status, "{refusal:?}");
    }
    server.request("/chat/1").origin("http://localhost").connect().await;
    assert_eq!(server.shutdown(Duration::from_secs(1)).await.cut, 0);
    server.request("/chat/1").expect_refusal(503).await;
}

#[tokio::test(start_paused = true)]
async fn subprotocol_and_headers_are_those_of_the_real_handshake() {
    let server = TestServer::of::<Chat>();
    let client = server.request("/chat/1").subprotocol("chat.v9").subprotocol("chat.v1").connect().await;
    assert_eq!(client.subprotocol(), Some("chat.v1"));
    assert_eq!(client.response().headers()["x-door"], "open");
    assert_eq!(client.response().headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[tokio::test(start_paused = true)]
async fn bad_frames_end_the_session_with_the_code_for_each() {
    let server = TestServer::of::<Chat>();
    let frame = |fin, opcode, text: &str| TestFrame::new(fin, opcode, text);
    let long = "x".repeat((1 << 20) + 1);
    for (frames, code) in [
        (vec![frame(true, 1, "hi").unmasked()], 1002),
        (vec![frame(true, 1, "hi").rsv(0b100)], 1002),
        (vec![frame(true, 3, "")], 1002),
        (vec![frame(false, 9, "")], 1002),
        (vec![frame(true, 0, "of nothing")], 1002),
        (vec![frame(false, 1, "one"), frame(true, 1, "two")], 1002),
        (vec![frame(true, 9, &long[..126])], 1002),
        (vec![TestFrame::new(true, 1, [0xff])], 1007),
        (vec![TestFrame::new(true, 8, 1005u16.to_be_bytes())], 1002),
        (vec![frame(true, 1, &long)], 1009),
        // its header alone says so
        (vec![frame(true, 1, &long).half(14)], 1009),
    ] {
        let mut client = server.connect("/chat/1").await;
        client.expect_text("welcome to 1, somebody").await;
        for frame in &frames {
            client.send(frame.clone()).await;
        }
        match client.next().await {
            Traffic::Close { code: came, .. } => assert_eq!(came.as_u16(), code, "{frames:?}"),
            other => panic!("{frames:?}: {other}"),
        }
        client.expect_end().await;
    }
    assert_eq!(server.container().sessions().len(), 0);
}

// ---- the test in the guide ----

mod guide {
    use endpoint_runtime::prelude::*;
    use endpoint_runtime::test::TestServer;

    #[server_endpoint("/chat/{room}", idle_timeout = "30m", ping_interval = off)]
    #[derive(Default)]
    struct Chat;

    impl Chat {
        #[on_open]
        fn enter(&self, session: &Session, #[path_param] room: &str) {
            session.join(room);
        }

        #[on_message]
        fn say(&self, line: String, session: &Session, #[path_param] room: &str) {
            session.room(room).async_remote().send_text(line);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn room_receives_every_message() {
        let server = TestServer::of::<Chat>();
        let mut ann = server.connect("/chat/1").await;
        let mut ben = server.connect("/chat/1").await;
        let mut cat = server.connect("/chat/2").await;

        ann.send_text("hello").await;
        ann.expect_text("hello").await;
        ben.expect_text("hello").await;
        cat.expect_nothing().await;

        ben.expect_close(1001).await; // half an hour later, which takes no time

        let refusal = server.request("/chat/1").origin("https://elsewhere.example").expect_refusal(403).await;
        assert!(!refusal.body().is_empty());
    }
}

#[test]
fn guide_shows_the_test_above() {
    let block = include_str!("../docs/guide/src/testing.md").split("## A test").nth(1).expect("the section");
    let block = block.split("```").nth(1).expect("a block").split_once('\n').expect("its code").1;
    let lines = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    assert!(lines(include_str!("test_kit.rs")).contains(&lines(block)), "{block}");
}

// ---- the kit itself ----

/// Says what it hears, tells a journal, and does what it is told.
#[server_endpoint("/tell", compression = on(threshold = 16))]
struct Teller(Journal);

impl Teller {
    #[on_open]
    fn open(&self, session: &Session) {
        self.0.note(format!("open {:?} {}", session.peer_addr(), session.is_secure()));
    }

    #[on_message]
    async fn text(&self, text: String, session: &Session) -> Option<String> {
        match text.as_str() {
            "close" => session.close_with(CloseReason::new(CloseCode::Other(4001), "as you like").unwrap()),
            "wait" => tokio::time::sleep(Duration::from_secs(5)).await,
            "hang" => std::future::pending().await,
            "flood" => {
                let sent = session.basic_remote().send_binary(vec![7; 1 << 20]).await;
                self.0.note(format!("flood {}", sent.is_ok()));
            }
            _ => {}
        }
        (text != "close").then_some(text)
    }

    #[on_message]
    fn binary(&self, data: Vec<u8>) -> Vec<u8> {
        data
    }

    #[on_message]
    fn pong(&self, pong: Pong) {
        self.0.note(format!("pong {:?}", String::from_utf8_lossy(pong.data())));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.0.note(format!("close {reason}, {:?}", reason.initiator()));
    }
}

fn tellers() -> (TestServer, Journal) {
    let journal = Journal::default();
    let teller = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Teller(teller.clone()))).build().unwrap();
    (TestServer::new(container), journal)
}

async fn tell() -> (TestClient, Journal) {
    let (server, journal) = tellers();
    let client = server.connect("/tell").await;
    journal.expect("open None false").await;
    (client, journal)
}

/// What `test` panics with.
async fn failure(test: impl Future<Output = ()> + Send + 'static) -> String {
    let panic: Box<dyn Any + Send> = tokio::spawn(test).await.expect_err("expected a failure").into_panic();
    panic.downcast_ref::<String>().expect("a message").clone()
}

#[tokio::test(start_paused = true)]
async fn transcript_has_both_directions_in_order_and_with_the_time() {
    let (mut client, _journal) = tell().await;
    client.send_text("hello").await;
    client.expect_text("hello").await;
    client.send_text("wait").await;
    client.send_binary([1, 0xfe]).await;
    client.expect_text("wait").await;
    client.expect_binary([1, 0xfe]).await;
    client.send_ping("here?").await;
    client.expect_pong("here?").await;
    client.send_frame(false, 1, "he").await;
    client.send(TestFrame::new(true, 0, "y").half(5)).await;
    client.send_raw(vec![0x79 ^ 0x3d]).await;
    client.send_raw(vec![0x4e]).await;
    client.expect_text("hey").await;
    client.send_text("close").await;
    assert_eq!(client.expect_close(4001).await, "as you like");
    client.expect_end().await;
    let transcript = client.transcript();
    assert_eq!(
        transcript,
        r#"
        0.000 -> text "hello"
        0.000 <- text "hello"
        0.000 -> text "wait"
        0.000 -> binary 01 fe
        5.000 <- text "wait"
        5.000 <- binary 01 fe
        5.000 -> ping "here?"
        5.000 <- pong "here?"
        5.000 -> frame with opcode 1 and 2 bytes, not final
        5.000 -> frame with opcode 0 and 1 bytes, only its first 5 bytes
        5.000 -> raw 44
        5.000 -> raw 4e
        5.000 <- text "hey"
        5.000 -> text "close"
        5.000 <- close 4001 "as you like"
        5.000 -> close 4001
        5.000 <- end
        "#
    );
    let last = transcript.entries().last().unwrap();
    assert_eq!((last.direction, last.at.as_secs(), &last.what), (Direction::Received, 5, &Traffic::End));
    assert_eq!(transcript.without_times().to_string().lines().next(), Some("-> text \"hello\""));
}

#[tokio::test(start_paused = true)]
async fn close_reaches_the_endpoint() {
    for (code, expected) in [(4000, "close 4000 bye, Peer"), (1000, "close 1000 bye, Peer")] {
        let (mut client, journal) = tell().await;
        client.close(code, "bye").await;
        client.expect_close(code).await;
        client.expect_end().await;
        journal.expect(expected).await;
    }
    let (mut client, journal) = tell().await;
    client.close(CloseCode::NoStatusCode, "").await;
    client.expect_close(CloseCode::NoStatusCode).await;
    journal.expect("close 1005, Peer").await;
}

#[tokio::test(start_paused = true)]
async fn client_that_is_cut_or_dropped_is_lost_without_a_close() {
    let (mut client, journal) = tell().await;
    client.send_text("hello").await;
    client.expect_text("hello").await;
    client.send(TestFrame::new(true, 1, "never whole").half(9)).await;
    client.cut().await;
    journal.expect("close 1006 the peer closed the connection without a close frame, Transport").await;
    client.expect_end().await;
    client.send_text("too late").await;
    let transcript = client.transcript().without_times();
    assert_eq!(
        transcript,
        "-> text \"hello\"
         <- text \"hello\"
         -> frame with opcode 1 and 11 bytes, only its first 9 bytes
         -> end
         -> text \"too late\" (lost)"
    );

    let (client, journal) = tell().await;
    drop(client);
    journal.expect("close 1006 the peer closed the connection without a close frame, Transport").await;
}

#[tokio::test(start_paused = true)]
async fn silent_client_lets_the_close_timeout_run() {
    let (server, journal) = tellers();
    let mut client = server.request("/tell").silent().connect().await;
    let started = Instant::now();
    client.send_text("close").await;
    client.expect_close(4001).await;
    client.expect_nothing().await;
    client.expect_end().await;
    assert!(started.elapsed() >= Duration::from_secs(3), "{:?}", started.elapsed());
    journal.expect("open None false").await;
    journal.expect("close 4001 as you like, Application").await;

    // one that answers does not
    let (mut client, _journal) = tell().await;
    let started = Instant::now();
    client.send_text("close").await;
    client.expect_close(4001).await;
    client.expect_end().await;
    assert!(started.elapsed() < Duration::from_millis(10), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_read_blocks_the_server() {
    let (mut client, journal) = tell().await;
    client.set_reading(false);
    client.send_text("flood").await;
    client.expect_nothing().await;
    assert_eq!(journal.rest(), [""; 0]);
    client.set_reading(true);
    assert_eq!(client.next_binary().await.len(), 1 << 20);
    journal.expect("flood true").await;
}

#[tokio::test(start_paused = true)]
async fn pongs_of_the_client_reach_the_endpoint() {
    let (mut client, journal) = tell().await;
    client.send_pong("unasked").await;
    journal.expect("pong \"unasked\"").await;
}

#[tokio::test(start_paused = true)]
async fn compressed_messages_are_read() {
    let (server, _journal) = tellers();
    let mut client = server.request("/tell").compression(Compression::ON).connect().await;
    let extension = client.response().headers()["sec-websocket-extensions"].to_str().unwrap();
    assert!(extension.starts_with("permessage-deflate"), "{extension}");
    let text = "again and ".repeat(1000);
    client.send_text(text.as_str()).await;
    client.expect_text(&text).await;
}

#[tokio::test(start_paused = true)]
async fn address_and_security_are_those_of_the_request() {
    let (server, journal) = tellers();
    let addr = "203.0.113.7:5000".parse().unwrap();
    let _client = server.request("/tell").peer_addr(addr).secure().connect().await;
    journal.expect("open Some(203.0.113.7:5000) true").await;
}

#[tokio::test(start_paused = true)]
async fn failures_name_the_received_message_and_the_location() {
    let line = line!() + 4;
    let message = failure(async {
        let (mut client, _journal) = tell().await;
        client.send_text("hello").await;
        client.expect_text("goodbye").await;
    });
    let message = message.await;
    assert_eq!(
        message,
        format!(
            "tests/test_kit.rs:{line}:16: expected text \"goodbye\", got text \"hello\"\
             \n    0.000 -> text \"hello\"\n    0.000 <- text \"hello\""
        )
    );

    for (message, about) in [
        (
            failure(async { tell().await.0.expect_text("hello").await }).await,
            "expected text \"hello\", but nothing arrived within 3600s",
        ),
        (
            failure(async {
                let (mut client, _journal) = tell().await;
                client.send_text("x").await;
                client.expect_nothing().await;
            })
            .await,
            "expected nothing, got text \"x\"",
        ),
        (
            failure(async {
                let (mut client, _journal) = tell().await;
                client.close(1000, "").await;
                client.expect_close(1001).await;
            })
            .await,
            "expected a close frame with 1001, got close 1000",
        ),
        (
            failure(async {
                let (mut client, _journal) = tell().await;
                client.cut().await;
                client.expect_nothing().await;
            })
            .await,
            "expected nothing, got end",
        ),
        (
            failure(async {
                let (mut client, _journal) = tell().await;
                client.set_limit(Duration::from_secs(2));
                client.send_text("hang").await;
                for _ in 0..4 {
                    client.send_binary(vec![0; 1 << 20]).await;
                }
            })
            .await,
            "the server did not read the sent data within 2s",
        ),
        (
            failure(async { drop(TestServer::of::<Chat>().connect("/chat/x").await) }).await,
            "/chat/x was refused: 404 Not Found",
        ),
        (
            failure(async { drop(TestServer::of::<Chat>().request("/chat/1").expect_refusal(404).await) }).await,
            "expected a refusal with 404, but /chat/1 was accepted",
        ),
        (
            failure(async { drop(TestServer::of::<Chat>().connect("chat/1").await) }).await,
            "\"chat/1\" is not a request target",
        ),
    ] {
        assert!(message.contains(about), "{message}");
    }
}

#[derive(serde::Deserialize, serde::Serialize, Debug, PartialEq)]
struct Said {
    line: String,
    count: u8,
}

#[server_endpoint("/json")]
#[derive(Default)]
struct Counting;

impl Counting {
    #[on_message]
    fn count(&self, Json(said): Json<Said>) -> Json<Said> {
        Json(Said { count: said.count + 1, ..said })
    }

    #[on_message]
    fn raw(&self, data: Vec<u8>, session: &Session) {
        session.async_remote().send_text(String::from_utf8(data).unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn json_is_sent_and_expected_by_type() {
    let mut client = TestServer::of::<Counting>().connect("/json").await;
    client.send_json(&Said { line: "a".to_owned(), count: 1 }).await;
    assert_eq!(client.expect_json::<Said>().await, Said { line: "a".to_owned(), count: 2 });
    client.send_json(&serde_json::json!({ "line": "b", "count": 7 })).await;
    let said: serde_json::Value = client.expect_json().await;
    assert_eq!(said["count"], 8);
    let transcript = client.transcript();
    assert!(transcript.to_string().contains(r#"-> text "{\"line\":\"a\",\"count\":1}""#), "{transcript}");
}

#[tokio::test(start_paused = true)]
async fn json_that_is_not_of_the_type_fails_the_test() {
    async fn sent(raw: &'static str) -> TestClient {
        let mut client = TestServer::of::<Counting>().connect("/json").await;
        client.send_binary(raw).await;
        client
    }
    let line = line!() + 3;
    let message = failure(async {
        let mut client = sent(r#"{"line":1}"#).await;
        client.expect_json::<Said>().await;
    });
    let message = message.await;
    let place = format!("tests/test_kit.rs:{line}:16: expected JSON of type test_kit::Said, got text ");
    assert!(message.starts_with(&place) && message.contains("invalid type"), "{message}");
    let message = failure(async {
        let mut client = TestServer::of::<Counting>().connect("/json").await;
        client.close(1000, "").await;
        client.expect_json::<u8>().await;
    });
    let message = message.await;
    assert!(message.contains("expected JSON of type u8, got close 1000"), "{message}");
    let message = failure(async {
        let mut client = TestServer::of::<Counting>().connect("/json").await;
        client.send_json(&std::collections::HashMap::from([([1u8], 1)])).await;
    });
    assert!(message.await.contains("cannot be encoded as JSON"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_expected_only_when_everything_has_run() {
    #[server_endpoint("/slow")]
    #[derive(Default)]
    struct Slow;

    impl Slow {
        #[on_message]
        async fn text(&self, text: String) -> String {
            // many tasks, one after the other, but no timer
            for _ in 0..1000 {
                tokio::spawn(tokio::task::yield_now()).await.unwrap();
            }
            text
        }
    }

    let message = failure(async {
        let mut client = TestServer::of::<Slow>().connect("/slow").await;
        client.send_text("late").await;
        client.expect_nothing().await;
    });
    assert!(message.await.contains("got text \"late\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_with_a_running_clock_and_several_threads() {
    let (mut client, _journal) = tell().await;
    client.expect_nothing().await;
    for round in 0..100 {
        let line = format!("line {round}");
        client.send_text(line.as_str()).await;
        client.expect_text(&line).await;
    }
    client.close(1000, "").await;
    client.expect_close(1000).await;
    client.expect_end().await;
    assert_eq!(client.transcript().entries().len(), 203);
}

// ---- a client that is not asked ----

/// Sends as many texts as it is told to, a second apart or all at once.
#[server_endpoint("/ticker", idle_timeout = "1m", ping_interval = "20s")]
#[derive(Default)]
struct Ticker;

impl Ticker {
    #[on_message]
    async fn tick(&mut self, text: String, session: &Session) -> Result<&'static str, Error> {
        let (count, pause) = text.split_once(' ').unwrap();
        let pause = Duration::from_secs(pause.parse().unwrap());
        for number in 0..count.parse().unwrap() {
            session.basic_remote().send_text(format!("{number:0100}")).await?;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        Ok("done")
    }
}

async fn ticker() -> (TestServer, TestClient) {
    let server = TestServer::of::<Ticker>();
    let client = server.connect("/ticker").await;
    (server, client)
}

#[tokio::test(start_paused = true)]
async fn client_reads_continuously() {
    for (count, pause) in [(10_000, 0), (5_000, 1)] {
        let (server, mut client) = ticker().await;
        client.send_text(format!("{count} {pause}")).await;
        // longer than each limit of the server
        tokio::time::sleep(Duration::from_secs(count * pause + 600)).await;
        assert_eq!(server.container().sessions().len(), 1);
        assert_eq!(server.container().sessions().iter().next().unwrap().queued_bytes(), 0);
        for number in 0..count {
            client.expect_text(&format!("{number:0100}")).await;
        }
        client.expect_text("done").await;
        client.expect_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn test_fails_when_too_much_is_unread() {
    const SENTENCE: &str = "more than 100000 bytes are unread, so the client stopped reading: read with next(), allow more with set_max_unread(bytes), or simulate a slow peer with set_reading(false)";
    async fn overrun() -> (TestServer, TestClient) {
        let (server, mut client) = ticker().await;
        client.set_max_unread(100_000);
        // what is asked for does not count
        for _ in 0..3 {
            client.send_text("200 0").await;
            for number in 0..200 {
                client.expect_text(&format!("{number:0100}")).await;
            }
            client.expect_text("done").await;
        }
        client.send_text("2000 0").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        (server, client)
    }
    let asked = failure(async {
        let (_server, mut client) = overrun().await;
        client.next().await;
    });
    let message = failure(async {
        let (_server, mut client) = overrun().await;
        client.send_text("1 1").await;
    });
    let silent = failure(async {
        let (_server, mut client) = overrun().await;
        client.expect_nothing().await;
    });
    let dropped = failure(async {
        overrun().await;
    });
    for (what, failure) in [asked.await, message.await, silent.await, dropped.await].into_iter().enumerate() {
        assert!(failure.contains(SENTENCE), "{what}: {failure}");
        assert_eq!(failure.contains("tests/test_kit.rs:"), what < 3, "{failure}");
    }
}
