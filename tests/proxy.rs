//! Clients behind a proxy: tunnels, passwords, refusals, the environment.

mod support;

use std::time::Duration;

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, Proxy, TlsConfig, Trust};
use support::ear::Ear;
use support::raw_server::{Asked, Peer, RawServer};
use support::{Journal, TestServer, soon};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }
}

/// A server on a loopback address, which admits other names only where they are listed.
fn named() -> ContainerBuilder {
    ServerContainer::builder().register::<Echo>().allowed_hosts(["server.invalid"])
}

async fn serve() -> TestServer {
    TestServer::with(named()).await
}

/// Takes one connection, makes the tunnel to `server` whatever name was asked for, and carries bytes until the end.
async fn carry(proxy: &RawServer, server: std::net::SocketAddr) -> Asked {
    let (asked, mut peer) = proxy.asked().await;
    peer.send_raw(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
    let Peer { mut stream, .. } = peer;
    tokio::spawn(async move {
        let mut onward = TcpStream::connect(server).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut onward).await;
    });
    asked
}

fn through(proxy: &RawServer) -> Proxy {
    Proxy::all(format!("http://user:p%40ss@{}", proxy.addr)).unwrap()
}

#[tokio::test]
async fn tunnel_is_asked_for_by_name_and_carries_the_session() {
    let (server, proxy) = (serve().await, RawServer::bind().await);
    let container = ClientContainer::builder().proxy(through(&proxy)).build();
    let heard = Journal::default();
    // the proxy alone resolves the name
    let connecting = container.connect(Ear(heard.clone()), "ws://server.invalid/echo?x=1");
    let (session, asked) = soon(async { tokio::join!(connecting, carry(&proxy, server.addr)) }).await;
    assert_eq!(asked.line, "CONNECT server.invalid:80 HTTP/1.1");
    assert_eq!(asked.header("host"), Some("server.invalid:80"));
    assert_eq!(asked.header("proxy-authorization"), Some("Basic dXNlcjpwQHNz"));
    assert_eq!(asked.header("sec-websocket-key"), None);

    let session = session.unwrap();
    assert_eq!((session.uri(), session.peer_addr()), ("ws://server.invalid/echo?x=1", Some(proxy.addr)));
    assert_eq!(session.headers().get("proxy-authorization"), None);
    session.async_remote().send_text("through");
    heard.expect("through").await;
    session.close();
    heard.expect("close 1000").await;
}

#[tokio::test]
async fn tunnel_carries_tls_to_the_server_itself() {
    let tls = TlsConfig::self_signed(["server.invalid"]).unwrap();
    let server = named();
    let server = TestServer::serving(Server::with(server).tls(tls.clone())).await;
    let proxy = RawServer::bind().await;
    let trust = Trust::only(tls.certificate_pem()).unwrap();
    let container = ClientContainer::builder().proxy(through(&proxy)).trust(trust).build();
    let heard = Journal::default();
    let connecting = container.connect(Ear(heard.clone()), "wss://server.invalid/echo");
    let (session, asked) = soon(async { tokio::join!(connecting, carry(&proxy, server.addr)) }).await;
    assert_eq!(asked.line, "CONNECT server.invalid:443 HTTP/1.1");
    let session = session.unwrap();
    assert!(session.is_secure());
    session.async_remote().send_text("through");
    heard.expect("through").await;
}

#[tokio::test]
async fn proxy_that_refuses_or_misbehaves_is_an_error() {
    for (answer, status) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nwho?", Some(407)),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", Some(502)),
        ("HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", Some(302)),
        // what is said behind the answer would come before the server's
        ("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n", None),
        ("HTTP/1.1", None),
    ] {
        let proxy = RawServer::bind().await;
        let container = ClientContainer::builder().proxy(through(&proxy)).build();
        let connecting = container.connect(Ear(Journal::default()), "ws://server.invalid/echo");
        let serving = async {
            let (_, mut peer) = proxy.asked().await;
            peer.send_raw(answer.as_bytes()).await;
            use tokio::io::AsyncWriteExt;
            peer.stream.shutdown().await.unwrap();
            peer
        };
        let (connected, mut peer) = soon(async { tokio::join!(connecting, serving) }).await;
        let error = connected.unwrap_err();
        assert!(error.is_handshake() && error.to_string().contains("the proxy"), "{error:?}");
        assert_eq!(error.response().map(|response| response.status().as_u16()), status);
        peer.expect_end().await;
    }
}

