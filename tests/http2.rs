//! WebSocket over HTTP/2 (RFC 8441): the same sessions as over HTTP/1.1, as streams of one connection.
//!
//! Where `ENDPOINT_TEST_HTTP2=1` is set, other test programs use HTTP/2 as well; `tests/run.sh` names them.

mod support;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, WebSocketUpgrade};
use axum::routing::{any, get};
use bytes::Bytes;
use endpoint_runtime::prelude::*;
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{Method, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use support::http2::Connection;
use support::{Client, Journal, TestServer, frame, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Echoes, and notes how it was opened and closed.
#[server_endpoint("/echo/{room}", subprotocols("chat.v2", "chat.v1"), max_message_size = "4MiB")]
struct Echo {
    journal: Journal,
}

impl Echo {
    #[on_open]
    fn open(&self, request: &HandshakeRequest) {
        self.journal.note(format!("open {:?} {}", request.http_version(), request.uri()));
    }

    #[on_message]
    async fn text(&self, text: String, session: &Session) -> Option<String> {
        match text.as_str() {
            "headers?" => Some(format!("{:?}", session.headers().keys().collect::<Vec<_>>())),
            "to all" => {
                session.open_sessions().async_remote().send_text("all");
                None
            }
            "much" => {
                session.async_remote().send_binary(vec![7; 4 << 20]);
                None
            }
            _ => Some(text),
        }
    }

    #[on_message]
    fn binary(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[on_close]
    fn close(&self, reason: CloseReason) {
        self.journal.note(format!("close {reason} by {:?}", reason.initiator()));
    }
}

/// Handles a message when the test lets it.
#[server_endpoint("/gated")]
struct Gated {
    journal: Journal,
    gate: Arc<Semaphore>,
}

impl Gated {
    #[on_message]
    async fn binary(&self, data: Binary) {
        self.gate.acquire().await.unwrap().forget();
        self.journal.note(format!("{} bytes", data.len()));
    }
}

struct Served {
    server: TestServer,
    journal: Journal,
    gate: Arc<Semaphore>,
}

impl Served {
    async fn new() -> Self {
        Self::with(|server| server).await
    }

    async fn with(settings: impl FnOnce(endpoint_runtime::ServerBuilder) -> endpoint_runtime::ServerBuilder) -> Self {
        let (journal, gate) = (Journal::default(), Arc::new(Semaphore::new(0)));
        let (own, gated, opened) = (journal.clone(), journal.clone(), gate.clone());
        let container = ServerContainer::builder()
            .endpoint_with(move |_| Ok(Echo { journal: own.clone() }))
            .endpoint_with(move |_| Ok(Gated { journal: gated.clone(), gate: opened.clone() }));
        let server = TestServer::serving(settings(Server::with(container))).await;
        Self { server, journal, gate }
    }

    async fn connection(&self) -> Connection {
        Connection::open(self.server.addr).await
    }

    /// A client at `/echo/blue`, whose session has opened.
    async fn echo(&self, connection: &Connection) -> Client {
        let client = connection.client("/echo/blue").await;
        self.journal.expect(&format!("open HTTP/2.0 ws://{}/echo/blue", self.server.addr)).await;
        client
    }
}

async fn echoes(client: &mut Client, text: &str) {
    client.text(text).await;
    client.expect_text(text).await;
}

/// The body of an answer.
async fn body(response: Response<RecvStream>) -> String {
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(data) = soon(stream.data()).await {
        body.extend_from_slice(&data.unwrap());
    }
    String::from_utf8(body).unwrap()
}

/// How a stream of the server ends: `None` in order, or the reason of its reset. What it sends before is discarded.
async fn end_of(stream: &mut RecvStream) -> Option<Reason> {
    while let Some(data) = soon(stream.data()).await {
        match data {
            Ok(data) => stream.flow_control().release_capacity(data.len()).unwrap(),
            Err(error) => return error.reason(),
        }
    }
    None
}

// ---- the handshake and the session ----

#[tokio::test]
async fn session_is_the_same_over_both_versions() {
    let served = Served::new().await;
    let addr = served.server.addr;
    let headers = ["Sec-WebSocket-Protocol: other, chat.v1", "Cookie: a=1", "Origin: http://", "X-Own: 1"];
    let origin = format!("Origin: http://{addr}");
    let headers = headers.map(|line| if line.starts_with("Origin") { origin.as_str() } else { line });
    let connection = served.connection().await;
    let over_2 = connection.try_client("/echo/blue?x=%201", &headers).await;
    served.journal.expect(&format!("open HTTP/2.0 ws://{addr}/echo/blue?x=%201")).await;
    let over_1 = Client::request(
        addr,
        &[
            &["GET /echo/blue?x=%201 HTTP/1.1", &format!("Host: {addr}"), "Connection: Upgrade", "Upgrade: websocket"]
                [..],
            &["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
            &headers,
        ]
        .concat(),
        b"",
    )
    .await;
    served.journal.expect(&format!("open HTTP/1.1 ws://{addr}/echo/blue?x=%201")).await;
    for (answer, mut client) in [over_2, over_1] {
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some("chat.v1")));
        echoes(&mut client, "hello").await;
        client.binary(&[7; 70_000]).await;
        assert_eq!(client.expect(support::BINARY).await, [7; 70_000]);
        client.text("headers?").await;
        let names = String::from_utf8(client.expect(support::TEXT).await).unwrap();
        for name in ["host", "cookie", "origin", "sec-websocket-protocol", "sec-websocket-version", "x-own"] {
            assert!(names.contains(name), "{name} in {names}");
        }
        client.close(4001, "done").await;
        client.expect_close(4001).await;
        client.expect_end().await;
        served.journal.expect("close 4001 done by Peer").await;
    }
}

/// Its hook and its configurator see the request before it is accepted.
#[server_endpoint("/guarded", configurator = Guard)]
#[derive(Default)]
struct Guarded;

impl Guarded {
    #[on_message]
    fn who(&self, _: &str, session: &Session) -> String {
        session.principal::<Named>().map(|named| named.0.clone()).unwrap_or_default()
    }
}

#[derive(Default)]
struct Guard;

impl Configurator<Guarded> for Guard {
    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        response.headers_mut().insert("x-version", format!("{:?}", request.http_version()).parse().unwrap());
        Ok(())
    }
}

struct Named(String);

impl Principal for Named {
    fn name(&self) -> &str {
        &self.0
    }
}

async fn by_header(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
    let Some(name) = request.header("x-name") else { return Err(Refusal::unauthenticated()) };
    response.set_principal(Named(name.to_owned()));
    Ok(())
}

#[tokio::test]
async fn hooks_and_configurators_decide_over_http_2_as_well() {
    let server = TestServer::with(ServerContainer::builder().register::<Guarded>().handshake(by_header)).await;
    let connection = Connection::open(server.addr).await;
    let (answer, mut client) = connection.try_client("/guarded", &["X-Name: ann"]).await;
    assert_eq!((answer.status, answer.header("x-version")), (101, Some("HTTP/2.0")));
    client.text("who?").await;
    client.expect_text("ann").await;
    assert_eq!(connection.try_client("/guarded", &[]).await.0.status, 401);
}

#[tokio::test]
async fn extended_connect_is_answered_with_200_and_without_headers_of_http_1_1() {
    let served = Served::new().await;
    let connection = served.connection().await;
    // a key has no meaning, whatever it is (RFC 8441 §5)
    let (response, _stream) = connection.connect("/echo/blue", &[("sec-websocket-key", "junk")]).await;
    assert_eq!(response.status(), 200);
    for name in ["connection", "upgrade", "sec-websocket-accept", "content-length", "transfer-encoding"] {
        assert!(!response.headers().contains_key(name), "{name} in {response:?}");
    }
}

#[tokio::test]
async fn session_over_tls_is_chosen_by_alpn() {
    let tls = TlsConfig::self_signed(["localhost"]).unwrap();
    let (with, without) = (
        Served::with(|server| server.tls(tls.clone())).await,
        Served::with(|server| server.tls(tls.clone()).http2(None)).await,
    );
    let connect = async |addr: SocketAddr, alpn: &[&[u8]]| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(tls.certificate_pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let stream = soon(TcpStream::connect(addr)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
    };
    let stream = connect(with.server.addr, &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let connection = Connection::over(stream, &with.server.addr.to_string()).await.unwrap();
    let mut client = connection.client("/echo/blue").await;
    with.journal.expect(&format!("open HTTP/2.0 wss://{}/echo/blue", with.server.addr)).await;
    echoes(&mut client, "encrypted").await;
    // a certificate that is replaced is replaced for HTTP/2, too
    tls.reload(tls.certificate_pem(), "no key").unwrap_err();
    for (addr, alpn) in [(with.server.addr, &[&b"http/1.1"[..]][..]), (without.server.addr, &[b"h2", b"http/1.1"])] {
        let stream = connect(addr, alpn).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
}

#[tokio::test]
async fn request_that_is_no_handshake_is_refused_with_a_reason() {
    let served = Served::with(|server| server.max_request_head(2_000)).await;
    let connection = served.connection().await;
    let version = ("sec-websocket-version", "13");
    let other_host = ("host", "other.example.com");
    let foreign = ("origin", "http://evil.example.com");
    let long = "x".repeat(2_000);
    let cookie = ("cookie", long.as_str());
    let (websocket, connect) = (Some("websocket"), Method::CONNECT);
    for (method, path, protocol, headers, status, reason) in [
        (Method::GET, "/echo/blue", None, &[][..], 405, "over HTTP/2 the request must be an extended CONNECT"),
        (Method::POST, "/echo/blue", None, &[], 405, "extended CONNECT"),
        (connect.clone(), "/echo/blue", Some("connect-udp"), &[version], 501, "'websocket'"),
        (connect.clone(), "", None, &[], 501, "not a proxy"),
        (connect.clone(), "/echo/blue", websocket, &[], 400, "sec-websocket-version: 13"),
        (connect.clone(), "/echo/blue", websocket, &[("sec-websocket-version", "8")], 400, "only version"),
        (connect.clone(), "/echo/blue", websocket, &[version, other_host], 400, "two hosts"),
        (connect.clone(), "/echo/blue", websocket, &[version, foreign], 403, "evil.example.com"),
        (connect.clone(), "/echo/blue", websocket, &[version, cookie], 431, "max_request_head"),
        (connect.clone(), "/nowhere", websocket, &[version], 404, "no WebSocket endpoint"),
        (connect.clone(), "/echo/%ff", websocket, &[version], 400, "percent-encoded"),
        (Method::GET, "/nowhere", None, &[], 404, "no WebSocket endpoint"),
    ] {
        let name = format!("{method} {path} {protocol:?} {status}");
        let (response, _stream) = connection.request(method, path, protocol, headers).await.unwrap();
        assert_eq!(response.status(), status, "{name}");
        match status {
            405 => assert_eq!(response.headers()["allow"], "CONNECT"),
            400 if reason.contains("version") => assert_eq!(response.headers()["sec-websocket-version"], "13"),
            _ => {}
        }
        let body = body(response).await;
        assert!(body.contains(reason), "{name}: {body}");
    }
    // each had a stream of its own, and the connection goes on
    let mut client = served.echo(&connection).await;
    echoes(&mut client, "still here").await;
}

#[tokio::test]
async fn host_that_is_not_admitted_gets_421_for_endpoints_and_pages() {
    let pages = Router::new().route("/page", get(|| async { "a page" }));
    let served = Served::with(|server| server.fallback(pages)).await;
    let stream = TcpStream::connect(served.server.addr).await.unwrap();
    let connection = Connection::over(stream, "rebound.example.com").await.unwrap();
    assert_eq!(connection.connect("/echo/blue", &[]).await.0.status(), 421);
    assert_eq!(connection.request(Method::GET, "/page", None, &[]).await.unwrap().0.status(), 421);
    let connection = served.connection().await;
    let (response, _) = connection.request(Method::GET, "/page", None, &[]).await.unwrap();
    assert_eq!((response.status(), body(response).await.as_str()), (http::StatusCode::OK, "a page"));
    let headers = [("host", "other.example.com")];
    assert_eq!(connection.request(Method::GET, "/page", None, &headers).await.unwrap().0.status(), 400);
}

// ---- one port for both ----

#[tokio::test]
async fn request_of_http_1_1_in_any_pieces_is_served_on_the_same_port() {
    let served = Served::new().await;
    let addr = served.server.addr;
    let request = format!(
        "GET /echo/blue HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let bytes = [request.as_bytes(), &frame(0x81, b"early")].concat();
    for pieces in [&[bytes.len()][..], &[1], &[1, 1, 1, 1], &[3], &[100], &[bytes.len() - 3]] {
        let mut client = Client::from(TcpStream::connect(addr).await.unwrap());
        client.stream.set_nodelay(true).unwrap();
        let mut rest = &bytes[..];
        for piece in pieces {
            let (now, later) = rest.split_at(*piece);
            client.send_raw(now).await;
            tokio::task::yield_now().await;
            rest = later;
        }
        client.send_raw(rest).await;
        assert_eq!(client.answer().await.status, 101, "{pieces:?}");
        client.expect_text("early").await;
    }
}

#[tokio::test]
async fn request_that_begins_as_the_preface_does_is_of_http_1_1() {
    let served = Served::new().await;
    for first in ["POST / HTTP/1.1", "PR / HTTP/1.1", "PRI / HTTP/1.1"] {
        let (answer, _) = served.server.request(&[first, "Host: localhost", "Content-Length: 0"]).await;
        assert_eq!(answer.status, 404, "{first}");
    }
}

#[tokio::test]
async fn server_without_http2_does_not_speak_it() {
    let served = Served::with(|server| server.http2(None)).await;
    let stream = TcpStream::connect(served.server.addr).await.unwrap();
    assert!(Connection::over(stream, "localhost").await.is_err());
    let mut client = Client::upgrade(TcpStream::connect(served.server.addr).await.unwrap(), "/echo/blue").await;
    echoes(&mut client, "over HTTP/1.1").await;
}

// ---- many streams ----

#[tokio::test]
async fn many_sessions_share_one_connection() {
    let served = Served::new().await;
    let connection = served.connection().await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(served.echo(&connection).await);
    }
    assert_eq!(served.server.container.sessions().len(), 100);
    for (number, client) in clients.iter_mut().enumerate() {
        echoes(client, &number.to_string()).await;
    }
    clients[0].text("to all").await;
    for client in &mut clients {
        client.expect_text("all").await;
    }
    // one that leaves takes none with it
    let mut first = clients.remove(0);
    first.close(1000, "").await;
    first.expect_close(1000).await;
    served.journal.expect("close 1000 by Peer").await;
    for client in &mut clients {
        echoes(client, "on").await;
    }
}

#[tokio::test]
async fn slow_handler_stops_its_own_peer_and_no_other() {
    const SIZE: usize = 1 << 10;
    const COUNT: usize = 2_000;
    let served = Served::new().await;
    let connection = served.connection().await;
    let (response, mut slow) = connection.connect("/gated", &[]).await;
    assert_eq!(response.status(), 200);
    let mut other = served.echo(&connection).await;

    // sends as much as the server takes
    let message = frame(0x82, &[7; SIZE]);
    let mut rest = Bytes::from(message.repeat(COUNT));
    let all = rest.len();
    loop {
        slow.reserve_capacity(rest.len());
        while slow.capacity() > 0 {
            let part = rest.split_to(slow.capacity().min(rest.len()));
            slow.send_data(part, false).unwrap();
        }
        // several round trips of another stream, which the server serves meanwhile
        let taken = all - rest.len();
        for size in [10, 10_000, 100_000] {
            echoes(&mut other, &"x".repeat(size)).await;
        }
        if slow.capacity() == 0 && all - rest.len() == taken {
            break;
        }
    }
    let taken = all - rest.len();
    // the window of the stream, and what a session reads ahead: 64 messages or 256 KiB, and a buffer of 128 KiB
    assert!((64 << 10..=(64 + 256 + 128) << 10).contains(&taken), "{taken} bytes were taken");
    assert!(served.journal.rest().is_empty());

    // and then everything arrives
    served.gate.add_permits(COUNT);
    while !rest.is_empty() {
        slow.reserve_capacity(rest.len());
        while slow.capacity() == 0 {
            soon(std::future::poll_fn(|cx| slow.poll_capacity(cx))).await.unwrap().unwrap();
        }
        let room = slow.capacity();
        slow.send_data(rest.split_to(room.min(rest.len())), false).unwrap();
    }
    for _ in 0..COUNT {
        served.journal.expect(&format!("{SIZE} bytes")).await;
    }
}

#[tokio::test]
async fn peer_that_does_not_read_its_stream_is_reset_after_the_send_timeout_and_others_go_on() {
    let http2 = Http2::new().max_streams(2);
    let served = Served::with(|server| server.send_timeout(Duration::from_secs(1)).http2(http2)).await;
    let connection = served.connection().await;
    let (response, mut lazy) = connection.connect("/echo/blue", &[]).await;
    served.journal.expect(&format!("open HTTP/2.0 ws://{}/echo/blue", served.server.addr)).await;
    let mut stream = response.into_body();
    lazy.send_data(frame(0x81, b"much").into(), false).unwrap();
    // not read: the window of the stream is soon full
    let first = soon(stream.data()).await.unwrap().unwrap();
    assert!(!first.is_empty());
    let mut other = served.echo(&connection).await;
    let closed = served.journal.next();
    tokio::pin!(closed);
    let closed = loop {
        tokio::select! {
            closed = &mut closed => break closed,
            () = echoes(&mut other, "meanwhile") => {}
        }
    };
    assert!(closed.starts_with("close 1006") && closed.ends_with("by Container"), "{closed}");
    // the stream is reset although the peer never reads the rest, and its place is free
    assert_eq!(end_of(&mut stream).await, Some(Reason::CANCEL));
    let mut third = served.echo(&connection).await;
    echoes(&mut third, "in its place").await;
}

#[tokio::test]
async fn stream_beyond_the_limit_is_refused() {
    let served = Served::with(|server| server.http2(Http2::new().max_streams(2))).await;
    let mut raw = Raw::open(served.server.addr).await;
    for stream in [1, 3] {
        raw.headers(stream, &CONNECT).await;
        let (kind, _, id, _) = raw.frame_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
        assert_eq!((kind, id), (HEADERS, stream));
    }
    raw.headers(5, &CONNECT).await;
    let (kind, _, id, payload) = raw.frame_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
    assert_eq!((kind, id, error_code(&payload)), (RST_STREAM, 5, Reason::REFUSED_STREAM));
    assert_eq!(served.server.container.sessions().len(), 2);
}

// ---- ends ----

#[tokio::test]
async fn end_in_order_is_end_stream_and_any_other_is_a_reset() {
    let served = Served::new().await;
    let connection = served.connection().await;
    let open = async |journal: &Journal| {
        let (response, stream) = connection.connect("/echo/blue", &[]).await;
        assert!(journal.next().await.starts_with("open"));
        (response.into_body(), stream)
    };
    // both close frames
    let (mut receiving, mut sending) = open(&served.journal).await;
    sending.send_data(frame(0x88, &1000_u16.to_be_bytes()).into(), false).unwrap();
    assert_eq!(soon(receiving.data()).await.unwrap().unwrap(), [0x88, 2, 3, 0xe8][..]);
    assert_eq!(end_of(&mut receiving).await, None);
    served.journal.expect("close 1000 by Peer").await;
    // a violation: our close frame, and then the end
    let (mut receiving, mut sending) = open(&served.journal).await;
    sending.send_data(frame(0x83, b"").into(), false).unwrap();
    let closed = soon(receiving.data()).await.unwrap().unwrap();
    assert_eq!((closed[0], &closed[2..4]), (0x88, &1002_u16.to_be_bytes()[..]));
    assert_eq!(end_of(&mut receiving).await, None);
    assert!(served.journal.next().await.starts_with("close 1002"));
    // without a close frame: END_STREAM, RST_STREAM
    let (mut receiving, mut sending) = open(&served.journal).await;
    sending.send_data(Bytes::new(), true).unwrap();
    assert!(served.journal.next().await.starts_with("close 1006"));
    assert_eq!(end_of(&mut receiving).await, Some(Reason::CANCEL));
    let (_receiving, mut sending) = open(&served.journal).await;
    sending.send_reset(Reason::CANCEL);
    assert!(served.journal.next().await.starts_with("close 1006"));
    assert_eq!(served.server.container.sessions().len(), 0);
}

#[tokio::test]
async fn lost_connection_ends_all_its_sessions() {
    let served = Served::new().await;
    let mut raw = Raw::open(served.server.addr).await;
    for stream in [1, 3, 5] {
        raw.headers(stream, &CONNECT).await;
        assert!(served.journal.next().await.starts_with("open"));
    }
    drop(raw);
    for _ in 0..3 {
        assert!(served.journal.next().await.starts_with("close 1006"));
    }
}

#[tokio::test]
async fn idle_and_close_timeouts_end_a_session_and_not_the_connection() {
    let served = Served::with(|server| {
        let server = server.idle_timeout(Some(Duration::from_millis(300))).ping_interval(None);
        server.close_timeout(Duration::from_millis(300))
    })
    .await;
    let connection = served.connection().await;
    let (response, _silent) = connection.connect("/echo/blue", &[]).await;
    assert!(served.journal.next().await.starts_with("open"));
    // the client does not answer the close frame
    assert!(served.journal.next().await.starts_with("close 1"));
    let mut stream = response.into_body();
    assert_eq!(soon(stream.data()).await.unwrap().unwrap()[0], 0x88);
    end_of(&mut stream).await;
    let mut client = served.echo(&connection).await;
    echoes(&mut client, "another").await;
}

#[tokio::test]
async fn shutdown_says_goaway_and_1001_and_closes_the_connection() {
    let served = Served::new().await;
    let Served { server, journal, .. } = served;
    let mut raw = Raw::open(server.addr).await;
    raw.headers(1, &CONNECT).await;
    assert!(journal.next().await.starts_with("open"));
    let connection = Connection::open(server.addr).await;
    let mut client = connection.client("/echo/blue").await;
    assert!(journal.next().await.starts_with("open"));
    let stopping = tokio::spawn(server.shutdown());
    client.expect_close(1001).await;
    client.close(1001, "").await;
    client.expect_end().await;
    // the raw client answers the close frame and the ping, as every client does
    let (mut goaway, mut said) = (false, false);
    while let Some((kind, flags, _, payload)) = raw.frame().await {
        match kind {
            GOAWAY => {
                assert_eq!(error_code(&payload[4..]), Reason::NO_ERROR);
                goaway = true;
            }
            PING if flags & 1 == 0 => raw.send(PING, 1, 0, &payload).await,
            DATA if payload.first() == Some(&0x88) => {
                assert_eq!(payload[2..4], 1001_u16.to_be_bytes());
                raw.send(DATA, 0, 1, &frame(0x88, &1001_u16.to_be_bytes())).await;
                said = true;
            }
            _ => {}
        }
    }
    assert!(goaway && said);
    let shutdown = soon(stopping).await.unwrap();
    assert_eq!((shutdown.closed, shutdown.cut), (2, 0));
}

// ---- those who say nothing, or nonsense ----

/// The time is virtual: it passes while everybody waits.
#[tokio::test(start_paused = true)]
async fn client_that_says_nothing_is_disconnected() {
    let served = Served::new().await;
    for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"GET / HT"] {
        let mut client = TcpStream::connect(served.server.addr).await.unwrap();
        client.write_all(said).await.unwrap();
        let started = tokio::time::Instant::now();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await;
        assert!((29..=31).contains(&started.elapsed().as_secs()), "{said:?}: {:?}", started.elapsed());
    }
    // a preface and settings, and then no request, with and without answers to pings
    for answers in [false, true] {
        let mut raw = Raw::open(served.server.addr).await;
        let (started, mut goaway) = (tokio::time::Instant::now(), false);
        while let Some((kind, flags, _, payload)) = raw.frame_without_limit().await {
            goaway |= kind == GOAWAY;
            if answers && kind == PING && flags & 1 == 0 {
                raw.send(PING, 1, 0, &payload).await;
            }
        }
        assert!(goaway);
        assert!((59..=72).contains(&started.elapsed().as_secs()), "{answers}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn malformed_requests_are_reset_and_reach_no_endpoint() {
    let served = Served::new().await;
    let addr = served.server.addr.to_string();
    let (connect, websocket) = ((":method", "CONNECT"), (":protocol", "websocket"));
    let (scheme, path, authority) = ((":scheme", "http"), (":path", "/echo/blue"), (":authority", addr.as_str()));
    let version = ("sec-websocket-version", "13");
    for head in [
        // pseudo headers: missing, twice, unknown, behind others, of a response
        &[connect, websocket, scheme, authority, version][..],
        &[connect, websocket, path, authority, version],
        &[websocket, scheme, path, authority, version],
        &[connect, websocket, websocket, scheme, path, authority, version],
        &[connect, websocket, scheme, path, authority, (":host", "a"), version],
        &[connect, websocket, scheme, path, version, authority],
        &[connect, websocket, scheme, path, authority, (":status", "200"), version],
        // RFC 8441 §4: `:protocol` is for CONNECT alone, and a plain CONNECT has no path
        &[(":method", "GET"), websocket, scheme, path, authority, version],
        &[connect, scheme, path, authority, version],
        // RFC 9113 §8.2.1: names in upper case; §8.2.2: headers of a connection
        &[connect, websocket, scheme, path, authority, ("Sec-WebSocket-Version", "13")],
        &[connect, websocket, scheme, path, authority, version, ("connection", "upgrade")],
        &[connect, websocket, scheme, path, authority, version, ("upgrade", "websocket")],
        &[connect, websocket, scheme, path, authority, version, ("transfer-encoding", "chunked")],
        &[(":method", "GET"), scheme, path, authority, version, ("connection", "upgrade"), ("upgrade", "websocket")],
        // values that would be more than one line in HTTP/1.1
        &[connect, websocket, scheme, path, authority, version, ("x", "a\r\nhost: b")],
        &[connect, websocket, scheme, (":path", "/echo/blue HTTP/1.1\r\nhost: b"), authority, version],
        &[connect, websocket, scheme, path, (":authority", "a b"), version],
    ] {
        let mut raw = Raw::open(served.server.addr).await;
        raw.headers(1, head).await;
        let (kind, _, _, payload) = raw.frame_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
        let code = if kind == GOAWAY { &payload[4..] } else { &payload[..] };
        assert!(kind != HEADERS && error_code(code) == Reason::PROTOCOL_ERROR, "{head:?}: {kind} {payload:?}");
    }
    // the connection that carried it goes on, where only the request was wrong
    let mut raw = Raw::open(served.server.addr).await;
    raw.headers(1, &[connect, websocket, scheme, path, authority, ("connection", "upgrade")]).await;
    assert_eq!(raw.frame_of(&[HEADERS, RST_STREAM, GOAWAY]).await.0, RST_STREAM);
    assert!(served.journal.rest().is_empty(), "no session has opened");
    raw.headers(3, &CONNECT).await;
    assert_eq!(raw.frame_of(&[HEADERS, RST_STREAM, GOAWAY]).await.0, HEADERS);
    assert!(served.journal.next().await.starts_with("open"));
}

#[tokio::test]
async fn header_list_beyond_the_limit_gets_431_and_is_not_kept() {
    let served = Served::new().await;
    let connection = served.connection().await;
    // far above max_request_head (16 KiB): the h2 crate counts it while it decodes, and drops it
    let long = "x".repeat(40_000);
    let headers = [("sec-websocket-version", "13"), ("cookie", long.as_str())];
    let refused = connection.request(Method::CONNECT, "/echo/blue", Some("websocket"), &headers).await;
    assert_eq!(refused.unwrap().0.status(), 431);
    // many headers, each small
    let names: Vec<String> = (0..80).map(|number| format!("x-{number}")).collect();
    let headers: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "1")).chain([("sec-websocket-version", "13")]).collect();
    let connection = served.connection().await;
    let (response, _) = connection.request(Method::CONNECT, "/echo/blue", Some("websocket"), &headers).await.unwrap();
    assert_eq!(response.status(), 431);
    assert!(body(response).await.contains("max_request_headers"));
    assert!(served.journal.rest().is_empty());
}

#[tokio::test]
async fn header_list_without_end_ends_the_connection() {
    const CONTINUATION: u8 = 9;
    let served = Served::new().await;
    let mut raw = Raw::open(served.server.addr).await;
    raw.send(HEADERS, 0, 1, &encoded(&CONNECT)).await;
    let value = "x".repeat(100);
    let more = encoded(&[("x-more", value.as_str()); 100]);
    let mut sent = 0;
    // a write fails once the server has closed
    while sent < 64 << 20 && raw.stream.write_all(&raw_frame(CONTINUATION, 0, 1, &more)).await.is_ok() {
        sent += more.len();
    }
    assert!(sent < 64 << 20, "the server takes any number of headers");
    assert!(served.journal.rest().is_empty());
    let mut client = served.echo(&served.connection().await).await;
    echoes(&mut client, "another connection").await;
}

#[tokio::test]
async fn flood_of_requests_that_are_reset_at_once_ends_its_connection_alone() {
    let served = Served::new().await;
    let connection = served.connection().await;
    let mut client = served.echo(&connection).await;
    let mut raw = Raw::open(served.server.addr).await;
    let mut flood = Vec::new();
    for number in 0..5_000_u32 {
        let stream = 2 * number + 1;
        flood.extend(raw_frame(HEADERS, END_HEADERS, stream, &encoded(&CONNECT)));
        flood.extend(raw_frame(RST_STREAM, 0, stream, &u32::from(Reason::CANCEL).to_be_bytes()));
    }
    // the server stops reading before all is written
    let _ = soon(raw.stream.write_all(&flood)).await;
    loop {
        match raw.frame().await {
            Some((GOAWAY, _, _, payload)) => {
                assert_eq!(error_code(&payload[4..]), Reason::ENHANCE_YOUR_CALM);
                break;
            }
            Some(_) => {}
            // reset, because it still sent when the server closed the connection
            None => break,
        }
    }
    echoes(&mut client, "undisturbed").await;
    let opened = served.journal.rest().iter().filter(|line| line.starts_with("open")).count();
    assert!(opened < 500, "{opened} sessions of the flood have opened");
}

#[tokio::test]
async fn settings_that_cannot_work_are_named() {
    let all = Http2::new()
        .max_streams(0)
        .stream_window(0)
        .idle_timeout(Duration::ZERO)
        .ping_interval(Duration::ZERO)
        .ping_timeout(Duration::ZERO);
    let error = Server::with(ServerContainer::builder()).http2(all).http2(None).bind("127.0.0.1:0").await.unwrap_err();
    let text = error.to_string();
    assert!(error.is_deployment());
    for part in ["max_streams", "stream_window", "idle_timeout", "ping_interval", "ping_timeout", "set twice"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let huge = Http2::new().max_streams(100_000);
    let error = Server::with(ServerContainer::builder()).http2(huge).bind("127.0.0.1:0").await.unwrap_err();
    assert!(error.to_string().contains("below 2 GiB"), "{error}");
}

// ---- behind other servers ----

async fn axum(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    addr
}

#[tokio::test]
async fn container_behind_axum_over_http_2() {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Echo { journal: own.clone() }));
    let container = container.build().unwrap();
    let (by_hand, adopted) = (container.clone(), container.adopt::<Echo>().unwrap());
    let upgrades =
        any(move |request: Request| async move { by_hand.upgrade::<Echo, _>(request, [("room", "own")]).await });
    let adopts = any(move |parts: Parts, upgrade: WebSocketUpgrade| async move {
        adopted.request(parts).path_params([("room", "own")]).upgrade_axum(upgrade).await
    });
    let router = || Router::new().route("/page", get(|| async { "a page" }));
    for (router, path) in [
        (router().fallback_service(container.clone()), "/echo/blue"),
        (router().layer(container.layer()).fallback(|| async { "none" }).layer(container.layer()), "/echo/blue"),
        (router().route("/upgraded", upgrades), "/upgraded"),
        (router().route("/adopted", adopts), "/adopted"),
    ] {
        let connection = Connection::open(axum(router).await).await;
        let (response, _) = connection.request(Method::GET, "/page", None, &[]).await.unwrap();
        assert_eq!(body(response).await, "a page");
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(connection.client(path).await);
            let opened = journal.next().await;
            assert!(opened.starts_with("open HTTP/2.0") && opened.ends_with(path), "{opened}");
        }
        for client in &mut clients {
            echoes(client, "through axum").await;
        }
        for client in &mut clients {
            client.close(4001, "").await;
            client.expect_close(4001).await;
            client.expect_end().await;
            journal.expect("close 4001 by Peer").await;
        }
    }
}

#[tokio::test]
async fn container_behind_hyper_with_and_without_extended_connect() {
    let journal = Journal::default();
    let own = journal.clone();
    let container = ServerContainer::builder().endpoint_with(move |_| Ok(Echo { journal: own.clone() }));
    let service = TowerToHyperService::new(container.build().unwrap());
    let serve = async |enables: bool| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = service.clone();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            if enables {
                http.enable_connect_protocol();
            }
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
        addr
    };
    let connection = Connection::open(serve(true).await).await;
    let mut client = connection.client("/echo/blue").await;
    echoes(&mut client, "through hyper").await;
    // without the setting a client does not ask; what it asks instead gets an answer
    let stream = TcpStream::connect(serve(false).await).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://localhost/echo/blue").body(Empty::new()).unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 405);
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert!(text.starts_with(b"this is a WebSocket endpoint"));
}

