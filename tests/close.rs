//! Who closes, how, when: what the peer sees, what `on_close` sees, and that it runs exactly once.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, MAX_REASON_BYTES, ServerContainer};
use support::{BINARY, CLOSE, CONTINUATION, Client, Journal, TEXT, TestServer, frame, soon};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

/// Does what the messages say. It has no `on_error`.
#[server_endpoint("/close")]
struct Closing {
    journal: Journal,
    gate: Arc<Notify>,
}

impl Closing {
    #[on_open]
    async fn on_open(&mut self, session: &Session) {
        if let Some(command) = session.query_string() {
            self.obey(command, session).await;
        }
    }

    #[on_message]
    async fn on_message(&mut self, message: String, session: &Session) -> Result<Option<String>, &'static str> {
        self.obey(&message, session).await;
        match message.rsplit_once('+').map_or(&*message, |(_, last)| last) {
            "fail" => Err("failed"),
            "panic" => panic!("panicked"),
            echo if echo.starts_with("echo") => Ok(Some(echo.to_owned())),
            _ => Ok(None),
        }
    }

    #[on_close]
    async fn on_close(&mut self, session: &Session, reason: CloseReason) {
        let late = [
            session.async_remote().send_text("late").queued(),
            session.async_remote().send_ping("late"),
            session.basic_remote().send_text("late").await,
            session.basic_remote().send_binary(vec![0; 100_000]).await,
        ];
        let refused = late.iter().all(|sent| sent.as_ref().is_err_and(Error::is_closed));
        self.journal.note(format!(
            "close {} {:?} by {:?}{}",
            reason.code(),
            reason.reason(),
            reason.initiator(),
            if refused && !session.is_open() { "" } else { ", but it may still send" }
        ));
    }

    async fn obey(&mut self, commands: &str, session: &Session) {
        for command in commands.split('+') {
            match command {
                "hold" => {
                    self.journal.note("held");
                    self.gate.notified().await;
                    self.journal.note("let go");
                }
                "note" => self.journal.note("noted"),
                "queue" => (0..100).for_each(|i| drop(session.async_remote().send_text(i.to_string()))),
                "close" => session.close(),
                "close-1" => session.close_with(CloseReason::new(4001.into(), "first").unwrap()),
                "close-2" => session.close_with(CloseReason::new(4002.into(), "second").unwrap()),
                _ => {}
            }
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.journal.note("dropped");
    }
}

/// What the server is doing when the end comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Nothing.
    Idle,
    /// `on_open` is suspended.
    Opening,
    /// `on_message` is suspended.
    Handling,
    /// Half of a message has come.
    Fragment,
}

const ALWAYS: [When; 4] = [When::Idle, When::Opening, When::Handling, When::Fragment];

/// One connection to one server, at a certain moment.
struct Case {
    server: TestServer,
    journal: Journal,
    gate: Arc<Notify>,
    client: Client,
    when: When,
}

impl Case {
    async fn at(when: When, settings: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        println!("at {when:?}");
        let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
        let (its_journal, its_gate) = (journal.clone(), gate.clone());
        let container = ServerContainer::builder()
            .endpoint_with(move |_| Ok(Closing { journal: its_journal.clone(), gate: its_gate.clone() }));
        let server = TestServer::with(settings(container)).await;
        let mut client = server.connect(if when == When::Opening { "/close?hold" } else { "/close" }).await;
        match when {
            When::Idle => {
                client.text("echo").await;
                client.expect_text("echo").await;
            }
            When::Opening => journal.expect("held").await,
            When::Handling => {
                client.text("hold").await;
                journal.expect("held").await;
            }
            When::Fragment => {
                client.send(TEXT, "a half").await;
                client.expect_silence().await;
            }
        }
        Self { server, journal, gate, client, when }
    }

    async fn idle() -> Self {
        Self::at(When::Idle, |container| container).await
    }

    fn session(&self) -> Session {
        self.server.container.sessions().iter().next().unwrap().clone()
    }

    /// Lets the handler go that is suspended, if one is.
    async fn let_go(&self) {
        if matches!(self.when, When::Opening | When::Handling) {
            self.gate.notify_one();
            self.journal.expect("let go").await;
        }
    }

