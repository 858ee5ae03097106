//! What is sent arrives: whole, in order, from any task, and a peer that does not read is noticed.

mod support;

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Initiator};
use support::{BINARY, Client, Frame, Journal, PING, PONG, TEXT, TestServer, soon};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Hands its session to the test, and sends in its handlers what it is asked for.
#[server_endpoint("/send", max_message_size = "2MiB")]
struct Sender {
    sessions: UnboundedSender<Session>,
    journal: Journal,
}

impl Sender {
    #[on_open]
    fn open(&self, session: Session) {
        self.sessions.send(session).unwrap();
    }

    #[on_message]
    async fn text(&self, message: &str, session: &Session) -> Result<Option<String>, Error> {
        let (verb, count) = message.split_once(' ').unwrap_or((message, "0"));
        let (basic, count) = (session.basic_remote(), count.parse::<usize>().map_err(Error::user)?);
        match verb {
            "numbers" => {
                for number in 0..count {
                    basic.send_text(number.to_string()).await?;
                }
            }
            "large" => {
                for number in 0..count {
                    basic.send_binary(vec![number as u8; 100_000]).await?;
                }
            }
            "small" => {
                for number in 0..count {
                    basic.send_binary(&[number as u8; 1_000][..]).await?;
                }
            }
            "handed" => {
                for number in 0..count {
                    session.async_remote().send_text(number.to_string()).await?;
                }
            }
            "before" => {
                session.async_remote().send_text("async");
                basic.send_text("basic").await?;
                session.async_remote().send_binary(&[1u8][..]);
                return Ok(Some("returned".to_owned()));
            }
            "wait" => std::future::pending().await,
            _ => return Ok(Some(message.to_owned())),
        }
        Ok(Some("done".to_owned()))
    }

    #[on_message]
    fn binary(&self, data: &[u8], session: &Session) -> Vec<u8> {
        // an ordinary function hands over
        session.async_remote().send_text("handed over");
        data.to_vec()
    }

    #[on_message]
    fn pong(&self, pong: Pong) {
        self.journal.note(format!("pong {}", pong.data().len()));
    }

    #[on_error]
    fn error(&self, error: &Error) {
        self.journal.note(format!("error {error:?}"));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {} by {:?}", reason.code(), reason.initiator()));
    }
}

struct Sending {
    server: TestServer,
    sessions: UnboundedReceiver<Session>,
    journal: Journal,
}

impl Sending {
    async fn new() -> Self {
        Self::with(|container| container).await
    }

    async fn with(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let ((sender, sessions), journal) = (unbounded_channel(), Journal::default());
        let own = journal.clone();
        let container = ServerContainer::builder()
            .endpoint_with(move |_| Ok(Sender { sessions: sender.clone(), journal: own.clone() }));
        Self { server: TestServer::with(set(container)).await, sessions, journal }
    }

    async fn open(&mut self) -> (Client, Session) {
        let client = self.server.connect("/send").await;
        (client, soon(self.sessions.recv()).await.unwrap())
    }

    /// A peer whose kernel takes little for it, so that not reading is felt soon.
    async fn open_narrow(&mut self) -> (Client, Session) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let stream = soon(socket.connect(self.server.addr)).await.unwrap();
        let client = Client::upgrade(stream, "/send").await;
        (client, soon(self.sessions.recv()).await.unwrap())
    }
}

