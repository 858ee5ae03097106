//! Endpoints that connect: the same handlers and promises as in a server, from the other side.

mod support;

use std::time::{Duration, Instant};

use endpoint_runtime::prelude::*;
use endpoint_runtime::{Endpoint, MessageHandler};
use support::raw_server::{Peer, RawServer, plain};
use support::{BINARY, CLOSE, Frame, Journal, PING, PONG, TEXT, TestServer, soon};

/// Notes everything that happens to it.
#[client_endpoint(subprotocols("chat.v2", "chat.v1"))]
struct Bot {
    journal: Journal,
}

impl Bot {
    #[on_open]
    async fn open(&mut self, session: &Session) {
        self.journal.note(format!("open {}", session.is_open()));
    }

    #[on_message(max_size = "64KiB")]
    async fn text(&mut self, text: String) -> Option<String> {
        self.journal.note(format!("text {text}"));
        text.strip_prefix("echo ").map(str::to_owned)
    }

    #[on_message]
    fn binary(&mut self, data: &[u8]) -> Result<(), std::io::Error> {
        self.journal.note(format!("binary {}", data.len()));
        if data == b"fail" { Err(std::io::Error::other("failed")) } else { Ok(()) }
    }

    #[on_message]
    fn pong(&mut self, pong: Pong) {
        self.journal.note(format!("pong {}", String::from_utf8_lossy(pong.data())));
    }

    #[on_close]
    fn close(&mut self, reason: CloseReason) {
        self.journal.note(format!("close {reason} by {:?}", reason.initiator()));
    }

    #[on_error]
    fn error(&mut self, error: &Error) {
        self.journal.note(format!("error {error}"));
    }
}

/// Says back what it hears, without annotations.
struct Parrot(Journal);

impl Endpoint for Parrot {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        let journal = self.0.clone();
        session.add_message_handler(MessageHandler::text(move |_, text: String| {
            journal.note(format!("text {text}"));
            text
        }))
    }

    async fn on_close(&mut self, _: &Session, reason: CloseReason) -> Result<(), Error> {
        self.0.note(format!("close {reason}"));
        Ok(())
    }
}

#[tokio::test]
async fn endpoint_without_annotations_connects_and_its_handlers_come_and_go() {
    let (server, journal) = (RawServer::bind().await, Journal::default());
    let (container, parrot) = (ClientContainer::new(), Parrot(journal.clone()));
    let request = container.request(server.uri("/chat")).subprotocol("chat.v1");
    let (session, mut peer) = soon(async { tokio::join!(request.connect_endpoint(parrot), server.open()) }).await;
    let session = session.unwrap();
    peer.text("polly").await;
    assert_eq!(peer.frame().await.unwrap().payload, b"polly");
    assert!(session.add_message_handler(MessageHandler::text(|_, _: String| ())).unwrap_err().is_duplicate_handler());
    session.add_message_handler(MessageHandler::binary(|_, data: Vec<u8>| data.len() as u64)).unwrap();
    peer.send(0x80 | BINARY, [7; 3]).await;
    assert_eq!(peer.frame().await.unwrap().payload, b"3");
    session.close();
    assert_eq!(peer.frame().await.unwrap().opcode, CLOSE);
    journal.expect("text polly").await;
}

/// A session of a [`Bot`] with a raw server.
async fn open() -> (Session, Peer, Journal, RawServer) {
    open_by(&ClientContainer::new()).await
}

async fn open_by(container: &ClientContainer) -> (Session, Peer, Journal, RawServer) {
    let (server, journal) = (RawServer::bind().await, Journal::default());
    let bot = Bot { journal: journal.clone() };
    let (session, peer) =
        soon(async { tokio::join!(container.connect(bot, server.uri("/chat")), server.open()) }).await;
    journal.expect("open true").await;
    (session.unwrap(), peer, journal, server)
}

