//! Peers that read slowly or not at all, write a byte at a time, flood, or vanish: the others don't notice, and the
//! memory they cost has a bound.

mod support;

use std::sync::Arc;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Initiator};
use support::{BINARY, CLOSE, CONTINUATION, Client, Journal, PING, PONG, TEXT, TestServer, frame, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Echoes, and hands its sessions to the test.
#[server_endpoint("/echo")]
struct Echo {
    sessions: UnboundedSender<Session>,
    journal: Journal,
    gate: Arc<Notify>,
}

impl Echo {
    #[on_open]
    fn open(&self, session: Session) {
        let _ = self.sessions.send(session);
    }

    #[on_message]
    async fn text(&self, message: String) -> String {
        match message.as_str() {
            "never" => {
                self.journal.note("suspended");
                std::future::pending::<()>().await;
            }
            "hold" => {
                self.journal.note("suspended");
                self.gate.notified().await;
            }
            _ => {}
        }
        message
    }

    #[on_message]
    fn binary(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {} by {:?}", reason.code(), reason.initiator()));
    }
}

struct Served {
    server: TestServer,
    sessions: UnboundedReceiver<Session>,
    journal: Journal,
    gate: Arc<Notify>,
}

impl Served {
    async fn with(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let ((sender, sessions), journal, gate) = (unbounded_channel(), Journal::default(), Arc::new(Notify::new()));
        let (own, its) = (journal.clone(), gate.clone());
        let container = ServerContainer::builder()
            .endpoint_with(move |_| Ok(Echo { sessions: sender.clone(), journal: own.clone(), gate: its.clone() }));
        Self { server: TestServer::with(set(container)).await, sessions, journal, gate }
    }

    async fn open(&mut self) -> (Client, Session) {
        let client = self.server.connect("/echo").await;
        (client, soon(self.sessions.recv()).await.unwrap())
    }

    /// A peer for which the kernel keeps little.
    async fn open_narrow(&mut self) -> (Client, Session) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.set_send_buffer_size(4 << 10).unwrap();
        let client = Client::upgrade(soon(socket.connect(self.server.addr)).await.unwrap(), "/echo").await;
        (client, soon(self.sessions.recv()).await.unwrap())
    }

    /// Somebody else is served.
    async fn serves(&self, witness: &mut Client) {
        witness.text("you there?").await;
        witness.expect_text("you there?").await;
        let mut newcomer = self.server.connect("/echo").await;
        newcomer.text("and me?").await;
        newcomer.expect_text("and me?").await;
        newcomer.close(1000, "").await;
        newcomer.expect_close(1000).await;
        self.journal.expect("close 1000 by Peer").await;
    }
}

// ---- peers that do not read ----

#[tokio::test]
async fn broadcast_continues_past_a_peer_that_never_reads() {
    const QUEUE: usize = 1 << 20;
    let timeout = Duration::from_secs(2);
    let mut served = Served::with(|container| container.send_queue(1_000, QUEUE).send_timeout(timeout)).await;
    let (_deaf, deaf) = served.open_narrow().await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(served.open().await.0);
    }
    let (news, mut dropped, mut most) = (Bytes::from(vec![7; 100_000]), 0, 0);
    for round in 0..100 {
        let report = served.server.container.sessions().async_remote().send_binary(news.clone());
        assert!(report.sent >= readers.len(), "round {round}: {report:?}");
        assert_eq!(report.complete().is_err(), report.dropped > 0);
        for reader in &mut readers {
            assert!(reader.expect(BINARY).await == news);
        }
        dropped += report.dropped;
        most = most.max(deaf.queued_bytes());
    }
    assert!(dropped > 0);
    assert!(most <= QUEUE, "{most} bytes were queued for a peer that does not read");
    served.journal.expect(&format!("close 1006 by {:?}", Initiator::Container)).await;
    assert_eq!(deaf.queued_bytes(), 0);
    served.serves(&mut readers[0]).await;
}

#[tokio::test]
async fn peer_that_does_not_read_its_own_echoes_is_not_read_from() {
    let mut served =
        Served::with(|container| container.send_queue(1_000, 64 << 10).send_timeout(Duration::from_secs(2))).await;
    let (mut client, _session) = served.open_narrow().await;
    let taken = flood(&served, &mut client, &frame(0x80 | BINARY, &[7; 1_000])).await;
    assert!(taken < ENOUGH, "{taken} bytes were taken");
}

