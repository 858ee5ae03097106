//! What is done when a peer reads too slowly, what is counted, and what a send may be told: limits in time, callbacks,
//! batches.

mod support;

use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, ServerEndpoint};
use support::{BINARY, Client, Frame, Journal, TEXT, TestServer, soon};
use tokio::net::TcpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

struct Open {
    sessions: UnboundedSender<Session>,
    journal: Journal,
}

macro_rules! endpoint {
    ($name:ident, $($option:tt)*) => {
        #[server_endpoint("/send", $($option)*)]
        struct $name(Open);

        impl $name {
            #[on_open]
            fn open(&self, session: Session) {
                self.0.sessions.send(session).unwrap();
            }

            #[on_message]
            async fn text(&self, message: String, session: &Session) -> String {
                let journal = self.0.journal.clone();
                if message == "callback" {
                    let sent = session.async_remote().send_text("sent");
                    sent.on_complete(move |result| journal.note(format!("complete {}", result.is_ok())));
                    self.0.journal.note("handler");
                }
                message
            }

            #[on_close]
            fn close(&self, reason: CloseReason) {
                self.0.journal.note(format!("close {} by {:?}", reason.code(), reason.initiator()));
            }
        }

        impl From<Open> for $name {
            fn from(open: Open) -> Self {
                Self(open)
            }
        }
    };
}

endpoint!(Plain,);
endpoint!(Oldest, overflow = drop_oldest);
endpoint!(Closing, overflow = close);

struct Served {
    server: TestServer,
    sessions: UnboundedReceiver<Session>,
    journal: Journal,
}

impl Served {
    async fn of<E: ServerEndpoint + From<Open>>(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let ((sender, sessions), journal) = (unbounded_channel(), Journal::default());
        let own = journal.clone();
        let container = ServerContainer::builder()
            .endpoint_with(move |_| Ok(E::from(Open { sessions: sender.clone(), journal: own.clone() })));
        Self { server: TestServer::with(set(container)).await, sessions, journal }
    }

    async fn session(&mut self) -> Session {
        soon(self.sessions.recv()).await.unwrap()
    }

    async fn open(&mut self) -> (Client, Session) {
        (self.server.connect("/send").await, self.session().await)
    }

    /// A peer for which the kernel keeps little, with so much before it that it takes nothing more.
    async fn open_stuck(&mut self) -> (Client, Session) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let stream = soon(socket.connect(self.server.addr)).await.unwrap();
        let client = Client::upgrade(stream, "/send").await;
        let session = self.session().await;
        session.async_remote().on_overflow(Overflow::Error).send_binary(vec![0; STUCK]).queued().unwrap();
        // so many turns of the runtime, and the kernel has taken what it takes
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(session.queued_bytes() > 1 << 20);
        (client, session)
    }
}

/// More than the kernel takes.
const STUCK: usize = 8 << 20;

/// The numbers that come behind the large message, until the last of them.
async fn numbers(client: &mut Client, last: usize) -> Vec<usize> {
    assert_eq!(client.expect(BINARY).await.len(), STUCK);
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        match client.frame().await.unwrap() {
            Frame { fin: true, opcode: TEXT, payload, .. } => {
                numbers.push(String::from_utf8(payload).unwrap().trim().parse().unwrap());
            }
            other => panic!("expected a number, got {other:?}"),
        }
    }
    numbers
}

fn queue(container: ContainerBuilder) -> ContainerBuilder {
    container.send_queue(10, 16 << 20)
}

#[tokio::test]
async fn oldest_are_dropped_for_the_newest_and_counted() {
    for by_option in [false, true] {
        let mut served = if by_option { Served::of::<Oldest>(queue).await } else { Served::of::<Plain>(queue).await };
        let (mut client, session) = served.open_stuck().await;
        let mut last = None;
        for number in 0..1000 {
            let remote = session.async_remote();
            let remote = if by_option { remote } else { remote.on_overflow(Overflow::DropOldest) };
            let sent = remote.send_text(number.to_string());
            sent.queued().unwrap();
            assert!(session.queued_messages() <= 10);
            last = Some(sent);
        }
        assert_eq!((session.queued_messages(), session.dropped_messages()), (10, 991));
        assert_eq!(numbers(&mut client, 999).await, (991..1000).collect::<Vec<_>>());
        soon(last.unwrap().into_future()).await.unwrap();
        assert_eq!((session.queued_messages(), session.queued_bytes()), (0, 0));
        // and on it goes
        soon(session.basic_remote().send_text("on")).await.unwrap();
        client.expect_text("on").await;
    }
}

