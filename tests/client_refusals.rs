//! What a client makes of servers that refuse it, answer it wrongly, slowly, or not at all.

mod support;

use std::time::Duration;

use endpoint_runtime::prelude::*;
use support::raw_server::{Peer, RawServer};
use support::{Journal, TestServer, soon};
use tokio::io::AsyncWriteExt;

#[client_endpoint(subprotocols("chat.v1"))]
struct Bot {
    journal: Journal,
}

impl Bot {
    #[on_open]
    fn open(&mut self) {
        self.journal.note("open");
    }

    #[on_close]
    fn close(&mut self) {
        self.journal.note("close");
    }

    #[on_error]
    fn error(&mut self, error: &Error) {
        self.journal.note(format!("error {error}"));
    }
}

/// The error of a connection that the server answers with what `answer` makes of its acceptance; nothing may have been
/// called, and the socket must be closed.
async fn refused(container: &ClientContainer, answer: impl Fn(String) -> String) -> Error {
    let (server, journal) = (RawServer::bind().await, Journal::default());
    let connecting = container.connect(Bot { journal: journal.clone() }, server.uri("/chat?token=secret"));
    let serving = async {
        let (asked, mut peer) = server.asked().await;
        peer.send_raw(answer(asked.accepted(&[])).as_bytes()).await;
        peer
    };
    let (connected, mut peer) = soon(async { tokio::join!(connecting, serving) }).await;
    peer.expect_end().await;
    assert!(journal.rest().is_empty(), "a handler was called");
    let error = connected.expect_err("a session");
    assert!(!error.to_string().contains("secret"), "{error}");
    error
}

#[tokio::test]
async fn refusal_is_an_error_with_status_headers_and_body() {
    for (answer, status, body) in [
        ("HTTP/1.1 403 Forbidden\r\nX-Why: you\r\nContent-Length: 8\r\n\r\nnot you!", 403, "not you!"),
        (
            "HTTP/1.1 404 Not Found\r\nX-Why: you\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno \r\n1\r\n!\r\n0\r\n\r\n",
            404,
            "no !",
        ),
        ("HTTP/1.1 426 Upgrade Required\r\nX-Why: you\r\nContent-Length: 0\r\n\r\n", 426, ""),
        ("HTTP/1.1 200 OK\r\nX-Why: you\r\nContent-Length: 2\r\n\r\nhi", 200, "hi"),
        // redirects are not followed
        ("HTTP/1.1 302 Found\r\nX-Why: you\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, ""),
    ] {
        let error = refused(&ClientContainer::new(), |_| answer.to_owned()).await;
        assert!(error.is_handshake() && error.to_string().contains(&status.to_string()), "{error:?}");
        let response = error.response().unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["x-why"]), (status, &"you".parse().unwrap()));
        assert_eq!(response.body(), body);
    }
}

#[tokio::test]
async fn refusal_of_our_server_is_parsed() {
    #[server_endpoint("/there")]
    #[derive(Default)]
    struct There;
    let server = TestServer::of::<There>().await;
    let bot = Bot { journal: Journal::default() };
    let uri = format!("ws://{}/elsewhere", server.addr);
    let error = soon(ClientContainer::new().connect(bot, uri)).await.unwrap_err();
    assert_eq!(error.response().unwrap().status(), 404);
}

#[tokio::test]
async fn refusal_body_is_limited_in_size_and_time() {
    let large = "x".repeat(100 << 10);
    let answer = format!("HTTP/1.1 500 Oops\r\nContent-Length: {}\r\n\r\n{large}", large.len());
    let error = refused(&ClientContainer::new(), |_| answer.clone()).await;
    assert_eq!(error.response().unwrap().body().len(), 64 << 10);

    let container = ClientContainer::builder().connect_timeout(Duration::from_millis(300)).build();
    let error = refused(&container, |_| "HTTP/1.1 503 Later\r\nContent-Length: 100\r\n\r\nstart".to_owned()).await;
    let response = error.response().unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (503, &b"start"[..]));
}

