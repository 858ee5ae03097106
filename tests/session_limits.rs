//! Caps of open sessions: of an endpoint and of a container, in all, of one address and of one user. Which handshakes count,
//! what is refused and how, and that every ending gives the place back.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::WebSocketUpgrade;
use axum::routing::any;
use endpoint_runtime::prelude::*;
use endpoint_runtime::test::TestServer as InMemory;
use endpoint_runtime::{
    ContainerBuilder, Endpoint, EndpointConfig, HandshakeHook, HandshakeResponse, Principal, ServerContainer, Shutdown,
};
use http::request::Parts;
use http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use support::{Answer, Client, Journal, TestServer, soon};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::Service;

/// Ends as it is told.
#[server_endpoint("/free")]
#[derive(Default)]
struct Free;

impl Free {
    #[on_message]
    async fn obey(&mut self, order: String, session: &Session) -> Result<(), CloseReason> {
        match order.as_str() {
            "panic" => panic!("as told"),
            "close" => session.close_with(CloseReason::from(CloseCode::NormalClosure)),
            "error" => return Err(CloseReason::from(CloseCode::ViolatedPolicy)),
            _ => session.async_remote().send_text(order).await.unwrap_or_default(),
        }
        Ok(())
    }
}

#[server_endpoint("/two", max_sessions = 2)]
#[derive(Default)]
struct Two;

#[server_endpoint("/per", max_sessions_per(address = 2, principal = 1))]
#[derive(Default)]
struct Per;

struct User(String);

impl Principal for User {
    fn name(&self) -> &str {
        &self.0
    }
}

/// Sets the user that the header names.
async fn login(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
    if let Some(user) = request.header("x-user") {
        response.set_principal(User(user.to_owned()));
    }
    Ok(())
}

fn container() -> ContainerBuilder {
    ServerContainer::builder().register::<Free>().register::<Two>().register::<Per>()
}

async fn attempt(addr: SocketAddr, path: &str, headers: &[&str]) -> (Answer, Client) {
    Client::try_connect(addr, path, headers).await
}

fn assert_refused(answer: &Answer, status: u16, option: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert!(answer.body.contains(option), "{}", answer.body);
}

