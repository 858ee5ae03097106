//! Requests that another library answers, axum in a handler or tokio-tungstenite in its callback: they are checked
//! before the response, and refused with the status of a mounted endpoint.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::MockConnectInfo;
use axum::extract::{ConnectInfo, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use endpoint_runtime::prelude::*;
use endpoint_runtime::{Configurator, ContainerBuilder, ExternalSocket, HandshakeResponse, Identity, Principal};
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use support::{Client, Log, TestServer, soon};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::handshake::server::ErrorResponse;

#[server_endpoint("/chat/{room}", subprotocols("chat.v2", "chat.v1"), configurator = Door)]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open]
    fn enter(&self, session: &Session, #[path_param] room: u32, #[query_param] age: Option<u8>) {
        session.join(format!("{room} {age:?}"));
    }

    #[on_message]
    fn ask(&self, question: &str, session: &Session) -> String {
        match question {
            "subprotocol?" => format!("{:?}", session.subprotocol()),
            "peer?" => format!("{:?}", session.peer_addr()),
            "property?" => format!("{:?}", session.properties().get::<u8>()),
            "room?" => session.rooms().join(","),
            other => other.to_owned(),
        }
    }
}

#[derive(Default)]
struct Door;

impl Configurator<Chat> for Door {
    async fn modify_handshake(
        &self,
        request: &HandshakeRequest,
        response: &mut HandshakeResponse,
    ) -> Result<(), Refusal> {
        tokio::task::yield_now().await;
        if request.query_param("door").is_some() {
            let header = (http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Err(Refusal::new(StatusCode::PAYMENT_REQUIRED).with_header(header.0, header.1).with_body("pay"));
        }
        response.properties().insert(42u8);
        response.headers_mut().insert("x-door", HeaderValue::from_static("open"));
        Ok(())
    }
}

#[server_endpoint("/members", roles("member"))]
#[derive(Default)]
struct Members;

impl Members {
    #[on_message]
    fn ask(&self, _: &str, session: &Session) -> String {
        format!("{:?}", session.subprotocol())
    }
}

struct User;

impl Principal for User {
    fn name(&self) -> &str {
        "ann"
    }

    fn has_role(&self, role: &str) -> bool {
        role == "member"
    }
}

/// A handler that answers with `upgrade_axum`.
fn handler(adopted: ExternalSocket) -> axum::routing::MethodRouter {
    any(move |mut parts: Parts, upgrade: WebSocketUpgrade| async move {
        if parts.headers.contains_key("x-member") {
            parts.extensions.insert(Identity::new(User));
        }
        let room = parts.uri.path().rsplit('/').next().unwrap().to_owned();
        adopted.request(parts).path_params([("room", room)]).upgrade_axum(upgrade.protocols(["axum.v1"])).await
    })
}

fn router(container: &ServerContainer) -> Router {
    Router::new()
        .route("/chat/{room}", handler(container.adopt::<Chat>().unwrap()))
        .route("/members", handler(container.adopt::<Members>().unwrap()))
}

async fn serve(app: Router, with_addresses: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        if with_addresses {
            axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
        } else {
            axum::serve(listener, app).await
        }
    });
    addr
}

fn builder() -> ContainerBuilder {
    ServerContainer::builder()
}

async fn asked(client: &mut Client, question: &str, answer: &str) {
    client.text(question).await;
    client.expect_text(answer).await;
}

// ---- refused before the 101, as where it is mounted ----