#[server_endpoint("/echo/{room}", subprotocols("chat.v1", "soap"), max_message_size = "8MiB")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_open]
    fn open(&self, session: &Session, #[query_param] close: Option<u16>) {
        if let Some(code) = close {
            session.close_with(CloseReason::new(CloseCode::from(code), "as you wish").unwrap());
        }
    }

    #[on_message]
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }

    #[on_message]
    async fn binary(&self, data: Binary) -> Binary {
        data
    }
}

#[tokio::test]
async fn request_has_required_and_configured_headers() {
    let server = RawServer::bind().await;
    let container = ClientContainer::new();
    let connecting = container
        .request(server.uri("/chat/blue?a=b"))
        .header("X-Token", "secret")
        .header("x-token", "second")
        .subprotocol("mine")
        .subprotocol("other")
        .origin("https://example.org")
        .connect(Bot { journal: Journal::default() });
    let serving = async {
        let (asked, mut peer) = server.asked().await;
        peer.send_raw(asked.accepted(&["Sec-WebSocket-Protocol: other", "X-Answer: 1"]).as_bytes()).await;
        (asked, peer)
    };
    let (session, (asked, _peer)) = soon(async { tokio::join!(connecting, serving) }).await;
    assert_eq!(asked.line, "GET /chat/blue?a=b HTTP/1.1");
    for (name, value) in [
        ("host", server.addr.to_string().as_str()),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "mine, other"),
        ("origin", "https://example.org"),
        ("x-token", "secret"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    assert_eq!(asked.header("sec-websocket-key").unwrap().len(), 24);
    assert_eq!(asked.header("sec-websocket-extensions"), None);
    assert_eq!(asked.headers.len(), 9, "{asked:?}");

    let session = session.unwrap();
    assert_eq!(session.uri(), server.uri("/chat/blue?a=b"));
    assert_eq!((session.query_string(), session.subprotocol()), (Some("a=b"), Some("other")));
    assert_eq!((session.peer_addr(), session.is_secure()), (Some(server.addr), false));
    assert_ne!(session.local_addr(), session.peer_addr());
    assert_eq!(session.headers()["X-Token"], "secret");
    let response = session.handshake_response().unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-answer"]), (101, &"1".parse().unwrap()));
    assert!(session.extensions().is_empty());
}

#[tokio::test]
async fn request_line_is_ascii_and_our_server_decodes_it() {
    let server = RawServer::bind().await;
    let container = ClientContainer::new();
    let bot = || Bot { journal: Journal::default() };
    for (request, line) in [
        (container.request(server.uri("/c/中文?t=ü")), "GET /c/%E4%B8%AD%E6%96%87?t=%C3%BC HTTP/1.1"),
        (
            container
                .request(server.uri("/c/{room}?a=b"))
                .path_param("room", "中/文")
                .query_param("t", "ü&")
                .query_param("n", 3),
            "GET /c/%E4%B8%AD%2F%E6%96%87?a=b&t=%C3%BC%26&n=3 HTTP/1.1",
        ),
    ] {
        let serving = async {
            let (asked, mut peer) = server.asked().await;
            peer.send_raw(asked.accepted(&[]).as_bytes()).await;
            (asked, peer)
        };
        let (session, (asked, _peer)) = soon(async { tokio::join!(request.connect(bot()), serving) }).await;
        assert_eq!(asked.line, line);
        assert!(session.unwrap().uri().is_ascii());
    }

    #[server_endpoint("/say/{what}")]
    #[derive(Default)]
    struct Say;
    impl Say {
        #[on_open]
        async fn open(&self, session: &Session, #[path_param] what: String, #[query_param] how: String) {
            session.async_remote().send_text(format!("{what} {how}"));
        }
    }
    let server = TestServer::of::<Say>().await;
    let value = "a/b?c#d%2e {x}+&=\u{1F980}\n\"";
    let (ear, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let request = container.request(format!("ws://{}/say/{{what}}", server.addr));
    let request = request.path_param("what", value).query_param("how", value);
    let session = soon(request.connect(Ear(ear))).await.unwrap();
    assert_eq!(soon(heard.recv()).await.unwrap(), format!("{value} {value}"));
    assert_eq!(session.path_param("what"), Some(value));
}

#[tokio::test]
async fn validated_subprotocol_is_the_reported_one() {
    for (answer, subprotocol) in
        [("chat.v1,", Some("chat.v1")), (", chat.v2 ,", Some("chat.v2")), ("", None), (",", None)]
    {
        let server = RawServer::bind().await;
        let serving = async {
            let (asked, mut peer) = server.asked().await;
            peer.send_raw(asked.accepted(&[&format!("Sec-WebSocket-Protocol: {answer}")]).as_bytes()).await;
            peer
        };
        let bot = Bot { journal: Journal::default() };
        let container = ClientContainer::new();
        let (session, _peer) = soon(async { tokio::join!(container.connect(bot, server.uri("/")), serving) }).await;
        assert_eq!(session.unwrap().subprotocol(), subprotocol, "{answer:?}");
    }
}

#[tokio::test]
async fn key_of_each_handshake_and_of_each_frame_is_another() {
    let (server, container) = (RawServer::bind().await, ClientContainer::new());
    let mut keys = Vec::new();
    for _ in 0..2 {
        let bot = Bot { journal: Journal::default() };
        let serving = async {
            let (asked, mut peer) = server.asked().await;
            peer.send_raw(asked.accepted(&[]).as_bytes()).await;
            (asked, peer)
        };
        let (session, (asked, mut peer)) =
            soon(async { tokio::join!(container.connect(bot, server.uri("/")), serving) }).await;
        let session = session.unwrap();
        for number in 0..50 {
            session.async_remote().send_text(number.to_string());
        }
        for number in 0..50 {
            peer.expect_text(&number.to_string()).await;
        }
        keys.push(asked.header("sec-websocket-key").unwrap().to_owned());
        let mut masks = peer.keys;
        masks.sort_unstable();
        masks.dedup();
        // of 50 random keys two are the same once in three million times
        assert!(masks.len() >= 49, "{masks:?}");
    }
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn messages_of_many_sizes_come_and_go_masked() {
    let (session, mut peer, journal, _server) = open().await;
    for size in [0, 1, 38, 39, 125, 126, 8191, 8192, 65_535, 65_536, 300_000] {
        let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
        // one that nobody else has, and one that is shared
        session.async_remote().send_binary(data.clone());
        let shared = Bytes::from(data.clone());
        session.async_remote().send_binary(shared.clone());
        for _ in 0..2 {
            assert!(peer.expect(BINARY).await == data, "{size} bytes arrived changed");
        }
        assert!(shared == data, "a shared payload was masked in place");
        peer.send(0x80 | BINARY, &data).await;
        journal.expect(&format!("binary {size}")).await;
    }
}

#[tokio::test]
async fn frames_that_come_with_the_answer_are_not_lost() {
    for size in [10, 5_000, 60_000] {
        let (server, journal) = (RawServer::bind().await, Journal::default());
        let serving = async {
            let (asked, mut peer) = server.asked().await;
            let frames =
                [plain(0x80 | TEXT, b"one"), plain(0x80 | TEXT, &vec![b'x'; size]), plain(0x80 | PING, b"two")];
            peer.send_raw(&[asked.accepted(&[]).into_bytes(), frames.concat()].concat()).await;
            peer
        };
        let bot = Bot { journal: journal.clone() };
        let container = ClientContainer::new();
        let (_session, mut peer) = soon(async { tokio::join!(container.connect(bot, server.uri("/")), serving) }).await;
        assert_eq!(peer.expect(PONG).await, b"two");
        journal.expect("open true").await;
        journal.expect("text one").await;
        journal.expect(&format!("text {}", "x".repeat(size))).await;
    }
}

#[tokio::test]
async fn frames_of_the_server_are_cut_and_fragmented_at_will() {
    let (_session, mut peer, journal, _server) = open().await;
    let frames = [plain(0x01, "grü".as_bytes()), plain(0x89, b"!"), plain(0x00, b""), plain(0x80, "ß".as_bytes())];
    for byte in frames.concat() {
        peer.send_raw(&[byte]).await;
    }
    assert_eq!(peer.expect(PONG).await, b"!");
    journal.expect("text grüß").await;
    peer.text("echo back").await;
    peer.expect_text("back").await;
}

#[tokio::test]
async fn masked_frame_of_a_server_is_a_violation() {
    let (_session, mut peer, journal, _server) = open().await;
    peer.send_raw(&support::frame(0x80 | TEXT, b"masked")).await;
    peer.expect_close(1002).await;
    journal.expect("error a server's frame must not be masked").await;
    assert!(journal.next().await.starts_with("close 1002"));
}

#[tokio::test]
async fn other_violations_end_a_session_as_in_a_server() {
    for (bytes, code) in [
        (plain(0xc1, b"x"), 1002),
        (plain(0x83, b""), 1002),
        (plain(0x80, b"x"), 1002),
        (plain(0x81, &[0xff]), 1007),
        (plain(0x81, &vec![b'x'; (64 << 10) + 1]), 1009),
        (plain(0x88, &[3]), 1002),
    ] {
        let (_session, mut peer, journal, _server) = open().await;
        peer.send_raw(&bytes).await;
        peer.expect_close(code).await;
        assert!(journal.next().await.starts_with("error"));
        assert!(journal.next().await.starts_with(&format!("close {code}")));
    }
}

#[tokio::test]
async fn handler_error_reaches_on_error_and_the_session_continues() {
    let (_session, mut peer, journal, _server) = open().await;
    peer.send(0x80 | BINARY, "fail").await;
    journal.expect("binary 4").await;
    journal.expect("error failed").await;
    peer.expect_silence().await;
}

#[tokio::test]
async fn server_closes_and_both_sides_agree() {
    let (session, mut peer, journal, _server) = open().await;
    peer.text("last").await;
    peer.close(4321, "enough").await;
    assert_eq!(peer.expect_close(4321).await, "enough");
    drop(peer);
    journal.expect("text last").await;
    journal.expect("close 4321 enough by Peer").await;
    assert!(!session.is_open());
    assert!(session.basic_remote().send_text("late").await.unwrap_err().is_closed());
    assert!(journal.rest().is_empty());
}

#[tokio::test]
async fn client_closes_and_waits_until_the_server_ends_the_connection() {
    // the server that never does shows that it waits, and that it does not wait for ever
    let limit = Duration::from_millis(300);
    let container = ClientContainer::builder().close_timeout(limit).build();
    let (session, mut peer, journal, _server) = open_by(&container).await;
    session.close_with(CloseReason::new(CloseCode::NormalClosure, "done").unwrap());
    assert_eq!(peer.expect_close(1000).await, "done");
    let answered = Instant::now();
    peer.close(1000, "done").await;
    peer.expect_end().await;
    assert!(answered.elapsed() >= limit, "the connection ended after {:?}", answered.elapsed());
    journal.expect("close 1000 done by Application").await;
    assert!(journal.rest().is_empty());
}

#[tokio::test]
async fn client_finishes_when_the_server_closes_the_connection() {
    let container = ClientContainer::builder().close_timeout(Duration::from_secs(600)).build();
    let (session, mut peer, journal, _server) = open_by(&container).await;
    session.close();
    peer.expect_close(1000).await;
    peer.close(1000, "").await;
    drop(peer);
    journal.expect("close 1000 by Application").await;
    // its task is gone
    let shutdown = soon(container.shutdown(Duration::from_secs(600))).await;
    assert_eq!(shutdown.cut, 0);
}

#[tokio::test]
async fn server_that_does_not_answer_the_close_frame_is_disconnected() {
    let container = ClientContainer::builder().close_timeout(Duration::from_millis(100)).build();
    let (session, mut peer, journal, _server) = open_by(&container).await;
    session.close();
    peer.expect_close(1000).await;
    peer.expect_end().await;
    journal.expect("close 1000 by Application").await;
}

#[tokio::test]
async fn lost_connection_is_reported_once() {
    let (_session, peer, journal, _server) = open().await;
    drop(peer);
    assert!(journal.next().await.starts_with("close 1006"));
    assert!(journal.rest().is_empty());
}

#[tokio::test]
async fn dropping_the_session_and_the_container_does_not_close() {
    let (session, mut peer, journal, _server) = open().await;
    drop(session);
    peer.text("echo still here").await;
    peer.expect_text("still here").await;
    journal.expect("text echo still here").await;
}

#[tokio::test]
async fn silent_server_is_pinged_and_then_disconnected() {
    let container = ClientContainer::builder()
        .ping_interval(Some(Duration::from_millis(50)))
        .idle_timeout(Some(Duration::from_millis(400)))
        .build();
    let (_session, mut peer, journal, _server) = open_by(&container).await;
    let payload = peer.expect(PING).await;
    peer.send(0x80 | PONG, payload).await;
    peer.expect(PING).await;
    peer.expect_close(1001).await;
    assert!(journal.next().await.starts_with("close 1006 idle timeout"));
}

#[tokio::test]
async fn application_ping_is_masked_and_its_pong_received() {
    let (session, mut peer, journal, _server) = open().await;
    session.basic_remote().send_ping("are you there").await.unwrap();
    let payload = peer.expect(PING).await;
    peer.send(0x80 | PONG, payload).await;
    journal.expect("pong are you there").await;
}

#[tokio::test]
async fn broadcast_reaches_every_session_of_a_container() {
    let container = ClientContainer::new();
    let (_one, mut first, _, _server) = open_by(&container).await;
    let (_two, mut second, _, _other) = open_by(&container).await;
    assert_eq!(container.sessions().len(), 2);
    for large in [false, true] {
        let text = "to all ".repeat(if large { 3_000 } else { 1 });
        let report = container.sessions().async_remote().send_text(text.as_str());
        assert_eq!(report.sent, 2);
        first.expect_text(&text).await;
        second.expect_text(&text).await;
    }
}

#[tokio::test]
async fn shutdown_closes_every_connection_and_ends_the_container() {
    let container = ClientContainer::new();
    let (_session, mut peer, journal, server) = open_by(&container).await;
    let serving = async {
        peer.expect_close(1001).await;
        peer.close(1001, "").await;
        drop(peer);
    };
    let (shutdown, ()) = soon(async { tokio::join!(container.shutdown(Duration::from_secs(600)), serving) }).await;
    assert_eq!((shutdown.closed, shutdown.cut), (1, 0));
    assert!(journal.next().await.starts_with("close 1006"));
    let late = container.connect(Bot { journal }, server.uri("/")).await;
    assert!(late.unwrap_err().is_closed());
}

/// Where a connection is when the container is shut down.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Tcp,
    Tunnel,
    Tls,
    Handshake,
    OnOpen,
}

#[tokio::test]
async fn shutdown_cancels_a_pending_connect_at_every_stage() {
    for at in [At::Tcp, At::Tunnel, At::Tls, At::Handshake, At::OnOpen] {
        let (server, journal) = (RawServer::bind().await, Journal::default());
        // nothing but the shutdown ends it
        let builder = ClientContainer::builder().connect_timeout(Duration::from_secs(86_400));
        let builder = if at == At::OnOpen { builder.close_timeout(Duration::from_millis(100)) } else { builder };
        let proxy = endpoint_runtime::Proxy::all(format!("http://{}", server.addr)).unwrap();
        let container = if at == At::Tunnel { builder.proxy(proxy).build() } else { builder.build() };
        let uri = if at == At::Tls { server.uri("/").replace("ws:", "wss:") } else { server.uri("/") };
        let (connector, endpoint) = (container.clone(), Undecided { journal: journal.clone() });
        let connecting = tokio::spawn(async move { connector.connect(endpoint, uri).await });
        let mut peer = None;
        match at {
            // it is accepted by the system alone
            At::Tcp => tokio::task::yield_now().await,
            At::Tls => peer = Some(server.accept().await),
            At::Tunnel | At::Handshake => peer = Some(server.asked().await.1),
            At::OnOpen => {
                peer = Some(server.open().await);
                journal.expect("open").await;
            }
        }
        let started = Instant::now();
        let shutdown = soon(container.shutdown(Duration::from_secs(86_400))).await;
        assert_eq!((shutdown.closed, shutdown.cut), (usize::from(at == At::OnOpen), 0), "{at:?}");
        assert!(soon(connecting).await.unwrap().unwrap_err().is_closed(), "{at:?}");
        assert!(started.elapsed() < Duration::from_secs(20), "{at:?}");
        if at == At::OnOpen {
            peer.as_mut().unwrap().expect_close(1001).await;
            assert_eq!(journal.next().await, "close 1006 the client is shutting down");
        }
        assert!(journal.rest().is_empty(), "{at:?}");
    }
}

#[tokio::test]
async fn shutdown_does_not_wait_for_an_unpolled_connect() {
    let (server, container) = (RawServer::bind().await, ClientContainer::new());
    let journal = Journal::default();
    let mut connecting = Box::pin(container.connect(Bot { journal: journal.clone() }, server.uri("/")));
    let (_, peer) = soon(async {
        tokio::select! {
            _ = &mut connecting => unreachable!("the server has not answered"),
            asked = server.asked() => asked,
        }
    })
    .await;
    let shutdown = soon(container.shutdown(Duration::from_secs(86_400))).await;
    assert_eq!((shutdown.closed, shutdown.cut), (0, 0));
    drop(peer);
    assert!(soon(connecting).await.unwrap_err().is_closed());
    assert!(journal.rest().is_empty());
}

#[tokio::test]
async fn cancelled_connect_closes_the_connection() {
    let server = RawServer::bind().await;
    let container = ClientContainer::new();
    let bot = Bot { journal: Journal::default() };
    let uri = server.uri("/");
    let connecting = tokio::spawn(async move { container.connect(bot, uri).await.map(drop) });
    let (_, mut peer) = server.asked().await;
    connecting.abort();
    peer.expect_end().await;
}

/// Never comes to the end of `on_open`.
#[client_endpoint]
struct Undecided {
    journal: Journal,
}

impl Undecided {
    #[on_open]
    async fn open(&mut self) {
        self.journal.note("open");
        std::future::pending::<()>().await;
    }

    #[on_close]
    fn close(&mut self, reason: CloseReason) {
        self.journal.note(format!("close {reason}"));
    }
}

#[tokio::test]
async fn session_whose_opener_is_dropped_in_on_open_ends() {
    let (server, journal) = (RawServer::bind().await, Journal::default());
    let container = ClientContainer::builder().close_timeout(Duration::from_millis(100)).build();
    let (uri, endpoint) = (server.uri("/"), Undecided { journal: journal.clone() });
    let connecting = tokio::spawn(async move { container.connect(endpoint, uri).await.map(drop) });
    let mut peer = server.open().await;
    journal.expect("open").await;
    connecting.abort();
    peer.expect_close(1001).await;
    journal.expect("close 1001 the connection attempt was cancelled").await;
}

// ---- with a server of ours ----

/// Hands everything on.
#[client_endpoint(max_message_size = "8MiB")]
struct Ear(tokio::sync::mpsc::UnboundedSender<String>);

impl Ear {
    #[on_message]
    fn text(&mut self, text: &str) {
        let _ = self.0.send(text.to_owned());
    }

    #[on_message]
    fn binary(&mut self, data: &[u8]) {
        let _ = self.0.send(format!("{} bytes, the first {:?}", data.len(), data.first()));
    }

    #[on_close]
    fn close(&mut self, reason: CloseReason) {
        let _ = self.0.send(format!("close {reason}"));
    }
}

#[tokio::test]
async fn our_client_and_our_server_interoperate() {
    let server = TestServer::of::<Echo>().await;
    let (ear, mut heard) = tokio::sync::mpsc::unbounded_channel();
    // the name has two addresses, and at one of them nobody listens
    let uri = format!("ws://localhost:{}/echo/blue?x=1", server.addr.port());
    let container = ClientContainer::new();
    let session = soon(container.request(uri).subprotocol("chat.v1").connect(Ear(ear))).await.unwrap();
    assert_eq!(session.subprotocol(), Some("chat.v1"));
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 4 << 20] {
        let text = "x".repeat(size);
        soon(session.basic_remote().send_text(text.as_str())).await.unwrap();
        assert!(soon(heard.recv()).await.unwrap() == text, "a text of {size} bytes came back changed");
        soon(session.basic_remote().send_binary(vec![7; size])).await.unwrap();
        let first = if size == 0 { None } else { Some(7) };
        assert_eq!(soon(heard.recv()).await.unwrap(), format!("{size} bytes, the first {first:?}"));
    }
    for number in 0..5_000 {
        session.async_remote().send_text(number.to_string()).queued().unwrap();
    }
    for number in 0..5_000 {
        assert_eq!(soon(heard.recv()).await.unwrap(), number.to_string());
    }
    session.close();
    assert_eq!(soon(heard.recv()).await.unwrap(), "close 1000");
    let shutdown = soon(server.shutdown()).await;
    assert_eq!(shutdown.cut, 0);
}

#[tokio::test]
async fn close_in_the_servers_on_open_is_received() {
    let server = TestServer::of::<Echo>().await;
    let (ear, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let uri = format!("ws://{}/echo/blue?close=4000", server.addr);
    let _session = soon(ClientContainer::new().connect(Ear(ear), uri)).await.unwrap();
    assert_eq!(soon(heard.recv()).await.unwrap(), "close 4000 as you wish");
}

#[tokio::test]
async fn compression_is_negotiated_in_the_client_role() {
    let keeping = Compression::ON.context_takeover(true);
    for (ours, theirs, agreed) in [
        (Compression::ON, Compression::OFF, None),
        (Compression::OFF, Compression::ON, None),
        (
            Compression::ON,
            Compression::ON,
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        ),
        (keeping, keeping, Some("permessage-deflate")),
        (keeping, Compression::ON, Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")),
        (
            keeping.window_bits(9),
            keeping,
            Some("permessage-deflate; server_max_window_bits=9; client_max_window_bits=9"),
        ),
        (keeping, keeping.window_bits(10), Some("permessage-deflate; client_max_window_bits=10")),
    ] {
        let server = ServerContainer::builder().register::<Echo>().compression(theirs);
        let server = TestServer::with(server).await;
        let (ear, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let container = ClientContainer::builder().compression(ours).build();
        let session = soon(container.connect(Ear(ear), format!("ws://{}/echo/a", server.addr))).await.unwrap();
        let extension = session.extensions().first().map(ToString::to_string);
        assert_eq!(extension.as_deref(), agreed, "{ours:?} with {theirs:?}");
        for round in 0..20 {
            let text = format!("round {round} of words that come again and again ").repeat(100 + round);
            soon(session.basic_remote().send_text(text.as_str())).await.unwrap();
            assert!(soon(heard.recv()).await.unwrap() == text, "round {round} of {ours:?} with {theirs:?}");
        }
    }
}

#[tokio::test]
async fn client_compresses_with_the_servers_parameters() {
    for (answer, rsv) in [
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", 4),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=9", 4),
        // no compressor has so small a window
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=8", 0),
    ] {
        let (server, journal) = (RawServer::bind().await, Journal::default());
        let container = ClientContainer::builder().compression(Compression::ON).build();
        let serving = async {
            let (asked, mut peer) = server.asked().await;
            let offer =
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits";
            assert_eq!(asked.header("sec-websocket-extensions"), Some(offer));
            peer.send_raw(asked.accepted(&[&format!("Sec-WebSocket-Extensions: {answer}")]).as_bytes()).await;
            peer
        };
        let bot = Bot { journal: journal.clone() };
        let (session, mut peer) = soon(async { tokio::join!(container.connect(bot, server.uri("/")), serving) }).await;
        let text = "again and again ".repeat(1_000);
        session.unwrap().async_remote().send_text(text.as_str());
        let Some(Frame { fin: true, rsv: came, opcode: TEXT, payload }) = peer.frame().await else { panic!() };
        assert_eq!((came, payload.len() < text.len() / 2), (rsv, rsv == 4), "{answer}");
    }
}

#[tokio::test]
async fn exhausted_budget_offers_no_compression() {
    let server = RawServer::bind().await;
    let container = ClientContainer::builder()
        .compression(Compression::ON.context_takeover(true))
        .compression_budget(500 << 10)
        .build();
    let mut sessions = Vec::new();
    for offers in [true, false] {
        let bot = Bot { journal: Journal::default() };
        let serving = async {
            let (asked, mut peer) = server.asked().await;
            assert_eq!(asked.header("sec-websocket-extensions").is_some(), offers);
            let extension = if offers { &["Sec-WebSocket-Extensions: permessage-deflate"][..] } else { &[] };
            peer.send_raw(asked.accepted(extension).as_bytes()).await;
            peer
        };
        let both = soon(async { tokio::join!(container.connect(bot, server.uri("/")), serving) }).await;
        sessions.push((both.0.unwrap(), both.1));
    }
}

// ---- what handlers take ----

#[client_endpoint]
struct Curious {
    journal: Journal,
}

impl Curious {
    #[on_open]
    fn open(&self, request: &HandshakeRequest, #[query_param] page: u8, state: State<String>) {
        self.journal.note(format!("{} {page} {}", request.path(), *state));
    }
}

#[tokio::test]
async fn handlers_take_the_request_the_query_and_the_state() {
    let (server, journal) = (RawServer::bind().await, Journal::default());
    let container = ClientContainer::builder().state(String::from("shared")).build();
    let connecting = container.connect(Curious { journal: journal.clone() }, server.uri("/list?page=3"));
    let (session, _peer) = soon(async { tokio::join!(connecting, server.open()) }).await;
    assert_eq!(session.unwrap().state::<String>().unwrap().as_str(), "shared");
    journal.expect("/list 3 shared").await;

    let error = container.connect(Curious { journal: journal.clone() }, server.uri("/list?page=x")).await.unwrap_err();
    assert!(error.is_decode(), "{error:?}");
    let error = ClientContainer::new().connect(Curious { journal }, server.uri("/list?page=3")).await.unwrap_err();
    assert!(error.is_deployment() && error.to_string().contains("`open` takes State<"), "{error:?}");
}

#[tokio::test]
async fn on_open_that_fails_ends_the_session() {
    #[client_endpoint]
    struct Failing;
    impl Failing {
        #[on_open]
        fn open(&self) -> Result<(), std::io::Error> {
            Err(std::io::Error::other("not today"))
        }
    }
    let server = RawServer::bind().await;
    let container = ClientContainer::new();
    let (session, mut peer) =
        soon(async { tokio::join!(container.connect(Failing, server.uri("/")), server.open()) }).await;
    assert!(!session.unwrap().is_open());
    peer.expect_close(1011).await;
}
