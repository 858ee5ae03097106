//! A container behind other people's HTTP servers, and other people's services behind ours.

mod support;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use endpoint_runtime::prelude::*;
use futures_util::{SinkExt, StreamExt};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use support::{Answer, Client, PING, PONG, TestServer, soon};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite;
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

#[server_endpoint("/ws")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    async fn text(&self, message: String, session: &Session) -> String {
        match message.as_str() {
            "peer?" => format!("{:?}", session.peer_addr()),
            "local?" => format!("{:?}", session.local_addr()),
            "uri?" => session.uri().to_owned(),
            _ => message,
        }
    }
}

#[server_endpoint("/ws")]
#[derive(Default)]
struct Upper;

impl Upper {
    #[on_message]
    fn text(&self, message: &str, session: &Session) -> String {
        format!("{} of {}", message.to_uppercase(), session.open_sessions().len())
    }
}

fn container() -> ServerContainer {
    ServerContainer::builder().register::<Echo>().build().unwrap()
}

fn router() -> Router {
    Router::new().route("/api/time", get(|| async { Json([("seconds", 1)]) }))
}

/// Serves with axum's own server.
async fn axum(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    addr
}

async fn ask(addr: SocketAddr, path: &str) -> Answer {
    let (get, host) = (format!("GET {path} HTTP/1.1"), format!("Host: {addr}"));
    Client::request(addr, &[&get, &host], b"").await.0
}

async fn echoes(client: &mut Client) {
    for message in ["one", "two", &"three".repeat(10_000)] {
        client.text(message).await;
        client.expect_text(message).await;
    }
    client.send(0x80 | PING, "?").await;
    assert_eq!(client.expect(PONG).await, b"?");
    client.close(4000, "").await;
    client.expect_close(4000).await;
    client.expect_end().await;
}

// ---- behind axum ----

#[tokio::test]
async fn axum_answers_its_routes_and_the_container_the_rest() {
    let addr = axum(router().fallback_service(container())).await;
    let answer = ask(addr, "/api/time").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"[["seconds",1]]"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    echoes(&mut Client::connect(addr, "/ws").await).await;
}

