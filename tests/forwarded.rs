//! Behind proxies: whose word about a client is believed, and what then is the client's: address, scheme, host, origin, log.

mod support;

use std::convert::Infallible;

use axum::Router;
use endpoint_runtime::prelude::*;
use endpoint_runtime::test::TestServer as InMemory;
use endpoint_runtime::{ContainerBuilder, ForwardedHeaders, Server, ServerContainer};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use support::{Answer, Client, Log, TestServer};
use tokio::net::TcpListener;
use tower::service_fn;

/// Says who the client is.
#[server_endpoint("/who")]
#[derive(Default)]
struct Who;

impl Who {
    #[on_message]
    fn who(&self, _question: &str, session: &Session, request: &HandshakeRequest) -> String {
        let peer = request.peer_addr().map_or("nobody".to_owned(), |peer| peer.to_string());
        format!("{peer} {} {} {}", session.is_secure(), session.uri(), request.header("host").unwrap_or("-"))
    }
}

fn container() -> ContainerBuilder {
    ServerContainer::builder().register::<Who>()
}

/// What the session says of the client of a handshake with these headers, or the status of the refusal.
async fn who(server: &TestServer, headers: &[&str]) -> String {
    let (answer, mut client) = Client::try_connect(server.addr, "/who", headers).await;
    if answer.status != 101 {
        return format!("{} {}", answer.status, answer.body);
    }
    client.text("?").await;
    String::from_utf8(client.expect(support::TEXT).await).unwrap()
}