#[tokio::test]
async fn refusals_are_those_of_a_mounted_endpoint() {
    let settings = || builder().allowed_hosts(["127.0.0.1"]).max_request_head(2000).max_request_headers(12);
    let container = settings().build().unwrap();
    let adopted = serve(router(&container), true).await;
    let mounted = TestServer::with(settings().register::<Chat>().register::<Members>()).await;
    let long = format!("X-Long: {}", "x".repeat(2000));
    let many: Vec<String> = (0..12).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (path, headers, status) in [
        ("/chat/1", &["Origin: https://evil.example"][..], 403),
        ("/chat/1", &["Origin: null"], 403),
        ("/chat/one", &[], 404),
        ("/chat/1?age=old", &[], 400),
        ("/chat/1?door", &[], 402),
        ("/chat/1", &[&long], 431),
        ("/chat/1", &many, 431),
        ("/members", &[], 401),
    ] {
        let (theirs, _) = Client::try_connect(mounted.addr, path, headers).await;
        let (ours, _) = Client::try_connect(adopted, path, headers).await;
        assert_eq!((ours.status, theirs.status), (status, status), "{path} {ours:?}");
        let addresses = [adopted.to_string(), mounted.addr.to_string()];
        assert_eq!(ours.body.replace(&addresses[0], ""), theirs.body.replace(&addresses[1], ""), "{path}");
        for name in ["www-authenticate", "content-type"] {
            assert_eq!(ours.header(name), theirs.header(name), "{path}");
        }
    }
    let lines = ["GET /chat/1 HTTP/1.1", "Host: evil.example", "Connection: Upgrade", "Upgrade: websocket"];
    let lines = [&lines[..], &["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]].concat();
    let (answer, _) = Client::request(adopted, &lines, b"").await;
    assert_eq!(answer.status, 421);
    assert!(container.sessions().is_empty());
    container.shutdown(Duration::from_secs(10)).await;
    let (answer, _) = Client::try_connect(adopted, "/chat/1", &[]).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
}

#[tokio::test]
async fn refusal_is_logged_with_the_address_of_the_peer_and_the_id_of_the_request() {
    let (container, log) = (builder().build().unwrap(), Log::capture());
    let addr = serve(router(&container), true).await;
    let headers = ["Origin: https://evil.example", "X-Request-Id: 7f\"3"];
    let (answer, client) = Client::try_connect(addr, "/chat/1", &headers).await;
    assert_eq!(answer.status, 403);
    let lines = log.lines("handshake refused");
    let peer = format!("peer={} ", client.stream.local_addr().unwrap());
    assert!(lines.len() == 1 && lines[0].contains(&peer) && lines[0].contains("7f"), "{lines:?}");
}

// ---- accepted ----

#[tokio::test]
async fn response_has_the_subprotocol_and_the_headers_and_the_session_the_properties() {
    let container = builder().build().unwrap();
    let addr = serve(router(&container), true).await;
    for (offered, chosen) in [(None, None), (Some("chat.v1, chat.v2"), Some("chat.v1")), (Some("other"), None)] {
        let offered = offered.map(|offered| format!("Sec-WebSocket-Protocol: {offered}"));
        let headers: Vec<&str> = offered.iter().map(String::as_str).collect();
        let (answer, mut client) = Client::try_connect(addr, "/chat/5?age=7", &headers).await;
        assert_eq!((answer.status, answer.header("x-door")), (101, Some("open")));
        assert_eq!(answer.header("sec-websocket-protocol"), chosen);
        asked(&mut client, "subprotocol?", &format!("{chosen:?}")).await;
        asked(&mut client, "property?", "Some(42)").await;
        asked(&mut client, "room?", "5 Some(7)").await;
        asked(&mut client, "hello", "hello").await;
        client.close(1000, "").await;
        client.expect_close(1000).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn choice_of_the_handler_stays_where_the_endpoint_has_none() {
    let container = builder().build().unwrap();
    let addr = serve(router(&container), true).await;
    let headers = ["X-Member: 1", "Sec-WebSocket-Protocol: axum.v1"];
    let (answer, mut client) = Client::try_connect(addr, "/members", &headers).await;
    assert_eq!(answer.header("sec-websocket-protocol"), Some("axum.v1"));
    asked(&mut client, "?", r#"Some("axum.v1")"#).await;
}

#[tokio::test]
async fn shutdown_ends_the_sessions_and_waits_for_them() {
    let container = builder().build().unwrap();
    let addr = serve(router(&container), true).await;
    let mut client = Client::connect(addr, "/chat/1").await;
    asked(&mut client, "hello", "hello").await;
    let own = container.clone();
    let shutdown = tokio::spawn(async move { own.shutdown(Duration::from_secs(10)).await });
    client.expect_close(1001).await;
    client.close(1001, "").await;
    client.expect_end().await;
    let shutdown = soon(shutdown).await.unwrap();
    assert_eq!((shutdown.closed, shutdown.cut), (1, 0));
}

// ---- the address of the peer ----

#[tokio::test]
async fn peer_address_is_that_of_axum_or_of_a_mock() {
    let container = builder().build().unwrap();
    let addr = serve(router(&container), true).await;
    let mut client = Client::connect(addr, "/chat/1").await;
    let own = client.stream.local_addr().unwrap();
    asked(&mut client, "peer?", &format!("Some({own})")).await;

    let mocked: SocketAddr = "192.0.2.7:1234".parse().unwrap();
    let addr = serve(router(&container).layer(MockConnectInfo(mocked)), false).await;
    let mut client = Client::connect(addr, "/chat/1").await;
    asked(&mut client, "peer?", &format!("Some({mocked})")).await;
}

#[tokio::test]
async fn unknown_peer_address_is_logged_once_with_the_remedy() {
    let (container, log) = (builder().build().unwrap(), Log::capture());
    let addr = serve(router(&container), false).await;
    for _ in 0..3 {
        let mut client = Client::connect(addr, "/chat/1").await;
        asked(&mut client, "peer?", "None").await;
    }
    let lines = log.lines("into_make_service_with_connect_info");
    assert!(lines.len() == 1 && lines[0].contains("INFO"), "{lines:?}");
}

#[tokio::test]
async fn hooks_of_a_mounted_container_see_the_address_that_axum_tells() {
    async fn shows(request: &HandshakeRequest, response: &mut HandshakeResponse) -> Result<(), Refusal> {
        let peer = format!("{:?}", request.peer_addr());
        response.headers_mut().insert("x-peer", HeaderValue::from_str(&peer).unwrap());
        Ok(())
    }
    let container = builder().register::<Chat>().handshake(shows).build().unwrap();
    let fallback = Router::new().fallback_service(container.clone());
    let layer = Router::new().fallback(|| async { "page" }).layer(container.layer());
    for app in [fallback, layer] {
        let addr = serve(app, true).await;
        let (answer, client) = Client::try_connect(addr, "/chat/1", &[]).await;
        let peer = format!("Some({})", client.stream.local_addr().unwrap());
        assert_eq!(answer.header("x-peer"), Some(&*peer));
    }
}

// ---- checked by hand ----

#[tokio::test]
async fn checked_request_is_answered_by_the_handler() {
    let container = builder().build().unwrap();
    let adopted = container.adopt::<Chat>().unwrap();
    let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, parts: Parts, upgrade: WebSocketUpgrade| async move {
        let checked = adopted.request(parts).path_params([("room", "1")]).peer_addr(peer).check().await?;
        let names: Vec<String> = checked.subprotocol().map(str::to_owned).into_iter().collect();
        let upgrade = upgrade.protocols(names);
        Ok::<Response, Refusal>(upgrade.on_upgrade(|socket| async move {
            checked.serve_axum(socket).await;
        }))
    };
    let addr = serve(Router::new().route("/chat", any(handler)), true).await;
    let (answer, _) = Client::try_connect(addr, "/chat", &["Origin: https://evil.example"]).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("allowed_origins"), "{answer:?}");
    let (answer, mut client) = Client::try_connect(addr, "/chat", &["Sec-WebSocket-Protocol: chat.v2"]).await;
    assert_eq!(answer.header("sec-websocket-protocol"), Some("chat.v2"));
    asked(&mut client, "subprotocol?", r#"Some("chat.v2")"#).await;
}

#[server_endpoint("/plain")]
#[derive(Default)]
struct Plain;

impl Plain {
    #[on_message]
    fn echo(&self, text: String) -> String {
        text
    }
}

/// The refusal as tungstenite's callback returns it.
fn answer(refusal: Refusal) -> ErrorResponse {
    let response: http::Response<Vec<u8>> = http::Response::<Bytes>::from(refusal).map(|body| body.to_vec());
    response.map(|body| String::from_utf8(body).ok())
}

#[tokio::test]
async fn callback_of_tungstenite_refuses_with_a_status() {
    let container = builder().build().unwrap();
    let adopted = container.adopt::<Plain>().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let adopted = adopted.clone();
            tokio::spawn(async move {
                let mut checked = None;
                // the library's own
                #[allow(clippy::result_large_err)]
                let check = |request: &http::Request<()>, response: http::Response<()>| {
                    let head = request.clone().into_parts().0;
                    let checking = adopted.request(head).peer_addr(peer).check();
                    checked = Some(checking.now_or_never().expect("nothing waits here").map_err(answer)?);
                    Ok(response)
                };
                let accepted = tokio_tungstenite::accept_hdr_async(stream, check).await;
                if let (Ok(socket), Some(checked)) = (accepted, checked) {
                    checked.serve_tungstenite(socket).await;
                }
            });
        }
    });
    let (answer, _) = Client::try_connect(addr, "/plain", &["Origin: https://evil.example"]).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let mut client = Client::connect(addr, "/plain").await;
    asked(&mut client, "hello", "hello").await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
}