#[tokio::test]
async fn axum_with_the_container_as_fallback_has_no_other_path() {
    let addr = axum(router().fallback_service(container())).await;
    for path in ["/", "/ws/", "/ws/more", "/api", "/wss"] {
        assert_eq!(ask(addr, path).await.status, 404, "{path}");
        let (answer, _client) = Client::try_connect(addr, path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[tokio::test]
async fn plain_request_to_an_endpoint_behind_axum_gets_426() {
    let addr = axum(router().fallback_service(container())).await;
    assert_eq!(ask(addr, "/ws").await.status, 426);
}

#[tokio::test]
async fn addresses_and_uri_are_available_behind_axum() {
    let addr = axum(router().fallback_service(container())).await;
    let mut client = Client::connect(addr, "/ws?x=1").await;
    client.text("peer?").await;
    client.expect_text(&format!("Some({})", client.stream.local_addr().unwrap())).await;
    client.text("local?").await;
    client.expect_text(&format!("Some({addr})")).await;
    client.text("uri?").await;
    client.expect_text(&format!("ws://{addr}/ws?x=1")).await;
}

#[tokio::test]
async fn frames_in_the_segment_of_the_handshake_are_not_lost_behind_axum() {
    let addr = axum(router().fallback_service(container())).await;
    let lines = [
        "GET /ws HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let (answer, mut client) = Client::request(addr, &lines, &support::frame(0x81, b"early")).await;
    assert_eq!(answer.status, 101);
    client.expect_text("early").await;
}

#[tokio::test]
async fn container_as_a_route_of_axum() {
    let addr = axum(router().route_service("/ws", container())).await;
    echoes(&mut Client::connect(addr, "/ws").await).await;
    assert_eq!(ask(addr, "/elsewhere").await.status, 404);
}

#[tokio::test]
async fn container_behind_the_layers_of_tower_http() {
    let app = router().fallback_service(container()).layer(
        ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(CorsLayer::permissive())
            .layer(CompressionLayer::new())
            .layer(TimeoutLayer::with_status_code(http::StatusCode::REQUEST_TIMEOUT, Duration::from_millis(200))),
    );
    let addr = axum(app).await;
    let (answer, mut client) = Client::try_connect(addr, "/ws", &["Accept-Encoding: gzip"]).await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("content-encoding"), None);
    // the time limit is for the handshake, and no longer counts
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..5 {
        tick.tick().await;
        client.text("still here").await;
        client.expect_text("still here").await;
    }
    echoes(&mut client).await;
    assert_eq!(ask(addr, "/api/time").await.status, 200);
}

#[tokio::test]
async fn http_compression_applies_to_responses_and_not_to_sessions() {
    let app = router()
        .route("/long", get(|| async { "long ".repeat(1000) }))
        .fallback_service(container())
        .layer(CompressionLayer::new());
    let addr = axum(app).await;
    let host = format!("Host: {addr}");
    let (answer, _) = Client::request(addr, &["GET /long HTTP/1.1", &host, "Accept-Encoding: gzip"], b"").await;
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
    let (answer, mut client) = Client::try_connect(addr, "/ws", &["Accept-Encoding: gzip"]).await;
    assert_eq!((answer.status, answer.header("content-encoding")), (101, None));
    echoes(&mut client).await;
}

// ---- as a layer ----

#[tokio::test]
async fn layer_takes_endpoints_and_passes_the_rest_through() {
    let app = router().fallback(|| async { "ours" }).layer(container().layer());
    let addr = axum(app).await;
    assert_eq!(ask(addr, "/api/time").await.body, r#"[["seconds",1]]"#);
    for path in ["/", "/ws/", "/ws/more", "/elsewhere"] {
        let answer = ask(addr, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ours"), "{path}");
        // a handshake for nobody is no affair of the layer either
        assert_eq!(Client::try_connect(addr, path, &[]).await.0.status, 200, "{path}");
    }
    // what is for an endpoint and is no handshake is told so, as by the container itself
    assert_eq!(ask(addr, "/ws").await.status, 426);
    let mut client = Client::connect(addr, "/ws").await;
    client.text("peer?").await;
    client.expect_text(&format!("Some({})", client.stream.local_addr().unwrap())).await;
    echoes(&mut client).await;
}

#[tokio::test]
async fn layers_of_two_containers_pass_through_each_other() {
    let below = |context| ServerContainer::builder().context_path(context);
    let (first, second) =
        (below("/a").register::<Echo>().build().unwrap(), below("/b").register::<Upper>().build().unwrap());
    let addr = axum(router().layer(first.layer()).layer(second.layer())).await;
    let (mut echo, mut shout) = (Client::connect(addr, "/a/ws").await, Client::connect(addr, "/b/ws").await);
    echo.text("hello").await;
    echo.expect_text("hello").await;
    shout.text("hello").await;
    shout.expect_text("HELLO of 1").await;
    assert_eq!(ask(addr, "/ws").await.status, 404);
    assert_eq!(ask(addr, "/api/time").await.status, 200);
}

#[tokio::test]
async fn layer_passes_the_body_of_a_request() {
    let shout = axum::routing::post(|body: String| async move { body.to_uppercase() });
    let addr = axum(Router::new().route("/shout", shout).layer(container().layer())).await;
    let host = format!("Host: {addr}");
    let (answer, _) = Client::request(addr, &["POST /shout HTTP/1.1", &host, "Content-Length: 5"], b"hello").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "HELLO"));
}

#[tokio::test]
async fn layer_in_a_stack_of_tower_behind_hyper() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let inner = tower::service_fn(|_: http::Request<hyper::body::Incoming>| async {
        tokio::task::yield_now().await;
        Ok::<_, std::convert::Infallible>(http::Response::new("inner".to_owned()))
    });
    let timeout = TimeoutLayer::with_status_code(http::StatusCode::REQUEST_TIMEOUT, Duration::from_secs(5));
    let stack = ServiceBuilder::new().layer(CorsLayer::permissive()).layer(container().layer()).layer(timeout);
    let service = TowerToHyperService::new(stack.service(inner));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(connection.with_upgrades());
        }
    });
    let answer = ask(addr, "/elsewhere").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "inner"));
    let (answer, mut client) = Client::try_connect(addr, "/ws", &[]).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (101, Some("*")));
    echoes(&mut client).await;
}