#[tokio::test]
async fn proxy_that_does_not_answer_times_out() {
    let proxy = RawServer::bind().await;
    let container =
        ClientContainer::builder().proxy(through(&proxy)).connect_timeout(Duration::from_millis(200)).build();
    let connecting = container.connect(Ear(Journal::default()), "ws://server.invalid/echo");
    let (connected, (_, mut peer)) = soon(async { tokio::join!(connecting, proxy.asked()) }).await;
    assert!(connected.unwrap_err().is_timeout());
    peer.expect_end().await;
}

#[tokio::test]
async fn no_proxy_entries_and_localhost_are_connected_directly() {
    let server = TestServer::of::<Echo>().await;
    // nobody listens there
    let proxy = Proxy::from_vars(|name| (name == "ALL_PROXY").then(|| "http://127.0.0.1:1".to_owned()));
    let container = ClientContainer::builder().proxy(proxy).build();
    for host in ["localhost", "app.localhost", "127.1", "[::ffff:127.0.0.1]"] {
        let uri = format!("ws://{host}:{}/echo", server.addr.port());
        soon(container.connect(Ear(Journal::default()), uri)).await.expect(host);
    }
    let error = soon(container.connect(Ear(Journal::default()), "ws://server.invalid/")).await.unwrap_err();
    assert!(error.is_io() && error.to_string().contains("127.0.0.1:1"), "{error:?}");
    let uri = format!("ws://localhost:{}/echo", server.addr.port());
    let container = ClientContainer::builder().proxy(Proxy::all("http://127.0.0.1:1").unwrap()).build();
    assert!(soon(container.connect(Ear(Journal::default()), uri)).await.unwrap_err().is_io());
}

#[tokio::test]
async fn no_proxy_forms_of_other_clients_are_accepted() {
    for (except, host) in [
        ("example.invalid.", "a.example.invalid"),
        ("*.example.invalid", "a.example.invalid"),
        ("x\texample.invalid", "example.invalid"),
        ("127.0.0.0/8:%", "127.0.0.9"),
        ("[::ffff:127.0.0.0]/104", "127.0.0.9"),
    ] {
        // a port where nobody listens, so that the error names who was connected to
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let except = except.replace('%', &port.to_string());
        let proxy = Proxy::from_vars(|name| match name {
            "ALL_PROXY" => Some("http://127.0.0.1:1".to_owned()),
            "NO_PROXY" => Some(except.clone()),
            _ => None,
        });
        let container = ClientContainer::builder().proxy(proxy).build();
        let error = soon(container.connect(Ear(Journal::default()), format!("ws://{host}:{port}/"))).await.unwrap_err();
        assert!(error.is_io() && error.to_string().contains(host), "{except}: {error}");
    }
}

#[tokio::test]
async fn proxy_of_another_scheme_is_an_error_and_not_bypassed() {
    let proxy = Proxy::from_vars(|name| (name == "ALL_PROXY").then(|| "socks5://127.0.0.1:1080".to_owned()));
    let container = ClientContainer::builder().proxy(proxy).build();
    let error = soon(container.connect(Ear(Journal::default()), "ws://server.invalid/")).await.unwrap_err();
    assert!(error.is_handshake() && error.to_string().contains("socks5"), "{error:?}");
}

#[tokio::test]
async fn proxy_is_read_from_the_environment() {
    let (server, proxy) = (serve().await, RawServer::bind().await);
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_connects_by_its_environment", "--ignored"])
        .env("http_proxy", proxy.addr.to_string())
        .env("ENDPOINT_PROXY_CHILD", "1")
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let asked = carry(&proxy, server.addr).await;
    assert_eq!(asked.line, "CONNECT server.invalid:80 HTTP/1.1");
    assert!(soon(child.wait()).await.unwrap().success());
}

#[tokio::test]
#[ignore = "the other half of `proxy_is_read_from_the_environment`, which runs it in its own process"]
async fn child_that_connects_by_its_environment() {
    if std::env::var_os("ENDPOINT_PROXY_CHILD").is_none() {
        return;
    }
    let heard = Journal::default();
    let session = soon(ClientContainer::new().connect(Ear(heard.clone()), "ws://server.invalid/echo")).await.unwrap();
    session.async_remote().send_text("through");
    heard.expect("through").await;
}
