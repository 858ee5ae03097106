//! Peers that take, or send, a byte now and then: what they pin, and when it ends. In memory, with a clock that stands
//! still while anything can run, so that what is in the buffers of a connection is known.

mod support;

use std::sync::Arc;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Overflow};
use flate2::{Compress, Compression, FlushCompress};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use support::{BINARY, CLOSE, CONTINUATION, Journal, PING, PONG, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, interval, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// How much is on its way in each direction.
const ON_ITS_WAY: usize = 4 << 10;

/// Echoes, and hands its sessions to the test.
#[server_endpoint("/echo")]
struct Echo {
    sessions: UnboundedSender<Session>,
    journal: Journal,
}

impl Echo {
    #[on_open]
    fn open(&self, session: Session) {
        let _ = self.sessions.send(session);
    }

    #[on_message]
    fn binary(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {} {:?} by {:?}", reason.code(), reason.reason(), reason.initiator()));
    }
}

struct Served {
    container: ServerContainer,
    sessions: UnboundedReceiver<Session>,
    journal: Journal,
}

/// A client that does nothing by itself.
struct Narrow {
    reading: ReadHalf<DuplexStream>,
    writing: WriteHalf<DuplexStream>,
}

/// Takes compressed messages whole, after the gate has opened if it is told to hold.
#[server_endpoint("/whole", compression = on)]
struct Whole(Journal, Arc<Notify>);

impl Whole {
    #[on_message]
    async fn binary(&self, data: Binary) {
        if &data[..] == b"hold" {
            self.1.notified().await;
        }
        self.0.note(format!("{} bytes", data.len()));
    }

    #[on_error]
    fn error(&self, error: Error) {
        let kind = if error.is_timeout() {
            "timeout"
        } else if error.is_too_big() {
            "too big"
        } else {
            "other"
        };
        self.0.note(format!("{kind}: {error}"));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.0.note(format!("close {}", reason.code()));
    }
}

/// Takes messages in parts.
#[server_endpoint("/parts")]
#[derive(Default)]
struct Parts;

impl Parts {
    #[on_message]
    fn binary(&self, _: &[u8], _last: bool) {}
}

/// A container with endpoints that take messages whole and in parts, and what opens the gate of the first.
fn whole(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> (ServerContainer, Journal, Arc<Notify>) {
    let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
    let (noted, held) = (journal.clone(), gate.clone());
    let builder = ServerContainer::builder()
        .idle_timeout(None)
        .ping_interval(None)
        .register::<Parts>()
        .endpoint_with(move |_| Ok(Whole(noted.clone(), held.clone())));
    (set(builder).build().unwrap(), journal, gate)
}

impl Served {
    fn with(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let ((sender, sessions), journal) = (unbounded_channel(), Journal::default());
        let own = journal.clone();
        let builder = ServerContainer::builder()
            .idle_timeout(None)
            .ping_interval(None)
            .endpoint_with(move |_| Ok(Echo { sessions: sender.clone(), journal: own.clone() }));
        Self { container: set(builder).build().unwrap(), sessions, journal }
    }

    async fn open(&mut self) -> (Narrow, Session) {
        let client = Narrow::open(&self.container, "/echo", "").await;
        (client, self.sessions.recv().await.unwrap())
    }
}

impl Narrow {
    /// Opens a WebSocket, with further lines in the head.
    async fn open(container: &ServerContainer, path: &str, lines: &str) -> Self {
        let (ours, theirs) = duplex(ON_ITS_WAY);
        let service = TowerToHyperService::new(container.clone());
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(theirs), service).with_upgrades());
        let (mut reading, mut writing) = split(ours);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        );
        writing.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(reading.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        Self { reading, writing }
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.writing.write_all(bytes).await.unwrap();
    }

    /// The close frame that comes next, and when.
    async fn closed(&mut self) -> (u16, String, Duration) {
        let began = Instant::now();
        let closed = async {
            assert_eq!(self.reading.read_u8().await.unwrap(), 0x80 | CLOSE);
            let length = usize::from(self.reading.read_u8().await.unwrap());
            let mut payload = vec![0; length];
            self.reading.read_exact(&mut payload).await.unwrap();
            payload
        };
        let payload = timeout(7_200 * SECOND, closed).await.expect("a close frame");
        let code = u16::from_be_bytes(payload[..2].try_into().unwrap());
        (code, String::from_utf8(payload[2..].to_vec()).unwrap(), began.elapsed())
    }

    /// Reads so many bytes each second, until there are no more.
    async fn read_slowly(&mut self, rate: usize) -> usize {
        let (mut tick, mut piece, mut all) = (interval(SECOND), vec![0; rate], 0);
        loop {
            tick.tick().await;
            match self.reading.read(&mut piece).await {
                Ok(count @ 1..) => all += count,
                _ => return all,
            }
        }
    }

    /// The frames of a server: opcode and payload of each, until nothing comes for a second.
    async fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Ok(Ok(first)) = timeout(SECOND, self.reading.read_u8()).await {
            let length = match self.reading.read_u8().await.unwrap() {
                126 => usize::from(self.reading.read_u16().await.unwrap()),
                127 => self.reading.read_u64().await.unwrap() as usize,
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            self.reading.read_exact(&mut payload).await.unwrap();
            frames.push((first & 15, payload));
        }
        frames
    }
}

