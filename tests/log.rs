//! What peers can make a server log: one line a second for each kind, however often they do it.

mod support;

use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Endpoint, MessageHandler, Overflow};
use support::{BINARY, CLOSE, Client, DEADLINE, Log, TEXT, TestServer, soon};

/// So often a peer does what is logged; that takes much less than a second, if the machine has time.
const OFTEN: usize = 60;

/// Lines whose texts differ may come so often at once.
const AT_ONCE: usize = 16;

/// How many lines there may be: one a second since the beginning, and the first.
fn most(started: std::time::Instant) -> usize {
    started.elapsed().as_secs() as usize + 2
}

/// The sum of what the lines say was left out.
fn not_logged(lines: &[String]) -> usize {
    let count = |line: &String| -> usize {
        let (_, rest) = line.split_once("not_logged=").unwrap_or_else(|| panic!("{line} has no count"));
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    lines.iter().map(count).sum()
}

/// All that happened was logged or counted, but for what the next line will count.
#[track_caller]
fn few(log: &Log, what: &str, started: std::time::Instant, happened: usize, at_once: usize) {
    let lines = log.lines(what);
    assert!(!lines.is_empty() && lines.len() < most(started) + at_once, "{what}: {} lines", lines.len());
    assert!(lines.len() + not_logged(&lines) <= happened, "{what}: {lines:?}");
}

#[server_endpoint("/plain")]
#[derive(Default)]
struct Plain;

impl Plain {
    #[on_message]
    fn number(&self, number: u32) -> Result<u32, Error> {
        match number {
            0 => Err(Error::user("zero")),
            1 => panic!("one"),
            _ => Ok(number),
        }
    }

    #[on_close]
    fn closed(&self) -> Result<(), Error> {
        Err(Error::user("closed"))
    }
}

#[server_endpoint("/failing")]
#[derive(Default)]
struct Failing;

impl Failing {
    #[on_message]
    fn text(&self, _: &str) -> Result<(), Error> {
        Err(Error::user("no"))
    }

    #[on_error]
    fn error(&self, _: Error) -> Result<(), Error> {
        Err(Error::user("another error"))
    }
}

/// Without an `on_error`, and without annotations.
struct Programmatic;

impl Endpoint for Programmatic {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session.add_message_handler(MessageHandler::text(|_, _: u8| ()))
    }
}

async fn server() -> TestServer {
    let container = ServerContainer::builder()
        .register::<Plain>()
        .register::<Failing>()
        .add_endpoint("/programmatic", || Programmatic)
        .handshake_timeout(Duration::from_secs(5));
    TestServer::with(container).await
}

/// Says something, and waits for the end.
async fn ended_by(server: &TestServer, path: &str, first: u8, payload: &[u8]) {
    let mut client = server.connect(path).await;
    client.send(first, payload).await;
    ended(client).await;
}

/// Answers the close frame, and waits for the end.
async fn ended(mut client: Client) {
    while let Some(frame) = client.frame().await {
        if frame.opcode == CLOSE {
            client.send(0x80 | CLOSE, &frame.payload[..2]).await;
        }
    }
}

#[tokio::test]
async fn errors_caused_by_peers_are_logged_once_a_second() {
    let cases: [(&str, u8, &[u8], &str, usize); 8] = [
        // a reserved opcode
        ("/plain", 0x83, b"", "an error was not handled", 1),
        ("/programmatic", 0x83, b"", "an error was not handled", 1),
        ("/plain", 0x80 | TEXT, b"\xff", "an error was not handled", 1),
        ("/plain", 0x80 | TEXT, b"many", "an error was not handled", AT_ONCE),
        ("/plain", 0x80 | TEXT, b"0", "and the endpoint has no on_error", AT_ONCE),
        ("/plain", 0x80 | TEXT, b"1", "and the endpoint has no on_error", AT_ONCE),
        ("/plain", 0x83, b"", "on_close failed", AT_ONCE),
        ("/programmatic", 0x80 | TEXT, b"many", "an error was not handled", AT_ONCE),
    ];
    for (path, first, payload, what, at_once) in cases {
        let (server, log, started) = (server().await, Log::capture(), std::time::Instant::now());
        for _ in 0..OFTEN {
            ended_by(&server, path, first, payload).await;
        }
        few(&log, what, started, OFTEN, at_once);
    }
}