    /// Waits until the server has noticed the end.
    async fn until_it_is_noticed(&self) {
        soon(async {
            while !self.server.container.sessions().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// `on_close` must run with this reason, then nothing any more.
    async fn ended(self, reason: &str) {
        let Self { server, journal, client, .. } = self;
        journal.expect(&format!("close {reason}")).await;
        journal.expect("dropped").await;
        // the server waits for our end of the connection
        drop(client);
        server.shutdown().await;
        assert_eq!(journal.rest(), [""; 0], "something ran after on_close");
    }
}

/// The payload of a close frame.
fn payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

// ---- the peer ----

#[tokio::test]
async fn peers_close_frame_is_answered_with_its_code_and_reason_at_any_time() {
    let longest = "r".repeat(MAX_REASON_BYTES);
    for when in ALWAYS {
        for (code, reason) in [(1000, ""), (1001, "going"), (1011, "é"), (3000, "x"), (4999, &*longest)] {
            println!("{code} {reason}");
            let mut case = Case::at(when, |container| container).await;
            case.client.close(code, reason).await;
            // even while a handler is suspended
            assert_eq!(case.client.expect(CLOSE).await, payload(code, reason));
            case.let_go().await;
            case.client.expect_end().await;
            case.ended(&format!("{code} {reason:?} by Peer")).await;
        }
    }
}

#[tokio::test]
async fn peers_empty_close_frame_is_1005_here_and_empty_there() {
    for when in ALWAYS {
        let mut case = Case::at(when, |container| container).await;
        case.client.send(0x80 | CLOSE, "").await;
        assert_eq!(case.client.expect(CLOSE).await, b"");
        case.let_go().await;
        case.client.expect_end().await;
        case.ended("1005 \"\" by Peer").await;
    }
}

#[tokio::test]
async fn peers_malformed_close_frame_is_a_violation() {
    let mut bad = vec![(vec![3], 1002)];
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2999, 5000, 65535] {
        bad.push((payload(code, ""), 1002));
    }
    bad.push(([&payload(1000, "")[..], b"ok\xff"].concat(), 1007));
    bad.push(([&payload(1000, "")[..], b"\xe8\xa8"].concat(), 1007));
    for (sent, code) in bad {
        for when in ALWAYS {
            println!("{sent:?}");
            let mut case = Case::at(when, |container| container).await;
            case.client.send(0x80 | CLOSE, &sent).await;
            case.let_go().await;
            let reason = case.client.expect_close(code).await;
            case.client.expect_end().await;
            case.ended(&format!("{code} {reason:?} by Container")).await;
        }
    }
}

#[tokio::test]
async fn messages_before_the_peers_close_frame_are_handled() {
    let mut case = Case::idle().await;
    let messages = ["echo 1", "echo 2", "echo 3"].map(|text| frame(0x80 | TEXT, text.as_bytes())).concat();
    case.client.send_raw(&[messages, frame(0x80 | CLOSE, &payload(1000, "bye"))].concat()).await;
    for echo in ["echo 1", "echo 2", "echo 3"] {
        case.client.expect_text(echo).await;
    }
    case.client.expect_close(1000).await;
    case.client.expect_end().await;
    case.ended("1000 \"bye\" by Peer").await;
}

#[tokio::test]
async fn close_frame_right_behind_a_message_is_answered_while_the_handler_is_suspended() {
    let mut case = Case::idle().await;
    case.client.send_raw(&[frame(0x80 | TEXT, b"hold"), frame(0x80 | CLOSE, &payload(1000, ""))].concat()).await;
    case.journal.expect("held").await;
    case.client.expect_close(1000).await;
    case.gate.notify_one();
    case.journal.expect("let go").await;
    case.client.expect_end().await;
    case.ended("1000 \"\" by Peer").await;
}

#[tokio::test]
async fn data_after_the_peers_close_frame_is_ignored() {
    let mut case = Case::idle().await;
    let after =
        [frame(0x80 | TEXT, b"note"), frame(0xff, b"not even a frame"), frame(0x80 | CLOSE, &payload(1001, ""))];
    case.client.send_raw(&[frame(0x80 | CLOSE, &payload(1000, "")), after.concat()].concat()).await;
    case.client.expect_close(1000).await;
    case.client.expect_end().await;
    case.ended("1000 \"\" by Peer").await;
}

#[tokio::test]
async fn messages_queued_before_the_peers_close_frame_go_before_the_answer() {
    let mut case = Case::idle().await;
    case.client.send_raw(&[frame(0x80 | TEXT, b"queue"), frame(0x80 | CLOSE, &payload(1000, ""))].concat()).await;
    for i in 0..100 {
        case.client.expect_text(&i.to_string()).await;
    }
    case.client.expect_close(1000).await;
    case.client.expect_end().await;
    case.ended("1000 \"\" by Peer").await;
}

// ---- the application ----

#[tokio::test]
async fn another_task_may_close_at_any_time() {
    let longest = "r".repeat(MAX_REASON_BYTES);
    for when in ALWAYS {
        for (code, reason, wire) in [
            (1000, "", payload(1000, "")),
            (1008, "no", payload(1008, "no")),
            (4001, &*longest, payload(4001, &longest)),
            // these must not travel
            (1005, "", vec![]),
            (1006, "x", vec![]),
            (1015, "", vec![]),
            (1004, "", vec![]),
            (999, "", vec![]),
        ] {
            println!("{code} {reason}");
            let mut case = Case::at(when, |container| container).await;
            let session = case.session();
            session.close_with(CloseReason::new(code.into(), reason).unwrap());
            assert!(!session.is_open());
            assert_eq!(case.client.expect(CLOSE).await, wire);
            case.client.send(0x80 | CLOSE, &wire).await;
            case.let_go().await;
            case.client.expect_end().await;
            case.ended(&format!("{code} {reason:?} by Application")).await;
        }
    }
}

#[tokio::test]
async fn on_message_closes() {
    let mut case = Case::idle().await;
    case.client.text("close").await;
    assert_eq!(case.client.expect(CLOSE).await, payload(1000, ""));
    case.client.close(1000, "").await;
    case.client.expect_end().await;
    case.ended("1000 \"\" by Application").await;
}

#[tokio::test]
async fn on_open_closes_and_no_message_comes() {
    let journal = Journal::default();
    let own = journal.clone();
    let server = TestServer::with(
        ServerContainer::builder()
            .endpoint_with(move |_| Ok(Closing { journal: own.clone(), gate: Arc::new(Notify::new()) })),
    )
    .await;
    // the message is here before on_open runs
    let (answer, mut client) = Client::request(
        server.addr,
        &[
            "GET /close?close-1 HTTP/1.1",
            "Host: localhost",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
        &frame(0x80 | TEXT, b"note"),
    )
    .await;
    assert_eq!(answer.status, 101);
    assert_eq!(client.expect_close(4001).await, "first");
    client.close(4001, "").await;
    client.expect_end().await;
    let case = Case { server, journal, gate: Arc::default(), client, when: When::Idle };
    case.ended("4001 \"first\" by Application").await;
}

#[tokio::test]
async fn closing_twice_is_harmless_and_the_first_reason_wins() {
    for commands in ["close-1+close-2", "close-1+close", "close-1+hold+close-2"] {
        println!("{commands}");
        let mut case = Case::idle().await;
        case.client.text(commands).await;
        if commands.contains("hold") {
            case.journal.expect("held").await;
            assert_eq!(case.client.expect_close(4001).await, "first");
            case.gate.notify_one();
            case.journal.expect("let go").await;
        } else {
            assert_eq!(case.client.expect_close(4001).await, "first");
        }
        case.client.close(4001, "").await;
        case.client.expect_end().await;
        case.ended("4001 \"first\" by Application").await;
    }
}

#[tokio::test]
async fn a_handler_that_closes_and_then_fails_has_closed_first() {
    for commands in ["close-1+fail", "close-1+panic"] {
        println!("{commands}");
        let mut case = Case::idle().await;
        case.client.text(commands).await;
        assert_eq!(case.client.expect_close(4001).await, "first");
        case.client.close(4001, "").await;
        case.client.expect_end().await;
        case.ended("4001 \"first\" by Application").await;
    }
}

#[tokio::test]
async fn rest_of_the_batch_is_dropped_after_a_handler_closed() {
    let mut case = Case::idle().await;
    let batch = ["close-1", "note", "queue"].map(|text| frame(0x80 | TEXT, text.as_bytes())).concat();
    case.client.send_raw(&batch).await;
    case.client.expect_close(4001).await;
    case.client.close(4001, "").await;
    case.client.expect_end().await;
    case.ended("4001 \"first\" by Application").await;
}

#[tokio::test]
async fn messages_queued_before_closing_go_before_the_close_frame() {
    let mut case = Case::idle().await;
    case.client.text("queue+close").await;
    for i in 0..100 {
        case.client.expect_text(&i.to_string()).await;
    }
    case.client.expect_close(1000).await;
    case.client.close(1000, "").await;
    case.client.expect_end().await;
    case.ended("1000 \"\" by Application").await;
}

#[tokio::test]
async fn more_data_than_the_socket_buffers_is_delivered_before_the_close_frame() {
    let mut case = Case::idle().await;
    let session = case.session();
    for _ in 0..12 {
        session.async_remote().send_binary(vec![7; 1 << 20]).queued().unwrap();
    }
    session.close();
    for _ in 0..12 {
        assert_eq!(case.client.expect(BINARY).await.len(), 1 << 20);
    }
    case.client.expect_close(1000).await;
    case.client.close(1000, "").await;
    case.client.expect_end().await;
    case.ended("1000 \"\" by Application").await;
}

#[tokio::test]
async fn on_close_runs_when_the_close_frame_is_written_and_waits_for_no_answer() {
    let case = Case::idle().await;
    case.session().close();
    case.journal.expect("close 1000 \"\" by Application").await;
    case.journal.expect("dropped").await;
}

#[tokio::test]
async fn data_after_our_close_frame_is_read_and_dropped() {
    let mut case = Case::idle().await;
    case.session().close();
    case.client.expect_close(1000).await;
    // more than the sockets hold: were it not read, this could not be written
    for _ in 0..32 {
        case.client.send(0x80 | BINARY, vec![1; 1 << 20]).await;
    }
    case.client.text("note").await;
    case.client.send(0x80 | support::PING, "x").await;
    case.client.close(1000, "").await;
    case.client.expect_end().await;
    case.ended("1000 \"\" by Application").await;
}

#[tokio::test]
async fn a_peer_that_never_answers_the_close_frame_is_dropped() {
    for when in ALWAYS {
        let mut case = Case::at(when, |container| container.close_timeout(Duration::from_millis(50))).await;
        let before = Instant::now();
        case.session().close();
        case.client.expect_close(1000).await;
        case.let_go().await;
        case.client.expect_end().await;
        assert!(before.elapsed() < Duration::from_secs(4), "that was the default of five seconds");
        case.ended("1000 \"\" by Application").await;
    }
}

#[tokio::test]
async fn completed_closing_handshake_does_not_wait() {
    let mut case = Case::idle().await;
    case.session().close();
    case.client.expect_close(1000).await;
    case.client.close(1000, "").await;
    case.client.expect_end().await;
    // the client keeps its end of the connection
    let before = Instant::now();
    soon(case.server.container.shutdown(support::DEADLINE)).await;
    assert!(before.elapsed() < Duration::from_secs(4), "that was the default of five seconds");
    case.ended("1000 \"\" by Application").await;
}

// ---- both at once ----

#[tokio::test]
async fn close_frames_that_cross_each_keep_their_own_reason() {
    let mut case = Case::idle().await;
    // no await between the two, so neither side has seen the other's
    case.session().close_with(CloseReason::new(4001.into(), "ours").unwrap());
    assert_eq!(case.client.stream.try_write(&frame(0x80 | CLOSE, &payload(4002, "theirs"))).unwrap(), 14);
    assert_eq!(case.client.expect_close(4001).await, "ours");
    case.client.expect_end().await;
    case.ended("4001 \"ours\" by Application").await;
}

#[tokio::test]
async fn a_peer_that_closes_while_a_handler_is_suspended_was_first() {
    let mut case = Case::idle().await;
    case.client.text("hold+close-1").await;
    case.journal.expect("held").await;
    case.client.close(4002, "theirs").await;
    assert_eq!(case.client.expect(CLOSE).await, payload(4002, "theirs"));
    case.gate.notify_one();
    case.journal.expect("let go").await;
    case.client.expect_end().await;
    case.ended("4002 \"theirs\" by Peer").await;
}

// ---- the container ----

#[tokio::test]
async fn violations_close_with_their_code_on_both_sides() {
    let reserved = frame(0xc1, b"x");
    let unmasked = vec![0x81, 1, b'x'];
    let unknown = frame(0x83, b"x");
    let long_ping = frame(0x89, &[0; 126]);
    let cut_ping = frame(0x09, b"x");
    for when in ALWAYS {
        let (text, rest) =
            if when == When::Fragment { (CONTINUATION, frame(0x82, b"x")) } else { (TEXT, frame(0x80, b"x")) };
        for (bytes, code) in [
            (reserved.clone(), 1002),
            (unmasked.clone(), 1002),
            (unknown.clone(), 1002),
            (long_ping.clone(), 1002),
            (cut_ping.clone(), 1002),
            // what cannot come now: a message in a message, or a continuation of none
            (rest, 1002),
            (frame(0x80 | text, b"\xff"), 1007),
            (frame(0x80 | text, b"\xe8"), 1007),
            // text is checked before its message is complete
            (frame(text, b"\xf5"), 1007),
            (frame(0x80 | text, &[b'x'; 101]), 1009),
            (frame(text, &[b'x'; 101]), 1009),
        ] {
            println!("{:02x?} as {code}", &bytes[..bytes.len().min(8)]);
            let mut case = Case::at(when, |container| container.max_message_size(100)).await;
            case.client.send_raw(&bytes).await;
            case.let_go().await;
            let reason = case.client.expect_close(code).await;
            assert!(!reason.is_empty());
            case.client.expect_end().await;
            case.ended(&format!("{code} {reason:?} by Container")).await;
        }
    }
}

#[tokio::test]
async fn a_failed_handler_without_on_error_closes_with_1011() {
    for command in ["fail", "panic", "queue+fail", "queue+panic"] {
        println!("{command}");
        let mut case = Case::idle().await;
        case.client.send_raw(&[command, "note"].map(|text| frame(0x80 | TEXT, text.as_bytes())).concat()).await;
        if command.starts_with("queue") {
            for i in 0..100 {
                case.client.expect_text(&i.to_string()).await;
            }
        }
        let reason = case.client.expect_close(1011).await;
        assert!(!reason.contains("failed") && !reason.contains("panicked"), "the peer learns nothing: {reason}");
        case.client.close(1011, "").await;
        case.client.expect_end().await;
        case.ended(&format!("1011 {reason:?} by Container")).await;
    }
}

#[tokio::test]
async fn idle_timeout_is_1006_here_and_1001_there() {
    for when in ALWAYS {
        let settings =
            |container: ContainerBuilder| container.idle_timeout(Some(Duration::from_millis(40))).ping_interval(None);
        let mut case = Case::at(when, settings).await;
        let reason = case.client.expect_close(1001).await;
        assert_eq!(reason, "idle timeout");
        case.client.close(1001, "").await;
        case.let_go().await;
        case.client.expect_end().await;
        case.ended("1006 \"idle timeout\" by Container").await;
    }
}

#[tokio::test]
async fn shutdown_is_1006_here_and_1001_there() {
    for when in ALWAYS {
        let mut case = Case::at(when, |container| container).await;
        let container = case.server.container.clone();
        let down = tokio::spawn(async move { container.shutdown(support::DEADLINE).await });
        let reason = case.client.expect_close(1001).await;
        case.client.close(1001, "").await;
        case.let_go().await;
        case.client.expect_end().await;
        let counts = soon(down).await.unwrap();
        assert_eq!((counts.closed, counts.cut), (1, 0));
        case.ended(&format!("1006 {reason:?} by Container")).await;
    }
}

#[tokio::test]
async fn messages_queued_before_a_shutdown_go_before_its_close_frame() {
    let mut case = Case::idle().await;
    let session = case.session();
    let down = {
        // on this one thread nothing is written before the shutdown has begun
        (0..100).for_each(|i| session.async_remote().send_text(i.to_string()).queued().unwrap());
        let container = case.server.container.clone();
        tokio::spawn(async move { container.shutdown(support::DEADLINE).await })
    };
    for i in 0..100 {
        case.client.expect_text(&i.to_string()).await;
    }
    let reason = case.client.expect_close(1001).await;
    case.client.close(1001, "").await;
    case.client.expect_end().await;
    soon(down).await.unwrap();
    case.ended(&format!("1006 {reason:?} by Container")).await;
}

#[tokio::test]
async fn a_handler_that_does_not_end_is_cut_at_the_end_of_a_shutdown() {
    for when in [When::Opening, When::Handling] {
        let case = Case::at(when, |container| container).await;
        let counts = soon(case.server.container.shutdown(Duration::from_millis(30))).await;
        assert_eq!((counts.closed, counts.cut), (0, 1));
        case.journal.expect("close 1006 \"the server is shutting down\" by Container").await;
        case.journal.expect("dropped").await;
        assert_eq!(case.journal.rest(), [""; 0]);
    }
}

#[server_endpoint("/endless")]
struct Endless(Journal);

impl Endless {
    #[on_close]
    async fn on_close(&self) {
        self.0.note("closing");
        std::future::pending::<()>().await;
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.note("dropped");
    }
}

#[tokio::test]
async fn an_on_close_that_does_not_end_is_cut_at_the_end_of_a_shutdown() {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Endless(own.clone())));
    let server = TestServer::with(container).await;
    let mut client = server.connect("/endless").await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    // the socket does not wait for it
    client.expect_end().await;
    journal.expect("closing").await;
    let counts = soon(server.container.shutdown(Duration::from_millis(30))).await;
    assert_eq!((counts.closed, counts.cut), (0, 1));
    journal.expect("dropped").await;
}

#[tokio::test]
async fn a_connection_that_is_lost_does_not_wait_for_on_close() {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Endless(own.clone())));
    let server = TestServer::with(container).await;
    let mut client = server.connect("/endless").await;
    client.stream.shutdown().await.unwrap();
    client.expect_end().await;
    journal.expect("closing").await;
}