#[tokio::test]
async fn shutdown_of_a_layer_refuses_handshakes_and_passes_the_rest() {
    let container = container();
    let addr = axum(router().layer(container.layer())).await;
    let mut client = Client::connect(addr, "/ws").await;
    client.text("served").await;
    client.expect_text("served").await;
    let shutdown = tokio::spawn(async move { container.shutdown(Duration::from_secs(5)).await });
    client.expect_close(1001).await;
    client.close(1001, "").await;
    client.expect_end().await;
    assert_eq!(soon(shutdown).await.unwrap().closed, 1);
    assert_eq!(Client::try_connect(addr, "/ws", &[]).await.0.status, 503);
    assert_eq!(ask(addr, "/api/time").await.status, 200);
}

/// A service of gRPC has another body than axum, and answers what it does not know itself: with 200, and a status in a
/// header.
#[tokio::test]
async fn layer_around_the_routes_of_tonic() {
    let grpc = tonic::service::Routes::default();
    let stack = ServiceBuilder::new().layer(container().layer()).service(grpc);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let service = TowerToHyperService::new(stack);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await
            });
        }
    });
    let host = format!("Host: {addr}");
    let lines = ["POST /greet.Greeter/Hello HTTP/1.1", &host, "Content-Type: application/grpc"];
    let (answer, _) = Client::request(addr, &lines, b"").await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("12")));
    let mut client = Client::connect(addr, "/ws").await;
    client.text("peer?").await;
    client.expect_text(&format!("Some({})", client.stream.local_addr().unwrap())).await;
    echoes(&mut client).await;
}

// ---- behind axum, at the end ----

#[tokio::test]
async fn container_shutdown_ends_sessions_behind_axum() {
    let container = container();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, own) = (listener.local_addr().unwrap(), container.clone());
    let served = axum::serve(listener, router().fallback_service(container)).with_graceful_shutdown(async move {
        stopped.await.unwrap();
        let shutdown = own.shutdown(Duration::from_secs(5)).await;
        assert_eq!((shutdown.closed, shutdown.cut), (2, 0));
    });
    let served = tokio::spawn(served.into_future());
    let mut clients = [Client::connect(addr, "/ws").await, Client::connect(addr, "/ws").await];
    for client in &mut clients {
        client.text("served").await;
        client.expect_text("served").await;
    }
    stop.send(()).unwrap();
    for client in &mut clients {
        client.expect_close(1001).await;
        client.close(1001, "").await;
        client.expect_end().await;
    }
    soon(served).await.unwrap().unwrap();
}

// ---- behind hyper ----

#[tokio::test]
async fn container_behind_a_manual_hyper_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let service = TowerToHyperService::new(container());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(connection.with_upgrades());
        }
    });
    let mut client = Client::connect(addr, "/ws").await;
    client.text("peer?").await;
    client.expect_text(&format!("Some({})", client.stream.local_addr().unwrap())).await;
    echoes(&mut client).await;
    assert_eq!(ask(addr, "/elsewhere").await.status, 404);
}

#[tokio::test]
async fn hyper_server_without_upgrades_gets_a_response() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let container = container();
    let own = container.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // forgets `with_upgrades`
        http1::Builder::new().serve_connection(TokioIo::new(stream), TowerToHyperService::new(own)).await
    });
    let (answer, mut client) = Client::try_connect(addr, "/ws", &[]).await;
    assert_eq!(answer.status, 101);
    client.expect_end().await;
    assert!(container.sessions().is_empty());
    // nothing is left that a shutdown would wait for
    assert_eq!(container.shutdown(Duration::from_secs(5)).await.cut, 0);
}

#[tokio::test]
async fn connection_in_memory_has_no_addresses_and_serves() {
    let (ours, theirs) = tokio::io::duplex(1_000);
    let connection =
        http1::Builder::new().serve_connection(TokioIo::new(theirs), TowerToHyperService::new(container()));
    tokio::spawn(connection.with_upgrades());
    let (mut client, _) = soon(tokio_tungstenite::client_async("ws://in.memory/ws", ours)).await.unwrap();
    // the last is larger than what the connection holds
    for (input, expected) in [
        ("peer?", "None"),
        ("local?", "None"),
        ("uri?", "ws://in.memory/ws"),
        ("x".repeat(100_000).as_str(), "x".repeat(100_000).as_str()),
    ] {
        let (mut sink, mut stream) = (&mut client).split();
        let (sent, received) = tokio::join!(soon(sink.send(tungstenite::Message::text(input))), soon(stream.next()));
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap().into_text().unwrap().as_str(), expected);
    }
}

// ---- several of them, and the other way round ----