#[tokio::test]
async fn failures_of_on_error_are_logged_once_a_second() {
    let (server, log, started) = (server().await, Log::capture(), std::time::Instant::now());
    let mut client = server.connect("/failing").await;
    for _ in 0..OFTEN {
        client.text("x").await;
    }
    client.expect_silence().await;
    few(&log, "on_error failed", started, OFTEN, AT_ONCE);
}

#[tokio::test]
async fn messages_without_a_handler_are_logged_once_a_second() {
    let (server, log, started) = (server().await, Log::capture(), std::time::Instant::now());
    for _ in 0..OFTEN {
        let mut client = server.connect("/plain").await;
        client.send(0x80 | BINARY, "x").await;
        client.expect_silence().await;
    }
    few(&log, "message was dropped", started, OFTEN, 1);
}

#[tokio::test]
async fn one_kind_of_log_line_does_not_suppress_another() {
    let (server, log) = (server().await, Log::capture());
    ended_by(&server, "/plain", 0x83, b"").await;
    ended_by(&server, "/plain", 0x80 | TEXT, b"1").await;
    ended_by(&server, "/programmatic", 0x80 | TEXT, b"many").await;
    let (no_text, _) = Client::request(server.addr, &["GET /plain HTTP/1.1", "Host: x"], b"").await;
    assert_eq!(no_text.status, 426);
    assert_eq!(log.lines("an error was not handled").len(), 2);
    assert_eq!(log.lines("panicked: one").len(), 1);
    assert_eq!(log.lines("on_close failed").len(), 2);
    assert_eq!(log.lines("handshake refused").len(), 1);
}

#[tokio::test]
async fn refused_handshakes_are_logged_once_a_second() {
    let (server, log, started) = (server().await, Log::capture(), std::time::Instant::now());
    for _ in 0..OFTEN {
        let (answer, _) = Client::try_connect(server.addr, "/plain", &["Origin: https://evil.example"]).await;
        assert_eq!(answer.status, 403);
    }
    few(&log, "handshake refused", started, OFTEN, AT_ONCE);
    // another status has its own line, and the next line of a kind counts
    let (answer, _) = Client::request(server.addr, &["GET /plain HTTP/1.1", "Host: x"], b"").await;
    assert_eq!((answer.status, log.lines("status=426").len()), (426, 1));
    let before = log.lines("status=403").len();
    soon(async {
        while log.lines("status=403").len() == before {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Client::try_connect(server.addr, "/plain", &["Origin: https://evil.example"]).await;
        }
    })
    .await;
    assert!(not_logged(&log.lines("status=403")) >= OFTEN - AT_ONCE - most(started));
}

#[tokio::test]
async fn refusals_name_the_peer_and_the_id_of_the_request() {
    let (server, log) = (server().await, Log::capture());
    let headers = ["Origin: https://evil.example", "X-Request-Id: abc-1"];
    let (answer, client) = Client::try_connect(server.addr, "/plain", &headers).await;
    assert_eq!(answer.status, 403);
    let (answer, other) = Client::try_connect(server.addr, "/%ff", &[]).await;
    assert_eq!(answer.status, 400);
    let lines = log.lines("handshake refused");
    let peers = [client, other].map(|client| format!("peer={} ", client.stream.local_addr().unwrap()));
    assert!(lines.len() == 2 && lines.iter().zip(&peers).all(|(line, peer)| line.contains(peer)), "{lines:?}");
    assert!(lines[0].contains("request_id=\"abc-1\"") && !lines[1].contains("request_id"), "{lines:?}");
    // a peer chooses this text
    let long = format!("X-Request-Id: {}", "x".repeat(5000));
    Client::try_connect(server.addr, "/plain", &["Origin: null", &long]).await;
    assert!(log.lines("handshake refused")[2].len() < 2000);
}

#[tokio::test]
async fn each_session_has_a_line_at_its_start_and_at_its_end() {
    let (server, log) = (server().await, Log::capture_from(tracing::Level::DEBUG));
    let headers = ["X-Request-Id: abc-1"];
    let mut client = Client::connect_with(server.addr, "/plain", &headers).await;
    client.text("2").await;
    client.expect_text("2").await;
    let id = server.container.sessions().iter().next().unwrap().id();
    client.close(4001, "enough").await;
    client.expect_close(4001).await;
    client.expect_end().await;
    let lines = log.lines("endpoint_runtime::sessions");
    let (peer, session) = (format!("peer={} ", client.stream.local_addr().unwrap()), format!("session={id} "));
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains(&peer) && line.contains(&session)), "{lines:?}");
    for (line, words) in [
        (&lines[0], &["DEBUG", "opened", "path=\"/plain\"", "endpoint=\"log::Plain\"", "request_id=\"abc-1\""][..]),
        (&lines[1], &["DEBUG", "closed", "4001", "enough", "initiator=Peer", "duration=", "dropped=0"]),
    ] {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}