/// Fills the queue of a session whose peer does not read, until it is full and the kernel takes no more either; the
/// number of messages accepted.
async fn fill(session: &Session, size: usize) -> usize {
    let message = Bytes::from(vec![b'x'; size]);
    let (mut accepted, mut refused) = (0, 0);
    soon(async {
        // so many turns of the runtime, and the connection had nothing to do in them
        while refused < 2_000 {
            match session.async_remote().send_binary(message.clone()).queued() {
                Ok(()) => (accepted, refused) = (accepted + 1, 0),
                Err(error) => {
                    assert!(error.is_queue_full(), "{error:?}");
                    refused += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
    })
    .await;
    accepted
}

// ---- every verb ----

#[tokio::test]
async fn text_and_binary_of_both_remotes_arrive() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    soon(session.basic_remote().send_text("basic")).await.unwrap();
    client.expect_text("basic").await;
    soon(session.basic_remote().send_binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(client.expect(BINARY).await, [1, 2, 3]);
    soon(session.async_remote().send_text("async").into_future()).await.unwrap();
    client.expect_text("async").await;
    soon(session.async_remote().send_binary(&b"\x00\xff"[..]).into_future()).await.unwrap();
    assert_eq!(client.expect(BINARY).await, b"\x00\xff");
}

#[tokio::test]
async fn every_payload_type_is_accepted() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    let (basic, handed) = (session.basic_remote(), session.async_remote());
    basic.send_text("a").await.unwrap();
    basic.send_text(String::from("b")).await.unwrap();
    basic.send_text(&String::from("c")).await.unwrap();
    handed.send_text(Text::from("d"));
    handed.send_text("");
    for text in ["a", "b", "c", "d", ""] {
        client.expect_text(text).await;
    }
    basic.send_binary(vec![1]).await.unwrap();
    basic.send_binary(&[2u8][..]).await.unwrap();
    basic.send_binary([3u8]).await.unwrap();
    handed.send_binary(Bytes::from_static(&[4]));
    handed.send_binary(Binary::from(&[5u8]));
    handed.send_binary(vec![]);
    for data in [&[1u8][..], &[2], &[3], &[4], &[5], &[]] {
        assert_eq!(client.expect(BINARY).await, data);
    }
}

#[tokio::test]
async fn sizes_around_every_boundary_arrive_whole() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    // of the header's forms, of what is shared instead of copied, of one write
    for size in [0, 1, 125, 126, 127, 8_191, 8_192, 8_193, 65_535, 65_536, 65_537, 1 << 20] {
        let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
        session.async_remote().send_binary(data.clone());
        assert!(client.expect(BINARY).await == data, "{size}");
        session.async_remote().send_text("é".repeat(size / 2));
        assert!(client.expect(TEXT).await == "é".repeat(size / 2).as_bytes(), "{size}");
    }
}

#[tokio::test]
async fn ping_of_125_bytes_travels_and_its_pong_comes_back() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    for payload in [vec![], vec![7; 125]] {
        session.basic_remote().send_ping(&payload).await.unwrap();
        assert_eq!(client.expect(PING).await, payload);
        client.send(0x80 | PONG, &payload).await;
        sending.journal.expect(&format!("pong {}", payload.len())).await;
        session.async_remote().send_ping(&payload).unwrap();
        assert_eq!(client.expect(PING).await, payload);
    }
}

#[tokio::test]
async fn unsolicited_pong_is_sent() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    session.basic_remote().send_pong("one way").await.unwrap();
    assert_eq!(client.expect(PONG).await, b"one way");
    session.async_remote().send_pong([9; 125]).unwrap();
    assert_eq!(client.expect(PONG).await, [9; 125]);
}

#[tokio::test]
async fn ping_or_pong_of_126_bytes_is_refused_and_nothing_is_sent() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    let payload = [0; 126];
    assert!(session.basic_remote().send_ping(payload).await.unwrap_err().is_too_big());
    assert!(session.basic_remote().send_pong(payload).await.unwrap_err().is_too_big());
    assert!(session.async_remote().send_ping(payload).unwrap_err().is_too_big());
    assert!(session.async_remote().send_pong(payload).unwrap_err().is_too_big());
    client.expect_silence().await;
    assert!(session.is_open());
}

// ---- order ----

