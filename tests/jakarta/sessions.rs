//! Area G: what a session knows, and how it ends. (More of both: `tests/session.rs` and `tests/close.rs`.)

use std::collections::HashSet;
use std::time::Duration;

use endpoint_runtime::ServerContainer;
use endpoint_runtime::prelude::*;

use crate::Step::{Hear, HearClose, Text as Say};
use crate::support::{Client, Journal, TestServer};
use crate::{Row, play};

/// Answers questions about its session.
#[server_endpoint("/{param1}/{param2}")]
struct Asked {
    opened: String,
    journal: Journal,
}

impl Asked {
    #[on_open]
    async fn open(&mut self, session: &Session) -> Result<(), Error> {
        self.opened = session.id().to_string();
        session.properties().insert(vec!["open"]);
        session.basic_remote().send_text(format!("open {}", session.is_open())).await
    }

    #[on_message]
    async fn text(&mut self, question: String, session: &Session) -> Result<Option<String>, Error> {
        let answer = match question.as_str() {
            "isOpen" => session.is_open().to_string(),
            "same id" => (session.id().to_string() == self.opened).to_string(),
            "id" => self.opened.clone(),
            "query" => format!("{:?}", session.query_string()),
            "uri" => session.uri().to_owned(),
            "version" => session.protocol_version().to_owned(),
            "subprotocol" => format!("{:?}", session.subprotocol()),
            "extensions" => format!("{:?}", session.extensions()),
            "secure" => session.is_secure().to_string(),
            "param1" | "param2" | "param3" => format!("{:?}", session.path_param(&question)),
            "params" => format!("{:?}", session.query_params().collect::<Vec<_>>()),
            "size" => {
                session.set_max_message_size(98_765_432);
                session.max_message_size().to_string()
            }
            "idle" => {
                session.set_idle_timeout(Some(Duration::from_millis(9_876_543_210)));
                format!("{:?}", session.idle_timeout())
            }
            "sessions" => session.open_sessions().len().to_string(),
            "properties" => {
                session.properties().with(|command: &mut Vec<&str>| command.push("message"));
                format!("{:?}", session.properties().get::<Vec<&str>>())
            }
            "close" => {
                session.close();
                return Ok(None);
            }
            "close with" => {
                session.close_with(CloseReason::new(CloseCode::TooBig, "TCKCloseNowWithReason")?);
                return Ok(None);
            }
            "close and reply" => {
                session.close();
                "never sent".to_owned()
            }
            _ => question,
        };
        Ok(Some(answer))
    }

    #[on_close]
    async fn close(&mut self, session: &Session, reason: CloseReason) {
        let late = session.basic_remote().send_text("late").await.is_err_and(|error| error.is_closed());
        let command = session.properties().get::<Vec<&str>>();
        let same = session.id().to_string() == self.opened;
        self.journal.note(format!(
            "close {} {:?}, open {}, same id {same}, too late {late}, {command:?}",
            reason.code(),
            reason.reason(),
            session.is_open()
        ));
    }
}

/// Its `on_close` fails.
#[server_endpoint("/failing")]
struct Failing(Journal);

impl Failing {
    #[on_close]
    fn close(&self) -> Result<(), &'static str> {
        Err("on_close failed")
    }

    #[on_error]
    fn error(&self, session: &Session, error: &Error) {
        self.0.note(format!("{error}, session open {}", session.is_open()));
    }
}

/// Has no `on_close` at all.
#[server_endpoint("/careless")]
#[derive(Default)]
struct Careless;

impl Careless {
    #[on_message]
    fn text(&self, _message: &str, session: &Session) {
        session.close();
    }
}

async fn server() -> (TestServer, Journal) {
    let journal = Journal::default();
    let (asked, failing) = (journal.clone(), journal.clone());
    let container = ServerContainer::builder()
        .endpoint_with(move |_| Ok(Asked { opened: String::new(), journal: asked.clone() }))
        .endpoint_with(move |_| Ok(Failing(failing.clone())))
        .register::<Careless>();
    (TestServer::with(container).await, journal)
}