/// A server with clients that do not read, and their sessions.
async fn full() -> (TestServer, Vec<Client>) {
    let container = ServerContainer::builder().register::<Plain>().send_queue(100, 1 << 10);
    let server = TestServer::with(container).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(server.connect("/plain").await);
        clients.last_mut().unwrap().expect_silence().await;
    }
    (server, clients)
}

#[tokio::test]
async fn broadcasts_that_skip_peers_are_logged_once_a_second() {
    let ((server, _clients), log, started) = (full().await, Log::capture(), std::time::Instant::now());
    let (sessions, mut happened) = (server.container.sessions(), 0);
    while happened < 2 * OFTEN {
        let report = sessions.async_remote().send_binary(vec![0; 1 << 16]);
        happened += usize::from(report.dropped > 0);
        tokio::task::yield_now().await;
        assert!(started.elapsed() < DEADLINE);
    }
    few(&log, "a broadcast skipped", started, happened, 1);
}

#[tokio::test]
async fn full_queues_are_logged_once_a_second() {
    let ((server, mut clients), log, started) = (full().await, Log::capture(), std::time::Instant::now());
    let mut happened = 0;
    for round in 0..OFTEN {
        // full, and room again
        for session in server.container.sessions().iter() {
            let remote = session.async_remote().on_overflow(Overflow::Error);
            while remote.send_binary(vec![0; 1 << 16]).queued().is_ok() {
                tokio::task::yield_now().await;
            }
            happened += 1;
        }
        for client in &mut clients {
            let frame = client.frame().await.unwrap();
            assert_eq!(frame.payload.len(), 1 << 16, "round {round}");
        }
    }
    few(&log, "a message was not sent", started, happened, 1);
}

#[tokio::test]
async fn callbacks_that_panic_are_logged_once_a_second() {
    let (server, log, started) = (server().await, Log::capture(), std::time::Instant::now());
    let mut client = server.connect("/plain").await;
    client.expect_silence().await;
    let session = server.container.sessions().iter().next().unwrap().clone();
    for _ in 0..OFTEN {
        session.async_remote().send_text("x").on_complete(|_| panic!("boom"));
        client.expect_text("x").await;
    }
    client.expect_silence().await;
    few(&log, "the callback of a sent message", started, OFTEN, 1);
}

#[tokio::test]
async fn messages_that_are_not_finished_are_logged_once_a_second() {
    let (server, log, started) = (server().await, Log::capture(), std::time::Instant::now());
    for _ in 0..OFTEN {
        let mut client = server.connect("/plain").await;
        client.expect_silence().await;
        let session = server.container.sessions().iter().next().unwrap().clone();
        let mut writer = session.basic_remote().text_writer();
        soon(writer.write_text("start")).await.unwrap();
        drop(writer);
        ended(client).await;
    }
    few(&log, "started but not finished", started, OFTEN, 1);
}

/// Set in the process that may have few file descriptors.
#[cfg(unix)]
const FEW_DESCRIPTORS: &str = "ENDPOINT_TEST_FEW_DESCRIPTORS";

/// Run by the next test in a process of its own, which may have few file descriptors.
#[cfg(unix)]
#[tokio::test]
async fn without_file_descriptors() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        // in this process it would take the descriptors of the other tests
        return;
    }
    let (server, log) = (server().await, Log::capture());
    let started = std::time::Instant::now();
    // taken at a time: the last of them is free for a client, and none for the server
    let mut clients = Vec::new();
    while let Ok(client) = std::net::TcpStream::connect(server.addr) {
        clients.push(client);
    }
    soon(async {
        while log.lines("cannot accept a connection").len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let lines = log.lines("cannot accept a connection");
    assert!(lines.len() <= most(started) && not_logged(&lines) >= 3, "{lines:?}");
    // then all are served
    clients.truncate(2);
    server.connect("/plain").await.expect_silence().await;
}

#[cfg(unix)]
#[test]
fn lack_of_file_descriptors_is_logged_once_a_second() {
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --exact without_file_descriptors"])
        .arg(std::env::current_exe().unwrap())
        .env(FEW_DESCRIPTORS, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