/// 64 tasks send 1,000 messages each on one session.
async fn crowd(basic: bool) {
    const TASKS: usize = 64;
    const EACH: usize = 1_000;
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let session = session.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let message = format!("{task} {number}");
                    if basic {
                        session.basic_remote().send_text(message).await.unwrap();
                    } else {
                        session.async_remote().send_text(message).queued().unwrap();
                    }
                }
            })
        })
        .collect();
    let mut next = [0; TASKS];
    for _ in 0..TASKS * EACH {
        let message = String::from_utf8(client.expect(TEXT).await).unwrap();
        let (task, number) = message.split_once(' ').unwrap();
        let (task, number): (usize, usize) = (task.parse().unwrap(), number.parse().unwrap());
        assert_eq!(number, next[task], "task {task}");
        next[task] += 1;
    }
    assert_eq!(next, [EACH; TASKS]);
    client.expect_silence().await;
    for task in tasks {
        soon(task).await.unwrap();
    }
    assert_eq!(session.queued_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_with_the_basic_remote_keep_their_own_order() {
    crowd(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_with_the_async_remote_keep_their_own_order() {
    crowd(false).await;
}

#[tokio::test]
async fn sends_of_a_handler_precede_its_reply() {
    let mut sending = Sending::new().await;
    let (mut client, _session) = sending.open().await;
    for _ in 0..3 {
        client.text("before").await;
        client.expect_text("async").await;
        client.expect_text("basic").await;
        assert_eq!(client.expect(BINARY).await, [1]);
        client.expect_text("returned").await;
        client.binary(&[5]).await;
        client.expect_text("handed over").await;
        assert_eq!(client.expect(BINARY).await, [5]);
    }
}

#[tokio::test]
async fn answers_to_many_messages_in_one_segment_keep_their_order() {
    let mut sending = Sending::new().await;
    let (mut client, _session) = sending.open().await;
    let mut segment = Vec::new();
    for number in 0..500u32 {
        segment.extend(support::frame(0x80 | TEXT, b"before"));
        segment.extend(support::frame(0x80 | BINARY, &number.to_be_bytes()));
    }
    client.send_raw(&segment).await;
    for number in 0..500u32 {
        client.expect_text("async").await;
        client.expect_text("basic").await;
        assert_eq!(client.expect(BINARY).await, [1]);
        client.expect_text("returned").await;
        client.expect_text("handed over").await;
        assert_eq!(client.expect(BINARY).await, number.to_be_bytes());
    }
}

#[tokio::test]
async fn large_shared_payloads_and_small_ones_stay_in_order() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    let large = Bytes::from((0..1 << 20).map(|i: u32| (i >> 8) as u8).collect::<Vec<_>>());
    for number in 0..10u8 {
        session.async_remote().send_binary([number]).queued().unwrap();
        session.async_remote().send_binary(large.clone()).queued().unwrap();
        session.async_remote().send_text("between").queued().unwrap();
    }
    for number in 0..10u8 {
        assert_eq!(client.expect(BINARY).await, [number]);
        assert!(client.expect(BINARY).await == large);
        client.expect_text("between").await;
    }
}

#[tokio::test]
async fn more_segments_than_one_write_takes_stay_in_order() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    for number in 0..200u8 {
        session.async_remote().send_binary(vec![number; 10_000]).queued().unwrap();
        if number % 3 == 0 {
            session.async_remote().send_binary([number]).queued().unwrap();
        }
    }
    for number in 0..200u8 {
        assert!(client.expect(BINARY).await == [number; 10_000], "{number}");
        if number % 3 == 0 {
            assert_eq!(client.expect(BINARY).await, [number]);
        }
    }
}

// ---- a handler and its own sends ----

/// A handler awaits each of its sends, to a peer that reads only later.
async fn handler_awaits(request: &str, expected: impl Fn(&mut Client) -> Answers<'_>) {
    let mut sending = Sending::new().await;
    let (mut client, _session) = sending.open().await;
    client.text(request).await;
    expected(&mut client).await;
    client.expect_text("done").await;
    client.text("still-here").await;
    client.expect_text("still-here").await;
}

type Answers<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

#[tokio::test]
async fn handler_may_await_ten_thousand_sends() {
    handler_awaits("numbers 10000", |client| {
        Box::pin(async {
            for number in 0..10_000 {
                client.expect_text(&number.to_string()).await;
            }
        })
    })
    .await;
}

#[tokio::test]
async fn handler_may_await_queued_sends() {
    handler_awaits("handed 10000", |client| {
        Box::pin(async {
            for number in 0..10_000 {
                client.expect_text(&number.to_string()).await;
            }
        })
    })
    .await;
}

#[tokio::test]
async fn handler_may_await_sends_that_exceed_one_write() {
    handler_awaits("large 100", |client| {
        Box::pin(async {
            for number in 0..100u8 {
                assert!(client.expect(BINARY).await == [number; 100_000]);
            }
        })
    })
    .await;
}

#[tokio::test]
async fn handler_may_await_small_sends_beyond_one_write() {
    handler_awaits("small 1000", |client| {
        Box::pin(async {
            for number in 0..1_000usize {
                assert!(client.expect(BINARY).await == [number as u8; 1_000]);
            }
        })
    })
    .await;
}

/// Sends from `on_open`, and from a task that it spawns.
#[server_endpoint("/greet")]
#[derive(Default)]
struct Greeter;

impl Greeter {
    #[on_open]
    async fn open(&self, session: &Session) -> Result<(), Error> {
        session.basic_remote().send_text("hello").await?;
        session.async_remote().send_text("and welcome");
        let session = session.clone();
        tokio::spawn(async move {
            for number in 0..100 {
                session.basic_remote().send_text(format!("background {number}")).await.unwrap();
            }
        });
        Ok(())
    }

    #[on_message]
    async fn text(&self, message: String) -> String {
        message
    }
}

#[tokio::test]
async fn on_open_may_send_and_spawn_a_sender() {
    let server = TestServer::of::<Greeter>().await;
    let mut client = server.connect("/greet").await;
    client.expect_text("hello").await;
    client.expect_text("and welcome").await;
    for number in 0..100 {
        client.expect_text(&format!("background {number}")).await;
    }
}

// ---- Sent ----

#[tokio::test]
async fn sent_resolves_when_it_is_written() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    let sent: Vec<_> = (0..10).map(|number| session.async_remote().send_text(number.to_string())).collect();
    assert!(sent.iter().all(|sent| sent.queued().is_ok()));
    for sent in sent {
        soon(sent.into_future()).await.unwrap();
    }
    assert_eq!(session.queued_bytes(), 0);
    for number in 0..10 {
        client.expect_text(&number.to_string()).await;
    }
}

