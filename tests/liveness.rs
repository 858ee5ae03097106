//! Peers that are alive and peers that are not: what proves life, what is pinged, and when a session ends because its
//! peer has vanished.

mod support;

use std::sync::Arc;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::test::{TestClient, TestServer, Traffic};
use endpoint_runtime::{ClientContainer, ContainerBuilder};
use support::raw_server::RawServer;
use support::{Journal, PING, PONG, TEXT, soon};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, interval, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// Hands its sessions to the test, and takes messages without an answer.
#[server_endpoint("/room")]
struct Room {
    sessions: UnboundedSender<Session>,
    journal: Journal,
    gate: Arc<Notify>,
}

impl Room {
    #[on_open]
    fn open(&self, session: Session) {
        let _ = self.sessions.send(session);
    }

    #[on_message]
    async fn text(&self, text: &str) {
        if text == "hold" {
            self.gate.notified().await;
        }
    }

    #[on_message]
    fn pong(&self, pong: Pong) {
        self.journal.note(format!("pong {}", String::from_utf8_lossy(pong.data())));
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {} {:?} by {:?}", reason.code(), reason.reason(), reason.initiator()));
    }
}

struct Served {
    server: TestServer,
    sessions: UnboundedReceiver<Session>,
    journal: Journal,
    gate: Arc<Notify>,
}

impl Served {
    fn with(set: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let ((sender, sessions), journal, gate) = (unbounded_channel(), Journal::default(), Arc::new(Notify::new()));
        let (own, its) = (journal.clone(), gate.clone());
        let container = ServerContainer::builder()
            .endpoint_with(move |_| Ok(Room { sessions: sender.clone(), journal: own.clone(), gate: its.clone() }));
        Self { server: TestServer::new(set(container).build().unwrap()), sessions, journal, gate }
    }

    /// A client that answers nothing by itself.
    async fn open(&mut self) -> (TestClient, Session) {
        let client = self.server.request("/room").silent().connect().await;
        (client, self.sessions.recv().await.unwrap())
    }
}

/// Says something to the session every 200 ms.
async fn speak(session: Session) {
    let mut tick = interval(SECOND / 5);
    loop {
        tick.tick().await;
        session.async_remote().send_text("news");
    }
}

/// The reason of the close frame with 1001, and when it came; what comes before it is passed over.
async fn closed(client: &mut TestClient) -> (String, Duration) {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < 900 * SECOND, "still open after {:?}", began.elapsed());
        match client.next().await {
            Traffic::Close { code, reason } if code.as_u16() == 1001 => return (reason.into(), began.elapsed()),
            Traffic::Close { code, reason } => panic!("closed with {code} {reason}"),
            Traffic::End => panic!("ended without a close frame"),
            _ => {}
        }
    }
}

// ---- what proves life ----

#[tokio::test(start_paused = true)]
async fn peer_that_answers_only_the_latest_ping_is_not_idle() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    let began = Instant::now();
    for _ in 0..10 {
        client.expect_ping().await;
        // a ping of the application overtakes it, and RFC 6455 §5.5.3 allows to answer that alone
        session.basic_remote().send_ping("latest").await.unwrap();
        client.expect_ping().await;
        client.send_pong("latest").await;
    }
    assert!(began.elapsed() > 4 * Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(session.is_open());
}

#[tokio::test(start_paused = true)]
async fn late_answers_to_own_pings_do_not_reach_the_pong_handler() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    let first = client.expect_ping().await;
    // something else proves life, so there is another ping
    client.send_text("alive").await;
    let second = client.expect_ping().await;
    assert_ne!(first, second);
    client.send_pong(first).await;
    served.server.settled().await;
    assert_eq!(session.rtt(), None, "the first ping was sent at an unknown time");
    client.send_pong(&second).await;
    served.server.settled().await;
    assert!(session.rtt().is_some());
    // once it is answered it is a ping of the application's
    client.send_pong("\0\0\0\0\0\0\0\x02").await;
    client.send_pong("unasked").await;
    served.journal.expect("pong \0\0\0\0\0\0\0\x02").await;
    served.journal.expect("pong unasked").await;
}

