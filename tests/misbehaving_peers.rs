//! Many misbehaving peers at once: they vanish, drip, flood, read nothing, or are reset. The other peers are served, the
//! cost of bad peers is bounded, and nothing of them remains.

mod support;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Report};
use support::{BINARY, CLOSE, CONTINUATION, Client, DEADLINE, Frame, PING, PONG, TEXT, TestServer, frame, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{Instant, interval};

/// Echoes, and is suspended in the handler that the query or the message names.
#[server_endpoint("/day")]
struct Day(Arc<Counts>);

#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    opened: AtomicUsize,
    suspended: AtomicUsize,
    closed: AtomicUsize,
    dropped: AtomicUsize,
}

impl Day {
    #[on_open]
    async fn open(&self, session: &Session) {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        self.suspend(session.query_string() == Some("open")).await;
    }

    #[on_message]
    async fn text(&self, message: String) -> String {
        self.suspend(message == "hold").await;
        message
    }

    #[on_message]
    fn binary(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[on_close]
    fn close(&self) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Day {
    async fn suspend(&self, really: bool) {
        if really {
            self.0.suspended.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Day {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// A server, somebody who behaves, and what is counted of all the others.
struct Served {
    server: TestServer,
    witness: Client,
    counts: Arc<Counts>,
    /// Those of the server and the witness, before anybody else came.
    tasks: usize,
}

/// No session outlasts its end by more.
const GRACE: Duration = Duration::from_millis(100);

impl Served {
    async fn with(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let counts = Arc::new(Counts::default());
        let own = counts.clone();
        let container = ServerContainer::builder().close_timeout(GRACE).endpoint_with(move |_| {
            own.made.fetch_add(1, Ordering::Relaxed);
            Ok(Day(own.clone()))
        });
        let server = TestServer::with(set(container)).await;
        let mut witness = server.connect("/day").await;
        witness.expect_silence().await;
        // the server, the connection, and who wakes it at its deadlines; the one that served the handshake has ended by
        // now, or does before anybody else is served
        until(|| alive() <= 3).await;
        Self { server, witness, counts, tasks: alive() }
    }

    async fn connect(&self) -> Client {
        self.server.connect("/day").await
    }

    /// A peer for which the kernel keeps little.
    async fn narrow(&self) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.set_send_buffer_size(4 << 10).unwrap();
        Client::upgrade(soon(socket.connect(self.server.addr)).await.unwrap(), "/day").await
    }

    /// The one who behaves is served, and so is a newcomer.
    async fn serves(&mut self) {
        self.echoes().await;
        let mut newcomer = self.connect().await;
        newcomer.text("and me?").await;
        newcomer.expect_text("and me?").await;
        newcomer.close(1000, "").await;
        newcomer.expect_close(1000).await;
        newcomer.expect_end().await;
    }

    async fn echoes(&mut self) {
        self.witness.text("you there?").await;
        assert_eq!(heard(&mut self.witness).await.payload, b"you there?");
    }

    /// All but the witness have come to their end, each with one `on_close` for its `on_open`, and left nothing.
    async fn ends(mut self) {
        self.serves().await;
        let counts = self.counts.clone();
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        // some were gone before their instance was needed
        until(|| of(&counts.made) == of(&counts.dropped) + 1).await;
        assert_eq!(of(&counts.opened), of(&counts.closed) + 1);
        assert_eq!(self.server.container.sessions().len(), 1);
        until(|| alive() == self.tasks).await;
        let Self { server, mut witness, .. } = self;
        witness.close(1000, "").await;
        assert_eq!(heard(&mut witness).await.opcode, CLOSE);
        witness.expect_end().await;
        // and with the last session the task that wakes them at their deadlines
        until(|| alive() == self.tasks - 2).await;
        let shutdown = server.shutdown().await;
        assert_eq!((shutdown.closed, shutdown.cut), (0, 0));
        assert_eq!(of(&counts.opened), of(&counts.closed));
    }
}

/// The next frame; pings are answered.
async fn heard(client: &mut Client) -> Frame {
    loop {
        match client.frame().await.expect("the well-behaved client was disconnected") {
            Frame { opcode: PING, payload, .. } => client.send(0x80 | PONG, payload).await,
            frame => return frame,
        }
    }
}

/// Tasks of this runtime that have not ended.
fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[track_caller]
fn until(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    soon(async move {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
}

/// Ends the connection with a reset.
fn reset(client: Client) {
    client.stream.set_zero_linger().unwrap();
}

fn head() -> &'static str {
    "GET /day HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// ---- half open ----

/// What a peer has said when nothing more is heard of it.
fn last_words() -> Vec<(&'static str, Vec<u8>)> {
    let large = frame(0x80 | BINARY, &[7; 1 << 20]);
    vec![
        ("nothing", vec![]),
        ("half a header", frame(0x80 | BINARY, &[7; 300])[..3].to_vec()),
        ("a header", frame(0x80 | TEXT, b"payload")[..6].to_vec()),
        ("half a payload", frame(0x80 | TEXT, b"payload")[..9].to_vec()),
        ("half a large payload", large[..large.len() / 2].to_vec()),
        ("half a message", frame(TEXT, b"first part")),
        ("half a ping", frame(0x80 | PING, b"payload")[..9].to_vec()),
        ("half a close frame", frame(0x80 | CLOSE, b"\x03\xe8bye")[..8].to_vec()),
        ("a message whose handler never ends", frame(0x80 | TEXT, b"hold")),
        ("many unread echoes", frame(0x80 | BINARY, &[7; 100]).repeat(10_000)),
    ]
}

#[tokio::test]
async fn silently_vanished_peers_end_by_the_idle_timeout() {
    let (idle, ping) = (Duration::from_secs(1), Duration::from_millis(200));
    let mut served =
        Served::with(|container| container.idle_timeout(Some(idle)).ping_interval(Some(ping)).send_timeout(idle)).await;
    let (counts, Served { server, witness, .. }) = (served.counts.clone(), &mut served);
    let come_and_vanish = async {
        let mut vanished = Vec::new();
        for _ in 0..10 {
            for (_, input) in last_words() {
                let mut client = server.connect("/day").await;
                client.send_raw(&input).await;
                // its socket stays open, and nobody looks at it
                vanished.push(client);
            }
            vanished.push(server.connect("/day?open").await);
        }
        let all = vanished.len();
        until(|| counts.closed.load(Ordering::Relaxed) == all).await;
    };
    // the one who answers stays
    tokio::select! {
        () = come_and_vanish => {}
        frame = heard(witness) => panic!("unexpected {frame:?}"),
    }
    served.ends().await;
}

// ---- one byte a second ----

/// The clock stands still while anybody has something to do, and jumps when nobody has.
#[tokio::test(start_paused = true)]
async fn handshake_of_one_byte_a_second_is_cut_after_thirty_seconds() {
    let mut served = Served::with(|container| container.idle_timeout(None)).await;
    let started = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..50 {
        slow.push(TcpStream::connect(served.server.addr).await.unwrap());
    }
    let (mut second, mut cut) = (interval(Duration::from_secs(1)), 0);
    for byte in head().as_bytes() {
        second.tick().await;
        for stream in &mut slow {
            // refused once it is cut
            let _ = stream.write(&[*byte]).await;
        }
        served.echoes().await;
        cut = slow.iter().filter(|stream| matches!(stream.try_read(&mut [0; 1]), Ok(0))).count();
        let seconds = started.elapsed().as_secs();
        assert!(cut == 0 || seconds >= 29, "{cut} were disconnected after {seconds} s");
        if seconds >= 32 {
            break;
        }
    }
    assert_eq!(cut, slow.len());
    served.ends().await;
}

#[tokio::test(start_paused = true)]
async fn frames_of_one_byte_a_second_delay_no_other_peer_and_are_accepted() {
    // the longest takes more than two minutes, which is less than the least rate
    let mut served = Served::with(|container| container.min_receive_rate(0)).await;
    let messages = [
        frame(0x80 | TEXT, "言葉".as_bytes()),
        frame(0x80 | BINARY, &[7; 130]),
        [frame(TEXT, b"ab"), frame(0x80 | PING, b"between"), frame(0x80 | CONTINUATION, b"cd")].concat(),
    ];
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push([served.connect().await, served.connect().await, served.connect().await]);
    }
    let mut second = interval(Duration::from_secs(1));
    for at in 0..messages.iter().map(Vec::len).max().unwrap() {
        second.tick().await;
        for clients in &mut slow {
            for (client, message) in clients.iter_mut().zip(&messages) {
                if let Some(byte) = message.get(at) {
                    client.send_raw(&[*byte]).await;
                }
            }
        }
        served.echoes().await;
    }
    for [text, binary, parts] in &mut slow {
        // they hear nothing for more than a minute, so they are pinged as well
        assert_eq!(unasked_pings_aside(text, TEXT).await, "言葉".as_bytes());
        assert_eq!(unasked_pings_aside(binary, BINARY).await, [7; 130]);
        assert_eq!(unasked_pings_aside(parts, PONG).await, b"between");
        assert_eq!(unasked_pings_aside(parts, TEXT).await, b"abcd");
    }
    drop(slow);
    served.ends().await;
}

/// The payload of the next frame but pings, which must be of a kind.
async fn unasked_pings_aside(client: &mut Client, opcode: u8) -> Vec<u8> {
    loop {
        match soon(client.frame()).await {
            Some(frame) if frame.opcode == PING => {}
            Some(frame) if frame.opcode == opcode => return frame.payload,
            other => panic!("unexpected {other:?}"),
        }
    }
}

// ---- peers that never read ----

#[tokio::test]
async fn peers_that_never_read_cost_their_queue_and_delay_no_other_peer() {
    const QUEUE: usize = 64 << 10;
    let mut served = Served::with(|container| container.send_queue(1_000, QUEUE).send_timeout(2 * DEADLINE)).await;
    let mut deaf = Vec::new();
    for _ in 0..100 {
        deaf.push(served.narrow().await);
    }
    until(|| served.server.container.sessions().len() == 101).await;
    let sessions = served.server.container.sessions();
    let (news, mut dropped) = (Bytes::from(vec![7; 4_000]), 0);
    // the queue of all that do not read is full, over and over
    while dropped < 100 * 100 {
        let report: Report = sessions.async_remote().send_binary(news.clone());
        dropped += report.dropped;
        assert!(report.sent >= 1, "{report:?}");
        assert!(served.witness.expect(BINARY).await == news);
        let most = sessions.iter().map(Session::queued_bytes).max().unwrap();
        assert!(most <= QUEUE, "{most} bytes were queued");
    }
    served.serves().await;
    deaf.into_iter().for_each(reset);
    served.ends().await;
}

// ---- floods ----

/// Says `what` without end, and reads whatever comes; ends with a reset.
async fn flood(client: Client, what: Vec<u8>) {
    client.stream.set_zero_linger().unwrap();
    let (mut reader, mut writer) = client.stream.into_split();
    let writing = async { while writer.write_all(&what).await.is_ok() {} };
    let mut lost = vec![0; 64 << 10];
    let reading = async { while reader.read(&mut lost).await.is_ok_and(|count| count > 0) {} };
    tokio::join!(writing, reading);
}

async fn flood_of(first: Vec<u8>, what: Vec<u8>) {
    let mut served = Served::with(|container| container).await;
    let mut floods = Vec::new();
    for _ in 0..10 {
        let mut client = served.connect().await;
        client.send_raw(&first).await;
        floods.push(tokio::spawn(flood(client, what.clone())));
    }
    for _ in 0..5 {
        served.serves().await;
    }
    for flood in floods {
        assert!(!flood.is_finished());
        flood.abort();
        assert!(flood.await.unwrap_err().is_cancelled());
    }
    served.ends().await;
}

#[tokio::test]
async fn ping_flood_delays_no_other_peer() {
    flood_of(vec![], frame(0x80 | PING, b"").repeat(10_000)).await;
}

#[tokio::test]
async fn pong_flood_delays_no_other_peer() {
    flood_of(vec![], frame(0x80 | PONG, b"").repeat(10_000)).await;
}

#[tokio::test]
async fn empty_message_flood_delays_no_other_peer() {
    flood_of(vec![], frame(0x80 | BINARY, b"").repeat(10_000)).await;
    flood_of(vec![], frame(0x80 | TEXT, b"").repeat(10_000)).await;
}

#[tokio::test]
async fn empty_fragment_flood_delays_no_other_peer() {
    flood_of(frame(BINARY, b""), frame(CONTINUATION, b"").repeat(10_000)).await;
}

/// Frames that lie in the server's socket before it has its turn; it must not answer most of them before the witness.
async fn turns(first: &[u8], suspended: bool, what: &[u8]) {
    let mut served = Served::with(|container| container).await;
    let (mut clients, mut sent) = (Vec::new(), 0);
    for number in 1..=5 {
        let mut client = served.connect().await;
        client.send_raw(first).await;
        client.stream.writable().await.unwrap();
        clients.push(client);
        until(|| !suspended || served.counts.suspended.load(Ordering::Relaxed) == number).await;
    }
    served.echoes().await;
    let chunk = what.repeat(10_000);
    for client in &mut clients {
        let mut taken = 0;
        while let Ok(count) = client.stream.try_write(&chunk[taken % chunk.len()..]) {
            taken += count;
        }
        sent += taken / what.len();
    }
    served.echoes().await;
    let (mut answered, mut lost) = (0, vec![0; 1 << 20]);
    let mut silenced = Vec::new();
    for client in clients {
        // not asked of the runtime, which may not know yet what has come
        let mut stream = client.stream.into_std().unwrap();
        while let Ok(count @ 1..) = stream.read(&mut lost) {
            answered += count / 2;
        }
        silenced.push(stream);
    }
    assert!(sent > 100_000, "only {sent} fit into the sockets");
    assert!(answered < 5 * 200, "{answered} of {sent} were answered before the witness");
    drop(silenced);
    served.ends().await;
}

#[tokio::test]
async fn other_peers_are_served_during_a_flood() {
    turns(b"", false, &frame(0x80 | PING, b"")).await;
    turns(b"", false, &frame(0x80 | TEXT, b"")).await;
    turns(b"", false, &frame(0x80 | BINARY, b"")).await;
    turns(&frame(0x80 | TEXT, b"hold"), true, &frame(0x80 | PING, b"")).await;
}

#[tokio::test]
async fn message_of_65537_fragments_of_one_byte_with_pings_between_them() {
    let mut served = Served::with(|container| container).await;
    let mut client = served.connect().await;
    let (fragments, text) = (65_537, "x".repeat(65_537));
    let input: Vec<u8> = (0..fragments)
        .flat_map(|at| {
            let first = if at == 0 { TEXT } else { CONTINUATION } | if at == fragments - 1 { 0x80 } else { 0 };
            [frame(0x80 | PING, b"?"), frame(first, b"x")].concat()
        })
        .collect();
    let (mut reader, mut writer) = client.stream.split();
    let mut heard = vec![0; fragments * 3 + 10 + text.len()];
    let talk = async { tokio::join!(writer.write_all(&input), reader.read_exact(&mut heard)) };
    let (written, read) = soon(talk).await;
    written.unwrap();
    read.unwrap();
    let (pongs, message) = heard.split_at(fragments * 3);
    assert!(pongs.chunks(3).all(|pong| *pong == [0x80 | PONG, 1, b'?']));
    assert_eq!(message[..2], [0x80 | TEXT, 127]);
    assert_eq!(&message[10..], text.as_bytes());
    drop(client);
    served.serves().await;
    served.ends().await;
}

#[tokio::test]
async fn flood_of_close_frames_is_answered_by_one() {
    let served = Served::with(|container| container).await;
    for _ in 0..20 {
        let mut client = served.connect().await;
        let closes = [frame(0x80 | CLOSE, b"\x03\xe8bye"), frame(0x80 | CLOSE, b"\x03\xe9").repeat(1_000)].concat();
        client.send_raw(&closes).await;
        assert_eq!(client.expect_close(1000).await, "bye");
        client.expect_end().await;
    }
    assert_eq!(served.counts.closed.load(Ordering::Relaxed), 20);
    served.ends().await;
}

#[tokio::test]
async fn second_handshake_is_not_a_frame() {
    let served = Served::with(|container| container).await;
    let mut client = Client::from(soon(TcpStream::connect(served.server.addr)).await.unwrap());
    client.send_raw(head().repeat(100).as_bytes()).await;
    assert_eq!(client.answer().await.status, 101);
    // "GE" has a reserved bit, and no mask
    client.expect_close(1002).await;
    drop(client);
    served.ends().await;
}

#[tokio::test]
async fn handshake_flood_delays_no_other_peer() {
    let mut served = Served::with(|container| container).await;
    for _ in 0..5 {
        let mut clients = Vec::new();
        for _ in 0..200 {
            let mut client = Client::from(soon(TcpStream::connect(served.server.addr)).await.unwrap());
            client.send_raw(head().as_bytes()).await;
            clients.push(client);
        }
        served.serves().await;
        for (number, mut client) in clients.into_iter().enumerate() {
            match number % 3 {
                0 => drop(client),
                1 => reset(client),
                _ => {
                    assert_eq!(client.answer().await.status, 101);
                    client.close(1000, "").await;
                    client.expect_close(1000).await;
                }
            }
        }
    }
    served.ends().await;
}

#[tokio::test]
async fn refused_handshakes_one_after_another_on_one_connection_are_each_answered() {
    let mut served = Served::with(|container| container).await;
    let refused = head().replace("Version: 13", "Version: 12");
    let mut client = Client::from(soon(TcpStream::connect(served.server.addr)).await.unwrap());
    client.send_raw(refused.repeat(500).as_bytes()).await;
    for _ in 0..500 {
        assert_eq!(client.answer().await.status, 426);
    }
    served.serves().await;
    drop(client);
    served.ends().await;
}

// ---- resets ----

#[tokio::test]
async fn resets_at_every_stage_leave_nothing() {
    let mut served = Served::with(|container| container.send_queue(1_000, 64 << 10)).await;
    let counts = served.counts.clone();
    for _ in 0..10 {
        let mut clients = Vec::new();
        // before the request, within it, and right after it
        for length in [0, 1, 20, head().len() - 1, head().len()] {
            let mut client = Client::from(soon(TcpStream::connect(served.server.addr)).await.unwrap());
            client.send_raw(&head().as_bytes()[..length]).await;
            clients.push(client);
        }
        // within frames, within a handler, while it is written to
        for (_, input) in last_words() {
            let mut client = served.connect().await;
            client.send_raw(&input).await;
            clients.push(client);
        }
        // within on_open
        clients.push(served.server.connect("/day?open").await);
        // within the closing handshake: the peer's, and ours
        let mut client = served.connect().await;
        client.close(1000, "").await;
        client.expect_close(1000).await;
        clients.push(client);
        let mut client = served.connect().await;
        client.send(0x80 | TEXT, b"\xff").await;
        client.expect_close(1007).await;
        clients.push(client);
        clients.into_iter().for_each(reset);
        served.serves().await;
    }
    // those in their handlers were there before the reset
    assert!(counts.suspended.load(Ordering::Relaxed) <= 20);
    served.ends().await;
}

#[tokio::test]
async fn reset_together_with_messages_is_one_disconnect() {
    let mut served = Served::with(|container| container).await;
    for round in 0..200 {
        let client = Client::from(soon(TcpStream::connect(served.server.addr)).await.unwrap());
        // the server has not had its turn before the reset is there
        let input = [head().as_bytes(), &frame(0x80 | TEXT, b"hello"), &frame(0x80 | CLOSE, b"\x03\xe8")].concat();
        let _ = client.stream.try_write(&input[..input.len() - round % 30]);
        reset(client);
    }
    served.serves().await;
    served.ends().await;
}
