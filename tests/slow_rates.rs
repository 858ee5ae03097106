//! Peers that take, or send, a byte now and then: what they pin, and when it ends. In memory, with a clock that stands
//! still while anything can run, so that what is in the buffers of a connection is known.

mod support;

use std::time::Duration;

use endpoint_runtime::ContainerBuilder;
use endpoint_runtime::prelude::*;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use support::{BINARY, Journal, PING, PONG, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
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
async fn peer_that_reads_a_byte_now_and_then_is_ended_by_the_send_timeout() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    session.async_remote().send_binary(vec![7; 200_000]).queued().unwrap();
    let began = Instant::now();
    let read = client.read_slowly(500).await;
    assert!(read < 40_000, "{read} bytes");
    assert!((30 * SECOND..70 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
    served
        .journal
        .expect("close 1006 \"send timeout: the peer reads less than 1024 bytes per second\" by Container")
        .await;
    assert_eq!(session.queued_bytes(), 0);
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
    assert!(most > 0, "what waits for it is not counted");
    assert!(most < 128 << 10, "{most} bytes wait for who does not read");
    let pongs = client.frames().await;
    assert!(pongs.iter().all(|(opcode, _)| *opcode == PONG));
    let answered: Vec<u32> =
        pongs.iter().map(|(_, payload)| u32::from_be_bytes(payload[..4].try_into().unwrap())).collect();
    assert!(answered.is_sorted(), "{answered:?}");
    assert_eq!(answered.last(), Some(&(PINGS - 1)), "the latest ping has to be answered");
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