// ---- peers that read a byte now and then ----

#[tokio::test(start_paused = true)]
async fn peer_that_reads_a_byte_now_and_then_ends_by_the_send_timeout() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    session.async_remote().send_binary(vec![7; 200_000]).queued().unwrap();
    let began = Instant::now();
    let read = client.read_slowly(500).await;
    assert!(read < 40_000, "{read} bytes");
    assert!((30 * SECOND..70 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
    served
        .journal
        .expect("close 1006 \"send timeout: the peer reads fewer than 1024 bytes per second\" by Container")
        .await;
    assert_eq!(session.queued_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn peer_that_reads_nothing_is_ended_by_the_send_timeout_also_without_a_least_rate() {
    let mut served = Served::with(|container| container.min_send_rate(0).send_timeout(10 * SECOND));
    let (_client, session) = served.open().await;
    session.async_remote().send_binary(vec![7; 200_000]).queued().unwrap();
    let began = Instant::now();
    served.journal.expect("close 1006 \"send timeout: the peer does not read\" by Container").await;
    assert!((10 * SECOND..15 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn peer_that_reads_slowly_but_steadily_gets_everything() {
    for (rate, least) in [(2_000, 1_024), (100, 0), (100, 50)] {
        let mut served = Served::with(|container| container.min_send_rate(least));
        let (mut client, session) = served.open().await;
        let (message, mut read) = (200 * rate, 0);
        session.async_remote().send_binary(vec![7; message]).queued().unwrap();
        let mut tick = interval(SECOND);
        while read < message + 4 {
            tick.tick().await;
            let mut piece = vec![0; rate];
            let count = client.reading.read(&mut piece).await.unwrap();
            assert!(count > 0, "{:?}", served.journal.rest());
            read += count;
        }
        assert!(session.is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn peer_that_stops_after_it_took_much_is_ended_after_one_send_timeout() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    session.async_remote().send_binary(vec![7; 500_000]).queued().unwrap();
    sleep(SECOND).await;
    client.reading.read_exact(&mut vec![0; 400_000]).await.unwrap();
    let began = Instant::now();
    while session.is_open() && began.elapsed() < 100 * SECOND {
        sleep(SECOND).await;
    }
    assert!((29 * SECOND..32 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
    served.journal.expect("close 1006 \"send timeout: the peer does not read\" by Container").await;
}

// ---- what waits for a peer that does not read ----

#[tokio::test(start_paused = true)]
async fn pings_of_a_peer_that_does_not_read_pin_one_pong() {
    const PINGS: u32 = 60_000;
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    let mut most = 0;
    for number in 0..PINGS {
        let payload = [&number.to_be_bytes()[..], &[7; 121]].concat();
        client.writing.write_all(&frame(0x80 | PING, &payload)).await.unwrap();
        most = most.max(session.queued_bytes());
    }
    assert!(most > 0, "queued bytes are not counted");
    assert!(most < 128 << 10, "{most} bytes are queued for a peer that does not read");
    let pongs = client.frames().await;
    assert!(pongs.iter().all(|(opcode, _)| *opcode == PONG));
    let answered: Vec<u32> =
        pongs.iter().map(|(_, payload)| u32::from_be_bytes(payload[..4].try_into().unwrap())).collect();
    assert!(answered.is_sorted(), "{answered:?}");
    assert_eq!(answered.last(), Some(&(PINGS - 1)), "the latest ping must be answered");
    assert!(answered.len() < 1_000, "{} pongs", answered.len());
    assert_eq!(session.queued_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn pings_of_a_peer_that_reads_slowly_are_answered_all_the_time() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    session.async_remote().send_binary(vec![7; 100_000]).queued().unwrap();
    let Narrow { reading, writing } = &mut client;
    let pinging = async {
        for number in 0u32.. {
            writing.write_all(&frame(0x80 | PING, &number.to_be_bytes())).await.unwrap();
            sleep(SECOND / 10).await;
        }
    };
    let listening = async {
        reading.read_exact(&mut vec![0; 10 + 100_000]).await.unwrap();
        let mut last = None;
        for _ in 0..100 {
            let mut pong = [0; 6];
            reading.read_exact(&mut pong).await.unwrap();
            assert_eq!(pong[..2], [0x80 | PONG, 4]);
            let number = u32::from_be_bytes(pong[2..].try_into().unwrap());
            assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
            last = Some(number);
        }
    };
    tokio::select! {
        () = pinging => {}
        () = listening => {}
    }
}

#[tokio::test(start_paused = true)]
async fn replies_that_a_peer_does_not_read_count_as_queued() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    for _ in 0..100 {
        client.writing.write_all(&frame(0x80 | BINARY, &[7; 10_000])).await.unwrap();
    }
    sleep(SECOND / 1_000).await;
    let queued = session.queued_bytes();
    assert!((900_000..1_100_000).contains(&queued), "{queued} of a million bytes are queued");
    let replies = client.frames().await;
    assert_eq!(replies.len(), 100);
    assert_eq!(session.queued_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn all_queues_together_are_bounded_by_the_budget() {
    const BUDGET: usize = 1 << 20;
    let mut served = Served::with(|container| container.send_budget(BUDGET));
    let mut deaf = Vec::new();
    for _ in 0..8 {
        deaf.push(served.open().await);
    }
    let (mut reader, reading) = served.open().await;
    let (mut refused, message) = (0, Bytes::from(vec![7; 1_000]));
    for round in 0..1_000 {
        for (_, session) in &deaf {
            match session.async_remote().send_binary(message.clone()).queued() {
                Ok(_) => {}
                Err(error) if error.is_queue_full() => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        // one that reads is not concerned
        for _ in 0..2 {
            reading.async_remote().send_binary(message.clone()).queued().unwrap();
        }
        reader.reading.read_exact(&mut [0; 2 * 1_004]).await.unwrap();
        let queued: usize = deaf.iter().map(|(_, session)| session.queued_bytes()).sum();
        assert!(queued < BUDGET + 8 * (8 << 10), "{queued} bytes after {round}");
    }
    assert!(refused > 0);
    let counted = served.container.queued_bytes();
    assert!((BUDGET..BUDGET + (64 << 10)).contains(&counted), "{counted} bytes are counted");
    // a message that is alone passes
    let (_another, session) = served.open().await;
    session.async_remote().send_binary(vec![7; 100_000]).queued().unwrap();
    sleep(SECOND / 1_000).await;
    assert!(session.async_remote().send_binary(message.clone()).queued().unwrap_err().is_queue_full());
    for (mut client, _) in deaf {
        assert!(!client.frames().await.is_empty());
    }
    drop(_another);
    sleep(SECOND).await;
    assert_eq!(served.container.queued_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropped_messages_free_space_in_the_budget() {
    let mut served = Served::with(|container| container.send_budget(100_000).overflow(Overflow::DropOldest));
    let (_client, session) = served.open().await;
    for _ in 0..300 {
        session.async_remote().send_binary(vec![7; 1_000]);
        sleep(SECOND / 1_000).await;
    }
    let (queued, dropped) = (session.queued_messages(), session.dropped_messages());
    assert!((90..=110).contains(&queued), "{queued} are queued, {dropped} were dropped");
}

#[tokio::test(start_paused = true)]
async fn replies_of_all_peers_that_do_not_read_are_bounded_by_the_budget() {
    const BUDGET: usize = 1 << 20;
    let mut served = Served::with(|container| container.send_budget(BUDGET));
    let message = frame(0x80 | BINARY, &[7; 10_000]);
    let mut deaf = Vec::new();
    for _ in 0..8 {
        let (mut client, session) = served.open().await;
        // it is not read from any more
        while timeout(SECOND / 10, client.writing.write_all(&message)).await.is_ok() {}
        deaf.push((client, session));
    }
    let queued: usize = deaf.iter().map(|(_, session)| session.queued_bytes()).sum();
    assert!((BUDGET..BUDGET + (1 << 20)).contains(&queued), "{queued} bytes are queued");
    drop(deaf);
    sleep(SECOND).await;
    assert_eq!(served.container.queued_bytes(), 0);
}

// ---- messages that do not end ----

#[tokio::test(start_paused = true)]
async fn message_that_does_not_end_is_ended_after_its_time() {
    let (container, journal, _) = whole(|container| container);
    let mut client = Narrow::open(&container, "/whole", "").await;
    client.write(&frame(BINARY, &[7; 5_120])).await;
    let (code, reason, after) = client.closed().await;
    assert_eq!((code, reason.as_str()), (1008, "a message arrives too slowly: 5120 bytes in 35 seconds"));
    assert!((34 * SECOND..40 * SECOND).contains(&after), "{after:?}");
    journal.expect("timeout: a message arrives too slowly: 5120 bytes in 35 seconds").await;
    journal.expect("close 1008").await;
    assert_eq!(container.unfinished_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn message_that_arrives_in_time_is_accepted() {
    let (container, journal, _) = whole(|container| container);
    let mut client = Narrow::open(&container, "/whole", "").await;
    for _ in 0..3 {
        let mut tick = interval(SECOND);
        for piece in frame(0x80 | BINARY, &[7; 200_000]).chunks(1_100) {
            tick.tick().await;
            client.write(piece).await;
        }
        journal.expect("200000 bytes").await;
    }
    sleep(SECOND).await;
    assert_eq!(container.unfinished_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn control_frames_do_not_count_towards_the_receive_rate() {
    let (container, _, _) = whole(|container| container);
    let mut client = Narrow::open(&container, "/whole", "").await;
    client.write(&frame(BINARY, b"start")).await;
    let began = Instant::now();
    let closed = loop {
        let more = [frame(CONTINUATION, b""), frame(0x80 | PONG, b"alive")].concat();
        if client.writing.write_all(&more).await.is_err() {
            break client.closed().await;
        }
        if let Ok(closed) = timeout(SECOND, client.closed()).await {
            break closed;
        }
        assert!(began.elapsed() < 100 * SECOND, "it is still open");
    };
    assert_eq!(closed.0, 1008);
}

#[tokio::test(start_paused = true)]
async fn minimum_rate_can_be_disabled_and_does_not_apply_to_parts() {
    for (path, rate) in [("/whole", 0), ("/parts", 1 << 10)] {
        let (container, _, _) = whole(|container| container.min_receive_rate(rate));
        let mut client = Narrow::open(&container, path, "").await;
        client.write(&frame(BINARY, b"start")).await;
        sleep(3_600 * SECOND).await;
        client.write(&frame(0x80 | CONTINUATION, b"")).await;
        assert_eq!(container.sessions().len(), 1);
        assert!(client.frames().await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn handler_time_does_not_count_towards_the_receive_rate() {
    let (container, journal, gate) = whole(|container| container);
    let mut client = Narrow::open(&container, "/whole", "").await;
    client.write(&frame(0x80 | BINARY, b"hold")).await;
    for _ in 0..64 {
        client.write(&frame(0x80 | BINARY, b"more")).await;
    }
    client.write(&frame(BINARY, &[7; 3_000])).await;
    sleep(600 * SECOND).await;
    gate.notify_one();
    sleep(SECOND).await;
    client.write(&frame(0x80 | CONTINUATION, b"the end")).await;
    for noted in ["4 bytes"; 65] {
        journal.expect(noted).await;
    }
    journal.expect("3007 bytes").await;
}

/// The beginning of a message of zeros that make one MiB so far, compressed.
fn begun_bomb() -> Vec<u8> {
    let (mut stream, mut bomb) = (Compress::new(Compression::best(), false), Vec::with_capacity(1 << 16));
    stream.compress_vec(&vec![0; (1 << 20) - 1_000], &mut bomb, FlushCompress::Sync).unwrap();
    frame(BINARY | 0x40, &bomb)
}

#[tokio::test(start_paused = true)]
async fn unfinished_messages_of_all_sessions_are_bounded_by_the_budget() {
    const BUDGET: usize = 4 << 20;
    let (container, journal, _) = whole(|container| container.receive_budget(BUDGET));
    let (bomb, mut open, mut refused) = (begun_bomb(), Vec::new(), 0);
    assert!(bomb.len() < 8 << 10, "{} bytes", bomb.len());
    for _ in 0..10 {
        let mut client = Narrow::open(&container, "/whole", "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
        // a ping right behind it changes nothing
        client.write(&[&bomb[..], &frame(0x80 | PING, b"")].concat()).await;
        if let Ok(pong) = timeout(SECOND / 10, client.reading.read_u16()).await {
            assert_eq!(pong.unwrap(), 0x8a00);
        }
        assert!(container.unfinished_bytes() <= BUDGET);
        match timeout(SECOND / 10, client.closed()).await {
            Ok((code, reason, _)) => {
                assert_eq!(code, 1013, "{reason}");
                journal.expect(&format!("too big: {reason}")).await;
                journal.expect("close 1013").await;
                refused += 1;
            }
            Err(_) => open.push(client),
        }
    }
    assert!((3..=4).contains(&open.len()), "{} are open, {refused} were refused", open.len());
    assert!(container.unfinished_bytes() > BUDGET / 2, "{} bytes are counted", container.unfinished_bytes());
    // messages that are whole need no budget
    let mut client = Narrow::open(&container, "/whole", "").await;
    client.write(&frame(0x80 | BINARY, &[7; 3_000])).await;
    journal.expect("3000 bytes").await;
    // what they compressed counts as it came, not as what it makes
    let (code, _, after) = open[0].closed().await;
    assert_eq!(code, 1008);
    assert!(after < 45 * SECOND, "{after:?}");
    drop(open);
    sleep(60 * SECOND).await;
    assert_eq!(container.unfinished_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn inflaters_beyond_the_compression_budget_are_refused() {
    let (container, _, _) = whole(|container| container.compression_budget(200 << 10));
    let (mut open, mut codes) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let mut client = Narrow::open(&container, "/whole", "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
        client.write(&frame(BINARY | 0x40, &[0xf2])).await;
        match timeout(SECOND / 10, client.closed()).await {
            Ok((code, ..)) => codes.push(code),
            Err(_) => open.push(client),
        }
    }
    assert_eq!((open.len(), codes), (2, vec![1013; 3]));
}