#[tokio::test]
async fn endless_body_does_not_delay_the_status() {
    // far beyond the deadline of the test
    let patient = || ClientContainer::builder().connect_timeout(Duration::from_secs(3600));
    for head in ["Content-Length: 100\r\n\r\nstart", "Transfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n", "\r\nstart"] {
        let answer = format!("HTTP/1.1 401 Unauthorized\r\n{head}");
        let error = refused(&patient().build(), |_| answer.clone()).await;
        let response = error.response().unwrap();
        assert_eq!((response.status().as_u16(), &response.body()[..]), (401, &b"start"[..]), "{head:?}");
    }
    let proxy = RawServer::bind().await;
    let through = endpoint_runtime::Proxy::all(format!("http://{}", proxy.addr)).unwrap();
    let container = patient().proxy(through).build();
    let connecting = container.connect(Bot { journal: Journal::default() }, "ws://server.invalid/");
    let answering = proxy.answer(b"HTTP/1.1 407 Who\r\nContent-Length: 9\r\n\r\nstart");
    let (connected, _peer) = soon(async { tokio::join!(connecting, answering) }).await;
    let error = connected.unwrap_err();
    let response = error.response().unwrap();
    assert_eq!((response.status().as_u16(), &response.body()[..]), (407, &b"start"[..]));
}

#[tokio::test]
async fn responses_that_do_not_match_the_request_are_refused() {
    let replaced = |from: &'static str, to: &'static str| {
        move |accepted: String| {
            assert!(accepted.contains(from));
            accepted.replace(from, to)
        }
    };
    let added = |line: &'static str| replaced("Upgrade: websocket\r\n", line);
    type Answer = Box<dyn Fn(String) -> String>;
    let cases: Vec<(Answer, &str)> = vec![
        (Box::new(replaced("Accept: ", "Accept: A")), "Accept"),
        (Box::new(replaced("Sec-WebSocket-Accept", "X-Accept")), "Accept"),
        (Box::new(replaced("Upgrade: websocket", "Upgrade: h2c")), "WebSocket"),
        (Box::new(replaced("Upgrade: websocket\r\n", "")), "WebSocket"),
        (Box::new(replaced("Connection: Upgrade\r\n", "")), "WebSocket"),
        (Box::new(added("Upgrade: websocket\r\nSec-WebSocket-Protocol: soap\r\n")), "subprotocol"),
        (Box::new(added("Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n")), "extension"),
        (Box::new(added("Upgrade: websocket\r\nSec-WebSocket-Extensions: x-mine\r\n")), "extension"),
    ];
    for (answer, about) in cases {
        let error = refused(&ClientContainer::new(), answer).await;
        assert!(error.is_handshake() && error.to_string().contains(about), "{about}: {error:?}");
        assert_eq!(error.response().unwrap().status(), 101);
    }
}

#[tokio::test]
async fn invalid_responses_are_refused() {
    let endless = format!("HTTP/1.1 101 Switching Protocols\r\nX-Long: {}", "x".repeat(300 << 10));
    let many = format!("HTTP/1.1 101 Switching Protocols\r\n{}", "X-Many: 1\r\n".repeat(20_000));
    for answer in ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "\0\0\0\0\0\0\0\0\r\n\r\n", &endless, &many] {
        let error = refused(&ClientContainer::new(), |_| answer.to_owned()).await;
        assert!(error.is_handshake() && error.response().is_none(), "{error:?}");
    }
}

#[tokio::test]
async fn truncated_response_is_an_error() {
    for answer in ["", "HTTP/1.1 101 Switching", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"] {
        let (server, journal) = (RawServer::bind().await, Journal::default());
        let container = ClientContainer::new();
        let connecting = container.connect(Bot { journal: journal.clone() }, server.uri("/"));
        let serving = async { drop(server.answer(answer.as_bytes()).await) };
        let (connected, ()) = soon(async { tokio::join!(connecting, serving) }).await;
        assert!(connected.unwrap_err().is_handshake(), "{answer:?}");
        assert!(journal.rest().is_empty());
    }
}

#[tokio::test]
async fn handshake_times_out() {
    for answer in [&b""[..], b"HTTP/1.1 101 Switching Protocols\r\nUpgr", b"HTTP/1.1 100 Continue\r\n\r\n"] {
        let (server, journal) = (RawServer::bind().await, Journal::default());
        let request = ClientContainer::new().request(server.uri("/")).connect_timeout(Duration::from_millis(200));
        let (connected, mut peer): (_, Peer) =
            soon(async { tokio::join!(request.connect(Bot { journal }), server.answer(answer)) }).await;
        assert!(connected.unwrap_err().is_timeout());
        peer.expect_end().await;
    }
}

#[tokio::test]
async fn closed_port_is_an_io_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let bot = Bot { journal: Journal::default() };
    let error = soon(ClientContainer::new().connect(bot, format!("ws://{addr}/"))).await.unwrap_err();
    assert!(error.is_io() && error.to_string().contains(&addr.port().to_string()), "{error:?}");
}

