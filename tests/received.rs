//! Messages that were received before a session ends: which of them are handled, and when the socket is given up.

mod support;

use std::sync::Arc;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ClientContainer, ContainerBuilder, TextStreamDecoder};
use support::raw_server::{RawServer, plain};
use support::{Client, Journal, Log, PING, PONG, TEXT, TestServer, frame, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

/// Number of messages in a burst: more than fit into the queue of received messages (64).
const BURST: usize = 100;

/// Notes each message. Its handlers wait for a permit where the query asks for it.
#[server_endpoint("/notes")]
struct Notes {
    journal: Journal,
    gate: Arc<Semaphore>,
}

impl Notes {
    #[on_open]
    async fn open(&self, session: &Session) {
        if session.query_string() == Some("hold-open") {
            self.gate.acquire().await.unwrap().forget();
        }
        self.journal.note("open");
    }

    #[on_message]
    async fn message(&self, text: String, session: &Session) -> Option<String> {
        match session.query_string() {
            Some("hold") => self.gate.acquire().await.unwrap().forget(),
            // shorter than what the kernel needs to tell of the peer's end
            _ => tokio::task::yield_now().await,
        }
        self.journal.note(&text);
        match &*text {
            "close" => session.close(),
            "panic" => panic!("panicked"),
            _ => {}
        }
        (session.query_string() == Some("echo")).then_some(text)
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("{:?} {:?}", reason.code(), reason.initiator()));
    }
}

struct Given {
    server: TestServer,
    journal: Journal,
    gate: Arc<Semaphore>,
}

async fn notes(close_timeout: Duration) -> Given {
    notes_with(|container| container.close_timeout(close_timeout)).await
}

async fn notes_with(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Given {
    let (journal, gate) = (Journal::default(), Arc::new(Semaphore::new(0)));
    let instance = (journal.clone(), gate.clone());
    let container = ServerContainer::builder()
        .endpoint_with::<Notes>(move |_| Ok(Notes { journal: instance.0.clone(), gate: instance.1.clone() }));
    Given { server: TestServer::with(set(container)).await, journal, gate }
}

const LONG: Duration = Duration::from_secs(60);

/// Numbers as text messages of a client, in one piece.
fn numbered(range: std::ops::Range<usize>) -> Vec<u8> {
    range.flat_map(|number| frame(0x80 | TEXT, number.to_string().as_bytes())).collect()
}

/// A ping, whose answer shows that all of this was decoded, and a frame with a reserved opcode.
fn violation() -> Vec<u8> {
    [frame(0x80 | PING, b""), frame(0x83, b"")].concat()
}

/// Waits until the server has noticed that the peer is gone: then its session takes no messages.
async fn is_noticed(given: &Given) {
    soon(async {
        while !given.server.container.sessions().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn expect_all(journal: &Journal, messages: usize, end: &str) {
    for number in 0..messages {
        journal.expect(&number.to_string()).await;
    }
    journal.expect(end).await;
}

#[tokio::test]
async fn messages_before_an_end_of_tcp_are_handled_in_order() {
    let given = notes(LONG).await;
    let mut client = given.server.connect("/notes?hold").await;
    given.journal.expect("open").await;
    client.send_raw(&numbered(0..40)).await;
    client.stream.shutdown().await.unwrap();
    // the end is there while the first handler is suspended
    is_noticed(&given).await;
    given.gate.add_permits(BURST);
    expect_all(&given.journal, 40, "ClosedAbnormally Transport").await;
}

#[tokio::test]
async fn messages_before_a_reset_are_handled_in_order() {
    let given = notes(LONG).await;
    let mut client = given.server.connect("/notes?hold").await;
    given.journal.expect("open").await;
    client.send_raw(&numbered(0..40)).await;
    soon(given.server.container.sessions().iter().next().unwrap().basic_remote().send_text("unread")).await.unwrap();
    client.stream.set_zero_linger().unwrap();
    drop(client);
    is_noticed(&given).await;
    given.gate.add_permits(BURST);
    expect_all(&given.journal, 40, "ClosedAbnormally Transport").await;
}

#[tokio::test]
async fn messages_received_during_on_open_are_handled_after_it() {
    let given = notes(LONG).await;
    let mut client = given.server.connect("/notes?hold-open").await;
    client.send_raw(&numbered(0..40)).await;
    client.stream.shutdown().await.unwrap();
    is_noticed(&given).await;
    given.gate.add_permits(1);
    given.journal.expect("open").await;
    expect_all(&given.journal, 40, "ClosedAbnormally Transport").await;
}

/// The replies go to a peer that is gone, so writing fails before all is read.
#[tokio::test]
async fn messages_are_handled_even_if_replies_cannot_be_written() {
    let given = notes(LONG).await;
    for _ in 0..20 {
        let mut client = given.server.connect("/notes?echo").await;
        given.journal.expect("open").await;
        client.send_raw(&numbered(0..5 * BURST)).await;
        client.stream.set_zero_linger().unwrap();
        drop(client);
        for number in 0..5 * BURST {
            given.journal.expect(&number.to_string()).await;
        }
        given.journal.expect("ClosedAbnormally Transport").await;
    }
}

/// Replies at once, so that a batch is written in the middle.
#[server_endpoint("/large")]
struct Large {
    journal: Journal,
}

impl Large {
    #[on_message]
    fn message(&self, text: &str) -> Vec<u8> {
        self.journal.note(text);
        vec![0; 10_000]
    }
    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("{:?} {:?}", reason.code(), reason.initiator()));
    }
}

#[tokio::test]
async fn batch_goes_on_after_a_write_that_failed_in_its_middle() {
    let journal = Journal::default();
    let instance = journal.clone();
    let container = ServerContainer::builder()
        .endpoint_with::<Large>(move |_| Ok(Large { journal: instance.clone() }))
        .close_timeout(LONG);
    let server = TestServer::with(container).await;
    for _ in 0..20 {
        let mut client = server.connect("/large").await;
        client.send_raw(&numbered(0..BURST)).await;
        client.stream.set_zero_linger().unwrap();
        drop(client);
        expect_all(&journal, BURST, "ClosedAbnormally Transport").await;
    }
}

/// A client of ours that notes what it receives.
#[client_endpoint]
struct Listener {
    journal: Journal,
    gate: Arc<Semaphore>,
}

impl Listener {
    #[on_message]
    async fn message(&self, text: String) {
        self.gate.acquire().await.unwrap().forget();
        self.journal.note(text);
    }
    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("{:?} {:?}", reason.code(), reason.initiator()));
    }
}

