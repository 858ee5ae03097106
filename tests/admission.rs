//! What a server asks of a request before an endpoint sees it: how large its head is, and which host it is for.

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::any;
use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Server, ServerContainer};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use support::{Answer, Client, TestServer, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::service_fn;

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn message(&self, text: String) -> String {
        text
    }
}

const OPENING: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// The lines of an opening request, with further ones.
fn opening(host: &str, more: &[String]) -> Vec<String> {
    let mut lines = vec!["GET /echo HTTP/1.1".to_owned(), format!("Host: {host}")];
    lines.extend(OPENING.map(str::to_owned));
    lines.extend_from_slice(more);
    lines
}

async fn ask(addr: SocketAddr, lines: &[String]) -> (Answer, Client) {
    Client::request(addr, &lines.iter().map(String::as_str).collect::<Vec<_>>(), b"").await
}

// ---- the size of a head ----

/// The bytes of a head with these lines.
fn size(lines: &[String]) -> usize {
    lines.iter().map(|line| line.len() + 2).sum::<usize>() + 2
}

/// An opening request whose head has this many bytes.
fn sized(bytes: usize) -> Vec<String> {
    let mut lines = opening("localhost", &["X-Filler: ".to_owned()]);
    let filler = "x".repeat(bytes - size(&lines));
    lines.last_mut().unwrap().push_str(&filler);
    assert_eq!(size(&lines), bytes);
    lines
}

/// An opening request with this many headers.
fn numbered(headers: usize) -> Vec<String> {
    let more = (OPENING.len() + 1..headers).map(|number| format!("X-{number}: x"));
    let lines = opening("localhost", &more.collect::<Vec<_>>());
    assert_eq!(lines.len(), headers + 1);
    lines
}

#[tokio::test]
async fn head_of_16_kib_and_64_headers_is_the_most_by_default() {
    let server = TestServer::of::<Echo>().await;
    for lines in [sized(16 << 10), numbered(64)] {
        let (answer, mut client) = ask(server.addr, &lines).await;
        assert_eq!(answer.status, 101, "{}", answer.body);
        client.text("x").await;
        client.expect_text("x").await;
    }
    for (lines, sentence) in [
        (sized((16 << 10) + 1), "16384 bytes: to accept more, raise max_request_head"),
        (sized(20_000), "16384 bytes: to accept more, raise max_request_head"),
        (sized(30_000), "16384 bytes: to accept more, raise max_request_head"),
        (numbered(65), "64 headers: to accept more, raise max_request_headers"),
        (numbered(100), "64 headers: to accept more, raise max_request_headers"),
    ] {
        let (answer, _) = ask(server.addr, &lines).await;
        assert_eq!(answer.status, 431);
        assert!(answer.body.contains(sentence), "{}", answer.body);
    }
    // far beyond, without a sentence
    for lines in [sized(40_000), sized(400_000), numbered(200)] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        // the server may hang up in the middle
        let _ = soon(stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes())).await;
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn limits_of_a_head_are_options() {
    let small = TestServer::with(ServerContainer::builder().register::<Echo>().max_request_head(1000)).await;
    let few = TestServer::with(ServerContainer::builder().register::<Echo>().max_request_headers(8)).await;
    let large = Server::with(ServerContainer::builder().register::<Echo>());
    let large = TestServer::serving(large.max_request_head(1 << 20).max_request_headers(1000)).await;
    for (server, lines, status, sentence) in [
        (&small, sized(1000), 101, ""),
        (&small, sized(1001), 431, "1000 bytes"),
        // hyper reads it whole
        (&small, sized(9000), 431, "1000 bytes"),
        (&few, numbered(8), 101, ""),
        (&few, numbered(9), 431, "8 headers"),
        (&few, numbered(100), 431, "8 headers"),
        (&large, sized(1 << 20), 101, ""),
        (&large, sized((1 << 20) + 1), 431, "1048576 bytes"),
        (&large, numbered(1000), 101, ""),
        (&large, numbered(1001), 431, "1000 headers"),
    ] {
        let (answer, _) = ask(server.addr, &lines).await;
        assert_eq!(answer.status, status);
        assert!(answer.body.contains(sentence), "{}", answer.body);
    }
}