/// More than the kernel keeps for both directions of a connection.
const ENOUGH: usize = 24 << 20;

/// Sends `what` again and again without reading, until `on_close` runs; the bytes that were taken until then.
async fn flood(served: &Served, client: &mut Client, what: &[u8]) -> usize {
    let (chunk, mut taken) = (what.repeat((64 << 10) / what.len()), 0);
    let sending = async {
        while taken < 2 * ENOUGH {
            match client.stream.write(&chunk[taken % chunk.len()..]).await {
                Ok(count) => taken += count,
                Err(_) => break,
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        () = served.journal.expect("close 1006 by Container") => taken,
        () = sending => unreachable!("the flood never ends"),
    }
}

/// Pings without end from a peer that reads no pong.
async fn ping_flood(suspended: bool) {
    let mut served = Served::with(|container| {
        container
            .send_queue(1_000, 64 << 10)
            .send_timeout(Duration::from_secs(2))
            .close_timeout(Duration::from_millis(100))
    })
    .await;
    let (mut witness, _) = served.open().await;
    let (mut client, session) = served.open_narrow().await;
    if suspended {
        client.text("never").await;
        served.journal.expect("suspended").await;
    }
    let taken = flood(&served, &mut client, &frame(0x80 | PING, &[7; 125])).await;
    assert!(taken < ENOUGH, "{taken} bytes of pings were taken");
    assert_eq!(session.queued_bytes(), 0);
    served.serves(&mut witness).await;
}

#[tokio::test]
async fn ping_flood_of_a_peer_that_does_not_read_is_ended() {
    ping_flood(false).await;
}

#[tokio::test]
async fn ping_flood_while_a_handler_is_suspended_is_ended() {
    ping_flood(true).await;
}

/// The idle timeout passes once: somebody who says nothing is sent away by it.
async fn idle_timeout_passes(served: &mut Served) {
    let (mut silent, _) = served.open().await;
    while soon(silent.frame()).await.is_some_and(|frame| frame.opcode != CLOSE) {}
    served.journal.expect("close 1006 by Container").await;
}

#[tokio::test]
async fn messages_during_a_suspended_handler_slow_the_peer_down_and_none_is_lost() {
    let (idle, ping) = (Duration::from_millis(400), Duration::from_millis(100));
    let mut served = Served::with(|container| container.idle_timeout(Some(idle)).ping_interval(Some(ping))).await;
    let (mut client, session) = served.open_narrow().await;
    client.text("hold").await;
    served.journal.expect("suspended").await;
    // the inbox takes little, then nobody listens, for longer than the idle timeout
    let (message, mut taken) = (frame(0x80 | BINARY, &[7; 1_000]), 0);
    let sending = async {
        loop {
            taken += client.stream.write(&message[taken % message.len()..]).await.unwrap();
        }
    };
    tokio::select! {
        () = sending => {}
        () = async {
            for _ in 0..3 {
                idle_timeout_passes(&mut served).await;
            }
        } => {}
    }
    assert!(taken < ENOUGH, "{taken} bytes were taken");
    assert!(session.is_open(), "{:?}", served.journal.rest());
    served.gate.notify_one();
    let count = taken.div_ceil(message.len());
    client.send_raw(&message.repeat(count)[taken..]).await;
    let mut answers = Vec::new();
    while answers.len() <= count {
        let frame = soon(client.frame()).await.unwrap();
        match frame.opcode {
            // once it listens again the silence counts again
            PING => client.send(0x80 | PONG, frame.payload).await,
            _ => answers.push(frame.payload),
        }
    }
    assert_eq!(answers[0], b"hold");
    assert!(answers[1..].iter().all(|answer| *answer == [7; 1_000]));
}

#[tokio::test]
async fn peer_that_reads_a_large_message_slowly_is_not_idle_and_has_not_vanished() {
    let (idle, ping) = (Duration::from_millis(600), Duration::from_millis(100));
    let mut served = Served::with(|container| {
        container.idle_timeout(Some(idle)).ping_interval(Some(ping)).pong_timeout(Some(2 * idle))
    })
    .await;
    let (mut client, session) = served.open_narrow().await;
    let (length, mut read) = (32 << 20, 0);
    session.async_remote().send_binary(vec![7; length]).queued().unwrap();
    // it reads at a pace that takes several idle timeouts, and its answer to a ping has to wait for the rest
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut piece = vec![0; 1 << 20];
    while read < 10 + length {
        pace.tick().await;
        let some = piece.len().min(10 + length - read);
        soon(client.stream.read_exact(&mut piece[..some])).await.unwrap();
        read += some;
    }
    assert_eq!(client.expect(PING).await, 1u64.to_be_bytes());
    assert!(session.is_open(), "{:?}", served.journal.rest());
}

#[tokio::test]
async fn peer_that_reads_one_byte_at_a_time_gets_everything() {
    let mut served = Served::with(|container| container).await;
    let (mut client, session) = served.open_narrow().await;
    let data: Vec<u8> = (0..30_000u32).map(|i| i as u8).collect();
    session.async_remote().send_binary(data.clone()).queued().unwrap();
    session.async_remote().send_text("the end").queued().unwrap();
    let mut expected = Vec::new();
    for _ in 0..4 + data.len() + 2 + 7 {
        expected.push(soon(client.stream.read_u8()).await.unwrap());
    }
    assert_eq!(expected[..4], [0x82, 126, (30_000u16 >> 8) as u8, 30_000u16 as u8]);
    assert!(expected[4..4 + data.len()] == data);
    assert_eq!(expected[4 + data.len()..], *b"\x81\x07the end");
}

// ---- peers that write slowly ----

#[tokio::test]
async fn handshake_and_frames_one_byte_at_a_time() {
    let mut served = Served::with(|container| container).await;
    let (mut witness, _) = served.open().await;
    let mut client = Client::from(soon(TcpStream::connect(served.server.addr)).await.unwrap());
    client.stream.set_nodelay(true).unwrap();
    let head = format!(
        "GET /echo HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        served.server.addr
    );
    slowly(&mut client, head.as_bytes()).await;
    assert_eq!(client.answer().await.status, 101);
    served.serves(&mut witness).await;

    slowly(&mut client, &frame(0x80 | TEXT, "Hello, 言葉".as_bytes())).await;
    client.expect_text("Hello, 言葉").await;
    slowly(&mut client, &frame(TEXT, "ab\u{1f980}".as_bytes())).await;
    slowly(&mut client, &frame(0x80 | PING, b"between")).await;
    assert_eq!(client.expect(PONG).await, b"between");
    slowly(&mut client, &frame(0x80 | CONTINUATION, b"cd")).await;
    client.expect_text("ab\u{1f980}cd").await;
    slowly(&mut client, &frame(0x80 | BINARY, &[9; 300])).await;
    assert_eq!(client.expect(BINARY).await, [9; 300]);
    slowly(&mut client, &frame(0x80 | BINARY, &[])).await;
    assert_eq!(client.expect(BINARY).await, [0; 0]);
    slowly(&mut client, &frame(0x80 | CLOSE, b"\x03\xe8bye")).await;
    client.expect_close(1000).await;
    client.expect_end().await;
}

/// Every byte for itself; the server has its turn after each.
async fn slowly(client: &mut Client, bytes: &[u8]) {
    for byte in bytes {
        client.send_raw(&[*byte]).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn message_of_65537_fragments_of_one_byte() {
    let mut served = Served::with(|container| container).await;
    let (mut client, _session) = served.open().await;
    for kind in [TEXT, BINARY] {
        let mut bytes = frame(kind, b"x");
        for _ in 0..65_535 {
            bytes.extend(frame(CONTINUATION, b"x"));
        }
        bytes.extend(frame(0x80 | CONTINUATION, b"x"));
        client.send_raw(&bytes).await;
        assert!(client.expect(kind).await == [b'x'; 65_537]);
    }
}

#[tokio::test]
async fn empty_fragments_without_end_cost_nothing() {
    let mut served = Served::with(|container| container).await;
    let (mut client, _session) = served.open().await;
    client.send(BINARY, "").await;
    client.send_raw(&frame(CONTINUATION, b"").repeat(100_000)).await;
    client.send(0x80 | CONTINUATION, "x").await;
    assert_eq!(client.expect(BINARY).await, b"x");
}

// ---- peers that vanish ----

/// Ends the connection with a reset.
fn reset(client: Client) {
    client.stream.set_zero_linger().unwrap();
}

#[tokio::test]
async fn reset_before_the_handshake_is_done_leaves_the_server_serving() {
    let mut served = Served::with(|container| container).await;
    let (mut witness, _) = served.open().await;
    let head = "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for length in [0, 1, 20, head.len() - 1] {
        let mut client = Client::from(soon(TcpStream::connect(served.server.addr)).await.unwrap());
        client.send_raw(&head.as_bytes()[..length]).await;
        reset(client);
        served.serves(&mut witness).await;
    }
    assert_eq!(served.server.container.sessions().len(), 1);
}

#[tokio::test]
async fn reset_right_after_the_request_leaves_the_server_serving() {
    let mut served = Served::with(|container| container).await;
    let (mut witness, _) = served.open().await;
    let head = "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for _ in 0..20 {
        let mut client = Client::from(soon(TcpStream::connect(served.server.addr)).await.unwrap());
        client.send_raw(head.as_bytes()).await;
        reset(client);
    }
    soon(async {
        while served.server.container.sessions().len() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    witness.text("you there?").await;
    witness.expect_text("you there?").await;
}

/// What the peer has said when it vanishes, and what `on_close` hears.
fn stages() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let large = frame(0x80 | BINARY, &[7; 1 << 20]);
    let lost = "close 1006 by Transport";
    vec![
        ("after the handshake", vec![], lost),
        ("within a header", frame(0x80 | BINARY, &[7; 300])[..3].to_vec(), lost),
        ("between header and payload", frame(0x80 | TEXT, b"payload")[..6].to_vec(), lost),
        ("within a payload", frame(0x80 | TEXT, b"payload")[..9].to_vec(), lost),
        ("within a large payload", large[..large.len() / 2].to_vec(), lost),
        ("within a message", frame(TEXT, b"first part"), lost),
        ("within a ping", frame(0x80 | PING, b"payload")[..9].to_vec(), lost),
        ("within a close frame", frame(0x80 | CLOSE, b"\x03\xe8bye")[..8].to_vec(), lost),
        ("after its close frame", frame(0x80 | CLOSE, b"\x03\xe8bye"), "close 1000 by Peer"),
    ]
}

#[tokio::test]
async fn reset_at_any_stage_ends_one_session_and_leaves_the_server_serving() {
    let mut served = Served::with(|container| container).await;
    let (mut witness, _) = served.open().await;
    for (stage, input, expected) in stages() {
        let (mut client, session) = served.open().await;
        client.send_raw(&input).await;
        if stage == "after its close frame" {
            // a reset takes back what the other side has not read
            client.expect_close(1000).await;
        }
        reset(client);
        let noted = served.journal.next().await;
        assert_eq!(noted, expected, "{stage}");
        assert!(!session.is_open(), "{stage}");
        served.serves(&mut witness).await;
        while let Ok(newcomer) = served.sessions.try_recv() {
            drop(newcomer);
        }
    }
    assert!(served.journal.rest().is_empty());
}

#[tokio::test]
async fn end_without_a_close_frame_at_any_stage_is_abnormal() {
    let mut served = Served::with(|container| container).await;
    for (stage, input, expected) in stages() {
        let (mut client, _session) = served.open().await;
        client.send_raw(&input).await;
        client.stream.shutdown().await.unwrap();
        let noted = served.journal.next().await;
        assert_eq!(noted, expected, "{stage}");
    }
}

#[tokio::test]
async fn reset_while_our_close_frame_waits_for_an_answer_ends_the_connection() {
    let mut served = Served::with(|container| container).await;
    let (mut witness, _) = served.open().await;
    let (mut client, session) = served.open().await;
    session.close();
    client.expect_close(1000).await;
    served.journal.expect("close 1000 by Application").await;
    reset(client);
    served.serves(&mut witness).await;
    witness.close(1000, "").await;
    witness.expect_close(1000).await;
    // nothing waits for the one that is gone
    let started = tokio::time::Instant::now();
    let shutdown = served.server.shutdown().await;
    assert_eq!(shutdown.cut, 0);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn reset_while_a_handler_is_suspended_ends_the_session_at_once() {
    let mut served = Served::with(|container| container.close_timeout(Duration::from_millis(100))).await;
    let (mut witness, _) = served.open().await;
    let (mut client, session) = served.open().await;
    client.text("never").await;
    served.journal.expect("suspended").await;
    reset(client);
    served.journal.expect("close 1006 by Transport").await;
    assert!(!session.is_open());
    served.serves(&mut witness).await;
}