/// Sends everybody else away when one goes, and for the same reason.
#[server_endpoint("/last")]
struct Last(Journal);

impl Last {
    #[on_close]
    fn on_close(&self, session: &Session, reason: CloseReason) {
        self.0.note(format!("close {} {:?} by {:?}", reason.code(), reason.reason(), reason.initiator()));
        session.open_sessions().iter().for_each(|other| other.close_with(reason.clone()));
    }
}

#[tokio::test]
async fn forwarded_close_reason_has_the_application_as_initiator() {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Last(own.clone())));
    let server = TestServer::with(container).await;
    let (mut first, mut second) = (server.connect("/last").await, server.connect("/last").await);
    second.expect_silence().await;
    first.close(4001, "bye").await;
    first.expect_close(4001).await;
    journal.expect("close 4001 \"bye\" by Peer").await;
    assert_eq!(second.expect_close(4001).await, "bye");
    journal.expect("close 4001 \"bye\" by Application").await;
}

// ---- the transport ----

#[tokio::test]
async fn a_connection_that_ends_without_a_close_frame_is_1006() {
    for when in ALWAYS {
        let mut case = Case::at(when, |container| container).await;
        case.client.stream.shutdown().await.unwrap();
        // even while a handler is suspended
        case.until_it_is_noticed().await;
        case.let_go().await;
        case.client.expect_end().await;
        case.ended("1006 \"the peer closed the connection without a close frame\" by Transport").await;
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_is_1006() {
    for when in ALWAYS {
        let Case { server, journal, gate, client, when } = Case::at(when, |container| container).await;
        client.stream.set_zero_linger().unwrap();
        drop(client);
        let client = Client::request(server.addr, &["GET / HTTP/1.1", "Host: localhost"], b"").await.1;
        let case = Case { server, journal, gate, client, when };
        case.until_it_is_noticed().await;
        case.let_go().await;
        let ended = case.journal.next().await;
        assert!(ended.starts_with("close 1006 \"the connection failed") && ended.ends_with("by Transport"), "{ended}");
        case.journal.expect("dropped").await;
        drop(case.client);
        case.server.shutdown().await;
        assert_eq!(case.journal.rest(), [""; 0]);
    }
}

#[tokio::test]
async fn a_connection_that_ends_in_the_middle_of_a_frame_is_1006() {
    let whole = frame(0x80 | TEXT, "x".repeat(300).as_bytes());
    for cut in [1, 2, 3, 4, 7, 8, 9, 200, whole.len() - 1] {
        let mut case = Case::idle().await;
        case.client.send_raw(&whole[..cut]).await;
        case.client.stream.shutdown().await.unwrap();
        case.client.expect_end().await;
        case.ended("1006 \"the peer closed the connection without a close frame\" by Transport").await;
    }
}