#[tokio::test]
async fn limits_of_a_head_hold_for_the_fallback_too() {
    let pages =
        service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("a page"))) });
    let server = Server::with(ServerContainer::builder().register::<Echo>()).fallback(pages);
    let server = TestServer::serving(server).await;
    for (mut lines, status, body) in [
        (sized(16 << 10), 200, "a page"),
        (sized(20_000), 431, "max_request_head"),
        (numbered(64), 200, "a page"),
        (numbered(65), 431, "max_request_headers"),
    ] {
        // as long as the path of the endpoint
        "GET /page HTTP/1.1".clone_into(&mut lines[0]);
        let (answer, _) = ask(server.addr, &lines).await;
        assert_eq!(answer.status, status);
        assert!(answer.body.contains(body), "{}", answer.body);
    }
}

#[tokio::test]
async fn container_behind_a_foreign_server_refuses_large_heads_itself() {
    let container = ServerContainer::builder().register::<Echo>().build().unwrap();
    let by_hand = container.clone();
    let upgrade = move |request: axum::extract::Request| async move {
        by_hand.upgrade::<Echo, _>(request, [("", ""); 0]).await.map(axum::body::Body::new)
    };
    let inside = Router::new().route("/page", any(|| async { "a page" })).layer(container.layer());
    for app in [Router::new().fallback_service(container.clone()), inside, Router::new().route("/echo", any(upgrade))] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        for (lines, status, sentence) in [
            (sized(16 << 10), 101, ""),
            (sized((16 << 10) + 1), 431, "16384 bytes"),
            (sized(300_000), 431, "16384 bytes"),
            (numbered(64), 101, ""),
            (numbered(65), 431, "64 headers"),
        ] {
            let (answer, _) = ask(addr, &lines).await;
            assert_eq!(answer.status, status);
            assert!(answer.body.contains(sentence), "{}", answer.body);
        }
    }
}

// ---- the host ----

/// Serves `container` and a page at a port of this address; the port.
async fn bound_to(addr: &str, container: ContainerBuilder) -> u16 {
    let pages =
        service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("a page"))) });
    let server = Server::with(container).fallback(pages).bind((addr, 0)).await.unwrap();
    let port = server.local_addr().unwrap().port();
    tokio::spawn(server.run());
    port
}

fn container() -> ContainerBuilder {
    ServerContainer::builder().register::<Echo>()
}

/// The statuses of a handshake, of one from a page of that host, and of a page.
async fn statuses(port: u16, host: &str) -> [u16; 3] {
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let origin = [format!("Origin: http://{host}")];
    let page = ["GET /page HTTP/1.1".to_owned(), format!("Host: {host}")];
    let mut statuses = [0; 3];
    for (status, lines) in statuses.iter_mut().zip([&opening(host, &[])[..], &opening(host, &origin), &page]) {
        let (answer, _) = ask(addr, lines).await;
        *status = answer.status;
        if answer.status == 421 {
            for part in [format!("\"{host}\""), format!("allowed_hosts([\"{host}\"])")] {
                assert!(answer.body.contains(&part), "{}", answer.body);
            }
        }
    }
    statuses
}

const ADMITTED: [u16; 3] = [101, 101, 200];
const REFUSED: [u16; 3] = [421, 421, 421];