#[tokio::test]
async fn client_handles_messages_before_an_end_of_tcp() {
    let (journal, gate) = (Journal::default(), Arc::new(Semaphore::new(0)));
    let (server, container) = (RawServer::bind().await, ClientContainer::builder().close_timeout(LONG).build());
    let listener = Listener { journal: journal.clone(), gate: gate.clone() };
    let uri = server.uri("/");
    let connecting = container.connect(listener, &uri);
    let (session, mut peer) = tokio::join!(soon(connecting), server.open());
    let session = session.unwrap();
    let all: Vec<u8> = (0..40).flat_map(|number| plain(0x80 | TEXT, number.to_string().as_bytes())).collect();
    peer.send_raw(&all).await;
    peer.stream.shutdown().await.unwrap();
    soon(async {
        while session.is_open() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.add_permits(BURST);
    expect_all(&journal, 40, "ClosedAbnormally Transport").await;
}

#[tokio::test]
async fn shutdown_handles_messages_that_were_received_before_it() {
    let given = notes(LONG).await;
    let mut client = given.server.connect("/notes?hold").await;
    given.journal.expect("open").await;
    client.send_raw(&numbered(0..40)).await;
    client.expect_silence().await;
    let (container, gate) = (given.server.container.clone(), given.gate.clone());
    let shutdown = tokio::spawn(async move { container.shutdown(LONG).await });
    client.expect_close(1001).await;
    gate.add_permits(BURST);
    expect_all(&given.journal, 40, "ClosedAbnormally Container").await;
    client.close(1001, "").await;
    let shutdown = soon(shutdown).await.unwrap();
    assert_eq!((shutdown.closed, shutdown.cut), (1, 0), "{shutdown:?}");
}

#[tokio::test]
async fn nothing_is_handled_after_close_and_dropped_messages_are_logged_once() {
    let log = Log::capture();
    let given = notes(LONG).await;
    let mut client = given.server.connect("/notes?hold").await;
    given.journal.expect("open").await;
    client.send_raw(&[&frame(0x80 | TEXT, b"close")[..], &numbered(0..40)].concat()).await;
    client.expect_silence().await;
    given.gate.add_permits(BURST);
    client.expect_close(1000).await;
    given.journal.expect("close").await;
    given.journal.expect("NormalClosure Application").await;
    client.close(1000, "").await;
    client.expect_end().await;
    given.server.shutdown().await;
    let lines = log.lines("received messages were dropped");
    assert!(lines.len() == 1 && lines[0].contains("count=40"), "{lines:?}");
}

#[tokio::test]
async fn nothing_is_handled_after_a_handler_that_panicked() {
    let given = notes(LONG).await;
    let mut client = given.server.connect("/notes?hold").await;
    given.journal.expect("open").await;
    client.send_raw(&[&frame(0x80 | TEXT, b"panic")[..], &numbered(0..40)].concat()).await;
    client.stream.shutdown().await.unwrap();
    is_noticed(&given).await;
    given.gate.add_permits(BURST);
    given.journal.expect("panic").await;
    given.journal.expect("ClosedAbnormally Transport").await;
}

#[tokio::test]
async fn messages_are_handled_at_most_for_the_close_timeout() {
    let log = Log::capture();
    let given = notes(Duration::from_millis(300)).await;
    let mut client = given.server.connect("/notes?hold").await;
    given.journal.expect("open").await;
    client.send_raw(&numbered(0..40)).await;
    client.stream.shutdown().await.unwrap();
    // no permits come
    given.journal.expect("ClosedAbnormally Transport").await;
    given.server.shutdown().await;
    let lines = log.lines("received messages were dropped");
    assert!(lines.len() == 1 && lines[0].contains("count=39"), "{lines:?}");
}

#[tokio::test]
async fn messages_before_an_idle_timeout_are_handled_in_order() {
    let given =
        notes_with(|container| container.close_timeout(LONG).idle_timeout(Some(Duration::from_millis(200)))).await;
    let mut client = given.server.connect("/notes?hold").await;
    given.journal.expect("open").await;
    client.send_raw(&numbered(0..40)).await;
    // the handler of the first message is still suspended
    client.expect_close(1001).await;
    given.gate.add_permits(BURST);
    expect_all(&given.journal, 40, "ClosedAbnormally Container").await;
}

#[tokio::test]
async fn messages_before_a_protocol_violation_are_handled_in_order() {
    let given = notes(LONG).await;
    let mut client = given.server.connect("/notes?hold").await;
    given.journal.expect("open").await;
    client.send_raw(&[numbered(0..40), violation(), numbered(40..50)].concat()).await;
    client.expect(PONG).await;
    given.gate.add_permits(BURST);
    expect_all(&given.journal, 40, "ProtocolError Container").await;
}

/// Takes text by a stream decoder, and notes each message. Its handler waits for a permit.
#[server_endpoint("/decoded", decoders(Whole))]
struct Decoded {
    journal: Journal,
    gate: Arc<Semaphore>,
}

/// A message that was decoded while it arrived.
struct Decoding(String);

#[derive(Default)]
struct Whole(String);

impl TextStreamDecoder for Whole {
    type Object = Decoding;
    fn begin(&mut self) {
        self.0.clear();
    }
    fn push(&mut self, part: &str) -> Result<(), Error> {
        self.0.push_str(part);
        Ok(())
    }
    fn finish(&mut self) -> Result<Decoding, Error> {
        Ok(Decoding(self.0.clone()))
    }
}

impl Decoded {
    #[on_message(text, max_size = 10)]
    async fn message(&self, message: Decoding) {
        self.gate.acquire().await.unwrap().forget();
        self.journal.note(message.0);
    }
    #[on_error]
    fn error(&self, error: &Error) {
        self.journal.note(if error.is_too_big() { "too big" } else { "protocol" });
    }
    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("{:?} {:?}", reason.code(), reason.initiator()));
    }
}