#[tokio::test]
async fn two_containers_in_one_process_are_independent() {
    let upper = ServerContainer::builder().register::<Upper>().build().unwrap();
    let (first, second) =
        (axum(router().fallback_service(container())).await, axum(router().fallback_service(upper.clone())).await);
    let (mut echo, mut shout) = (Client::connect(first, "/ws").await, Client::connect(second, "/ws").await);
    echo.text("hello").await;
    echo.expect_text("hello").await;
    shout.text("hello").await;
    shout.expect_text("HELLO of 1").await;
    upper.shutdown(Duration::ZERO).await;
    let (answer, _client) = Client::try_connect(second, "/ws", &[]).await;
    assert_eq!(answer.status, 503);
    echo.text("still here").await;
    echo.expect_text("still here").await;
}

#[tokio::test]
async fn servers_of_one_process_split_discovered_endpoints_by_filters() {
    // both are found, and have the same path
    assert!(ServerContainer::builder().discover().build().is_err());
    let only = |name: &'static str| {
        Server::with(ServerContainer::builder().discover().only(move |endpoint| endpoint.name.ends_with(name)))
    };
    let (first, second) = (TestServer::serving(only("Echo")).await, TestServer::serving(only("Upper")).await);
    let (mut echo, mut shout) = (first.connect("/ws").await, second.connect("/ws").await);
    for (client, expected) in [(&mut echo, "hello"), (&mut shout, "HELLO of 1")] {
        client.text("hello").await;
        client.expect_text(expected).await;
    }
    let ended = tokio::spawn(second.shutdown());
    shout.expect_close(1001).await;
    shout.close(1001, "").await;
    shout.expect_end().await;
    assert_eq!(soon(ended).await.unwrap().closed, 1);
    echo.text("still here").await;
    echo.expect_text("still here").await;
}

#[tokio::test]
async fn same_endpoint_in_two_containers_has_two_sets_of_sessions() {
    let servers = [TestServer::of::<Upper>().await, TestServer::of::<Upper>().await];
    for server in &servers {
        let mut client = server.connect("/ws").await;
        client.text("x").await;
        client.expect_text("X of 1").await;
    }
}

#[tokio::test]
async fn two_containers_under_one_router() {
    let below = |context| ServerContainer::builder().context_path(context);
    let app = router()
        .route_service("/a/{*rest}", below("/a").register::<Echo>().build().unwrap())
        .route_service("/b/{*rest}", below("/b").register::<Upper>().build().unwrap());
    let addr = axum(app).await;
    let (mut echo, mut shout) = (Client::connect(addr, "/a/ws").await, Client::connect(addr, "/b/ws").await);
    echo.text("hello").await;
    echo.expect_text("hello").await;
    shout.text("hello").await;
    shout.expect_text("HELLO of 1").await;
}

/// Serves with our server, with `fallback` behind it.
async fn ours(fallback: Router) -> SocketAddr {
    let server = Server::with(ServerContainer::builder().register::<Echo>()).fallback(fallback);
    let server = server.quiet().bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    tokio::spawn(server.run());
    addr
}

#[tokio::test]
async fn server_takes_a_router_of_axum_for_everything_else() {
    let addr = ours(router()).await;
    let answer = ask(addr, "/api/time").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"[["seconds",1]]"#));
    assert_eq!(ask(addr, "/elsewhere").await.status, 404);
    echoes(&mut Client::connect(addr, "/ws").await).await;
}

#[tokio::test]
async fn fallback_reads_the_body_of_a_request() {
    let addr =
        ours(Router::new().route("/shout", axum::routing::post(|body: String| async move { body.to_uppercase() })))
            .await;
    let host = format!("Host: {addr}");
    let (answer, _) = Client::request(addr, &["POST /shout HTTP/1.1", &host, "Content-Length: 5"], b"hello").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "HELLO"));
}

#[tokio::test]
async fn connection_is_kept_for_several_requests_and_a_handshake() {
    let addr = ours(router()).await;
    let host = format!("Host: {addr}");
    let (answer, mut client) = Client::request(addr, &["GET /api/time HTTP/1.1", &host], b"").await;
    assert_eq!(answer.status, 200);
    for _ in 0..3 {
        client.send_raw(format!("GET /api/time HTTP/1.1\r\n{host}\r\n\r\n").as_bytes()).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    client.send_raw(format!("GET /ws HTTP/1.1\r\n{host}\r\n{upgrade}\r\n{key}\r\n\r\n").as_bytes()).await;
    assert_eq!(client.answer().await.status, 101);
    echoes(&mut client).await;
}