#[tokio::test]
async fn server_on_loopback_admits_addresses_and_localhost_alone() {
    for bound in ["127.0.0.1", "::ffff:127.0.0.1"] {
        let port = bound_to(bound, container()).await;
        for host in ["127.0.0.1", "[::1]", "localhost", "LOCALHOST", "app.localhost", "10.0.0.1"] {
            assert_eq!(statuses(port, &format!("{host}:{port}")).await, ADMITTED, "{host}");
            assert_eq!(statuses(port, host).await, ADMITTED, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost", "a"] {
            assert_eq!(statuses(port, &format!("{host}:{port}")).await, REFUSED, "{host}");
        }
    }
}

#[tokio::test]
async fn server_on_every_address_admits_every_host() {
    for bound in ["0.0.0.0", "::"] {
        let port = bound_to(bound, container()).await;
        for host in ["evil.example", "localhost", "127.0.0.1"] {
            assert_eq!(statuses(port, host).await, ADMITTED, "{host}");
        }
    }
}

#[tokio::test]
async fn allowed_hosts_are_admitted_and_no_others() {
    let list = ["example.org", "*.wild.org", "port.org:8443", "127.0.0.1"];
    for bound in ["127.0.0.1", "0.0.0.0"] {
        let port = bound_to(bound, container().allowed_hosts(list)).await;
        for host in ["example.org", "Example.org:1", "a.wild.org", "port.org:8443", "127.0.0.1:1"] {
            assert_eq!(statuses(port, host).await, ADMITTED, "{host}");
        }
        for host in ["localhost", "wild.org", "port.org:8444", "evil.example", "[::1]"] {
            assert_eq!(statuses(port, host).await, REFUSED, "{host}");
        }
        let any = bound_to(bound, container().allowed_hosts(["*"])).await;
        assert_eq!(statuses(any, "evil.example").await, ADMITTED);
    }
    // origins are another question
    let port = bound_to("127.0.0.1", container().origins(Origins::any())).await;
    assert_eq!(statuses(port, "evil.example").await, REFUSED);
    let error = container().allowed_hosts(["https://a.org", "b.org/"]).build().unwrap_err();
    assert!(
        error.is_deployment() && ["https://a.org", "b.org/"].iter().all(|it| error.to_string().contains(it)),
        "{error}"
    );
}

#[tokio::test]
async fn host_that_is_missing_repeated_or_malformed_is_refused_with_400() {
    let port = bound_to("127.0.0.1", container().allowed_hosts(["a.org"])).await;
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    for path in ["/echo", "/page"] {
        for hosts in [&[][..], &["Host: a.org", "Host: a.org"], &["Host: a b"], &["Host: a.org:x"], &["Host: u@a.org"]]
        {
            let mut lines = opening("a.org", &[]);
            lines.splice(
                0..2,
                [format!("GET {path} HTTP/1.1")].into_iter().chain(hosts.iter().map(|it| (*it).to_owned())),
            );
            assert_eq!(ask(addr, &lines).await.0.status, 400, "{path} {hosts:?}");
        }
        // the host of the target counts
        let lines = |target| {
            let mut lines = opening("a.org", &[]);
            lines[0] = format!("GET http://{target}{path} HTTP/1.1");
            lines
        };
        assert_eq!(ask(addr, &lines("evil.example")).await.0.status, 421);
        assert!(ask(addr, &lines("a.org")).await.0.status < 400);
    }
}

#[tokio::test]
async fn container_without_a_listener_admits_every_host_unless_it_has_a_list() {
    let router = |container: ContainerBuilder| Router::new().fallback_service(container.build().unwrap());
    for (app, status) in [(router(container()), 101), (router(container().allowed_hosts(["a.org"])), 421)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        assert_eq!(ask(addr, &opening("b.org", &[])).await.0.status, status);
    }
    let server = endpoint_runtime::test::TestServer::new(container().build().unwrap());
    let _client = server.request("/echo").header("host", "b.org").connect().await;
    let server = endpoint_runtime::test::TestServer::new(container().allowed_hosts(["a.org"]).build().unwrap());
    server.request("/echo").header("host", "b.org").expect_refusal(421).await;
}

#[tokio::test]
async fn refusal_of_an_origin_names_a_proxy_that_replaces_the_host() {
    let port = bound_to("0.0.0.0", container()).await;
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    for (origin, host, named) in [
        // nginx without `proxy_set_header`, with an upstream, and with `$host`
        ("https://example.org", "127.0.0.1:8080", true),
        ("https://example.org", "backend", true),
        ("https://example.org:8443", "example.org", true),
        ("https://evil.example", "example.org", false),
    ] {
        let (answer, _) = ask(addr, &opening(host, &[format!("Origin: {origin}")])).await;
        assert_eq!(answer.status, 403);
        assert_eq!(answer.body.contains("proxy_set_header Host $http_host"), named, "{}", answer.body);
    }
    let (answer, _) = ask(addr, &opening(&"a".repeat(4000), &[format!("Origin: http://{}", "b".repeat(4000))])).await;
    assert!(answer.status == 403 && answer.body.len() < 1000, "{}", answer.body);
}