// ---- a client of another author ----

#[tokio::test]
#[ignore = "needs Node.js: tests/run.sh has it, and names it in ENDPOINT_NODE"]
async fn node_http2_opens_sessions() {
    let served = Served::new().await;
    let node = std::env::var("ENDPOINT_NODE").expect("ENDPOINT_NODE is set: run tests/run.sh");
    let mut command = tokio::process::Command::new(node);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/foreign/http2_client.js"));
    command.arg(format!("http://{}/echo/blue", served.server.addr)).kill_on_drop(true);
    let output = soon(command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 4, "{said}");
    assert!(served.journal.next().await.starts_with("open HTTP/2.0"));
}

// ---- frames of HTTP/2 by hand ----

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_HEADERS: u8 = 4;

type RawFrame = (u8, u8, u32, Vec<u8>);

/// A client that sends frames of HTTP/2 as they are, right or wrong.
struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    /// Sends the preface and empty settings.
    async fn open(addr: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let settings = raw_frame(4, 0, 0, &[]);
        stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat()).await.unwrap();
        Self { stream, read: Vec::new() }
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        soon(self.stream.write_all(&raw_frame(kind, flags, stream, payload))).await.unwrap();
    }

    async fn headers(&mut self, stream: u32, head: &[(&str, &str)]) {
        self.send(HEADERS, END_HEADERS, stream, &encoded(head)).await;
    }

    /// The next frame; `None` at the end.
    async fn frame(&mut self) -> Option<RawFrame> {
        soon(self.frame_without_limit()).await
    }

    async fn frame_without_limit(&mut self) -> Option<RawFrame> {
        loop {
            if let [a, b, c, kind, flags, stream @ ..] = &self.read[..] {
                let end = 9 + u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if let (Some(stream), Some(payload)) = (stream.first_chunk(), self.read.get(9..end)) {
                    let frame = (*kind, *flags, u32::from_be_bytes(*stream), payload.to_vec());
                    self.read.drain(..end);
                    return Some(frame);
                }
            }
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next frame of one of these kinds.
    #[track_caller]
    fn frame_of(&mut self, kinds: &[u8]) -> impl Future<Output = RawFrame> {
        let (place, kinds) = (std::panic::Location::caller(), kinds.to_vec());
        async move {
            loop {
                match self.frame().await {
                    Some(frame) if kinds.contains(&frame.0) => return frame,
                    Some(_) => {}
                    None => panic!("{place}: the connection ended before a frame of {kinds:?}"),
                }
            }
        }
    }
}

fn raw_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn error_code(payload: &[u8]) -> Reason {
    u32::from_be_bytes(payload[..4].try_into().unwrap()).into()
}

/// A header block of literals that are not indexed (RFC 7541 §6.2.2).
fn encoded(head: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in head {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A right extended CONNECT.
const CONNECT: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/echo/blue"),
    (":authority", "localhost"),
    ("sec-websocket-version", "13"),
];
