//! Which opening requests are accepted, which are refused and how, and what they say to the endpoint.

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Server, ServerContainer, TrailingSlash};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use support::{Answer, Client, Journal, TEXT, TestServer, frame, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[server_endpoint("/echo", subprotocols("chat.v2", "chat.v1"))]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    async fn on_message(&mut self, message: String, session: &Session) -> String {
        match message.as_str() {
            "subprotocol?" => format!("{:?}", session.subprotocol()),
            "uri?" => session.uri().to_owned(),
            _ => message,
        }
    }
}

#[server_endpoint("/room/{name}/{number}")]
#[derive(Default)]
struct Room;

impl Room {
    #[on_message]
    async fn on_message(&mut self, _: Text, #[path_param] name: &str, #[path_param] number: u8) -> String {
        format!("{name:?} {number}")
    }
}

/// Its constructor does as the request says.
#[server_endpoint("/made")]
struct Made(Journal);

impl Made {
    fn new(request: &HandshakeRequest, journal: &Journal) -> Result<Self, Refusal> {
        journal.note("construct");
        match request.query_string() {
            Some("refuse") => Err(Refusal::new(StatusCode::UNAUTHORIZED)
                .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
                .with_body("a token, please")),
            Some("panic") => panic!("no more room in the secret cellar"),
            _ => Ok(Self(journal.clone())),
        }
    }

    #[on_open]
    fn on_open(&mut self) {
        self.0.note("open");
    }

    #[on_close]
    fn on_close(&mut self) {
        self.0.note("close");
    }
}

fn container(journal: &Journal) -> ContainerBuilder {
    let journal = journal.clone();
    ServerContainer::builder()
        .allowed_hosts(["a.org", "127.0.0.1"])
        .register::<Echo>()
        .register::<Room>()
        .endpoint_with(move |request| Made::new(request, &journal))
}