/// As [`who`], of a handshake in memory from this peer.
async fn who_from(server: &InMemory, peer: Option<&str>, headers: &[(&str, &str)]) -> String {
    let mut request = server.request("/who");
    if let Some(peer) = peer {
        request = request.peer_addr(peer.parse().unwrap());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut client = request.connect().await;
    client.send_text("?").await;
    client.next_text().await
}

const SPOOFED: [&str; 5] = [
    "X-Forwarded-For: 192.0.2.66",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Port: 1",
    "Forwarded: for=192.0.2.66;proto=https;host=evil.example",
];

#[tokio::test]
async fn headers_mean_nothing_unless_the_peer_is_trusted() {
    for settings in [container(), container().trusted_proxies(["10.0.0.0/8", "unix", "::1"])] {
        let server = TestServer::with(settings).await;
        let answer = who(&server, &SPOOFED).await;
        assert!(answer.starts_with("127.0.0.1:"), "{answer}");
        let uri = format!("ws://{}/who", server.addr);
        assert!(answer.ends_with(&format!(" false {uri} {}", server.addr)), "{answer}");
    }
}

#[tokio::test]
async fn trusted_proxy_tells_address_scheme_host_and_port() {
    let server = TestServer::with(container().trusted_proxies(["127.0.0.1"]).allowed_hosts(["*"])).await;
    let addr = server.addr;
    for (headers, expected) in [
        (&["X-Forwarded-For: 192.0.2.1"][..], format!("192.0.2.1:0 false ws://{addr}/who {addr}")),
        (&["X-Forwarded-For: 192.0.2.1:4711"], format!("192.0.2.1:4711 false ws://{addr}/who {addr}")),
        (
            &["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: chat.example"],
            "192.0.2.1:0 true wss://chat.example/who chat.example".to_owned(),
        ),
        (
            &["X-Forwarded-For: 2001:db8::1", "X-Forwarded-Host: chat.example", "X-Forwarded-Port: 8443"],
            "[2001:db8::1]:0 false ws://chat.example:8443/who chat.example:8443".to_owned(),
        ),
        // the other family is ignored
        (
            &["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.66;proto=https"],
            format!("192.0.2.1:0 false ws://{addr}/who {addr}"),
        ),
        // the client's own inventions are further left, or in lines above
        (
            &["X-Forwarded-For: 192.0.2.66, 192.0.2.1", "X-Forwarded-Host: evil.example, chat.example"],
            "192.0.2.1:0 false ws://chat.example/who chat.example".to_owned(),
        ),
        (
            &["X-Forwarded-For: 192.0.2.66", "X-Forwarded-For: 192.0.2.1"],
            format!("192.0.2.1:0 false ws://{addr}/who {addr}"),
        ),
    ] {
        assert_eq!(who(&server, headers).await, expected, "{headers:?}");
    }
    // a proxy that tells nothing, or nothing legible, is the client itself
    for headers in [&[][..], &["X-Forwarded-For: unknown"], &["X-Forwarded-For: 192.0.2.1, ?"]] {
        let answer = who(&server, headers).await;
        assert!(answer.starts_with("127.0.0.1:") && !answer.starts_with("127.0.0.1:0 "), "{answer}");
    }
}

#[tokio::test]
async fn forwarded_is_believed_only_if_it_is_chosen() {
    let settings =
        container().trusted_proxies(["127.0.0.1", "10.0.0.0/8"]).forwarded_headers(ForwardedHeaders::Rfc7239);
    let server = TestServer::with(settings.allowed_hosts(["*"])).await;
    let headers = [
        "Forwarded: for=192.0.2.66",
        "Forwarded: for=\"[2001:db8::1]:4711\";proto=https;host=\"chat.example:8443\", for=10.1.1.1;proto=http",
        "X-Forwarded-For: 192.0.2.66",
        "X-Forwarded-Host: evil.example",
    ];
    let expected = "[2001:db8::1]:4711 true wss://chat.example:8443/who chat.example:8443";
    assert_eq!(who(&server, &headers).await, expected);
    // obfuscated by the last proxy
    assert!(who(&server, &["Forwarded: for=_hidden"]).await.starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn list_of_addresses_is_walked_from_the_right_over_trusted_proxies() {
    let server = InMemory::new(container().trusted_proxies(["10.0.0.0/8", "fd00::/8"]).build().unwrap());
    for (peer, list, expected) in [
        ("10.0.0.1:5000", "192.0.2.1, 10.0.0.3, fd00::7", "192.0.2.1:0"),
        ("[fd00::1]:5000", "192.0.2.1", "192.0.2.1:0"),
        ("[::ffff:10.0.0.1]:5000", "192.0.2.1", "192.0.2.1:0"),
        ("10.0.0.1:5000", "192.0.2.66, 192.0.2.1, 10.0.0.3", "192.0.2.1:0"),
        ("10.0.0.1:5000", "192.0.2.66, 10.0.0.3, 192.0.2.1", "192.0.2.1:0"),
        ("10.0.0.1:5000", "10.0.0.9, 10.0.0.3", "10.0.0.9:0"),
        ("10.0.0.1:5000", "192.0.2.1, unknown, 10.0.0.3", "10.0.0.3:0"),
        // the peer itself is not trusted
        ("11.0.0.1:5000", "192.0.2.1", "11.0.0.1:5000"),
    ] {
        let answer = who_from(&server, Some(peer), &[("x-forwarded-for", list)]).await;
        assert!(answer.starts_with(&format!("{expected} ")), "{peer} {list}: {answer}");
    }
}

#[tokio::test]
async fn peer_without_an_address_is_believed_by_the_word_unix() {
    let headers = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")];
    for (proxies, expected) in [(&["unix"][..], "192.0.2.1:0 true wss:"), (&["0.0.0.0/0"], "nobody false ws:")] {
        let server = InMemory::new(container().trusted_proxies(proxies).build().unwrap());
        let answer = who_from(&server, None, &headers).await;
        assert!(answer.starts_with(expected), "{answer}");
    }
}

#[tokio::test]
async fn origin_is_compared_with_what_the_client_asked_for() {
    let server = TestServer::with(container().trusted_proxies(["127.0.0.1"]).allowed_hosts(["*"])).await;
    let proto = "X-Forwarded-Proto: https";
    for (headers, status) in [
        (&["Origin: https://chat.example", proto, "X-Forwarded-Host: chat.example"][..], "101"),
        (&["Origin: https://chat.example:8443", "X-Forwarded-Host: chat.example", "X-Forwarded-Port: 8443"], "101"),
        (&["Origin: https://chat.example:8443", "X-Forwarded-Host: chat.example:8443"], "101"),
        // the port of an inner proxy says nothing
        (&["Origin: https://chat.example", proto, "X-Forwarded-Host: chat.example", "X-Forwarded-Port: 80"], "101"),
        (&["Origin: https://chat.example:8443", "X-Forwarded-Host: chat.example"], "403"),
        (&["Origin: https://evil.example", "X-Forwarded-Host: chat.example"], "403"),
        // the page came without encryption, the client connects with it
        (&["Origin: http://chat.example", proto, "X-Forwarded-Host: chat.example"], "403"),
        // the proxy replaced the host, and does not tell
        (&["Origin: https://chat.example"], "403"),
    ] {
        let answer = who(&server, headers).await;
        assert_eq!(answer.starts_with("403"), status == "403", "{headers:?}: {answer}");
    }
    let replaced = who(&server, &["Origin: https://chat.example"]).await;
    assert!(replaced.contains("X-Forwarded-Host") && replaced.contains("trusted_proxies"), "{replaced}");
}

/// The answer to a request for a page.
async fn page(server: &TestServer, lines: &[&str]) -> Answer {
    server.request(&[&["GET /page HTTP/1.1"], lines].concat()).await.0
}

#[tokio::test]
async fn allowed_hosts_are_those_of_clients_and_a_script_cannot_invent_one() {
    let pages =
        service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("a page"))) });
    let settings = container().trusted_proxies(["127.0.0.1"]).allowed_hosts(["chat.example"]);
    let server = TestServer::serving(Server::with(settings).fallback(pages)).await;
    assert!(who(&server, &[]).await.starts_with("421"));
    assert!(who(&server, &["X-Forwarded-Host: evil.example"]).await.starts_with("421"));
    assert!(who(&server, &["X-Forwarded-Host: chat.example"]).await.contains("ws://chat.example/who"));
    // a page of a name that was made to resolve to this machine comes from 127.0.0.1 as well, and may set this header
    assert_eq!(page(&server, &["Host: evil.example", "X-Forwarded-Host: chat.example"]).await.status, 421);
    assert_eq!(page(&server, &["Host: chat.example"]).await.status, 200);
}