#[tokio::test]
async fn sent_may_be_dropped() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    drop(session.async_remote().send_text("one"));
    // or after it began to wait
    let mut written = session.async_remote().send_text("two").into_future();
    poll_fn(|cx| {
        let _ = pin!(&mut written).poll(cx);
        Poll::Ready(())
    })
    .await;
    drop(written);
    client.expect_text("one").await;
    client.expect_text("two").await;
    client.expect_silence().await;
}

#[tokio::test]
async fn unwritten_send_fails_as_closed_at_the_end() {
    let mut sending = Sending::with(|container| container.close_timeout(Duration::from_millis(100))).await;
    let (client, session) = sending.open_narrow().await;
    fill(&session, 100_000).await;
    // the queue is full, and yet one small message more would be
    let last = session.async_remote().send_text("x");
    let last = if last.queued().is_ok() { last } else { session.async_remote().send_text("y") };
    drop(client);
    let error = soon(last.into_future()).await.unwrap_err();
    assert!(error.is_closed() || error.is_queue_full(), "{error:?}");
    assert!(soon(session.basic_remote().send_text("z")).await.unwrap_err().is_closed());
}

// ---- after the close ----

#[tokio::test]
async fn send_after_close_is_refused_immediately() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    session.close();
    assert!(session.async_remote().send_text("late").queued().unwrap_err().is_closed());
    assert!(session.async_remote().send_binary(vec![0; 100_000]).queued().unwrap_err().is_closed());
    assert!(session.async_remote().send_ping("late").unwrap_err().is_closed());
    assert!(session.async_remote().send_pong("late").unwrap_err().is_closed());
    // without a single suspension
    let mut send = pin!(session.basic_remote().send_text("late"));
    poll_fn(|cx| match send.as_mut().poll(cx) {
        Poll::Ready(result) => {
            assert!(result.unwrap_err().is_closed());
            Poll::Ready(())
        }
        Poll::Pending => panic!("it waited"),
    })
    .await;
    assert!(session.basic_remote().send_ping("late").await.unwrap_err().is_closed());
    client.expect_close(1000).await;
    client.close(1000, "").await;
    client.expect_end().await;
}

#[tokio::test]
async fn close_flushes_what_is_queued() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    for number in 0..1_000 {
        session.async_remote().send_text(number.to_string()).queued().unwrap();
    }
    session.async_remote().send_binary(vec![7; 1 << 20]).queued().unwrap();
    session.close();
    for number in 0..1_000 {
        client.expect_text(&number.to_string()).await;
    }
    assert!(client.expect(BINARY).await == vec![7; 1 << 20]);
    client.expect_close(1000).await;
}