#[tokio::test]
async fn session_passes_the_checks_of_the_tck() {
    let (server, _) = server().await;
    let path = "/test1/test2=xyz?test1=value1&test2=value2&test3=value3";
    let uri = format!("ws://{}{path}", server.addr);
    let opened = Hear("open true");
    let rows: &[Row<'_>] = &[
        ("G isOpen in onOpen and after", path, &[opened, Say("isOpen"), Hear("true")]),
        ("G getId is the same in every handler, WSC-2.1.2-1", path, &[opened, Say("same id"), Hear("true")]),
        ("G getQueryString", path, &[opened, Say("query"), Hear("Some(\"test1=value1&test2=value2&test3=value3\")")]),
        ("G getQueryString without one", "/a/b", &[opened, Say("query"), Hear("None")]),
        (
            "G getRequestParameterMap is of the query alone",
            "/a/b?second=secondParam&first=1&second=firstParam",
            &[
                opened,
                Say("params"),
                Hear("[(\"second\", \"secondParam\"), (\"first\", \"1\"), (\"second\", \"firstParam\")]"),
            ],
        ),
        ("G getPathParameters", path, &[opened, Say("param1"), Hear("Some(\"test1\")")]),
        ("G getPathParameters", path, &[opened, Say("param2"), Hear("Some(\"test2=xyz\")")]),
        ("G getPathParameters of no such name, WSC-4.3-3", path, &[opened, Say("param3"), Hear("None")]),
        ("G getRequestURI", path, &[opened, Say("uri"), Hear(&uri)]),
        ("G getProtocolVersion", path, &[opened, Say("version"), Hear("13")]),
        ("G getNegotiatedSubprotocol, none", path, &[opened, Say("subprotocol"), Hear("None")]),
        ("G getNegotiatedExtensions, none", path, &[opened, Say("extensions"), Hear("[]")]),
        ("G isSecure over plain TCP", path, &[opened, Say("secure"), Hear("false")]),
        ("G setMaxTextMessageBufferSize, and Binary", path, &[opened, Say("size"), Hear("98765432")]),
        ("G setMaxIdleTimeout", path, &[opened, Say("idle"), Hear("Some(9876543.21s)")]),
        ("G getUserProperties", path, &[opened, Say("properties"), Hear("Some([\"open\", \"message\"])")]),
        ("G close", path, &[opened, Say("close"), HearClose(1000, "")]),
        ("G close with a reason", path, &[opened, Say("close with"), HearClose(1009, "TCKCloseNowWithReason")]),
        ("G close, and nothing after it", path, &[opened, Say("close and reply"), HearClose(1000, "")]),
        ("G close where there is no @OnClose", "/careless", &[Say("?"), HearClose(1000, "")]),
    ];
    play(&server, rows).await;
}

#[tokio::test]
async fn on_close_receives_the_reason_and_can_no_longer_send() {
    let cases = [
        ("G close of the server, WSC-2.1.5-1", "close", 1000, "close 1000 \"\""),
        ("G close with a reason", "close with", 1009, "close 1009 \"TCKCloseNowWithReason\""),
        ("G close of the client, WSC-4.5-1", "", 4321, "close 4321 \"bye\""),
    ];
    for (rule, command, code, expected) in cases {
        println!("{rule}");
        let (server, journal) = server().await;
        let mut client = server.connect("/a/b").await;
        client.expect_text("open true").await;
        if command.is_empty() {
            client.close(4321, "bye").await;
        } else {
            client.text(command).await;
        }
        client.expect_close(code).await;
        let open = "open false, same id true, too late true, Some([\"open\"])";
        journal.expect(&format!("{expected}, {open}")).await;
        client.close(code, "").await;
        client.expect_end().await;
        assert_eq!(journal.rest(), <[&str; 0]>::default(), "on_close ran twice");
    }
}

#[tokio::test]
async fn error_of_on_close_reaches_on_error_with_the_session() {
    println!("G close12, WSC-4.5-3");
    let (server, journal) = server().await;
    let mut client = server.connect("/failing").await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    journal.expect("on_close failed, session open false").await;
}

#[tokio::test]
async fn five_sessions_one_after_another_have_five_ids() {
    println!("G sessionid, WSC-2.1.2-1, WSC-2.1.2-3");
    let (server, journal) = server().await;
    let mut ids = HashSet::new();
    for _ in 0..5 {
        let mut client = server.connect("/a/b").await;
        client.expect_text("open true").await;
        client.text("id").await;
        ids.insert(client.frame().await.unwrap().payload);
        client.close(1000, "").await;
        client.expect_close(1000).await;
        journal.next().await;
    }
    assert_eq!(ids.len(), 5, "{ids:?}");
}

#[tokio::test]
async fn open_sessions_are_counted_exactly() {
    println!("G getOpenSessions: 1, 2, 3, 2, 1; the kit lets it lag, we do not");
    let (server, journal) = server().await;
    let count = async |client: &mut Client, expected: &str| {
        client.text("sessions").await;
        client.expect_text(expected).await;
    };
    let mut first = server.connect("/a/b").await;
    first.expect_text("open true").await;
    count(&mut first, "1").await;
    let mut others = Vec::new();
    for expected in ["2", "3"] {
        let mut other = server.connect("/c/d").await;
        other.expect_text("open true").await;
        others.push(other);
        count(&mut first, expected).await;
    }
    // of another endpoint, and so not among them
    let _elsewhere = server.connect("/careless").await;
    for expected in ["2", "1"] {
        let mut other = others.pop().unwrap();
        other.close(1000, "").await;
        other.expect_close(1000).await;
        journal.next().await;
        count(&mut first, expected).await;
    }
}
