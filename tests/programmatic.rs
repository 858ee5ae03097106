//! Endpoints without annotations, message handlers that come and go, and requests that are upgraded by hand.

mod support;

use std::collections::HashMap;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State as AxumState};
use axum::routing::get;
use endpoint_runtime::prelude::*;
use endpoint_runtime::{
    Configurator, Endpoint, EndpointConfig, HandshakeResponse, MessageHandler, MessageKind, TrailingSlash,
};
use support::{BINARY, CONTINUATION, Client, Journal, Log, PONG, TEXT, TestServer, soon};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Makes a handler anew.
type Form = fn() -> MessageHandler;

type Opened = Arc<dyn Fn(&Session) -> Result<(), Error> + Send + Sync>;

/// Does what a test says when it opens, and notes the rest.
struct Scripted {
    journal: Journal,
    opened: Opened,
}

impl Endpoint for Scripted {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        tokio::task::yield_now().await;
        assert!(session.is_open());
        (self.opened)(session)
    }

    async fn on_close(&mut self, session: &Session, reason: CloseReason) -> Result<(), Error> {
        tokio::task::yield_now().await;
        self.journal.note(format!("close {reason} open {}", session.is_open()));
        if reason.code() == CloseCode::Other(4000) { Err(Error::user("on_close failed")) } else { Ok(()) }
    }

    async fn on_error(&mut self, session: &Session, error: Error) -> Result<(), Error> {
        self.journal.note(format!("error {error}"));
        session.async_remote().send_text("sorry");
        Ok(())
    }
}

/// A server with one such endpoint at `/x`.
async fn scripted(opened: impl Fn(&Session) -> Result<(), Error> + Send + Sync + 'static) -> (TestServer, Journal) {
    let (journal, opened) = (Journal::default(), Arc::new(opened) as Opened);
    let own = journal.clone();
    let make = move || Scripted { journal: own.clone(), opened: opened.clone() };
    (TestServer::with(ServerContainer::builder().add_endpoint("/x", make)).await, journal)
}

async fn asked(client: &mut Client, question: &str, answer: &str) {
    client.text(question).await;
    client.expect_text(answer).await;
}

fn echo() -> MessageHandler {
    MessageHandler::text(|_, line: String| line)
}

// ---- handlers ----