async fn server() -> (TestServer, Journal) {
    let journal = Journal::default();
    (TestServer::with(container(&journal)).await, journal)
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// An opening request with `replaced` instead of the headers of those names; an empty value leaves the header out.
fn lines(request_line: &str, replaced: &[(&str, &str)]) -> Vec<String> {
    let usual = [
        ("Host", "a.org"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    let kept = usual.iter().filter(|(name, _)| !replaced.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
    let headers = kept.chain(replaced).filter(|(_, value)| !value.is_empty());
    [request_line.to_owned()].into_iter().chain(headers.map(|(name, value)| format!("{name}: {value}"))).collect()
}

async fn open(addr: SocketAddr, request_line: &str, replaced: &[(&str, &str)]) -> (Answer, Client) {
    let lines = lines(request_line, replaced);
    Client::request(addr, &lines.iter().map(String::as_str).collect::<Vec<_>>(), b"").await
}

async fn says(client: &mut Client, text: &str, reply: &str) {
    client.text(text).await;
    client.expect_text(reply).await;
}

async fn is_alive(server: &TestServer) {
    says(&mut server.connect("/echo").await, "alive", "alive").await;
}

// ---- refused ----

/// A path parameter whose parsing panics.
struct Explosive;

impl std::str::FromStr for Explosive {
    type Err = std::convert::Infallible;

    fn from_str(_: &str) -> Result<Self, Self::Err> {
        panic!("boom")
    }
}

#[server_endpoint("/explosive/{part}")]
#[derive(Default)]
struct WithExplosive;

impl WithExplosive {
    #[on_open]
    fn open(&self, #[path_param] part: Explosive) {
        let _ = part;
    }
}

#[tokio::test]
async fn a_path_parameter_whose_parsing_panics_is_refused_with_404() {
    let server = TestServer::of::<WithExplosive>().await;
    let (answer, _) = Client::try_connect(server.addr, "/explosive/x", &[]).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn each_defect_is_refused_with_its_status() {
    const GET: &str = "GET /made HTTP/1.1";
    const UPGRADE: [(&str, &str); 2] = [("connection", "upgrade"), ("upgrade", "websocket")];
    const VERSION: [(&str, &str); 3] =
        [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    let (server, journal) = server().await;
    for (request_line, replaced, status, headers, body) in [
        ("POST /made HTTP/1.1", &[][..], 405, &[("allow", "GET")][..], "GET"),
        ("PUT /made HTTP/1.1", &[], 405, &[("allow", "GET")], "GET"),
        ("OPTIONS /made HTTP/1.1", &[], 405, &[("allow", "GET")], "GET"),
        ("GET /made HTTP/1.0", &[], 505, &[], "HTTP/1.1"),
        (GET, &[("Upgrade", "")], 426, &UPGRADE, "Upgrade: websocket"),
        (GET, &[("Connection", "")], 426, &UPGRADE, "Connection: Upgrade"),
        (GET, &[("Connection", ""), ("Upgrade", "")], 426, &UPGRADE, "WebSocket endpoint"),
        (GET, &[("Upgrade", "h2c")], 426, &UPGRADE, "Upgrade: websocket"),
        (GET, &[("Upgrade", "websocket2")], 426, &UPGRADE, "Upgrade: websocket"),
        (GET, &[("Connection", "keep-alive")], 426, &UPGRADE, "Connection: Upgrade"),
        (GET, &[("Sec-WebSocket-Version", "")], 426, &VERSION, "13"),
        (GET, &[("Sec-WebSocket-Version", "8")], 426, &VERSION, "13"),
        (GET, &[("Sec-WebSocket-Version", "8, 13")], 426, &VERSION, "13"),
        (
            GET,
            &[("Sec-WebSocket-Version", "8"), ("Sec-WebSocket-Version", "13")],
            426,
            &VERSION,
            "Sec-WebSocket-Version: 13",
        ),
        (GET, &[("Sec-WebSocket-Key", "")], 400, &[], "Sec-WebSocket-Key"),
        (GET, &[("Sec-WebSocket-Key", "short")], 400, &[], "16 bytes"),
        // 15 and 17 bytes
        (GET, &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j")], 400, &[], "16 bytes"),
        (GET, &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZTE=")], 400, &[], "16 bytes"),
        (GET, &[("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Key", KEY)], 400, &[], "one header"),
        (GET, &[("Host", "")], 400, &[], "Host"),
        (GET, &[("Host", "a.org"), ("Host", "b.org")], 400, &[], "Host"),
        (GET, &[("Content-Length", "2")], 400, &[], "body"),
        (GET, &[("Transfer-Encoding", "chunked")], 400, &[], "body"),
        (GET, &[("Origin", "https://evil.org")], 403, &[], "allowed_origins([\"https://evil.org\"])"),
        (GET, &[("Origin", "null")], 403, &[], "Origins::any()"),
        (GET, &[("Origin", "http://a.org"), ("Origin", "http://a.org")], 403, &[], "Origins::any()"),
        ("GET /nowhere HTTP/1.1", &[], 404, &[], "no WebSocket endpoint"),
        ("GET /MADE HTTP/1.1", &[], 404, &[], "no WebSocket endpoint"),
        ("GET /made/ HTTP/1.1", &[], 404, &[], "no WebSocket endpoint"),
        ("GET /room/a/256 HTTP/1.1", &[], 404, &[], "invalid value"),
        ("GET /room/a/x HTTP/1.1", &[], 404, &[], "invalid value"),
        ("GET /room/a%ff/1 HTTP/1.1", &[], 400, &[], "UTF-8"),
        ("GET /room/a%2/1 HTTP/1.1", &[], 400, &[], "percent"),
    ] {
        let (answer, _) = open(server.addr, request_line, replaced).await;
        assert_eq!(answer.status, status, "{request_line} {replaced:?}");
        for (name, value) in headers {
            let sent = answer.header(name).unwrap_or_default();
            assert!(sent.eq_ignore_ascii_case(value), "{request_line} {replaced:?}: {name} is {sent:?}");
        }
        assert!(answer.body.contains(body), "{request_line} {replaced:?}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("sec-websocket-accept"), None);
    }
    assert_eq!(journal.rest(), [""; 0], "an instance was made for a request that was refused");
    is_alive(&server).await;
}

#[tokio::test]
async fn refusal_of_a_foreign_origin_names_the_setting() {
    let (server, _) = server().await;
    let (answer, _) = open(server.addr, "GET /echo HTTP/1.1", &[("Origin", "https://evil.org:444")]).await;
    assert_eq!(answer.status, 403);
    for part in ["\"https://evil.org:444\"", "\"a.org\"", "allowed_origins", "Origins::any()"] {
        assert!(answer.body.contains(part), "{part} is not in {}", answer.body);
    }
}

#[tokio::test]
async fn constructor_refuses_with_its_own_response() {
    let (server, journal) = server().await;
    let (answer, _) = open(server.addr, "GET /made?refuse HTTP/1.1", &[]).await;
    assert_eq!((answer.status, &*answer.body), (401, "a token, please"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    server.shutdown().await;
    assert_eq!(journal.rest(), ["construct"], "a handler ran");
}

#[tokio::test]
async fn panicking_constructor_refuses_with_500_without_details() {
    let (server, journal) = server().await;
    let (answer, _) = open(server.addr, "GET /made?panic HTTP/1.1", &[]).await;
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains("secret"), "{}", answer.body);
    is_alive(&server).await;
    server.shutdown().await;
    assert_eq!(journal.rest(), ["construct"], "a handler ran");
}

#[tokio::test]
async fn a_container_that_shuts_down_refuses_with_503() {
    let (server, _) = server().await;
    server.container.shutdown(Duration::from_secs(1)).await;
    let (answer, _) = open(server.addr, "GET /echo HTTP/1.1", &[]).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
}

#[tokio::test]
async fn invalid_http_does_no_harm() {
    let (server, _) = server().await;
    let many = (0..1000).map(|i| format!("X-{i}: x\r\n")).collect::<String>();
    let opening = format!("GET /echo HTTP/1.1\r\n{}\r\n", lines("", &[])[1..].join("\r\n"));
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"\r\n\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /echo HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /echo HTTP/1.1\r\nno colon\r\n\r\n".to_vec(),
        b"GET /echo HTTP/1.1\r\nHost: a\0b\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        format!("{opening}{many}\r\n").into_bytes(),
        format!("{opening}X-Large: {}\r\n\r\n", "x".repeat(2 << 20)).into_bytes(),
        format!("GET /{} HTTP/1.1\r\n", "x".repeat(2 << 20)).into_bytes(),
    ] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        // the server may hang up in the middle
        let _ = soon(stream.write_all(&bytes)).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        // to the preface of HTTP/2 the server says its settings, and no more
        let is_settings = bytes.starts_with(b"PRI") && answer.get(3) == Some(&4);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4") || is_settings, "{answer}");
        is_alive(&server).await;
    }
}

#[tokio::test]
async fn silent_and_partial_connections_delay_no_other_peer() {
    let (server, _) = server().await;
    let mut silent = Vec::new();
    for i in 0..50 {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        if i % 2 == 0 {
            stream.write_all(b"GET /echo HTTP/1.1\r\nHost:").await.unwrap();
        }
        silent.push(stream);
    }
    is_alive(&server).await;
}

// ---- accepted ----

#[tokio::test]
async fn rfc_example_is_accepted() {
    let (server, _) = server().await;
    let (answer, mut client) = open(server.addr, "GET /echo HTTP/1.1", &[]).await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(answer.header("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
    assert!(answer.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    for absent in
        ["content-length", "transfer-encoding", "content-type", "sec-websocket-protocol", "sec-websocket-extensions"]
    {
        assert_eq!(answer.header(absent), None, "{absent}");
    }
    says(&mut client, "x", "x").await;
}

#[tokio::test]
async fn header_variants_of_clients_are_accepted() {
    let (server, _) = server().await;
    for replaced in [
        &[("CONNECTION", "UPGRADE"), ("UPGRADE", "WEBSOCKET")][..],
        &[("connection", "keep-alive, Upgrade")],
        &[("connection", "Upgrade,keep-alive")],
        &[("Connection", "keep-alive"), ("Connection", "upgrade")],
        &[("Connection", ",, upgrade ,")],
        &[("Upgrade", "h2c, websocket")],
        &[("Upgrade", "h2c"), ("upgrade", "WebSocket")],
        &[("sec-websocket-version", "13"), ("SEC-WEBSOCKET-KEY", KEY)],
        &[("Content-Length", "0")],
        &[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, x-unknown")],
        &[("X-Unknown", "é"), ("Cookie", "a=b")],
    ] {
        let (answer, mut client) = open(server.addr, "GET /echo HTTP/1.1", replaced).await;
        assert_eq!(answer.status, 101, "{replaced:?}: {}", answer.body);
        says(&mut client, "x", "x").await;
    }
}

#[tokio::test]
async fn origins_are_admitted_as_configured() {
    let journal = Journal::default();
    let same = TestServer::with(container(&journal)).await;
    let list = TestServer::with(container(&journal).allowed_origins([
        "https://example.org",
        "http://localhost:3000",
        "https://*.wild.org",
    ]))
    .await;
    let any = TestServer::with(container(&journal).origins(Origins::any())).await;
    for (origin, admitted) in [
        // by the same origin, the list, any
        ("", [true, true, true]),
        ("http://a.org", [true, false, true]),
        ("https://a.org", [true, false, true]),
        ("HTTP://A.org:80", [true, false, true]),
        ("http://a.org:81", [false, false, true]),
        ("http://a.org.evil.org", [false, false, true]),
        ("https://example.org", [false, true, true]),
        ("http://example.org", [false, false, true]),
        ("http://localhost:3000", [false, true, true]),
        ("https://sub.wild.org", [false, true, true]),
        ("https://wild.org", [false, false, true]),
        ("null", [false, false, true]),
        ("nonsense", [false, false, true]),
    ] {
        for (server, admitted) in [&same, &list, &any].into_iter().zip(admitted) {
            let (answer, _) = open(server.addr, "GET /echo HTTP/1.1", &[("Origin", origin)]).await;
            assert_eq!(answer.status, if admitted { 101 } else { 403 }, "{origin:?}");
        }
    }
    // the port of the server counts
    let address = same.addr.to_string();
    for (origin, status) in [(format!("http://{address}"), 101), ("http://127.0.0.1".to_owned(), 403)] {
        let (answer, _) = open(same.addr, "GET /echo HTTP/1.1", &[("Host", &address), ("Origin", &origin)]).await;
        assert_eq!(answer.status, status, "{origin}");
    }
}

#[tokio::test]
async fn subprotocol_is_the_clients_first_supported_one() {
    let (server, _) = server().await;
    for (offered, chosen) in [
        (&[][..], None),
        (&["chat.v1"][..], Some("chat.v1")),
        // the client's order, not the endpoint's
        (&["chat.v1, chat.v2"], Some("chat.v1")),
        (&["chat.v2,chat.v1"], Some("chat.v2")),
        (&["soap, chat.v1"], Some("chat.v1")),
        (&["soap", "chat.v2", "chat.v1"], Some("chat.v2")),
        // none in common: a session without one
        (&["soap, wamp"], None),
        // names are compared with their case
        (&["CHAT.V1"], None),
    ] {
        let headers: Vec<_> = offered.iter().map(|line| ("Sec-WebSocket-Protocol", *line)).collect();
        let (answer, mut client) = open(server.addr, "GET /echo HTTP/1.1", &headers).await;
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, chosen), "{offered:?}");
        says(&mut client, "subprotocol?", &format!("{chosen:?}")).await;
    }
    // an endpoint that speaks none
    let (answer, _) = open(server.addr, "GET /made HTTP/1.1", &[("Sec-WebSocket-Protocol", "chat.v1")]).await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, None));
}

// ---- paths ----

#[tokio::test]
async fn paths_are_decoded_once_and_after_they_were_split() {
    let (server, _) = server().await;
    for (path, reply) in [
        ("/room/blue/1", "\"blue\" 1"),
        ("/room/a%20b/1", "\"a b\" 1"),
        ("/room/a+b/1", "\"a+b\" 1"),
        ("/room/caf%C3%A9/1", "\"café\" 1"),
        ("/room/a%2Fb/1", "\"a/b\" 1"),
        ("/room/a%2fb%2F/1", "\"a/b/\" 1"),
        ("/room/%2525/1", "\"%25\" 1"),
        ("/room/%252F/1", "\"%2F\" 1"),
        ("/room/%7Bname%7D/1", "\"{name}\" 1"),
        ("/room/a;b=c/%31?x=/room/d/9", "\"a;b=c\" 1"),
        ("/%72oom/x/1", "\"x\" 1"),
        ("/a/../room/./x/1", "\"x\" 1"),
    ] {
        println!("{path}");
        says(&mut server.connect(path).await, "?", reply).await;
    }
    for path in ["/room//1", "/room/a/b/1", "/room%2Fa/1", "/room/a/1/", "/room/a%2F1"] {
        assert_eq!(Client::try_connect(server.addr, path, &[]).await.0.status, 404, "{path}");
    }
}

#[tokio::test]
async fn context_path_prefixes_every_endpoint() {
    let server = TestServer::with(container(&Journal::default()).context_path("/app/v1")).await;
    for (path, status) in [
        ("/app/v1/echo", 101),
        ("/app/v1/room/a/1", 101),
        ("/%61pp/v1/echo", 101),
        ("/echo", 404),
        ("/app/v1", 404),
        ("/app/v1/", 404),
        ("/app/echo", 404),
        ("/app/v1/app/v1/echo", 404),
    ] {
        assert_eq!(Client::try_connect(server.addr, path, &[]).await.0.status, status, "{path}");
    }
    let (_, mut client) = open(server.addr, "GET /app/v1/echo?q HTTP/1.1", &[]).await;
    says(&mut client, "uri?", "ws://a.org/app/v1/echo?q").await;
}

#[tokio::test]
async fn a_slash_at_the_end_counts_unless_it_is_ignored() {
    for (policy, status) in [(TrailingSlash::Strict, 404), (TrailingSlash::Ignore, 101)] {
        let server = TestServer::with(container(&Journal::default()).trailing_slash(policy)).await;
        for path in ["/echo", "/room/a/1"] {
            let slash = format!("{path}/");
            assert_eq!(Client::try_connect(server.addr, path, &[]).await.0.status, 101, "{policy:?} {path}");
            assert_eq!(Client::try_connect(server.addr, &slash, &[]).await.0.status, status, "{policy:?} {slash}");
            let slashes = format!("{path}//");
            assert_eq!(Client::try_connect(server.addr, &slashes, &[]).await.0.status, 404, "{policy:?} {slashes}");
        }
    }
}

// ---- beside other requests ----

async fn page<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(format!("{} {}", request.method(), request.uri()))))
}

/// One more request on the same connection.
async fn ask_again(client: &mut Client, lines: &[&str], early: &[u8]) -> Answer {
    client.send_raw(&[format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes(), early].concat()).await;
    client.answer().await
}

async fn with_pages() -> TestServer {
    TestServer::serving(Server::with(container(&Journal::default())).fallback(tower::service_fn(page))).await
}

#[tokio::test]
async fn requests_for_no_endpoint_reach_the_fallback() {
    let server = with_pages().await;
    for (request_line, body) in [
        ("GET / HTTP/1.1", "GET /"),
        ("GET /page?x=1 HTTP/1.1", "GET /page?x=1"),
        ("DELETE /echo/1 HTTP/1.1", "DELETE /echo/1"),
    ] {
        let (answer, _) = server.request(&[request_line, "Host: a.org"]).await;
        assert_eq!((answer.status, &*answer.body), (200, body));
    }
    // a WebSocket to nowhere, too: who knows what the fallback makes of it
    let (answer, _) = open(server.addr, "GET /nowhere HTTP/1.1", &[]).await;
    assert_eq!((answer.status, &*answer.body), (200, "GET /nowhere"));
    // but an ordinary request to an endpoint is told what it lacks
    let (answer, _) = server.request(&["GET /echo HTTP/1.1", "Host: a.org"]).await;
    assert_eq!(answer.status, 426);
    is_alive(&server).await;
}

#[tokio::test]
async fn a_connection_may_ask_for_pages_first_and_be_refused_and_then_open() {
    let server = with_pages().await;
    let (answer, mut client) = server.request(&["GET /page HTTP/1.1", "Host: a.org"]).await;
    assert_eq!(answer.body, "GET /page");
    let refused = ask_again(&mut client, &["GET /echo HTTP/1.1", "Host: a.org"], b"").await;
    assert_eq!(refused.status, 426);
    let lines = lines("GET /echo HTTP/1.1", &[]);
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    // what comes with the request is not lost
    let accepted = ask_again(&mut client, &lines, &frame(0x80 | TEXT, b"early")).await;
    assert_eq!(accepted.status, 101);
    client.expect_text("early").await;
    says(&mut client, "x", "x").await;
}

#[tokio::test]
async fn requests_sent_in_one_piece_are_answered_in_order() {
    let server = with_pages().await;
    let opening = format!("{}\r\n\r\n", lines("GET /echo HTTP/1.1", &[]).join("\r\n"));
    let early = [opening.as_bytes(), &frame(0x80 | TEXT, b"early")].concat();
    let (answer, mut client) = Client::request(server.addr, &["GET /page HTTP/1.1", "Host: a.org"], &early).await;
    assert_eq!(answer.body, "GET /page");
    assert_eq!(client.answer().await.status, 101);
    client.expect_text("early").await;
}