#[tokio::test]
async fn close_in_the_middle_of_many_senders_cuts_no_message() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open().await;
    let senders: Vec<_> = (0..8u8)
        .map(|sender| {
            let session = session.clone();
            tokio::spawn(async move {
                let mut accepted = 0usize;
                while session.basic_remote().send_binary(vec![sender; 20_000]).await.is_ok() {
                    accepted += 1;
                }
                accepted
            })
        })
        .collect();
    let mut counts = [0usize; 8];
    for received in 0.. {
        if received == 50 {
            session.close();
        }
        match client.frame().await.unwrap() {
            Frame { opcode: BINARY, payload, .. } => {
                assert!(payload.len() == 20_000 && payload.iter().all(|byte| *byte == payload[0]));
                counts[usize::from(payload[0])] += 1;
            }
            Frame { opcode, .. } => {
                assert_eq!(opcode, support::CLOSE);
                break;
            }
        }
    }
    client.close(1000, "").await;
    client.expect_end().await;
    for (sender, count) in senders.into_iter().zip(counts) {
        // at most the one under way is written without having been confirmed
        let accepted = soon(sender).await.unwrap();
        assert!((accepted..=accepted + 1).contains(&count), "{accepted} confirmed, {count} arrived");
    }
}

// ---- a peer that does not read ----

#[tokio::test]
async fn queue_is_bounded_in_bytes() {
    let mut sending = Sending::with(|container| container.send_queue(1_000_000, 1 << 20)).await;
    let (_client, session) = sending.open_narrow().await;
    fill(&session, 10_000).await;
    let queued = session.queued_bytes();
    assert!(((1 << 20) - 10_000..=1 << 20).contains(&queued), "{queued}");
    assert!(session.async_remote().send_binary(vec![0; 20_000]).queued().unwrap_err().is_queue_full());
    assert!(session.is_open());
}

#[tokio::test]
async fn queue_is_bounded_in_messages() {
    let mut sending = Sending::with(|container| container.send_queue(10, 1 << 30)).await;
    let (mut client, session) = sending.open_narrow().await;
    // the connection itself has had no turn between these
    let sent: Vec<_> = (0..20).map(|number| session.async_remote().send_text(number.to_string())).collect();
    assert_eq!(sent.iter().filter(|sent| sent.queued().is_ok()).count(), 10);
    assert!(sent[10..].iter().all(|sent| sent.queued().unwrap_err().is_queue_full()));
    for number in 0..10 {
        client.expect_text(&number.to_string()).await;
    }
    client.expect_silence().await;
    // and there is room again
    session.async_remote().send_text("next").queued().unwrap();
    client.expect_text("next").await;
}

#[tokio::test]
async fn oversized_message_passes_an_empty_queue() {
    let mut sending = Sending::with(|container| container.send_queue(10, 1_000)).await;
    let (mut client, session) = sending.open().await;
    soon(session.basic_remote().send_binary(vec![1; 1 << 20])).await.unwrap_or_else(|error| panic!("{error:?}"));
    assert!(client.expect(BINARY).await == vec![1; 1 << 20]);
}

#[tokio::test]
async fn queued_bytes_grow_and_fall() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open_narrow().await;
    assert_eq!(session.queued_bytes(), 0);
    let mut last = session.async_remote().send_binary(vec![0; 100_000]);
    assert_eq!(session.queued_bytes(), 100_000);
    for _ in 1..80 {
        last = session.async_remote().send_binary(vec![0; 100_000]);
    }
    last.queued().unwrap();
    assert_eq!(session.queued_bytes(), 8_000_000);
    for _ in 0..80 {
        assert_eq!(client.expect(BINARY).await.len(), 100_000);
    }
    soon(last.into_future()).await.unwrap();
    assert_eq!(session.queued_bytes(), 0);
}