#[tokio::test]
async fn each_form_of_handler_takes_its_kind_and_replies() {
    let (server, _) = scripted(|_| Ok(())).await;
    let forms: [(&str, Form, u8, &str, &[&str]); 10] = [
        ("text", || MessageHandler::text(|_, n: u32| n + 1), TEXT, "41", &["42"]),
        ("text_async", || MessageHandler::text_async(|_, s: String| async move { Some(s) }), TEXT, "a", &["a"]),
        ("text unit", || MessageHandler::text(|_, _: Text| ()), TEXT, "a", &[]),
        ("binary", || MessageHandler::binary(|_, data: Vec<u8>| data.len()), BINARY, "abc", &["3"]),
        (
            "binary_async",
            || {
                MessageHandler::binary_async(|_, data: Bytes| async move {
                    tokio::task::yield_now().await;
                    data.len()
                })
            },
            BINARY,
            "abc",
            &["3"],
        ),
        ("pong", || MessageHandler::pong(|_, pong: Pong| pong.data().len()), PONG, "ab", &["2"]),
        (
            "pong_async",
            || MessageHandler::pong_async(|_, pong: Pong| async move { pong.data().len() }),
            PONG,
            "ab",
            &["2"],
        ),
        ("parts", || MessageHandler::text_parts(|_, part, last| format!("{part}({last})")), TEXT, "A", &["A(true)"]),
        (
            "parts_async",
            || MessageHandler::text_parts_async(|_, part, last| async move { format!("{part}({last})") }),
            TEXT,
            "A",
            &["A(true)"],
        ),
        (
            "binary_parts",
            || MessageHandler::binary_parts(|_, part, last| format!("{}({last})", part.len())),
            BINARY,
            "abc",
            &["3(true)"],
        ),
    ];
    for (name, form, opcode, message, replies) in forms {
        let mut client = server.connect("/x").await;
        client.expect_silence().await;
        let session = server.container.sessions().iter().next().unwrap().clone();
        session.add_message_handler(form()).unwrap();
        for _ in 0..2 {
            client.send(0x80 | opcode, message).await;
            for reply in replies {
                soon(client.expect_text(reply)).await;
            }
        }
        client.expect_silence().await;
        assert_eq!(session.message_handlers(), [form().kind()], "{name}");
        client.close(1000, "").await;
        client.expect_close(1000).await;
        client.expect_end().await;
        while !server.container.sessions().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn parts_of_a_message_reach_a_handler_of_parts_one_by_one() {
    for is_async in [false, true] {
        let (server, _) = scripted(move |session| {
            session.add_message_handler(if is_async {
                MessageHandler::binary_parts_async(|_, part, last| async move {
                    tokio::task::yield_now().await;
                    format!("{}({last})", part.len())
                })
            } else {
                MessageHandler::binary_parts(|_, part, last| format!("{}({last})", part.len()))
            })
        })
        .await;
        let mut client = server.connect("/x").await;
        for _ in 0..2 {
            client.send(BINARY, "ab").await;
            client.expect_text("2(false)").await;
            client.send(CONTINUATION, "cde").await;
            client.expect_text("3(false)").await;
            client.send(0x80 | CONTINUATION, "").await;
            client.expect_text("0(true)").await;
        }
    }
}

#[tokio::test]
async fn second_handler_of_a_kind_is_refused_and_the_first_goes_on() {
    let kinds: [(Form, Form, u8); 3] = [
        (|| MessageHandler::text(|_, _: String| "first"), || MessageHandler::text_parts(|_, _, _| "second"), TEXT),
        (
            || MessageHandler::binary_parts(|_, _, _| "first"),
            || MessageHandler::binary(|_, _: Vec<u8>| "second"),
            BINARY,
        ),
        (|| MessageHandler::pong(|_, _| "first"), || MessageHandler::pong_async(|_, _| async { "second" }), PONG),
    ];
    for (first, second, opcode) in kinds {
        let (server, _) = scripted(move |session| {
            session.add_message_handler(first())?;
            let error = session.add_message_handler(second()).unwrap_err();
            assert!(error.is_duplicate_handler(), "{error}");
            Ok(())
        })
        .await;
        let mut client = server.connect("/x").await;
        for _ in 0..2 {
            client.send(0x80 | opcode, "?").await;
            client.expect_text("first").await;
        }
    }
}

#[tokio::test]
async fn list_of_handlers_grows_and_shrinks() {
    let (server, _) = scripted(|session| {
        assert_eq!(session.message_handlers(), []);
        session.add_message_handler(MessageHandler::binary(|_, data: Bytes| data))?;
        assert_eq!(session.message_handlers(), [MessageKind::Binary]);
        session.add_message_handler(echo())?;
        assert_eq!(session.message_handlers(), [MessageKind::Text, MessageKind::Binary]);
        let removed = session.remove_message_handler(MessageKind::Text).unwrap();
        assert!(session.remove_message_handler(MessageKind::Text).is_none());
        assert_eq!(session.message_handlers(), [MessageKind::Binary]);
        session.remove_message_handler(MessageKind::Binary).unwrap();
        assert_eq!(session.message_handlers(), []);
        // one that was removed may be added again
        session.add_message_handler(removed)
    })
    .await;
    asked(&mut server.connect("/x").await, "still", "still").await;
}

#[tokio::test]
async fn change_applies_from_the_next_message_on() {
    // "swap" is answered by the handler that makes the change; what comes behind it in the same segment by the next
    let (server, _) = scripted(|session| {
        let own = session.clone();
        session.add_message_handler(MessageHandler::text_async(move |_, line: String| {
            let session = own.clone();
            async move {
                tokio::task::yield_now().await;
                if line == "swap" {
                    session.remove_message_handler(MessageKind::Text);
                    tokio::task::yield_now().await;
                    session.add_message_handler(MessageHandler::text(|_, line: String| format!("new {line}"))).unwrap();
                }
                format!("old {line}")
            }
        }))
    })
    .await;
    let mut client = server.connect("/x").await;
    let segment: Vec<u8> =
        ["a", "swap", "b", "c"].iter().flat_map(|line| support::frame(0x81, line.as_bytes())).collect();
    client.send_raw(&segment).await;
    for answer in ["old a", "old swap", "new b", "new c"] {
        client.expect_text(answer).await;
    }
}

#[tokio::test]
async fn started_message_stays_with_its_handler() {
    for parts in [false, true] {
        let (server, _) = scripted(move |session| {
            let own = session.clone();
            // a pong between the fragments makes the change
            session.add_message_handler(MessageHandler::pong(move |_, _| {
                own.remove_message_handler(MessageKind::Text).unwrap();
                own.add_message_handler(if parts {
                    MessageHandler::text(|_, line: String| format!("new {line}"))
                } else {
                    MessageHandler::text_parts(|_, line, last| format!("new {line} {last}"))
                })
                .unwrap();
                "changed"
            }))?;
            session.add_message_handler(if parts {
                MessageHandler::text_parts(|_, line, last| format!("old {line} {last}"))
            } else {
                MessageHandler::text(|_, line: String| format!("old {line}"))
            })
        })
        .await;
        let mut client = server.connect("/x").await;
        client.send(TEXT, "a").await;
        if parts {
            client.expect_text("old a false").await;
        }
        client.send(0x80 | PONG, "").await;
        client.expect_text("changed").await;
        client.send(0x80 | CONTINUATION, "b").await;
        client.expect_text(if parts { "old b true" } else { "old ab" }).await;
        client.text("c").await;
        client.expect_text(if parts { "new c" } else { "new c true" }).await;
    }
}

#[tokio::test]
async fn message_started_without_a_handler_is_dropped_and_the_next_goes_to_the_new_one() {
    let (server, _) = scripted(|_| Ok(())).await;
    let mut client = server.connect("/x").await;
    client.send(TEXT, "a").await;
    client.expect_silence().await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    for name in ["one", "two", "three"] {
        session.remove_message_handler(MessageKind::Text);
        session.add_message_handler(MessageHandler::text(move |_, line: String| format!("{name} {line}"))).unwrap();
        // the change is known to the connection
        client.expect_silence().await;
    }
    client.send(0x80 | CONTINUATION, "b").await;
    client.expect_silence().await;
    asked(&mut client, "c", "three c").await;
    // the same in the middle of the next
    client.send(TEXT, "d").await;
    client.expect_silence().await;
    session.remove_message_handler(MessageKind::Text).unwrap();
    client.send(0x80 | CONTINUATION, "e").await;
    client.expect_text("three de").await;
    client.text("f").await;
    client.expect_silence().await;
}

#[tokio::test]
async fn parts_read_ahead_stay_with_their_handler_and_whole_messages_go_to_the_new_one() {
    let gate = Arc::new(Notify::new());
    let (own, journal) = (gate.clone(), Journal::default());
    let noted = journal.clone();
    let (server, _) = scripted(move |session| {
        let (gate, journal) = (own.clone(), noted.clone());
        session.add_message_handler(MessageHandler::binary_async(move |_, _: Bytes| {
            let (gate, journal) = (gate.clone(), journal.clone());
            async move {
                journal.note("waits");
                gate.notified().await;
            }
        }))?;
        session.add_message_handler(MessageHandler::text_parts(|_, line, last| format!("old {line} {last}")))
    })
    .await;
    let mut client = server.connect("/x").await;
    client.binary(b"wait").await;
    journal.expect("waits").await;
    client.send(TEXT, "a").await;
    client.send(0x80 | CONTINUATION, "b").await;
    // both have been read
    client.expect_silence().await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    session.remove_message_handler(MessageKind::Text).unwrap();
    session.add_message_handler(MessageHandler::text(|_, line: String| format!("new {line}"))).unwrap();
    client.text("c").await;
    client.expect_silence().await;
    session.remove_message_handler(MessageKind::Text).unwrap();
    session.add_message_handler(MessageHandler::text(|_, line: String| format!("newest {line}"))).unwrap();
    gate.notify_one();
    for answer in ["old a false", "old b true", "newest c"] {
        client.expect_text(answer).await;
    }
}

#[tokio::test]
async fn message_without_a_handler_is_dropped_and_logged_once() {
    let (server, _) = scripted(|session| session.add_message_handler(echo())).await;
    let mut client = server.connect("/x").await;
    for _ in 0..2 {
        client.binary(b"abc").await;
        client.send(0x80 | PONG, "x").await;
    }
    asked(&mut client, "text", "text").await;
}

#[tokio::test]
async fn limit_applies_to_whole_messages_and_not_to_parts() {
    let config = |make: fn(&Session) -> Result<(), Error>| {
        let journal = Journal::default();
        EndpointConfig::new("/x", move || Scripted { journal: journal.clone(), opened: Arc::new(make) })
            .max_message_size(5)
    };
    let server = TestServer::with(
        ServerContainer::builder().add_endpoint_config(config(|session| session.add_message_handler(echo()))),
    )
    .await;
    let mut client = server.connect("/x").await;
    asked(&mut client, "12345", "12345").await;
    client.text("123456").await;
    client.expect_text("sorry").await;
    client.expect_close(1009).await;
    let server = TestServer::with(ServerContainer::builder().add_endpoint_config(config(|session| {
        session.add_message_handler(MessageHandler::text_parts(|_, part, _| part.len()))
    })))
    .await;
    asked(&mut server.connect("/x").await, "123456", "6").await;
}

// ---- beside annotations ----

#[server_endpoint("/annotated")]
#[derive(Default)]
struct Annotated;

impl Annotated {
    #[on_open]
    fn opened(&mut self, session: &Session) -> Result<(), Error> {
        assert_eq!(session.message_handlers(), [MessageKind::Text]);
        assert!(session.add_message_handler(echo()).unwrap_err().is_duplicate_handler());
        assert!(session.remove_message_handler(MessageKind::Text).is_none());
        session.add_message_handler(MessageHandler::binary_async(|_, data: Bytes| async move { data }))?;
        session.add_message_handler(MessageHandler::pong(|_, _| "pong"))?;
        assert_eq!(session.message_handlers().len(), 3);
        Ok(())
    }

    #[on_message]
    async fn text(&mut self, text: String) -> String {
        tokio::task::yield_now().await;
        text.to_uppercase()
    }
}

#[tokio::test]
async fn handlers_can_be_added_to_an_annotated_endpoint_for_other_kinds() {
    let server = TestServer::of::<Annotated>().await;
    let mut client = server.connect("/annotated").await;
    // all in one segment, so that some are read ahead while a handler is suspended
    let mut segment = Vec::new();
    for _ in 0..10 {
        for (opcode, message) in [(TEXT, "text"), (BINARY, "data"), (PONG, "x")] {
            segment.extend(support::frame(0x80 | opcode, message.as_bytes()));
        }
    }
    client.send_raw(&segment).await;
    for _ in 0..10 {
        client.expect_text("TEXT").await;
        assert_eq!(client.expect(BINARY).await, b"data");
        client.expect_text("pong").await;
    }
}

// ---- errors and the end ----

#[tokio::test]
async fn failures_go_to_on_error_and_the_session_goes_on() {
    let (server, journal) = scripted(|session| {
        session.add_message_handler(MessageHandler::text_async(|_, n: u8| async move {
            if n == 0 { Err(Error::user("zero")) } else { Ok(n) }
        }))
    })
    .await;
    let mut client = server.connect("/x").await;
    for (message, error) in
        [("0", "error zero"), ("x", r#"error the text message "x" is not of type u8: invalid digit found in string"#)]
    {
        asked(&mut client, message, "sorry").await;
        journal.expect(error).await;
    }
    asked(&mut client, "7", "7").await;
    client.close(4000, "").await;
    client.expect_close(4000).await;
    journal.expect("close 4000 open false").await;
    journal.expect("error on_close failed").await;
}

#[tokio::test]
async fn panic_in_a_handler_ends_the_session_with_1011() {
    let handlers: [Form; 3] = [
        || MessageHandler::text(|_, _: String| -> String { panic!("boom") }),
        || {
            MessageHandler::text_async(|_, _: String| async {
                if true {
                    panic!("boom")
                }
            })
        },
        || MessageHandler::text_async(|_, _: String| -> std::future::Ready<()> { panic!("boom") }),
    ];
    for handler in handlers {
        let (server, journal) = scripted(move |session| session.add_message_handler(handler())).await;
        let mut client = server.connect("/x").await;
        asked(&mut client, "?", "sorry").await;
        client.expect_close(1011).await;
        journal.expect("error a handler panicked: boom").await;
        journal.expect("close 1011 internal error open false").await;
    }
}

#[tokio::test]
async fn failed_on_open_ends_the_session_with_1011() {
    let (server, journal) = scripted(|_| Err(Error::user("not today"))).await;
    let mut client = server.connect("/x").await;
    client.expect_text("sorry").await;
    client.expect_close(1011).await;
    journal.expect("error not today").await;
    journal.expect("close 1011 internal error open false").await;
}

/// Writes no more than it must.
struct Plain;

impl Endpoint for Plain {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session
            .add_message_handler(MessageHandler::text(|_, n: u8| if n == 0 { Err(Error::user("zero")) } else { Ok(n) }))
    }
}

#[tokio::test]
async fn errors_without_an_on_error_are_logged_and_end_the_session() {
    let server = TestServer::with(ServerContainer::builder().add_endpoint("/plain", || Plain)).await;
    for (first, message, code) in [(0x81, "0", 1011), (0x81, "x", 1007), (0x83, "?", 1002), (0x81, "\u{80}", 1007)] {
        let log = Log::capture();
        let mut client = server.connect("/plain").await;
        asked(&mut client, "7", "7").await;
        client.send(first, message).await;
        client.expect_close(code).await;
        assert_eq!(log.lines("has no on_error").len(), 1, "{message}");
    }
}

// ---- while the server runs ----

/// Says its name, once.
struct Named(String);

impl Endpoint for Named {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        let name = format!("{} {:?}", self.0, session.path_param("id"));
        session.add_message_handler(MessageHandler::text(move |_, _: String| name.clone()))
    }
}

fn named(name: &'static str) -> impl Fn() -> Named + Send + Sync {
    move || Named(name.to_owned())
}

#[tokio::test]
async fn endpoints_come_and_go_while_the_server_runs() {
    let server = TestServer::with(ServerContainer::builder().context_path("/app").register::<Annotated>()).await;
    let container = &server.container;
    assert_eq!(Client::try_connect(server.addr, "/app/late/7", &[]).await.0.status, 404);
    container.add_endpoint("/late/{id}", named("first")).unwrap();
    let mut first = server.connect("/app/late/7").await;
    asked(&mut first, "?", r#"first Some("7")"#).await;
    let info: Vec<_> = container.endpoints().map(|endpoint| endpoint.path.into_owned()).collect();
    assert_eq!(info.len(), 2);
    assert!(info.contains(&"/app/late/{id}".to_owned()), "{info:?}");
    let late = container.endpoints().find(|endpoint| endpoint.path.contains("late")).unwrap();
    assert!(late.file.ends_with("programmatic.rs") && late.name.ends_with("Named"), "{late:?}");

    // an open session survives, and no handshake does
    assert!(container.remove_endpoint("/late/{id}"));
    assert!(!container.remove_endpoint("/late/{id}"));
    assert_eq!(Client::try_connect(server.addr, "/app/late/7", &[]).await.0.status, 404);
    asked(&mut first, "?", r#"first Some("7")"#).await;
    assert_eq!(container.sessions().len(), 1);

    // the path is free again, for others
    container.add_endpoint("/late/{id}", named("second")).unwrap();
    let mut second = server.connect("/app/late/8").await;
    asked(&mut second, "?", r#"second Some("8")"#).await;
    asked(&mut first, "?", r#"first Some("7")"#).await;
    assert_eq!(container.sessions().len(), 2);
    assert_eq!(container.sessions().iter().next().unwrap().open_sessions().len(), 1);

    // annotated ones, too
    assert!(container.remove_endpoint("/annotated"));
    assert_eq!(Client::try_connect(server.addr, "/app/annotated", &[]).await.0.status, 404);
    container.register::<Annotated>().unwrap();
    asked(&mut server.connect("/app/annotated").await, "back", "BACK").await;
}

#[tokio::test]
async fn shutdown_reaches_the_sessions_of_removed_endpoints() {
    let server = TestServer::with(ServerContainer::builder().add_endpoint("/x", named("x"))).await;
    let mut client = server.connect("/x").await;
    asked(&mut client, "?", "x None").await;
    assert!(server.container.remove_endpoint("/x"));
    // other changes do not lose them
    server.container.add_endpoint("/y", named("y")).unwrap();
    server.container.remove_endpoint("/y");
    let closing = tokio::spawn(server.shutdown());
    client.expect_close(1001).await;
    client.close(1001, "").await;
    let shutdown = soon(closing).await.unwrap();
    assert_eq!((shutdown.closed, shutdown.cut), (1, 0));
}

#[tokio::test]
async fn duplicate_or_malformed_path_is_an_error_and_changes_nothing() {
    let builder = ServerContainer::builder().trailing_slash(TrailingSlash::Ignore).register::<Annotated>();
    let server = TestServer::with(builder.add_endpoint("/a/{x}", named("a"))).await;
    for (path, sentence) in [
        ("/annotated", "the same path"),
        ("/a/{other}", "equivalent templates"),
        ("/a/{other}/", "equivalent templates"),
        ("a", "/"),
        ("/a//b", "/"),
        ("/a/{}", "{"),
    ] {
        let error = server.container.add_endpoint(path, named("b")).unwrap_err();
        assert!(error.is_deployment() && error.to_string().contains(sentence), "{path}: {error}");
    }
    assert!(server.container.register::<Annotated>().unwrap_err().is_deployment());
    assert_eq!(server.container.endpoints().count(), 2);
    asked(&mut server.connect("/a/1").await, "?", "a None").await;
    let both = ServerContainer::builder().add_endpoint("/same", named("a")).add_endpoint("/same", named("b"));
    let error = both.build().unwrap_err().to_string();
    assert!(error.contains("programmatic.rs:"), "{error}");
}

#[tokio::test]
async fn one_type_may_be_mounted_at_several_paths() {
    let builder = ServerContainer::builder().add_endpoint("/a", named("a")).add_endpoint("/b/{id}", named("b"));
    let server = TestServer::with(builder).await;
    asked(&mut server.connect("/a").await, "?", "a None").await;
    asked(&mut server.connect("/b/1").await, "?", r#"b Some("1")"#).await;
}

#[tokio::test]
async fn panic_in_a_constructor_refuses_with_500() {
    let server = TestServer::with(ServerContainer::builder().add_endpoint("/x", || -> Named { panic!("boom") })).await;
    assert_eq!(Client::try_connect(server.addr, "/x", &[]).await.0.status, 500);
}

struct Door;

impl Configurator<Named> for Door {
    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        response.headers_mut().insert("x-door", http::HeaderValue::from_static("open"));
        if request.query_string() == Some("no") { Err(Refusal::forbidden()) } else { Ok(()) }
    }

    fn endpoint(&self, request: &HandshakeRequest) -> Result<Option<Named>, Refusal> {
        Ok((request.query_string() == Some("own")).then(|| Named("own".into())))
    }
}

#[tokio::test]
async fn config_has_the_options_of_an_annotation() {
    let config = EndpointConfig::new("/x", named("x")).configurator(Door).subprotocols(&["v1"]);
    let server = TestServer::with(ServerContainer::builder().add_endpoint_config(config)).await;
    let header = ["Sec-WebSocket-Protocol: v0, v1"];
    let (answer, mut client) = Client::try_connect(server.addr, "/x", &header).await;
    assert_eq!((answer.header("sec-websocket-protocol"), answer.header("x-door")), (Some("v1"), Some("open")));
    asked(&mut client, "?", "x None").await;
    asked(&mut server.connect("/x?own").await, "?", "own None").await;
    assert_eq!(Client::try_connect(server.addr, "/x?no", &[]).await.0.status, 403);
}

// ---- by hand ----

#[server_endpoint("/chat/{room}/{seat}")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_message]
    fn say(&mut self, _: &str, #[path_param] room: &str, #[path_param] seat: u8, session: &Session) -> String {
        format!("{room} {seat} {}", session.open_sessions().len())
    }
}

/// Serves a router of axum that upgrades by hand.
async fn axum(container: ServerContainer) -> std::net::SocketAddr {
    type C = AxumState<ServerContainer>;
    let annotated = |AxumState(container): C, Path((room, seat)): Path<(String, String)>, request: Request| async move {
        container.upgrade::<Chat, _>(request, [("room", room), ("seat", seat)]).await
    };
    let made = |AxumState(container): C, Path(id): Path<String>, request: Request| async move {
        let config = EndpointConfig::new("/by-hand", named("made"));
        container.upgrade_with(request, HashMap::from([("id", id)]), config).await
    };
    let app =
        axum::Router::new().route("/r/{room}/{seat}", get(annotated)).route("/m/{id}", get(made)).with_state(container);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    addr
}

#[tokio::test]
async fn request_is_upgraded_manually_inside_another_router() {
    let container = ServerContainer::builder().build().unwrap();
    let addr = axum(container.clone()).await;
    let mut first = Client::connect(addr, "/r/blue/7").await;
    asked(&mut first, "?", "blue 7 1").await;
    let mut second = Client::connect(addr, "/r/red/8").await;
    asked(&mut second, "?", "red 8 2").await;
    let mut made = Client::connect(addr, "/m/9").await;
    asked(&mut made, "?", r#"made Some("9")"#).await;
    // nothing is mounted, and all of them belong to the container
    assert_eq!(container.endpoints().count(), 0);
    assert_eq!(container.sessions().len(), 3);
    let closing = tokio::spawn(async move { container.shutdown(Duration::from_secs(10)).await });
    for client in [&mut first, &mut second, &mut made] {
        client.expect_close(1001).await;
        client.close(1001, "").await;
    }
    assert_eq!(soon(closing).await.unwrap().closed, 3);
}

#[tokio::test]
async fn manual_upgrade_refuses_an_ordinary_request() {
    let addr = axum(ServerContainer::builder().build().unwrap()).await;
    let host = format!("Host: {addr}");
    for (lines, status) in [
        (vec!["GET /r/blue/7 HTTP/1.1", &host], 426),
        (vec!["GET /m/7 HTTP/1.1", &host], 426),
        (
            vec!["GET /m/7 HTTP/1.1", &host, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
            400,
        ),
    ] {
        assert_eq!(Client::request(addr, &lines, b"").await.0.status, status, "{lines:?}");
    }
    // a parameter that does not parse, and a foreign page
    assert_eq!(Client::try_connect(addr, "/r/blue/seven", &[]).await.0.status, 404);
    assert_eq!(Client::try_connect(addr, "/m/7", &["Origin: https://evil.example"]).await.0.status, 403);
}

#[tokio::test]
async fn manual_upgrade_of_a_mounted_endpoint_shares_its_sessions() {
    let container = ServerContainer::builder().register::<Chat>().build().unwrap();
    let addr = axum(container.clone()).await;
    let mut client = Client::connect(addr, "/r/blue/7").await;
    asked(&mut client, "?", "blue 7 1").await;
    assert_eq!(container.sessions().len(), 1);
    assert_eq!(container.endpoints().map(|endpoint| endpoint.path).collect::<Vec<_>>(), ["/chat/{room}/{seat}"]);
}