/// Repeats a handshake until it is admitted.
async fn admitted(addr: SocketAddr, path: &str, headers: &[&str]) -> Client {
    soon(async {
        loop {
            let (answer, client) = attempt(addr, path, headers).await;
            if answer.status == 101 {
                return client;
            }
            assert!(matches!(answer.status, 429 | 503), "{answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test]
async fn total_of_an_endpoint_answers_503_with_retry_after() {
    let server = TestServer::with(container()).await;
    let first = server.connect("/two").await;
    let _second = server.connect("/two").await;
    assert_refused(&attempt(server.addr, "/two", &[]).await.0, 503, "raise max_sessions");
    // another endpoint counts apart
    let _free = server.connect("/free").await;
    drop(first);
    let _third = admitted(server.addr, "/two", &[]).await;
}

#[tokio::test]
async fn address_answers_429_and_ipv6_counts_by_network() {
    let settings = container().trusted_proxies(["127.0.0.1"]);
    let server = TestServer::with(settings).await;
    let from = |ip: &str| format!("X-Forwarded-For: {ip}");
    let mut open = Vec::new();
    for ip in ["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:1:ff::2"] {
        open.push(Client::connect_with(server.addr, "/per", &[&from(ip)]).await);
    }
    for ip in ["192.0.2.1", "192.0.2.2", "2001:db8:0:1::3", "[2001:db8:0:1:aa::1]:80"] {
        assert_refused(&attempt(server.addr, "/per", &[&from(ip)]).await.0, 429, "max_sessions_per(address");
    }
    for ip in ["192.0.2.3", "2001:db8:0:2::1"] {
        open.push(Client::connect_with(server.addr, "/per", &[&from(ip)]).await);
    }
}

#[tokio::test]
async fn prefix_of_ipv6_is_an_option() {
    let settings = container().trusted_proxies(["unix"]).max_sessions_per_address(1).ipv6_prefix(48);
    let server = InMemory::new(settings.build().unwrap());
    let from = |ip: &'static str| server.request("/free").header("x-forwarded-for", ip);
    let _first = from("2001:db8:1::1").connect().await;
    let refused = from("2001:db8:1:ffff::1").expect_refusal(429).await;
    assert_eq!(refused.headers()["retry-after"], "5");
    let _other = from("2001:db8:2::1").connect().await;
}

#[tokio::test]
async fn user_answers_429_and_the_anonymous_do_not_count() {
    let server = TestServer::with(container().handshake(login)).await;
    let ann = Client::connect_with(server.addr, "/per", &["X-User: ann"]).await;
    assert_refused(&attempt(server.addr, "/per", &["X-User: ann"]).await.0, 429, "max_sessions_per(principal");
    // the refused handshake holds no place of the address
    let _ben = Client::connect_with(server.addr, "/per", &["X-User: ben"]).await;
    assert_refused(&attempt(server.addr, "/per", &[]).await.0, 429, "max_sessions_per(address");
    drop(ann);
    let _again = admitted(server.addr, "/per", &["X-User: ann"]).await;

    let server = TestServer::with(container().handshake(login).max_sessions_per_principal(1)).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(server.connect("/free").await);
    }
    open.push(Client::connect_with(server.addr, "/free", &["X-User: ann"]).await);
    assert_refused(&attempt(server.addr, "/two", &["X-User: ann"]).await.0, 429, "max_sessions_per_principal");
}

struct Silent;

impl Endpoint for Silent {
    async fn on_open(&mut self, _: &Session) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::test]
async fn caps_of_the_container_count_over_all_endpoints() {
    let config = EndpointConfig::new("/silent", || Silent).max_sessions(2).max_sessions_per_address(1);
    let server = TestServer::with(container().add_endpoint_config(config).max_sessions(3)).await;
    let _one = server.connect("/silent").await;
    assert_refused(&attempt(server.addr, "/silent", &[]).await.0, 429, "max_sessions_per(address");
    let _two = server.connect("/two").await;
    let _three = server.connect("/free").await;
    for path in ["/free", "/two"] {
        assert_refused(&attempt(server.addr, path, &[]).await.0, 503, "3 sessions are open");
    }

    let server = TestServer::with(container().max_sessions_per_address(1)).await;
    let _one = server.connect("/two").await;
    assert_refused(&attempt(server.addr, "/free", &[]).await.0, 429, "max_sessions_per_address");
}

#[tokio::test]
async fn session_without_an_address_does_not_count_for_one() {
    let server = InMemory::new(container().build().unwrap());
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(server.connect("/per").await);
    }
    for port in [1, 2] {
        open.push(server.request("/per").peer_addr(([192, 0, 2, 1], port).into()).connect().await);
    }
    server.request("/per").peer_addr(([192, 0, 2, 1], 3).into()).expect_refusal(429).await;
}

#[tokio::test]
async fn no_hook_runs_and_nothing_is_made_beyond_a_cap() {
    struct Counts(Arc<AtomicUsize>);
    impl HandshakeHook for Counts {
        async fn handshake(&self, _: &HandshakeRequest, _: &mut HandshakeResponse) -> Result<(), Refusal> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }
    let (hooks, instances) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (hook, made) = (Counts(hooks.clone()), instances.clone());
    let settings = ServerContainer::builder().handshake(hook).endpoint_with(move |_| {
        made.fetch_add(1, Ordering::Relaxed);
        Ok(Two)
    });
    let server = TestServer::with(settings).await;
    let _open = [server.connect("/two").await, server.connect("/two").await];
    assert_eq!(attempt(server.addr, "/two", &[]).await.0.status, 503);
    assert_eq!((hooks.load(Ordering::Relaxed), instances.load(Ordering::Relaxed)), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_cap_is_exceeded_by_a_race_of_threads() {
    const THREADS: usize = 8;
    const EACH: usize = 40;
    const TOTAL: usize = 50;
    const OF_ANN: usize = 30;
    let settings = container().handshake(login).max_sessions(TOTAL).max_sessions_per_principal(OF_ANN);
    let server = TestServer::with(settings).await;
    let addr = server.addr;
    let racers: Vec<_> = (0..THREADS)
        .map(|thread| {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let user = if thread % 2 == 0 { "X-User: ann" } else { "X-Nobody: x" };
                let clients = runtime.block_on(async {
                    let mut clients = Vec::new();
                    for _ in 0..EACH {
                        let (answer, client) = attempt(addr, "/free", &[user]).await;
                        match answer.status {
                            101 => clients.push(client),
                            status => assert!(matches!(status, 429 | 503), "{answer:?}"),
                        }
                    }
                    clients
                });
                let count = clients.len();
                // the runtime lives as long as its sockets
                (runtime, clients, count, thread % 2 == 0)
            })
        })
        .collect();
    let racers: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    let count = |of_ann: bool| -> usize {
        racers.iter().filter(|(.., is_ann)| *is_ann == of_ann).map(|(_, _, count, _)| count).sum()
    };
    assert!(count(true) <= OF_ANN && count(true) > 0, "{}", count(true));
    assert!(count(true) + count(false) <= TOTAL, "{} {}", count(true), count(false));
    // a refused handshake of ann may have held a place for a moment; now nobody does, and the rest is free
    for _ in count(true) + count(false)..TOTAL {
        std::mem::forget(admitted(addr, "/free", &[]).await);
    }
    assert_eq!(server.container.sessions().len(), TOTAL);
    assert_eq!(attempt(addr, "/free", &[]).await.0.status, 503);
    // a runtime cannot be dropped in an asynchronous task
    std::thread::spawn(move || drop(racers)).join().unwrap();
    for _ in 0..10 {
        std::mem::forget(admitted(addr, "/free", &["X-User: ann"]).await);
    }
}

/// Opens the one session that may be open, ends it by `end`, and waits until its place is free. What `end` returns lives
/// until then.
async fn place_comes_back<T>(server: &TestServer, end: impl AsyncFnOnce(Client) -> T) {
    let client = admitted(server.addr, "/free", &[]).await;
    assert_eq!(attempt(server.addr, "/free", &[]).await.0.status, 503);
    let _kept = end(client).await;
    drop(admitted(server.addr, "/free", &[]).await);
}

/// Sends an order, and keeps the socket open without an answer to the close frame.
async fn ordered(mut client: Client, order: &str) -> Client {
    client.text(order).await;
    client
}

#[tokio::test]
async fn every_ending_of_a_session_gives_its_place_back() {
    let settings = container().max_sessions(1).close_timeout(Duration::from_millis(100));
    let server = TestServer::with(settings).await;
    place_comes_back(&server, async |mut client| client.close(1000, "").await).await;
    for order in ["close", "error", "panic"] {
        place_comes_back(&server, async |client| ordered(client, order).await).await;
    }
    // the peer is gone: its end, then a reset
    place_comes_back(&server, async |client| drop(client)).await;
    place_comes_back(&server, async |client| client.stream.set_zero_linger().unwrap()).await;
    // not a frame
    place_comes_back(&server, async |mut client| {
        client.send_raw(&[0xff; 8]).await;
        client
    })
    .await;
    place_comes_back(&server, async |client| {
        server.container.sessions().close_all(CloseCode::GoingAway.into());
        client
    })
    .await;
}

#[tokio::test]
async fn refused_handshake_holds_no_place() {
    let container = ServerContainer::builder().max_sessions(1);
    let settings = container.endpoint_with(|request| match request.query_string() {
        Some("refuse") => Err(Refusal::new(StatusCode::FORBIDDEN)),
        Some("panic") => panic!("as told"),
        _ => Ok(Free),
    });
    let server = TestServer::with(settings).await;
    for (path, headers, status) in [
        ("/free?refuse", &[][..], 403),
        ("/free?panic", &[], 500),
        ("/free", &["Origin: https://evil.example"], 403),
        ("/free", &["Content-Length: 1"], 400),
    ] {
        assert_eq!(attempt(server.addr, path, headers).await.0.status, status);
    }
    // a server that cannot upgrade
    let lines = ["connection", "upgrade", "sec-websocket-version", "sec-websocket-key", "host"];
    let values = ["Upgrade", "websocket", "13", "dGhlIHNhbXBsZSBub25jZQ==", "localhost"];
    let request =
        lines.iter().zip(values).fold(Request::get("/free"), |request, (name, value)| request.header(*name, value));
    let answer = server.container.clone().call(request.body(()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 500);
    let _open = server.connect("/free").await;
}

#[tokio::test]
async fn client_that_goes_before_the_answer_holds_no_place() {
    let (waiting, entered) = (Arc::new(Notify::new()), Journal::default());
    let server = TestServer::with(container().handshake(Waits(waiting, entered.clone())).max_sessions(1)).await;
    // while its hook waits, a handshake counts
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let head = "GET /free HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Wait: 1\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    entered.expect("waits").await;
    assert_eq!(attempt(server.addr, "/free", &[]).await.0.status, 503);
    // hyper drops the waiting handshake
    drop(stream);
    drop(admitted(server.addr, "/free", &[]).await);

    // gone once the answer is on its way
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.set_zero_linger().unwrap();
        let head = head.replace("X-Wait: 1\r\n", "");
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        drop(stream);
        drop(admitted(server.addr, "/free", &[]).await);
    }
}

/// A hook that waits for its gate if the request has the header.
struct Waits(Arc<Notify>, Journal);

impl HandshakeHook for Waits {
    async fn handshake(&self, request: &HandshakeRequest, _: &mut HandshakeResponse) -> Result<(), Refusal> {
        if request.header("x-wait").is_some() {
            self.1.note("waits");
            self.0.notified().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn failed_upgrade_gives_its_place_back() {
    let container = container().max_sessions(1).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let service = container.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            // without `with_upgrades`: the answer is 101, and then the upgrade fails
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    for _ in 0..3 {
        drop(admitted(addr, "/free", &[]).await);
    }
    assert!(container.sessions().is_empty());
}

#[tokio::test]
async fn shutdown_waits_for_counted_sessions() {
    let server = TestServer::with(container().max_sessions(5)).await;
    let mut open = [server.connect("/free").await, server.connect("/two").await];
    let (shutdown, ()) = tokio::join!(server.shutdown(), async {
        for client in &mut open {
            client.expect_close(1001).await;
            client.close(1001, "").await;
        }
    });
    let Shutdown { closed, cut, .. } = shutdown;
    assert_eq!((closed, cut), (2, 0));
}

#[tokio::test]
async fn upgrades_by_hand_and_adopted_sockets_count() {
    let container = container().build().unwrap();
    let by_hand = container.clone();
    let upgrade = move |request: axum::extract::Request| async move {
        by_hand.upgrade::<Two, _>(request, [("", ""); 0]).await.map(axum::body::Body::new)
    };
    let adopted = container.adopt::<Two>().unwrap();
    let opened = adopted.clone();
    let adopt =
        move |head: Parts, upgrade: WebSocketUpgrade| async move { adopted.request(head).upgrade_axum(upgrade).await };
    let open_first = move |head: Parts, upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(|socket| async move {
            let _ = opened.request(head).serve_axum(socket).await;
        })
    };
    let app = Router::new()
        .route("/hand", any(upgrade))
        .route("/adopt", any(adopt))
        .route("/open-first", any(open_first))
        .fallback_service(container);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let hand = Client::connect(addr, "/hand").await;
    let adopted = Client::connect(addr, "/adopt").await;
    for path in ["/hand", "/adopt", "/two"] {
        assert_refused(&attempt(addr, path, &[]).await.0, 503, "raise max_sessions");
    }
    // the answer was 101 already
    let mut late = Client::connect(addr, "/open-first").await;
    late.expect_close(1013).await;
    for open in [hand, adopted] {
        drop(open);
        drop(admitted(addr, "/adopt", &[]).await);
        drop(admitted(addr, "/hand", &[]).await);
    }
}

#[tokio::test]
async fn endpoint_that_admits_nobody_is_a_mistake() {
    let config = EndpointConfig::new("/silent", || Silent).max_sessions_per_principal(0);
    let error = ServerContainer::builder().add_endpoint_config(config).max_sessions_per_address(0).build().unwrap_err();
    for part in ["`max_sessions_per(principal)` is 0", "`max_sessions_per_address` is 0"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}