async fn decoded() -> Given {
    let (journal, gate) = (Journal::default(), Arc::new(Semaphore::new(0)));
    let instance = (journal.clone(), gate.clone());
    let container = ServerContainer::builder()
        .endpoint_with::<Decoded>(move |_| Ok(Decoded { journal: instance.0.clone(), gate: instance.1.clone() }));
    Given { server: TestServer::with(container).await, journal, gate }
}

#[tokio::test]
async fn messages_before_a_violation_reach_their_stream_decoder() {
    let given = decoded().await;
    let mut client = given.server.connect("/decoded").await;
    let parts = [frame(TEXT, b"in "), frame(0x80, b"parts")].concat();
    let messages = [frame(0x80 | TEXT, b"first"), parts, frame(0x80 | TEXT, b"last"), violation()];
    client.send_raw(&messages.concat()).await;
    client.expect(PONG).await;
    given.gate.add_permits(BURST);
    for what in ["first", "in parts", "last", "protocol", "ProtocolError Container"] {
        given.journal.expect(what).await;
    }
}

#[tokio::test]
async fn messages_behind_one_that_exceeds_a_stream_decoders_limit_are_dropped_and_counted() {
    let log = Log::capture();
    let given = decoded().await;
    let mut client = given.server.connect("/decoded").await;
    let messages = [&b"first"[..], b"longer than ten", b"second", b"third"];
    client.send_raw(&messages.map(|message| frame(0x80 | TEXT, message)).concat()).await;
    client.expect_silence().await;
    given.gate.add_permits(BURST);
    for what in ["first", "too big", "TooBig Container"] {
        given.journal.expect(what).await;
    }
    client.expect_close(1009).await;
    given.server.shutdown().await;
    assert_eq!(given.journal.rest(), [""; 0]);
    let lines = log.lines("received messages were dropped");
    assert!(lines.len() == 1 && lines[0].contains("count=2"), "{lines:?}");
}