#[tokio::test]
async fn invalid_requests_are_not_sent() {
    let container = ClientContainer::new();
    let request = || container.request("ws://127.0.0.1:1/");
    for (request, about) in [
        (container.request("http://127.0.0.1:1/"), "must be ws or wss"),
        (container.request("ws://127.0.0.1:1/#part"), "fragment"),
        (container.request("127.0.0.1:1"), ""),
        (container.request("ws://127.0.0.1:1/\r\nX: y"), "'\\r', or write %0D"),
        (container.request("ws://bücher.example/"), "Punycode"),
        (container.request("ws://127.0.0.1:1/{room}"), ".path_param(\"room\", …)"),
        (request().path_param("room", 1), "no variable {room}"),
        (request().header("Sec-WebSocket-Key", "x"), "sec-websocket-key is reserved for the handshake"),
        (request().header("upgrade", "h2c"), "reserved"),
        (request().header("Content-Length", "1"), "reserved"),
        (request().header("a b", "1"), "a header name"),
        (request().header("x-token", "secret\r\nX-Other: 1"), "value of the header x-token"),
        (request().origin("a\nb"), "origin"),
        (request().subprotocol("a b"), "subprotocol"),
        (request().subprotocol(""), "subprotocol"),
    ] {
        let error = request.connect(Bot { journal: Journal::default() }).await.unwrap_err();
        assert!(error.is_handshake() && error.to_string().contains(about), "{about}: {error:?}");
        assert!(error.response().is_none() && !error.to_string().contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn user_and_password_of_the_uri_are_basic_authentication() {
    let server = RawServer::bind().await;
    let uri = server.uri("/").replace("ws://", "ws://Aladdin:open%20sesame@");
    let container = ClientContainer::new();
    for own in [false, true] {
        let request = container.request(&uri);
        let request = if own { request.header("Authorization", "Bearer mine") } else { request };
        let connecting = request.connect(Bot { journal: Journal::default() });
        let serving = async {
            let (asked, mut peer) = server.asked().await;
            let expected = if own { "Bearer mine" } else { "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" };
            assert_eq!(asked.header("authorization"), Some(expected));
            assert_eq!(asked.header("host"), Some(server.addr.to_string().as_str()));
            peer.send_raw(asked.accepted(&[]).as_bytes()).await;
            peer
        };
        let (session, _peer) = soon(async { tokio::join!(connecting, serving) }).await;
        // nobody who prints the URI prints the password
        assert_eq!(session.unwrap().uri(), server.uri("/"));
    }
}

/// Further header lines of an answer.
fn fillers(lines: usize, bytes: usize) -> String {
    (0..lines).map(|number| format!("X-{number}: {}\r\n", "x".repeat(bytes))).collect()
}

#[tokio::test]
async fn large_response_head_is_an_error_that_names_the_limit() {
    const SENTENCE: &str = "exceeds 16384 bytes or 64 headers: raise max_response_head or max_response_headers";
    for (lines, bytes) in [(1, 16 << 10), (1, 40_000), (62, 1), (90, 1), (200, 1)] {
        let answer =
            |accepted: String| accepted.replace("Upgrade: websocket", &(fillers(lines, bytes) + "Upgrade: websocket"));
        let error = refused(&ClientContainer::new(), answer).await;
        assert!(error.is_handshake() && error.to_string().contains(SENTENCE), "{lines} {bytes} {error:?}");
    }
}

#[tokio::test]
async fn response_head_limits_are_options() {
    let small = ClientContainer::builder().max_response_head(200).max_response_headers(4).build();
    let large = ClientContainer::builder().max_response_head(1 << 20).max_response_headers(300).build();
    for (container, lines, bytes, opens) in [
        (&small, 1, 1, true),
        (&small, 2, 1, false),
        (&small, 1, 200, false),
        (&large, 1, 900_000, true),
        (&large, 290, 1, true),
        (&large, 300, 1, false),
        (&large, 1, 1 << 20, false),
    ] {
        let (server, journal) = (RawServer::bind().await, Journal::default());
        let connecting = container.connect(Bot { journal: journal.clone() }, server.uri("/"));
        let serving = async {
            let (asked, mut peer) = server.asked().await;
            let answer =
                asked.accepted(&[]).replace("Upgrade: websocket", &(fillers(lines, bytes) + "Upgrade: websocket"));
            // the client may hang up in the middle
            let _ = soon(peer.stream.write_all(answer.as_bytes())).await;
            peer
        };
        let (connected, _peer) = soon(async { tokio::join!(connecting, serving) }).await;
        assert_eq!(connected.is_ok(), opens, "{lines} {bytes} {connected:?}");
    }
}