#[tokio::test(start_paused = true)]
async fn growing_partial_frame_counts_as_activity() {
    let mut served = Served::with(|container| container.min_receive_rate(0));
    let (mut client, session) = served.open().await;
    let (frame, mut tick) = (support::frame(0x80 | TEXT, &[b'x'; 100]), interval(5 * SECOND));
    for byte in &frame {
        tick.tick().await;
        client.send_raw(vec![*byte]).await;
    }
    assert!(session.is_open(), "{:?}", served.journal.rest());
}

// ---- peers that vanish ----

#[tokio::test(start_paused = true)]
async fn vanished_peer_in_a_busy_room_is_noticed_within_a_minute() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    let speaking = tokio::spawn(speak(session));
    let (reason, after) = closed(&mut client).await;
    assert_eq!(reason, "ping timeout");
    assert!((60 * SECOND..70 * SECOND).contains(&after), "{after:?}");
    served.journal.expect("close 1006 \"ping timeout\" by Container").await;
    speaking.abort();
}

#[tokio::test(start_paused = true)]
async fn pong_timeout_counts_from_the_ping() {
    for idle in [Some(SECOND), None] {
        let mut served = Served::with(|container| {
            container.idle_timeout(idle).ping_interval(Some(SECOND / 2)).pong_timeout(Some(2 * SECOND))
        });
        let (mut client, session) = served.open().await;
        let speaking = tokio::spawn(speak(session));
        let mut pinged = None;
        let began = Instant::now();
        let reason = loop {
            assert!(began.elapsed() < 900 * SECOND, "still open");
            match client.next().await {
                Traffic::Ping(_) => assert_eq!(pinged.replace(Instant::now()), None, "one ping is expected"),
                Traffic::Close { reason, .. } => break reason,
                _ => {}
            }
        };
        assert_eq!(reason, "ping timeout");
        let after = pinged.unwrap().elapsed();
        assert!((2 * SECOND..5 * SECOND / 2).contains(&after), "{after:?}");
        speaking.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn idle_timeout_comes_first_in_a_silent_room() {
    let mut served = Served::with(|container| container);
    let (mut client, _session) = served.open().await;
    let (reason, after) = closed(&mut client).await;
    assert_eq!(reason, "idle timeout");
    assert!((59 * SECOND..69 * SECOND).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn pong_timeout_applies_without_an_idle_timeout() {
    let mut served = Served::with(|container| container.idle_timeout(None));
    let (mut client, _session) = served.open().await;
    let (reason, after) = closed(&mut client).await;
    assert_eq!(reason, "ping timeout");
    assert!((60 * SECOND..70 * SECOND).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn pong_timeout_does_not_apply_without_pings() {
    let mut served = Served::with(|container| container.ping_interval(None).pong_timeout(Some(SECOND)));
    let (mut client, session) = served.open().await;
    let speaking = tokio::spawn(speak(session));
    assert!(timeout(600 * SECOND, closed(&mut client)).await.is_err());
    speaking.abort();
}

#[tokio::test(start_paused = true)]
async fn pong_timeout_can_be_switched_off_and_then_the_pings_go_on() {
    let mut served = Served::with(|container| container.pong_timeout(None).idle_timeout(None));
    let (mut client, session) = served.open().await;
    let (began, mut pings) = (Instant::now(), 0);
    while began.elapsed() < 600 * SECOND {
        client.expect_ping().await;
        pings += 1;
    }
    assert!((15..=20).contains(&pings), "{pings} pings in ten minutes");
    assert!(session.is_open());
}

#[tokio::test(start_paused = true)]
async fn annotation_has_the_pong_timeout() {
    #[server_endpoint("/short", ping_interval = "1s", pong_timeout = "2s")]
    #[derive(Default)]
    struct Short;

    let server = TestServer::of::<Short>();
    let mut client = server.request("/short").silent().connect().await;
    let (reason, after) = closed(&mut client).await;
    assert_eq!(reason, "ping timeout");
    assert!((3 * SECOND..4 * SECOND).contains(&after), "{after:?}");
}

/// Counts what it hears.
#[client_endpoint]
struct Listener(Journal);

impl Listener {
    #[on_message]
    fn text(&self, _: &str) {}

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.0.note(format!("close {} {:?} by {:?}", reason.code(), reason.reason(), reason.initiator()));
    }
}

#[tokio::test]
async fn busy_client_notices_a_server_that_answers_no_ping() {
    let (server, journal) = (RawServer::bind().await, Journal::default());
    let short = Duration::from_millis(300);
    let container =
        ClientContainer::builder().idle_timeout(None).ping_interval(Some(short)).pong_timeout(Some(short)).build();
    let uri = server.uri("/");
    let connecting = container.connect(Listener(journal.clone()), uri.as_str());
    let (session, mut peer) = tokio::join!(connecting, server.open());
    let speaking = tokio::spawn(speak(session.unwrap()));
    soon(async { while peer.frame().await.is_some_and(|frame| frame.opcode != support::CLOSE) {} }).await;
    journal.expect("close 1006 \"ping timeout\" by Container").await;
    speaking.abort();
}

// ---- no false alarm ----

#[tokio::test(start_paused = true)]
async fn slow_handler_does_not_make_its_peer_time_out() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    let speaking = tokio::spawn(speak(session.clone()));
    client.send_text("hold").await;
    for _ in 0..100 {
        client.send_text("more than is read ahead").await;
    }
    // its answers wait in the socket for as long as nobody reads them
    let began = Instant::now();
    while began.elapsed() < 300 * SECOND {
        if let Traffic::Ping(data) = client.next().await {
            client.send_pong(data).await;
        }
    }
    assert!(session.is_open(), "{:?}", served.journal.rest());
    served.gate.notify_one();
    served.server.settled().await;
    assert!(session.is_open(), "{:?}", served.journal.rest());
    speaking.abort();
}

#[tokio::test(start_paused = true)]
async fn pong_behind_a_large_message_does_not_time_out() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    let message = support::frame(0x80 | TEXT, &[b'x'; 300_000]);
    let mut tick = interval(SECOND);
    for piece in message.chunks(1_500) {
        tick.tick().await;
        client.send_raw(piece.to_vec()).await;
    }
    assert!(session.is_open(), "{:?}", served.journal.rest());
}

// ---- what is pinged ----

#[tokio::test(start_paused = true)]
async fn uploading_peer_is_pinged_each_minute() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    let uploading = async {
        let mut tick = interval(SECOND);
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        for _ in 0..600 {
            tick.tick().await;
            client.send_text("a piece").await;
            // it never answers: what it sends proves life
            while let Ok(what) = timeout(Duration::from_millis(1), client.next()).await {
                assert!(matches!(what, Traffic::Ping(_)), "{what}");
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
        longest.max(last.elapsed())
    };
    let longest = uploading.await;
    assert!(longest < 45 * SECOND, "{longest:?} without a byte from us");
    assert!(session.is_open());
}

#[tokio::test(start_paused = true)]
async fn session_that_is_busy_in_both_directions_is_not_pinged() {
    let mut served = Served::with(|container| container);
    let (mut client, session) = served.open().await;
    let speaking = tokio::spawn(speak(session));
    let began = Instant::now();
    while began.elapsed() < 300 * SECOND {
        client.send_text("alive").await;
        let what = client.next().await;
        assert!(!matches!(what, Traffic::Ping(_)), "pinged after {:?}", began.elapsed());
    }
    speaking.abort();
}

#[tokio::test]
async fn listening_client_sends_pings() {
    let (server, journal) = (RawServer::bind().await, Journal::default());
    let container = ClientContainer::builder().ping_interval(Some(Duration::from_millis(200))).build();
    let uri = server.uri("/");
    let connecting = container.connect(Listener(journal.clone()), uri.as_str());
    let (session, mut peer) = tokio::join!(connecting, server.open());
    let _session = session.unwrap();
    // it hears something all the time, so it is never the peer that is silent
    for _ in 0..3 {
        let pinged = async {
            loop {
                peer.send(0x80 | TEXT, "news").await;
                if let Ok(frame) = timeout(Duration::from_millis(20), peer.frame()).await {
                    let frame = frame.unwrap();
                    assert_eq!(frame.opcode, PING);
                    break frame.payload;
                }
            }
        };
        let data = soon(pinged).await;
        peer.send(0x80 | PONG, data).await;
    }
}