#[tokio::test]
async fn basic_send_waits_for_a_slow_peer_and_continues_when_it_reads() {
    let mut sending = Sending::with(|container| container.send_queue(1_000, 100_000)).await;
    let (mut client, session) = sending.open_narrow().await;
    let filled = fill(&session, 10_000).await;
    let own = session.clone();
    let waiting = tokio::spawn(async move { own.basic_remote().send_text("at last").await });
    let mut received = 0;
    while let Some(frame) = client.frame().await {
        if frame.opcode == TEXT {
            assert_eq!(frame.payload, b"at last");
            break;
        }
        received += 1;
    }
    assert_eq!(received, filled);
    soon(waiting).await.unwrap().unwrap();
}

/// The error of a basic send to a peer that does not read, and what `on_close` hears.
async fn basic_send_to_a_deaf_peer(room: bool) {
    let timeout = Duration::from_millis(300);
    let mut sending = Sending::with(|container| container.send_timeout(timeout).send_queue(1_000, 4 << 20)).await;
    let (_client, session) = sending.open_narrow().await;
    fill(&session, if room { 4_000_000 } else { 100_000 }).await;
    let error = soon(session.basic_remote().send_binary(vec![0; 150_000])).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    sending.journal.expect(&format!("close 1006 by {:?}", Initiator::Container)).await;
    assert!(!session.is_open());
    assert_eq!(session.queued_bytes(), 0);
    assert!(session.basic_remote().send_text("late").await.unwrap_err().is_closed());
}

#[tokio::test]
async fn basic_send_waiting_to_be_written_times_out_and_the_session_ends() {
    basic_send_to_a_deaf_peer(true).await;
}

#[tokio::test]
async fn basic_send_waiting_for_space_times_out_and_the_session_ends() {
    basic_send_to_a_deaf_peer(false).await;
}

#[tokio::test]
async fn handler_that_sends_to_a_stalled_peer_gets_a_timeout() {
    let timeout = Duration::from_millis(300);
    let mut sending = Sending::with(|container| container.send_timeout(timeout).send_queue(1_000, 1 << 20)).await;
    let (mut client, _session) = sending.open_narrow().await;
    client.text("large 1000").await;
    let error = sending.journal.next().await;
    assert!(error.starts_with("error Timeout"), "{error}");
    sending.journal.expect("close 1006 by Container").await;
}

#[tokio::test]
async fn cancelled_sends_leave_whole_messages_only() {
    let mut sending = Sending::with(|container| container.send_queue(1_000, 200_000)).await;
    let (mut client, session) = sending.open_narrow().await;
    fill(&session, 50_000).await;
    // each is polled once: some are queued by then, some still wait for room
    for number in 0..50u8 {
        let mut send = pin!(session.basic_remote().send_binary(vec![number; 20_000]));
        poll_fn(|cx| {
            let _ = send.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
    }
    let own = session.clone();
    let last = tokio::spawn(async move { own.basic_remote().send_text("last").await });
    loop {
        let frame = client.frame().await.unwrap();
        assert!(frame.fin, "{} bytes without fin", frame.payload.len());
        if frame.opcode == TEXT {
            break;
        }
        assert!(matches!(frame.payload.len(), 20_000 | 50_000), "{}", frame.payload.len());
        assert!(frame.payload.iter().all(|byte| *byte == frame.payload[0]));
    }
    soon(last).await.unwrap().unwrap();
    client.text("still-here").await;
    client.expect_text("still-here").await;
}

#[tokio::test]
async fn control_frames_overtake_queued_messages() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open_narrow().await;
    for _ in 0..100 {
        session.async_remote().send_binary(vec![0; 100_000]).queued().unwrap();
    }
    // both were handed over before the connection had its turn
    session.async_remote().send_ping("first").unwrap();
    assert_eq!(client.expect(PING).await, b"first");
    for _ in 0..100 {
        assert_eq!(client.expect(BINARY).await.len(), 100_000);
    }
}

#[tokio::test]
async fn peer_that_vanishes_while_much_is_queued_ends_the_session() {
    let mut sending = Sending::new().await;
    let (mut client, session) = sending.open_narrow().await;
    fill(&session, 100_000).await;
    // something was on its way
    let mut some = [0; 1_000];
    soon(client.stream.read_exact(&mut some)).await.unwrap();
    drop(client);
    sending.journal.expect("close 1006 by Transport").await;
    assert_eq!(session.queued_bytes(), 0);
}
