//! In which order the handlers of a session run, on which instance, and that none of them is forgotten.

mod support;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, ServerContainer};
use support::{Answer, CLOSE, Client, Journal, PING, PONG, TEXT, TestServer, frame, soon};
use tokio::io::AsyncWriteExt;
use tokio::runtime::{self, Runtime};
use tokio::sync::Notify;

/// Says what it does; is suspended where it is told to.
#[server_endpoint("/life")]
struct Life {
    journal: Journal,
    gate: Arc<Notify>,
    calls: u32,
}

impl Life {
    #[on_open]
    async fn on_open(&mut self, session: &Session) -> Result<(), &'static str> {
        self.handle("open", session.query_string().unwrap_or_default()).await
    }

    #[on_message]
    async fn text(&mut self, message: String) -> Result<Option<String>, &'static str> {
        self.handle("message", &message).await?;
        self.calls += 1;
        Ok(message.starts_with("count").then(|| self.calls.to_string()))
    }

    #[on_message]
    async fn pong(&mut self, pong: Pong) -> Result<(), &'static str> {
        self.handle("pong", std::str::from_utf8(pong.data()).unwrap()).await
    }

    #[on_close]
    async fn on_close(&mut self, session: &Session, reason: CloseReason) -> Result<(), &'static str> {
        let what = format!("{} by {:?}", reason.code(), reason.initiator());
        self.handle("close", &what).await?;
        if session.query_string() == Some("hold-close") {
            self.gate.notified().await;
        }
        Ok(())
    }

    #[on_error]
    async fn on_error(&mut self, error: &Error) {
        let kind = match () {
            () if error.is_panic() => "panic",
            () if error.is_timeout() => "timeout",
            () if error.is_user() => "user",
            () => "other",
        };
        self.journal.note(format!("error {kind}"));
    }

    async fn handle(&self, handler: &str, what: &str) -> Result<(), &'static str> {
        struct Running<'a>(&'a Journal);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.note(")");
            }
        }
        self.journal.note(format!("{handler} {what} ("));
        let _running = Running(&self.journal);
        match what {
            "hold" => self.gate.notified().await,
            "fail" => return Err("failed"),
            "panic" => panic!("panicked"),
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.journal.note("dropped");
    }
}

/// As [`Life`], but nothing hears of its errors.
#[server_endpoint("/careless")]
struct Careless(Journal);

impl Careless {
    #[on_open]
    fn on_open(&mut self, session: &Session) -> Result<(), &'static str> {
        self.0.note("open");
        match session.query_string() {
            Some("panic") => panic!("panicked"),
            _ => Err("failed"),
        }
    }

    #[on_message]
    fn on_message(&mut self, _: &str) {
        self.0.note("message");
    }

    #[on_close]
    fn on_close(&mut self, reason: CloseReason) {
        self.0.note(format!("close {} by {:?}", reason.code(), reason.initiator()));
    }
}

struct Lives {
    server: TestServer,
    journal: Journal,
    gate: Arc<Notify>,
}

impl Lives {
    async fn new() -> Self {
        Self::with(|container| container).await
    }

    async fn with(settings: impl FnOnce(ContainerBuilder) -> ContainerBuilder) -> Self {
        let (journal, gate) = (Journal::default(), Arc::new(Notify::new()));
        let (its_journal, its_gate) = (journal.clone(), gate.clone());
        let careless = journal.clone();
        let container = ServerContainer::builder()
            .endpoint_with(move |_| Ok(Life { journal: its_journal.clone(), gate: its_gate.clone(), calls: 0 }))
            .endpoint_with(move |_| Ok(Careless(careless.clone())));
        Self { server: TestServer::with(settings(container)).await, journal, gate }
    }

