//! What a session knows of its connection, its neighbours and its limits, while it is open and after.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Initiator};
use support::{BINARY, CONTINUATION, Client, DEADLINE, Journal, PING, PONG, TEXT, TestServer, soon};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Hands its session to the test.
#[server_endpoint("/probe/{room}", subprotocols("chat.v2", "chat.v1"))]
struct Probe {
    sessions: UnboundedSender<Session>,
    journal: Journal,
}

impl Probe {
    #[on_open]
    fn open(&self, session: &Session) {
        self.journal.note(format!("open {} {}", session.is_open(), session.id()));
        self.sessions.send(session.clone()).unwrap();
    }

    #[on_message]
    async fn text(&self, message: String, session: &Session) -> String {
        match message.as_str() {
            "id" => session.id().to_string(),
            "open?" => session.is_open().to_string(),
            _ => message,
        }
    }

    #[on_message]
    fn pong(&self, pong: Pong) {
        self.journal.note(format!("pong {}", String::from_utf8_lossy(pong.data())));
    }

    #[on_close]
    fn close(&self, session: &Session, reason: CloseReason) {
        let note = session.properties().get::<&'static str>().unwrap_or("nothing");
        let others = session.open_sessions().iter().filter(|other| *other != session).count();
        let own = session.open_sessions().len() - others;
        self.journal.note(format!("close {} by {:?}", reason.code(), reason.initiator()));
        self.journal.note(format!(
            "in on_close: {} open {} noted {note} others {others} own {own}",
            session.id(),
            session.is_open()
        ));
    }
}

/// Another endpoint, whose sessions are not those of the first.
#[server_endpoint("/elsewhere")]
struct Elsewhere {
    sessions: UnboundedSender<Session>,
}

impl Elsewhere {
    #[on_open]
    fn open(&self, session: Session) {
        self.sessions.send(session).unwrap();
    }
}

/// A server with the probe, the sessions it opened, what it noted after `open`.
struct Probed {
    server: TestServer,
    sessions: UnboundedReceiver<Session>,
    journal: Journal,
}

impl Probed {
    async fn new() -> Self {
        Self::with(|container| container).await
    }

    async fn with(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let (sender, sessions) = unbounded_channel();
        let (journal, elsewhere) = (Journal::default(), sender.clone());
        let own = journal.clone();
        let container = ServerContainer::builder()
            .endpoint_with(move |_| Ok(Probe { sessions: sender.clone(), journal: own.clone() }))
            .endpoint_with(move |_| Ok(Elsewhere { sessions: elsewhere.clone() }));
        Self { server: TestServer::with(set(container)).await, sessions, journal }
    }

    async fn session(&mut self) -> Session {
        soon(self.sessions.recv()).await.unwrap()
    }

    /// Connects with header lines; what `on_open` noted is taken.
    async fn open_with(&mut self, path: &str, headers: &[&str]) -> (Client, Session) {
        let client = Client::connect_with(self.server.addr, path, headers).await;
        let session = self.session().await;
        self.journal.expect(&format!("open true {}", session.id())).await;
        (client, session)
    }

    async fn open(&mut self) -> (Client, Session) {
        self.open_with("/probe/blue", &[]).await
    }

    /// Lets the client close, and waits for `on_close`.
    async fn leave(&mut self, mut client: Client) {
        client.close(1000, "").await;
        client.expect_close(1000).await;
        self.journal.expect("close 1000 by Peer").await;
        self.journal.next().await;
    }
}

// ---- identity ----