/// A server that closes, while its peer is in the middle of a burst that ends with a close frame.
#[tokio::test]
async fn close_frame_of_the_peer_is_found_behind_a_burst() {
    for burst in [0, 10, 50, BURST, 300, 5000] {
        let given = notes(LONG).await;
        let mut client = given.server.connect("/notes").await;
        given.journal.expect("open").await;
        given.server.container.sessions().iter().for_each(Session::close);
        client.expect_close(1000).await;
        let close = frame(0x88, &1000u16.to_be_bytes());
        client.send_raw(&[numbered(0..burst), close].concat()).await;
        // at once, and not after `LONG`
        client.expect_end().await;
    }
}

#[tokio::test]
async fn silent_peer_keeps_its_socket_for_one_close_timeout() {
    let limit = Duration::from_secs(2);
    let given = notes(limit).await;
    let mut client = given.server.connect("/notes").await;
    given.journal.expect("open").await;
    let container = given.server.container.clone();
    let start = Instant::now();
    let shutdown = tokio::spawn(async move { container.shutdown(2 * limit).await });
    client.expect_close(1001).await;
    let shutdown = soon(shutdown).await.unwrap();
    assert!(start.elapsed() < 2 * limit - limit / 4, "{:?}", start.elapsed());
    assert_eq!((shutdown.closed, shutdown.cut), (1, 0), "{shutdown:?}");
}

/// Sends more than the kernel keeps, and closes.
#[server_endpoint("/farewell")]
#[derive(Default)]
struct Farewell;

const PARTING: usize = 16 << 20;

impl Farewell {
    #[on_open]
    fn open(&self, session: &Session) {
        session.async_remote().send_binary(vec![7; PARTING]).queued().unwrap();
        session.close();
    }
}

#[tokio::test]
async fn queued_messages_reach_a_slow_peer_while_bytes_move() {
    let limit = Duration::from_millis(500);
    let server = TestServer::with(ServerContainer::builder().register::<Farewell>().close_timeout(limit)).await;
    let mut client = server.connect("/farewell").await;
    let (start, mut total, mut tail, mut buffer) = (Instant::now(), 0, Vec::new(), vec![0; 256 << 10]);
    // until the close frame; the first bytes may have come with the answer
    while total < PARTING / 2 || !tail.ends_with(b"\x88\x02\x03\xe8") {
        let count = soon(client.stream.read(&mut buffer)).await.unwrap_or(0);
        assert!(count > 0, "the connection ended after {total} bytes and {:?}", start.elapsed());
        total += count;
        tail.extend_from_slice(&buffer[..count]);
        tail.drain(..tail.len().saturating_sub(4));
        // the peer's own slowness: all of it takes a multiple of the limit
        sleep(Duration::from_millis(20)).await;
    }
    assert!(start.elapsed() > 2 * limit, "the peer was not slow: {:?}", start.elapsed());
}

#[tokio::test]
async fn peer_that_reads_nothing_is_disconnected_after_the_close_timeout() {
    let limit = Duration::from_millis(500);
    let server = TestServer::with(ServerContainer::builder().register::<Farewell>().close_timeout(limit)).await;
    let client = server.connect("/farewell").await;
    let shutdown = timeout(LONG, server.shutdown()).await.unwrap();
    assert_eq!(shutdown.cut, 0, "{shutdown:?}");
    drop::<Client>(client);
}