    /// Connects and, in the same segment, sends `early`.
    async fn connect_saying(&self, path: &str, early: &[u8]) -> Client {
        let lines = [
            &format!("GET {path} HTTP/1.1"),
            "Host: localhost",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        let (Answer { status, .. }, client) = Client::request(self.server.addr, &lines, early).await;
        assert_eq!(status, 101);
        client
    }

    /// What is noted up to `last`, in one line.
    async fn story(&self, last: &str) -> String {
        let mut story = Vec::new();
        while story.last().is_none_or(|step| step != last) {
            story.push(self.journal.next().await);
        }
        story.join(" ")
    }
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    texts.into_iter().flat_map(|text| frame(0x80 | TEXT, text.as_bytes())).collect()
}

/// Writes copies of `piece` until the other side takes no more, and finishes the last one with `soon`; how many.
async fn fill(client: &mut Client, piece: &[u8], at_most: usize) -> (usize, usize) {
    let (mut written, mut refusals) = (0, 0);
    while refusals < 2_000 && written < at_most {
        match client.stream.try_write(&piece[written % piece.len()..]) {
            Ok(count) => (written, refusals) = (written + count, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                refusals += 1;
                // the server runs on this thread as well
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (written.div_ceil(piece.len()), written)
}

// ---- order ----

#[tokio::test]
async fn no_message_is_handled_before_on_open_has_ended() {
    let lives = Lives::new().await;
    // in the segment of the handshake, and later ones
    let early = [texts(["a", "b"]), frame(0x80 | PONG, b"c"), frame(0x80 | PING, b"ping")].concat();
    let mut client = lives.connect_saying("/life?hold", &early).await;
    lives.journal.expect("open hold (").await;
    assert_eq!(client.expect(PONG).await, b"ping");
    client.text("d").await;
    client.expect_silence().await;
    assert_eq!(lives.journal.rest(), [""; 0]);
    lives.gate.notify_one();
    client.close(1000, "").await;
    let story = ") message a ( ) message b ( ) pong c ( ) message d ( ) close 1000 by Peer ( ) dropped";
    assert_eq!(lives.story("dropped").await, story);
}

#[tokio::test]
async fn bytes_of_a_frame_that_came_with_the_handshake_are_not_lost() {
    let message = texts(["count me"]);
    for cut in 0..=message.len() {
        let lives = Lives::new().await;
        let mut client = lives.connect_saying("/life", &message[..cut]).await;
        client.send_raw(&message[cut..]).await;
        client.expect_text("1").await;
    }
}

#[tokio::test]
async fn messages_and_pongs_keep_their_order_behind_a_suspended_handler() {
    let lives = Lives::new().await;
    let mut client = lives.server.connect("/life").await;
    client.text("hold").await;
    client.send_raw(&[texts(["a"]), frame(0x80 | PONG, b"b"), texts(["c"])].concat()).await;
    assert_eq!([lives.journal.next().await, lives.journal.next().await].join(" "), "open  ( )");
    lives.journal.expect("message hold (").await;
    client.expect_silence().await;
    assert_eq!(lives.journal.rest(), [""; 0]);
    lives.gate.notify_one();
    client.close(1000, "").await;
    let story = ") message a ( ) pong b ( ) message c ( ) close 1000 by Peer ( ) dropped";
    assert_eq!(lives.story("dropped").await, story);
}

/// One handler that may suspend, and two that are ordinary functions.
#[server_endpoint("/mixed")]
struct Mixed(Arc<Notify>);

impl Mixed {
    #[on_open]
    async fn on_open(&mut self) {
        self.0.notified().await;
    }

    #[on_message]
    fn text(&mut self, message: &str) -> String {
        message.to_owned()
    }

    #[on_message]
    fn binary(&mut self, data: &[u8]) -> usize {
        data.len()
    }
}

#[tokio::test]
async fn sync_handlers_receive_split_messages_and_those_that_waited() {
    let gate = Arc::new(Notify::new());
    let its_gate = gate.clone();
    let server = TestServer::with(ServerContainer::builder().endpoint_with(move |_| Ok(Mixed(its_gate.clone())))).await;
    let mut client = server.connect("/mixed").await;
    let pieces = |kind| [frame(kind, b"in "), frame(0, b"three "), frame(0x80, b"pieces")].concat();
    let all = [texts(["whole"]), frame(0x82, &[0; 7]), pieces(1), pieces(2)].concat();
    client.send_raw(&all).await;
    client.expect_silence().await;
    gate.notify_one();
    for _ in 0..2 {
        for reply in ["whole", "7", "in three pieces", "15"] {
            client.expect_text(reply).await;
        }
        client.send_raw(&all).await;
    }
}

/// Notices when two of its handlers run at a time.
#[server_endpoint("/alone")]
#[derive(Default)]
struct Alone {
    journal: Journal,
    busy: Arc<AtomicBool>,
}

impl Alone {
    #[on_open]
    async fn on_open(&mut self) {
        self.work().await;
    }

    #[on_message]
    async fn text(&mut self, _: Text) {
        self.work().await;
    }

    #[on_message]
    async fn binary(&mut self, _: Binary) {
        self.work().await;
    }

    #[on_message]
    async fn pong(&mut self, _: Pong) -> Result<(), &'static str> {
        self.work().await;
        Err("for on_error")
    }

    #[on_error]
    async fn on_error(&mut self, _: &Error) {
        self.work().await;
    }

    #[on_close]
    async fn on_close(&mut self) {
        self.work().await;
        self.journal.note("closed");
    }

    async fn work(&self) {
        if self.busy.swap(true, Ordering::SeqCst) {
            self.journal.note("two at a time");
        }
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        self.busy.store(false, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_of_one_session_never_overlap() {
    let journal = Journal::default();
    let own = journal.clone();
    let server = TestServer::with(
        ServerContainer::builder().endpoint_with(move |_| Ok(Alone { journal: own.clone(), ..Alone::default() })),
    )
    .await;
    let mut client = server.connect("/alone").await;
    let round =
        [frame(0x81, b"text"), frame(0x82, b"binary"), frame(0x8a, b"pong"), frame(0x01, b"t"), frame(0x80, b"ext")];
    client.send_raw(&round.concat().repeat(100)).await;
    client.expect_silence().await;
    client.send_raw(&round.concat().repeat(100)).await;
    // in the middle of it
    for session in server.container.sessions().iter() {
        session.close();
    }
    client.expect_close(1000).await;
    client.close(1000, "").await;
    client.expect_end().await;
    journal.expect("closed").await;
    server.shutdown().await;
    assert_eq!(journal.rest(), [""; 0]);
}

#[tokio::test]
async fn each_connection_has_its_own_instance() {
    let lives = Lives::new().await;
    let (mut one, mut two) = (lives.server.connect("/life").await, lives.server.connect("/life").await);
    for count in ["1", "2", "3"] {
        one.text("count").await;
        one.expect_text(count).await;
    }
    two.text("count").await;
    two.expect_text("1").await;
    one.text("count").await;
    one.expect_text("4").await;
}

#[tokio::test]
async fn an_instance_is_dropped_when_its_session_has_ended() {
    let lives = Lives::new().await;
    let mut client = lives.server.connect("/life").await;
    client.close(1000, "").await;
    assert_eq!(lives.story("dropped").await, "open  ( ) close 1000 by Peer ( ) dropped");
}

/// How many sessions are open, as its handlers see it.
#[server_endpoint("/counting")]
struct Counting(Journal);

impl Counting {
    #[on_open]
    fn on_open(&self, session: &Session) {
        self.0.note(format!("open {} {}", session.open_sessions().len(), session.is_open()));
    }

    #[on_close]
    fn on_close(&self, session: &Session) {
        self.0.note(format!("close {} {}", session.open_sessions().len(), session.is_open()));
    }
}

#[tokio::test]
async fn a_session_is_listed_from_on_open_on_and_no_more_in_on_close() {
    let journal = Journal::default();
    let own = journal.clone();
    let server = TestServer::with(ServerContainer::builder().endpoint_with(move |_| Ok(Counting(own.clone())))).await;
    let mut one = server.connect("/counting").await;
    journal.expect("open 1 true").await;
    let _two = server.connect("/counting").await;
    journal.expect("open 2 true").await;
    one.close(1000, "").await;
    journal.expect("close 1 false").await;
    assert_eq!(server.container.sessions().len(), 1);
}

// ---- on_open fails ----

#[tokio::test]
async fn failed_on_open_reaches_on_error_and_on_close_and_no_message_is_handled() {
    for (how, kind) in [("fail", "user"), ("panic", "panic")] {
        println!("{how}");
        let lives = Lives::new().await;
        let mut client = lives.connect_saying(&format!("/life?{how}"), &texts(["a"])).await;
        client.expect_close(1011).await;
        client.close(1011, "").await;
        client.expect_end().await;
        let story = format!("open {how} ( ) error {kind} close 1011 by Container ( ) dropped");
        assert_eq!(lives.story("dropped").await, story);
        lives.server.shutdown().await;
        assert_eq!(lives.journal.rest(), [""; 0]);
    }
}

#[tokio::test]
async fn failed_on_open_without_on_error_reaches_on_close_and_no_message_is_handled() {
    for how in ["fail", "panic"] {
        println!("{how}");
        let lives = Lives::new().await;
        let mut client = lives.connect_saying(&format!("/careless?{how}"), &texts(["a"])).await;
        client.expect_close(1011).await;
        client.close(1011, "").await;
        client.expect_end().await;
        drop(client);
        lives.server.shutdown().await;
        assert_eq!(lives.journal.rest(), ["open", "close 1011 by Container"]);
    }
}

// ---- while a handler is suspended ----

#[tokio::test]
async fn pings_are_answered_while_a_handler_is_suspended() {
    let lives = Lives::new().await;
    let mut client = lives.server.connect("/life").await;
    // right behind the message, in the same segment
    client.send_raw(&[texts(["hold"]), frame(0x80 | PING, b"1")].concat()).await;
    assert_eq!(client.expect(PONG).await, b"1");
    // between the fragments of a message
    client.send_raw(&[frame(TEXT, b"cou"), frame(0x80 | PING, b"2"), frame(0x80, b"nt")].concat()).await;
    assert_eq!(client.expect(PONG).await, b"2");
    client.send(0x80 | PING, "3").await;
    assert_eq!(client.expect(PONG).await, b"3");
    lives.gate.notify_one();
    client.expect_text("2").await;
}

#[tokio::test]
async fn messages_of_other_tasks_leave_while_a_handler_is_suspended() {
    let lives = Lives::new().await;
    let mut client = lives.server.connect("/life?hold").await;
    assert_eq!(lives.journal.next().await, "open hold (");
    lives.server.container.sessions().async_remote().send_text("from outside");
    client.expect_text("from outside").await;
}

#[tokio::test]
async fn input_during_a_suspended_handler_is_bounded_and_not_lost() {
    let lives = Lives::new().await;
    let mut client = lives.server.connect("/life").await;
    client.text("hold").await;
    assert_eq!(lives.story("message hold (").await, "open  ( ) message hold (");
    let message = format!("count {}", "x".repeat(60_000));
    let piece = texts([&*message]);
    let (count, written) = fill(&mut client, &piece, 256 << 20).await;
    // what the sockets of both sides hold, and 256 KiB
    assert!(written < 64 << 20, "{written} bytes were accepted although the handler read none");
    assert!(count > 4, "{count}");
    lives.gate.notify_one();
    client.send_raw(&piece[written - (count - 1) * piece.len()..]).await;
    for number in 1..=count {
        client.expect_text(&(number + 1).to_string()).await;
    }
}

#[tokio::test]
async fn more_small_messages_than_the_inbox_holds_are_handled_in_order() {
    let lives = Lives::new().await;
    let mut client = lives.server.connect("/life?hold").await;
    let numbers: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    client.send_raw(&texts(numbers.iter().map(String::as_str))).await;
    lives.gate.notify_one();
    client.text("count").await;
    client.expect_text("1001").await;
    let heard = lives.journal.rest().into_iter().filter(|line| line.starts_with("message "));
    assert!(heard.zip(&numbers).all(|(heard, number)| heard == format!("message {number} (")));
}

#[tokio::test]
async fn pongs_for_a_peer_that_does_not_read_are_bounded_while_a_handler_is_suspended() {
    let lives = Lives::with(|container| container.send_queue(64, 1 << 20)).await;
    let mut client = lives.server.connect("/life?hold").await;
    lives.journal.expect("open hold (").await;
    let piece = frame(0x80 | PING, &[b'x'; 125]);
    let (_, written) = fill(&mut client, &piece, 256 << 20).await;
    assert!(written < 64 << 20, "{written} bytes of pings were answered although the peer does not read");
}

#[tokio::test]
async fn handler_is_cancelled_a_close_timeout_after_its_session_ended() {
    for path in ["/life?hold", "/life"] {
        for how in ["peer", "end of the connection", "application", "shutdown"] {
            println!("{path} {how}");
            let lives = Lives::with(|container| container.close_timeout(Duration::from_millis(30))).await;
            let mut client = lives.server.connect(path).await;
            let handler = if path == "/life" {
                client.text("hold").await;
                assert_eq!(lives.story("message hold (").await, "open  ( ) message hold (");
                "message"
            } else {
                lives.journal.expect("open hold (").await;
                "open"
            };
            let container = lives.server.container.clone();
            let end = match how {
                "peer" => {
                    client.close(1000, "").await;
                    "1000 by Peer"
                }
                "end of the connection" => {
                    client.stream.shutdown().await.unwrap();
                    "1006 by Transport"
                }
                "application" => {
                    container.sessions().iter().for_each(Session::close);
                    "1000 by Application"
                }
                _ => {
                    tokio::spawn(async move { container.shutdown(support::DEADLINE).await });
                    "1006 by Container"
                }
            };
            // the future of the handler is dropped before anything else runs
            let story = format!(") error timeout close {end} ( ) dropped");
            assert_eq!(lives.story("dropped").await, story, "{handler}");
        }
    }
}

/// Uses up at once what tokio lets a task do in one turn, and then waits.
#[server_endpoint("/greedy")]
#[derive(Default)]
struct Greedy;

impl Greedy {
    #[on_open]
    async fn on_open(&self) {
        let mut spent = false;
        std::future::poll_fn(|cx| {
            while !spent {
                spent = pin!(tokio::task::consume_budget()).poll(cx).is_pending();
            }
            Poll::<()>::Pending
        })
        .await;
    }
}

#[tokio::test]
async fn timeouts_apply_while_a_suspended_handler_exhausts_the_task_budget() {
    let settings = ServerContainer::builder().idle_timeout(Some(Duration::from_millis(100))).register::<Greedy>();
    let server = TestServer::with(settings.close_timeout(Duration::from_millis(30))).await;
    let mut client = server.connect("/greedy").await;
    client.expect_close(1001).await;
}

// ---- exactly one on_close ----

#[tokio::test]
async fn shutdown_ends_every_session_once() {
    let lives = Lives::new().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(lives.server.connect("/life").await);
    }
    for _ in 0..40 {
        lives.journal.next().await;
    }
    let container = lives.server.container.clone();
    let down = tokio::spawn(async move { container.shutdown(support::DEADLINE).await });
    for client in &mut clients {
        client.expect_close(1001).await;
        client.close(1001, "").await;
    }
    assert_eq!(soon(down).await.unwrap().closed, 20);
    let mut entries = lives.journal.rest();
    entries.sort();
    let each = |line: &str| vec![line.to_owned(); 20];
    assert_eq!(entries, [each(")"), each("close 1006 by Container ("), each("dropped")].concat());
}

#[tokio::test]
async fn sessions_outlive_a_server_that_is_dropped() {
    let server = endpoint_runtime::Server::with(
        ServerContainer::builder()
            .endpoint_with(|_| Ok(Life { journal: Journal::default(), gate: Arc::default(), calls: 0 })),
    );
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let running = tokio::spawn(server.run());
    let mut client = Client::connect(addr, "/life").await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    client.text("count").await;
    client.expect_text("1").await;
}

/// Drops the server's runtime when `said` was noted after a client had connected to `path` and sent `message`.
fn drop_the_runtime(server: Runtime, path: &str, message: Option<&str>, step: &str) -> Vec<String> {
    let here = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lives = server.block_on(Lives::new());
    let (journal, addr) = (lives.journal.clone(), lives.server.addr);
    // a runtime of one thread only runs while it is waited for
    let client = server.block_on(async {
        let mut client = Client::connect(addr, path).await;
        if let Some(message) = message {
            client.text(message).await;
        }
        if path.ends_with("close") {
            client.send(0x80 | CLOSE, "").await;
        }
        lives.story(step).await;
        client
    });
    drop(server);
    // nothing is left of it
    here.block_on(async {
        assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    });
    drop((lives, client));
    journal.rest()
}

#[test]
fn on_close_runs_when_the_runtime_is_dropped() {
    for (path, message, step, after) in [
        ("/life?hold", None, "open hold (", ") close 1006 by Container ( ) dropped"),
        ("/life", Some("hold"), "message hold (", ") close 1006 by Container ( ) dropped"),
        ("/life", None, ")", "close 1006 by Container ( ) dropped"),
        // not twice
        ("/life?hold-close", None, "close 1005 by Peer (", ") dropped"),
    ] {
        println!("{path} {message:?}");
        let current = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(drop_the_runtime(current, path, message, step).join(" "), after);
        let threads = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        assert_eq!(drop_the_runtime(threads, path, message, step).join(" "), after);
    }
}