#[tokio::test]
async fn id_has_32_hexadecimal_digits() {
    let mut probed = Probed::new().await;
    let (_client, session) = probed.open().await;
    let id = session.id().to_string();
    assert!(id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
}

#[tokio::test]
async fn id_is_the_same_in_every_handler_and_after_the_end() {
    let mut probed = Probed::new().await;
    let (mut client, session) = probed.open().await;
    let id = session.id().to_string();
    client.text("id").await;
    client.expect_text(&id).await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    probed.journal.expect("close 1000 by Peer").await;
    probed.journal.expect(&format!("in on_close: {id} open false noted nothing others 0 own 0")).await;
    assert_eq!(session.id().to_string(), id);
}

#[tokio::test]
async fn id_is_unique_over_sessions_one_after_another_and_at_once() {
    let mut probed = Probed::new().await;
    let (mut ids, mut open) = (HashSet::new(), Vec::new());
    for round in 0..40 {
        let (client, session) = probed.open().await;
        assert!(ids.insert(session.id()), "duplicate {}", session.id());
        if round % 2 == 0 { open.push(client) } else { probed.leave(client).await }
    }
    assert_eq!(probed.server.container.sessions().len(), open.len());
}

#[tokio::test]
async fn sessions_are_equal_exactly_if_they_are_the_same() {
    let mut probed = Probed::new().await;
    let (_a, first) = probed.open().await;
    let (_b, second) = probed.open().await;
    assert_eq!(first, first.clone());
    assert_ne!(first, second);
}

// ---- open or not ----

#[tokio::test]
async fn is_open_in_handlers_until_the_close() {
    let mut probed = Probed::new().await;
    let (mut client, session) = probed.open().await;
    assert!(session.is_open());
    client.text("open?").await;
    client.expect_text("true").await;
    session.close();
    assert!(!session.is_open());
    client.expect_close(1000).await;
    probed.journal.expect("close 1000 by Application").await;
    assert!(probed.journal.next().await.contains("open false"));
}

#[tokio::test]
async fn rtt_is_known_once_the_peer_has_answered_a_ping() {
    let mut probed = Probed::with(|container| container.ping_interval(Some(Duration::from_millis(300)))).await;
    let (mut client, session) = probed.open().await;
    let ping = client.expect(PING).await;
    assert_eq!(session.rtt(), None);
    // a pong that answers something else says nothing
    client.send(0x80 | PONG, "something else").await;
    client.send(0x80 | PONG, &ping).await;
    client.text("open?").await;
    client.expect_text("true").await;
    let rtt = session.rtt().unwrap();
    assert!(Duration::ZERO < rtt && rtt < DEADLINE, "{rtt:?}");
}

// ---- what the handshake said ----

#[tokio::test]
async fn uri_is_complete_with_host_port_and_query() {
    let mut probed = Probed::new().await;
    let query = "test1=value1&test2=value2&test3=value3";
    let (_client, session) = probed.open_with(&format!("/probe/a%20b?{query}"), &[]).await;
    assert_eq!(session.uri(), format!("ws://{}/probe/a%20b?{query}", probed.server.addr));
    assert_eq!(session.query_string(), Some(query));
}

#[tokio::test]
async fn uri_names_the_host_that_was_asked_for_without_the_default_port() {
    let mut probed = Probed::with(|container| container.allowed_hosts(["example.org", "[::1]"])).await;
    for (host, uri) in [
        ("example.org", "ws://example.org/probe/x"),
        ("example.org:80", "ws://example.org/probe/x"),
        ("example.org:8080", "ws://example.org:8080/probe/x"),
        ("[::1]:8080", "ws://[::1]:8080/probe/x"),
    ] {
        let host = format!("Host: {host}");
        let lines = [
            "GET /probe/x HTTP/1.1",
            &host,
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        let (answer, _client) = probed.server.request(&lines).await;
        assert_eq!(answer.status, 101, "{host}");
        assert_eq!(probed.session().await.uri(), uri, "{host}");
    }
}

#[tokio::test]
async fn uri_and_path_param_below_a_context_path() {
    let mut probed = Probed::with(|container| container.context_path("/websocket")).await;
    let (_client, session) = probed.open_with("/websocket/probe/blue", &[]).await;
    assert_eq!(session.uri(), format!("ws://{}/websocket/probe/blue", probed.server.addr));
    assert_eq!(session.path_param("room"), Some("blue"));
}

#[tokio::test]
async fn path_param_is_decoded_once_and_only_by_its_name() {
    let (mut probed, mut open) = (Probed::new().await, Vec::new());
    for (segment, value) in [
        ("blue", "blue"),
        ("test2=xyz", "test2=xyz"),
        ("a%20b", "a b"),
        ("a%2Fb", "a/b"),
        ("100%2525", "100%25"),
        ("%E8%A8%80", "言"),
        ("a+b", "a+b"),
    ] {
        let (client, session) = probed.open_with(&format!("/probe/{segment}"), &[]).await;
        open.push(client);
        assert_eq!(session.path_param("room"), Some(value), "{segment}");
        assert_eq!(session.path_params().iter().collect::<Vec<_>>(), [("room", value)], "{segment}");
        assert_eq!(session.path_param("Room"), None);
    }
}

#[tokio::test]
async fn query_params_keep_their_order_and_repeats() {
    let mut probed = Probed::new().await;
    let (_client, session) = probed.open_with("/probe/x?b=2&a=1&b=3&flag&empty=&sp=a+b%26c&%C3%A4=%C3%B6", &[]).await;
    let params: Vec<(String, String)> =
        session.query_params().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let expected = [("b", "2"), ("a", "1"), ("b", "3"), ("flag", ""), ("empty", ""), ("sp", "a b&c"), ("ä", "ö")];
    assert_eq!(params, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn query_that_is_missing_differs_from_one_that_is_empty() {
    let (mut probed, mut open) = (Probed::new().await, Vec::new());
    for (path, query) in [("/probe/x", None), ("/probe/x?", Some(""))] {
        let (client, session) = probed.open_with(path, &[]).await;
        open.push(client);
        assert_eq!(session.query_string(), query, "{path}");
        assert_eq!(session.query_params().count(), 0, "{path}");
    }
}

#[tokio::test]
async fn headers_are_case_insensitive_and_keep_repeats() {
    let mut probed = Probed::new().await;
    let headers = ["X-Twice: one", "x-TWICE: two", "X-Empty:", "X-Bytes: caf\u{e9}"];
    let (_client, session) = probed.open_with("/probe/x", &headers).await;
    for name in ["x-twice", "X-Twice", "X-TWICE"] {
        assert_eq!(session.headers().get(name).unwrap(), "one");
        assert_eq!(session.handshake_request().header(name), Some("one"));
    }
    assert_eq!(session.headers().get_all("x-twice").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(session.headers()["x-empty"], "");
    assert_eq!(session.headers()["x-bytes"].as_bytes(), "café".as_bytes());
    assert!(session.headers().get("x-missing").is_none());
}

#[tokio::test]
async fn addresses_are_those_of_the_socket() {
    let mut probed = Probed::new().await;
    let (client, session) = probed.open().await;
    assert_eq!(session.peer_addr(), Some(client.stream.local_addr().unwrap()));
    assert_eq!(session.local_addr(), Some(client.stream.peer_addr().unwrap()));
    assert!(!session.is_secure());
}

#[tokio::test]
async fn protocol_version_is_13() {
    let mut probed = Probed::new().await;
    let (_client, session) = probed.open().await;
    assert_eq!(session.protocol_version(), "13");
}

#[tokio::test]
async fn subprotocol_is_the_one_agreed_on() {
    let mut probed = Probed::new().await;
    for (offer, agreed) in [
        (None, None),
        (Some("Sec-WebSocket-Protocol: soap"), None),
        (Some("Sec-WebSocket-Protocol: chat.v1"), Some("chat.v1")),
        (Some("Sec-WebSocket-Protocol: soap, chat.v1, chat.v2"), Some("chat.v1")),
    ] {
        let headers: Vec<&str> = offer.into_iter().collect();
        let (answer, _client) = Client::try_connect(probed.server.addr, "/probe/x", &headers).await;
        assert_eq!(answer.header("sec-websocket-protocol"), agreed, "{offer:?}");
        assert_eq!(probed.session().await.subprotocol(), agreed, "{offer:?}");
    }
}

// ---- the others at the same endpoint ----

#[tokio::test]
async fn open_sessions_follow_connects_and_disconnects() {
    let mut probed = Probed::new().await;
    let (_a, first) = probed.open().await;
    assert_eq!(first.open_sessions().len(), 1);
    let (b, second) = probed.open().await;
    assert_eq!(first.open_sessions().len(), 2);
    let (c, third) = probed.open().await;
    assert_eq!(first.open_sessions().len(), 3);
    assert!([&first, &second, &third].iter().all(|one| first.open_sessions().iter().any(|other| other == *one)));
    probed.leave(b).await;
    assert_eq!(first.open_sessions().len(), 2);
    assert!(!first.open_sessions().iter().any(|other| *other == second));
    probed.leave(c).await;
    assert_eq!(first.open_sessions().len(), 1);
    assert!(!first.open_sessions().is_empty());
    // those that have left can still look
    assert_eq!(third.open_sessions().iter().collect::<Vec<_>>(), [&first]);
}

#[tokio::test]
async fn open_sessions_is_a_snapshot() {
    let mut probed = Probed::new().await;
    let (_a, first) = probed.open().await;
    let before = first.open_sessions();
    let (_b, _second) = probed.open().await;
    assert_eq!(before.len(), 1);
    assert_eq!(first.open_sessions().len(), 2);
}

#[tokio::test]
async fn open_sessions_are_those_of_the_same_endpoint_whatever_the_path_param() {
    let mut probed = Probed::new().await;
    let (_a, first) = probed.open_with("/probe/blue", &[]).await;
    let (_b, _second) = probed.open_with("/probe/red", &[]).await;
    let _c = probed.server.connect("/elsewhere").await;
    let other = probed.session().await;
    assert_eq!(first.open_sessions().len(), 2);
    assert_eq!(other.open_sessions().iter().collect::<Vec<_>>(), [&other]);
    assert_eq!(probed.server.container.sessions().len(), 3);
}

#[tokio::test]
async fn session_is_not_among_the_open_ones_in_its_own_on_close() {
    let mut probed = Probed::new().await;
    let (_a, _first) = probed.open().await;
    let (mut b, _second) = probed.open().await;
    b.close(1000, "").await;
    probed.journal.expect("close 1000 by Peer").await;
    assert!(probed.journal.next().await.ends_with("others 1 own 0"));
}

#[tokio::test]
async fn broadcast_reaches_everyone_and_the_sender() {
    let mut probed = Probed::new().await;
    let (mut a, first) = probed.open().await;
    let (mut b, _) = probed.open().await;
    let (mut c, _) = probed.open().await;
    let report = first.open_sessions().async_remote().send_text("news");
    assert_eq!((report.sent, report.dropped, report.closed), (3, 0, 0));
    report.complete().unwrap();
    let report = first.open_sessions().async_remote().send_binary(vec![7; 100_000]);
    assert_eq!(report.sent, 3);
    for client in [&mut a, &mut b, &mut c] {
        client.expect_text("news").await;
        assert_eq!(client.expect(BINARY).await, [7; 100_000]);
        client.expect_silence().await;
    }
}

#[tokio::test]
async fn broadcast_except_leaves_one_out() {
    let mut probed = Probed::new().await;
    let (mut a, first) = probed.open().await;
    let (mut b, second) = probed.open().await;
    let others = first.open_sessions().except(&first);
    assert_eq!((others.len(), others.is_empty()), (1, false));
    assert_eq!(others.iter().collect::<Vec<_>>(), [&second]);
    assert_eq!(others.async_remote().send_text("news").sent, 1);
    b.expect_text("news").await;
    a.expect_silence().await;
}

#[tokio::test]
async fn broadcast_to_no_session_is_complete() {
    let mut probed = Probed::new().await;
    let (_a, first) = probed.open().await;
    let nobody = first.open_sessions().except(&first);
    assert!(nobody.is_empty());
    let report = nobody.async_remote().send_text("news");
    assert_eq!((report.sent, report.dropped, report.closed), (0, 0, 0));
    report.complete().unwrap();
}

#[tokio::test]
async fn broadcast_reports_sessions_closed_since() {
    let mut probed = Probed::new().await;
    let (mut a, first) = probed.open().await;
    let (b, _second) = probed.open().await;
    let everyone = first.open_sessions();
    probed.leave(b).await;
    let report = everyone.async_remote().send_text("news");
    assert_eq!((report.sent, report.dropped, report.closed), (1, 0, 1));
    // who has left need not be reached
    report.complete().unwrap();
    a.expect_text("news").await;
}

#[tokio::test]
async fn container_can_broadcast_from_outside() {
    let mut probed = Probed::new().await;
    let (mut a, _) = probed.open().await;
    let mut b = probed.server.connect("/elsewhere").await;
    probed.session().await;
    assert_eq!(probed.server.container.sessions().async_remote().send_text("to all").sent, 2);
    a.expect_text("to all").await;
    b.expect_text("to all").await;
}

// ---- properties ----

#[tokio::test]
async fn properties_hold_one_value_of_each_type() {
    let mut probed = Probed::new().await;
    let (_client, session) = probed.open().await;
    let properties = session.properties();
    assert_eq!(properties.get::<u32>(), None);
    assert_eq!(properties.insert(1u32), None);
    assert_eq!(properties.insert(2u32), Some(1));
    assert_eq!(properties.insert(String::from("name")), None);
    assert_eq!(properties.get::<u32>(), Some(2));
    assert_eq!(session.clone().properties().get::<String>().as_deref(), Some("name"));
    assert_eq!(properties.with(|count: &mut u32| std::mem::replace(count, 7)), Some(2));
    assert_eq!(properties.with(|_: &mut u8| ()), None);
    assert_eq!(properties.remove::<u32>(), Some(7));
    assert_eq!(properties.remove::<u32>(), None);
    assert_eq!(properties.get::<String>().as_deref(), Some("name"));
}

#[tokio::test]
async fn properties_are_not_seen_by_another_connection() {
    let mut probed = Probed::new().await;
    let (client, first) = probed.open().await;
    first.properties().insert(42u32);
    let (_b, at_once) = probed.open().await;
    assert_eq!(at_once.properties().get::<u32>(), None);
    assert_eq!(first.properties().get::<u32>(), Some(42));
    probed.leave(client).await;
    let (_c, next) = probed.open().await;
    assert_eq!(next.properties().get::<u32>(), None);
}

#[tokio::test]
async fn properties_are_readable_in_on_close() {
    let mut probed = Probed::new().await;
    let (mut client, session) = probed.open().await;
    session.properties().insert("a note");
    client.close(1000, "").await;
    probed.journal.expect("close 1000 by Peer").await;
    assert!(probed.journal.next().await.contains("noted a note"));
}

#[tokio::test]
async fn properties_survive_a_panic_in_with() {
    let mut probed = Probed::new().await;
    let (_client, session) = probed.open().await;
    session.properties().insert(1u32);
    let own = session.clone();
    let panicked = std::thread::spawn(move || own.properties().with(|_: &mut u32| panic!("in with")));
    assert!(panicked.join().is_err());
    assert_eq!(session.properties().get::<u32>(), Some(1));
}

// ---- after the end ----

#[tokio::test]
async fn clone_kept_beyond_the_end_still_answers_and_refuses_to_send() {
    let mut probed = Probed::new().await;
    let (client, session) =
        probed.open_with("/probe/blue?x=1", &["X-Name: value", "Sec-WebSocket-Protocol: chat.v2"]).await;
    let (peer, local) = (session.peer_addr(), session.local_addr());
    session.properties().insert(5u8);
    probed.leave(client).await;

    assert!(!session.is_open());
    assert_eq!(session.uri(), format!("ws://{}/probe/blue?x=1", probed.server.addr));
    assert_eq!(session.path_param("room"), Some("blue"));
    assert_eq!(session.query_params().count(), 1);
    assert_eq!(session.headers()["x-name"], "value");
    assert_eq!(session.subprotocol(), Some("chat.v2"));
    assert_eq!((session.peer_addr(), session.local_addr()), (peer, local));
    // what the application gave it is dropped when on_close has returned
    soon(async {
        while session.properties().get::<u8>().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(session.queued_bytes(), 0);
    assert!(session.open_sessions().is_empty());
    assert!(format!("{session:?}").contains(&session.id().to_string()));

    assert!(soon(session.basic_remote().send_text("late")).await.unwrap_err().is_closed());
    assert!(session.async_remote().send_text("late").queued().unwrap_err().is_closed());
    // and is harmless to touch
    session.close();
    session.set_idle_timeout(None);
    session.set_max_message_size(1);
}

#[tokio::test]
async fn debug_output_of_a_session_omits_the_query() {
    let mut probed = Probed::new().await;
    let (_client, session) = probed.open_with("/probe/x?token=secret", &["Cookie: secret"]).await;
    assert!(!format!("{session:?} {:?}", session.handshake_request()).contains("secret"));
}

// ---- limits that can be changed ----

#[tokio::test]
async fn max_message_size_is_what_was_set() {
    let mut probed = Probed::with(|container| container.max_message_size(5)).await;
    let (mut client, session) = probed.open().await;
    assert_eq!(session.max_message_size(), 5);
    client.text("12345").await;
    client.expect_text("12345").await;
    session.set_max_message_size(10);
    assert_eq!(session.max_message_size(), 10);
    client.text("1234567890").await;
    client.expect_text("1234567890").await;
    client.text("12345678901").await;
    client.expect_close(1009).await;
    probed.journal.expect("close 1009 by Container").await;
}

#[tokio::test]
async fn max_message_size_lowered_at_run_time_holds() {
    let mut probed = Probed::new().await;
    let (mut client, session) = probed.open().await;
    assert_eq!(session.max_message_size(), 1 << 20);
    client.text("1234").await;
    client.expect_text("1234").await;
    session.set_max_message_size(3);
    client.text("123").await;
    client.expect_text("123").await;
    client.text("1234").await;
    client.expect_close(1009).await;
}

#[tokio::test]
async fn max_message_size_of_one_session_is_not_that_of_another() {
    let mut probed = Probed::new().await;
    let (mut a, first) = probed.open().await;
    let (mut b, second) = probed.open().await;
    first.set_max_message_size(1);
    assert_eq!(second.max_message_size(), 1 << 20);
    b.text("12").await;
    b.expect_text("12").await;
    a.text("12").await;
    a.expect_close(1009).await;
}

#[tokio::test]
async fn idle_timeout_is_what_was_set() {
    let mut probed = Probed::new().await;
    let (_client, session) = probed.open().await;
    assert_eq!(session.idle_timeout(), Some(Duration::from_secs(60)));
    session.set_idle_timeout(Some(Duration::from_millis(9_876_543_210)));
    assert_eq!(session.idle_timeout(), Some(Duration::from_millis(9_876_543_210)));
    session.set_idle_timeout(None);
    assert_eq!(session.idle_timeout(), None);
    session.set_idle_timeout(Some(Duration::MAX));
    assert!(session.idle_timeout() >= Some(Duration::from_secs(1 << 40)));
}

#[tokio::test]
async fn idle_timeout_without_an_end_serves_on() {
    let mut probed = Probed::new().await;
    let (mut client, session) = probed.open().await;
    session.set_idle_timeout(Some(Duration::MAX));
    client.text("still here").await;
    client.expect_text("still here").await;
}

#[tokio::test]
async fn idle_timeout_set_at_run_time_ends_the_session() {
    let mut probed = Probed::with(|container| container.ping_interval(None)).await;
    let (mut client, session) = probed.open().await;
    session.set_idle_timeout(Some(Duration::from_millis(50)));
    assert_eq!(client.expect_close(1001).await, "idle timeout");
    probed.journal.expect("close 1006 by Container").await;
}

#[tokio::test]
async fn idle_timeout_switched_off_at_run_time_no_longer_ends_the_session() {
    let idle = Duration::from_millis(300);
    let mut probed = Probed::with(|container| container.ping_interval(None).idle_timeout(Some(idle))).await;
    let (mut off, session) = probed.open().await;
    session.set_idle_timeout(None);
    let (mut on, _) = probed.open().await;
    // the one that came later has idled out; the one before has not
    on.expect_close(1001).await;
    off.text("still here").await;
    off.expect_text("still here").await;
}

/// What keeps a session alive: for longer than the idle timeout it happens often, then no more.
async fn is_activity(what: Activity) {
    const IDLE: Duration = Duration::from_millis(800);
    let mut probed = Probed::with(|container| container.ping_interval(None).idle_timeout(Some(IDLE))).await;
    let (mut client, session) = probed.open().await;
    let mut tick = tokio::time::interval(IDLE / 10);
    for round in 0..12 {
        tick.tick().await;
        match what {
            Activity::PeerPings => {
                client.send(0x80 | PING, "?").await;
                assert_eq!(client.expect(PONG).await, b"?");
            }
            Activity::PeerPongs => {
                client.send(0x80 | PONG, "!").await;
                probed.journal.expect("pong !").await;
            }
            Activity::PeerSendsParts => client.send(if round == 0 { TEXT } else { CONTINUATION }, "part").await,
            Activity::WePing => {
                session.basic_remote().send_ping("?").await.unwrap();
                assert_eq!(client.expect(PING).await, b"?");
            }
            Activity::WePong => {
                session.async_remote().send_pong("!").unwrap();
                assert_eq!(client.expect(PONG).await, b"!");
            }
            Activity::WeSend => {
                session.async_remote().send_text("news");
                client.expect_text("news").await;
            }
        }
    }
    assert!(session.is_open());
    client.expect_close(1001).await;
    probed.journal.expect("close 1006 by Container").await;
}

#[derive(Clone, Copy)]
enum Activity {
    PeerPings,
    PeerPongs,
    PeerSendsParts,
    WePing,
    WePong,
    WeSend,
}

#[tokio::test]
async fn ping_of_the_peer_is_activity() {
    is_activity(Activity::PeerPings).await;
}

#[tokio::test]
async fn pong_of_the_peer_is_activity() {
    is_activity(Activity::PeerPongs).await;
}

#[tokio::test]
async fn part_of_a_message_is_activity() {
    is_activity(Activity::PeerSendsParts).await;
}

#[tokio::test]
async fn ping_of_ours_is_activity() {
    is_activity(Activity::WePing).await;
}

#[tokio::test]
async fn pong_of_ours_is_activity() {
    is_activity(Activity::WePong).await;
}

#[tokio::test]
async fn message_of_ours_is_activity() {
    is_activity(Activity::WeSend).await;
}

// ---- pings ----

#[tokio::test]
async fn silent_peer_is_pinged_without_calling_the_pong_handler() {
    let mut probed = Probed::with(|container| container.ping_interval(Some(Duration::from_millis(50)))).await;
    let (mut client, _session) = probed.open().await;
    for _ in 0..3 {
        let ping = client.expect(PING).await;
        client.send(0x80 | PONG, ping).await;
    }
    client.send(0x80 | PONG, "unasked").await;
    // the first that it hears
    probed.journal.expect("pong unasked").await;
}

#[tokio::test]
async fn peer_that_answers_pings_is_never_idle() {
    let (idle, ping) = (Duration::from_millis(1_000), Duration::from_millis(100));
    let mut probed = Probed::with(|container| container.ping_interval(Some(ping)).idle_timeout(Some(idle))).await;
    let (mut client, session) = probed.open().await;
    // these take longer than the idle timeout
    for _ in 0..12 {
        let ping = client.expect(PING).await;
        client.send(0x80 | PONG, ping).await;
    }
    assert!(session.is_open());
}

#[tokio::test]
async fn peer_that_answers_no_ping_is_pinged_once_and_idles_out() {
    let (idle, ping) = (Duration::from_millis(400), Duration::from_millis(50));
    let mut probed = Probed::with(|container| container.ping_interval(Some(ping)).idle_timeout(Some(idle))).await;
    let (mut client, _session) = probed.open().await;
    client.expect(PING).await;
    client.expect_close(1001).await;
    probed.journal.expect("close 1006 by Container").await;
}

#[tokio::test]
async fn pong_to_a_ping_of_the_application_reaches_the_pong_handler() {
    let mut probed = Probed::new().await;
    let (mut client, session) = probed.open().await;
    session.basic_remote().send_ping("payload").await.unwrap();
    let ping = client.expect(PING).await;
    assert_eq!(ping, b"payload");
    client.send(0x80 | PONG, ping).await;
    probed.journal.expect("pong payload").await;
}

#[tokio::test]
async fn initiator_of_a_lost_connection_is_the_transport() {
    let mut probed = Probed::new().await;
    let (client, session) = probed.open().await;
    drop(client);
    probed.journal.expect(&format!("close 1006 by {:?}", Initiator::Transport)).await;
    assert!(!session.is_open());
}