#[tokio::test]
async fn log_of_a_refusal_names_the_client() {
    let log = Log::capture_from(tracing::Level::INFO);
    let settings = container().trusted_proxies(["127.0.0.1"]).allowed_hosts(["chat.example"]);
    let server = TestServer::with(settings).await;
    assert!(who(&server, &["X-Forwarded-For: 192.0.2.7"]).await.starts_with("421"));
    let lines = log.lines("handshake refused");
    assert!(lines.len() == 1 && lines[0].contains("peer=192.0.2.7:0"), "{lines:?}");
    let pages =
        service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
    let settings = container().trusted_proxies(["127.0.0.1"]).allowed_hosts(["chat.example"]);
    let server = TestServer::serving(Server::with(settings).fallback(pages)).await;
    assert_eq!(page(&server, &["Host: evil.example", "X-Forwarded-For: 192.0.2.8"]).await.status, 421);
    assert!(log.lines("handshake refused")[1].contains("peer=192.0.2.8:0"));
}

#[tokio::test]
async fn upgrades_by_hand_and_adopted_sockets_believe_the_same_proxies() {
    let container = container().trusted_proxies(["127.0.0.1"]).build().unwrap();
    let by_hand = container.clone();
    let upgrade = move |request: axum::extract::Request| async move {
        by_hand.upgrade::<Who, _>(request, [("", ""); 0]).await.map(axum::body::Body::new)
    };
    let adopted = container.adopt::<Who>().unwrap();
    let adopt = move |head: http::request::Parts, upgrade: axum::extract::WebSocketUpgrade| async move {
        adopted.request(head).upgrade_axum(upgrade).await
    };
    let app = Router::new().route("/hand", axum::routing::any(upgrade)).route("/adopt", axum::routing::any(adopt));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    for path in ["/hand", "/adopt"] {
        let headers = ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: chat.example"];
        let mut client = Client::connect_with(addr, path, &headers).await;
        client.text("?").await;
        client.expect_text(&format!("192.0.2.1:0 true wss://chat.example{path} chat.example")).await;
    }
}

#[tokio::test]
async fn build_reports_every_proxy_that_is_none() {
    let error = container()
        .trusted_proxies(["10.0.0.0/33", "proxy.example"])
        .trusted_proxies(["10.0.0.1/8"])
        .ipv6_prefix(129)
        .max_sessions(0)
        .forwarded_headers(ForwardedHeaders::XForwarded)
        .forwarded_headers(ForwardedHeaders::Rfc7239)
        .build()
        .unwrap_err();
    assert!(error.is_deployment());
    let text = error.to_string();
    for part in [
        "\"10.0.0.0/33\" must have a number of bits from 0 to 32",
        "\"proxy.example\" must be an address",
        "write \"10.0.0.0/8\"",
        "`ipv6_prefix` is 129",
        "`max_sessions` is 0",
        "`forwarded_headers` is set twice",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let error = container().forwarded_headers(ForwardedHeaders::Rfc7239).build().unwrap_err();
    assert!(error.to_string().contains("no effect without `trusted_proxies`"), "{error}");
}