#[tokio::test]
async fn queued_messages_are_counted_to_the_end_though_some_were_dropped() {
    let mut served = Served::of::<Oldest>(queue).await;
    let (mut client, session) = served.open_stuck().await;
    (0..1000).for_each(|number| session.async_remote().send_text(number.to_string()).queued().unwrap());
    assert_eq!((session.queued_messages(), session.dropped_messages()), (10, 991));
    // the peer closes while the others wait
    client.close(1000, "").await;
    soon(async {
        while session.is_open() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(session.queued_messages(), 10);
    assert_eq!(numbers(&mut client, 999).await, (991..1000).collect::<Vec<_>>());
    client.expect_close(1000).await;
    served.journal.expect("close 1000 by Peer").await;
    assert_eq!((session.queued_messages(), session.queued_bytes()), (0, 0));
}

#[tokio::test]
async fn nothing_is_queued_after_the_end_of_a_session_whose_peer_never_read() {
    let mut served = Served::of::<Oldest>(queue).await;
    let (client, session) = served.open_stuck().await;
    (0..1000).for_each(|number| session.async_remote().send_text(number.to_string()).queued().unwrap());
    drop(client);
    served.journal.expect("close 1006 by Transport").await;
    assert_eq!((session.queued_messages(), session.queued_bytes()), (0, 0));
}

#[tokio::test]
async fn messages_sent_without_drop_policy_are_kept() {
    let mut served = Served::of::<Plain>(queue).await;
    let (mut client, session) = served.open_stuck().await;
    let (kept, lossy) = (session.async_remote(), session.async_remote().on_overflow(Overflow::DropOldest));
    lossy.send_text("0");
    for number in 1..=5 {
        kept.send_text(number.to_string()).queued().unwrap();
    }
    for number in 6..100 {
        lossy.send_text(number.to_string()).queued().unwrap();
    }
    assert!(kept.send_text("full").queued().unwrap_err().is_queue_full());
    assert_eq!(numbers(&mut client, 99).await, [1, 2, 3, 4, 5, 96, 97, 98, 99]);
    // nothing of it is left to drop
    let (mut client, session) = served.open_stuck().await;
    for number in 0..9 {
        session.async_remote().send_text(number.to_string()).queued().unwrap();
    }
    let lossy = session.async_remote().on_overflow(Overflow::DropOldest).send_text("99");
    assert!(lossy.queued().unwrap_err().is_queue_full());
    soon(lossy.into_future()).await.unwrap();
    assert_eq!(session.dropped_messages(), 1);
    assert_eq!(numbers(&mut client, 8).await, (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn newest_is_dropped_and_counted_without_an_error() {
    let mut served = Served::of::<Plain>(queue).await;
    let (mut client, session) = served.open_stuck().await;
    for number in 0..20 {
        soon(async {
            if number < 9 {
                session.async_remote().send_text(number.to_string()).queued().unwrap();
            } else if number % 2 == 0 {
                session.basic_remote().on_overflow(Overflow::DropNewest).send_text(number.to_string()).await.unwrap();
            } else {
                session.async_remote().on_overflow(Overflow::DropNewest).send_text(number.to_string()).await.unwrap();
            }
        })
        .await;
    }
    let error = soon(session.basic_remote().on_overflow(Overflow::Error).send_text("x")).await.unwrap_err();
    assert!(error.is_queue_full());
    assert_eq!(session.dropped_messages(), 11);
    assert_eq!(numbers(&mut client, 8).await, (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn full_queue_with_overflow_close_ends_the_session_with_1013() {
    let mut served = Served::of::<Closing>(queue).await;
    let (mut client, session) = served.open_stuck().await;
    for number in 0..9 {
        session.async_remote().send_text(number.to_string()).queued().unwrap();
    }
    assert!(session.async_remote().send_text("one too many").queued().unwrap_err().is_closed());
    assert!(!session.is_open());
    assert_eq!(numbers(&mut client, 8).await, (0..9).collect::<Vec<_>>());
    assert_eq!(client.expect_close(1013).await, "the send queue is full");
    served.journal.expect("close 1006 by Container").await;
}

#[tokio::test]
async fn broadcast_counts_what_it_dropped() {
    let mut served = Served::of::<Plain>(queue).await;
    let (_stuck, session) = served.open_stuck().await;
    let (mut reader, _other) = served.open().await;
    let (mut dropped, mut evicted, mut closed) = (0, 0, 0);
    for number in 0..30 {
        let all = session.open_sessions();
        let all = match number {
            0..15 => all.async_remote().on_overflow(Overflow::DropOldest),
            15..29 => all.async_remote(),
            _ => all.async_remote().on_overflow(Overflow::Close),
        };
        let report = all.send_text(number.to_string());
        assert_eq!(report.sent + report.dropped + report.closed, 2);
        (dropped, evicted, closed) = (dropped + report.dropped, evicted + report.evicted, closed + report.closed);
        reader.expect_text(&number.to_string()).await;
    }
    assert_eq!((dropped, evicted, closed, session.dropped_messages()), (14, 6, 1, 20));
}

#[tokio::test]
async fn dropped_messages_do_not_break_context_takeover() {
    let compression = Compression::ON.context_takeover(true).threshold(0);
    let mut served = Served::of::<Plain>(|container| queue(container).compression(compression)).await;
    let url = format!("{}/send", served.server.addr);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate";
    let mut client = Client::connect_with(served.server.addr, "/send", &[offer]).await;
    let session = served.session().await;
    assert_eq!(session.extensions().len(), 1, "{url}");
    // this one holds the others up
    let mut writer = session.basic_remote().uncompressed().text_writer();
    soon(writer.write_text("first")).await.unwrap();
    for number in 0..100 {
        let lossy = session.async_remote().on_overflow(Overflow::DropOldest);
        lossy.send_text(format!("to be or not to be {number}")).queued().unwrap();
    }
    soon(writer.finish()).await.unwrap();
    client.expect_text("first").await;
    let mut context = flate2::Decompress::new(false);
    for number in 91..100 {
        let frame = client.frame().await.unwrap();
        assert_eq!((frame.fin, frame.rsv), (true, 4));
        let mut text = Vec::with_capacity(1000);
        let bytes = [&frame.payload[..], &[0, 0, 0xff, 0xff]].concat();
        context.decompress_vec(&bytes, &mut text, flate2::FlushDecompress::Sync).unwrap();
        assert_eq!(text, format!("to be or not to be {number}").as_bytes());
    }
    assert_eq!(session.dropped_messages(), 91);
}

// ---- limits in time ----

#[tokio::test]
async fn message_and_session_limits_are_separate() {
    let mut served = Served::of::<Plain>(|container| queue(container).send_timeout(Duration::from_secs(3600))).await;
    let (_client, session) = served.open_stuck().await;
    let brief = Duration::from_millis(20);
    assert!(soon(session.basic_remote().timeout(brief).send_text("x")).await.unwrap_err().is_timeout());
    assert!(soon(session.async_remote().timeout(brief).send_text("x").into_future()).await.unwrap_err().is_timeout());
    assert!(soon(session.basic_remote().timeout(brief).flush_batch()).await.unwrap_err().is_timeout());
    while session.async_remote().send_text("y").queued().is_ok() {}
    assert!(soon(session.basic_remote().timeout(brief).send_text("no room")).await.unwrap_err().is_timeout());
    assert!(session.is_open());
    assert_eq!(session.send_timeout(), Some(Duration::from_secs(3600)));
    session.set_send_timeout(None);
    assert_eq!(session.send_timeout(), None);
    session.set_send_timeout(Some(Duration::from_millis(200)));
    assert_eq!(session.send_timeout(), Some(Duration::from_millis(200)));
    assert!(!soon(session.basic_remote().send_text("x")).await.unwrap_err().is_queue_full());
    // a peer that reads nothing for so long is given up
    served.journal.expect("close 1006 by Container").await;
}

#[tokio::test]
async fn writable_resolves_when_there_is_space() {
    let mut served = Served::of::<Plain>(queue).await;
    let (mut client, session) = served.open_stuck().await;
    while session.async_remote().send_text("1").queued().is_ok() {}
    {
        let mut writable = std::pin::pin!(session.writable());
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(writable.as_mut().poll(cx).is_pending())).await);
        let (came, writable) = tokio::join!(client.expect(BINARY), soon(writable));
        assert_eq!(came.len(), STUCK);
        writable.unwrap();
    }
    session.async_remote().send_text("2").queued().unwrap();
    session.close();
    assert!(soon(session.writable()).await.unwrap_err().is_closed());
}

// ---- callbacks ----

#[tokio::test]
async fn callback_reports_success_and_failure() {
    let mut served = Served::of::<Plain>(queue).await;
    let (mut client, session) = served.open().await;
    let journal = served.journal.clone();
    let note = |name: &'static str| {
        let (journal, session) = (journal.clone(), session.clone());
        move |result: Result<(), Error>| {
            // it may send
            drop(session.async_remote().send_text(name).queued());
            journal.note(format!("{name} {result:?}"));
        }
    };
    session.async_remote().send_text("message").on_complete(note("reported"));
    client.expect_text("message").await;
    client.expect_text("reported").await;
    served.journal.expect("reported Ok(())").await;
    session.async_remote().send_text("panics").on_complete(|_| panic!("a callback's own"));
    client.expect_text("panics").await;
    // in a handler it is told of the socket, not of the batch
    client.text("callback").await;
    client.expect_text("sent").await;
    client.expect_text("callback").await;
    served.journal.expect("handler").await;
    served.journal.expect("complete true").await;
    // one that will never be written
    let (stuck, session) = served.open_stuck().await;
    session.async_remote().send_text("x").on_complete(move |result| {
        journal.note(format!("closed {}", result.unwrap_err().is_closed()));
    });
    served.server.container.shutdown(Duration::from_millis(1)).await;
    let mut rest: Vec<String> = Vec::new();
    while rest.len() < 3 {
        rest.push(served.journal.next().await);
    }
    assert!(rest.contains(&"closed true".to_owned()), "{rest:?}");
    drop(stuck.stream.try_read(&mut [0]));
    let (sender, complete) = unbounded_channel();
    session.async_remote().send_text("late").on_complete(move |result| sender.send(result.is_err()).unwrap());
    assert_eq!({ complete }.try_recv(), Ok(true));
}

// ---- batches ----

#[tokio::test]
async fn messages_gather_while_batching_is_allowed_until_they_are_flushed() {
    let mut served = Served::of::<Plain>(|container| container).await;
    let (mut client, session) = served.open().await;
    let basic = session.basic_remote();
    assert!(!basic.batching_allowed());
    basic.set_batching_allowed(true);
    assert!(session.async_remote().batching_allowed());
    for number in 0..10 {
        // resolves at once, though nobody writes it
        soon(basic.send_text(number.to_string())).await.unwrap();
    }
    assert_eq!(session.open_sessions().async_remote().send_text("10").sent, 1);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(session.queued_messages(), 11);
    soon(basic.flush_batch()).await.unwrap();
    assert_eq!(session.queued_messages(), 0);
    for number in 0..=10 {
        client.expect_text(&number.to_string()).await;
    }
    // enough for a write
    for _ in 0..20 {
        soon(basic.send_binary(vec![1; 5_000])).await.unwrap();
    }
    for _ in 0..13 {
        client.expect(BINARY).await;
    }
    basic.set_batching_allowed(false);
    for _ in 13..20 {
        client.expect(BINARY).await;
    }
    basic.set_batching_allowed(true);
    soon(basic.send_text("before")).await.unwrap();
    // it takes the batch along
    client.text("reply").await;
    client.expect_text("before").await;
    client.expect_text("reply").await;
    soon(basic.send_text("last")).await.unwrap();
    session.close();
    client.expect_text("last").await;
    client.expect_close(1000).await;
}
