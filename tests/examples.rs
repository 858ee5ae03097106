//! The examples as programs: they start, print where they are, serve, and end politely.

#[path = "support/engines.rs"]
mod engines;
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

#[cfg(feature = "tls")]
use endpoint_runtime::prelude::*;
use support::{Answer, BINARY, CLOSE, Client, PING, PONG, TEXT, soon};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// An example that runs, on a port of its own.
struct Example {
    process: Child,
    out: Lines<BufReader<ChildStdout>>,
}

impl Example {
    /// Starts one of those that cargo has built beside the tests; it is killed when this is dropped.
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(Self::path(name))
            .args(["--addr", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, out }
    }

    fn path(name: &str) -> PathBuf {
        // target/debug/deps/examples-… → target/debug/examples/
        let tests = std::env::current_exe().unwrap();
        let path = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
        assert!(path.exists(), "{} is not built: run `cargo build --workspace --examples`", path.display());
        path
    }

    async fn line(&mut self) -> String {
        soon(self.out.next_line()).await.unwrap().expect("the program ended")
    }

    /// The next line is `label: scheme://host:port/path`; where that is.
    async fn url(&mut self, label: &str, scheme: &str) -> (SocketAddr, String) {
        let line = self.line().await;
        let url = line.strip_prefix(&format!("{label}: {scheme}://"));
        let url = url.unwrap_or_else(|| panic!("expected `{label}: {scheme}://…`, got {line:?}"));
        let (addr, path) = url.split_once('/').unwrap();
        (addr.parse().unwrap(), format!("/{path}"))
    }

    /// Asks it to stop as an operating system does.
    fn terminate(&self) {
        let pid = self.process.id().expect("the program runs").to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    async fn ended(&mut self) -> ExitStatus {
        soon(self.process.wait()).await.unwrap()
    }
}

/// Posts JSON to a program.
async fn post(addr: SocketAddr, path: &str, header: &str, body: &str) -> Answer {
    let (post, host) = (format!("POST {path} HTTP/1.1"), format!("Host: {addr}"));
    let length = format!("Content-Length: {}", body.len());
    let lines = [&post, &host, "Connection: close", "Content-Type: application/json", &length, header];
    Client::request(addr, &lines, body.as_bytes()).await.0
}

/// Logs in at axum_app; the header of who has.
async fn login(addr: SocketAddr, name: &str) -> String {
    let answer = post(addr, "/api/login", "X-None: ", &format!(r#"{{"name":"{name}"}}"#)).await;
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    format!("Cookie: other=1; {}", cookie.split_once(';').unwrap().0)
}

/// The programs whose pages are a family.
const PAGES: &[&str] = &[
    "chat",
    "cluster_chat",
    "polling_vs_push",
    "handshake",
    "broadcast",
    "axum_app",
    "programmatic",
    "ws_server",
    #[cfg(feature = "socketio")]
    "socketio_chat",
];

async fn get(addr: SocketAddr, path: &str) -> Answer {
    let (get, host) = (format!("GET {path} HTTP/1.1"), format!("Host: {addr}"));
    Client::request(addr, &[&get, &host, "Connection: close"], b"").await.0
}

async fn echoes(addr: SocketAddr, path: &str) -> Client {
    let mut client = Client::connect(addr, path).await;
    for message in ["hello", "", "言葉", &"x".repeat(10_000)] {
        client.text(message).await;
        client.expect_text(message).await;
    }
    client
}

#[tokio::test]
async fn ws_server_serves_its_page_and_nothing_else_of_http() {
    let mut example = Example::start("ws_server", &[]);
    let (addr, path) = example.url("page", "http").await;
    let page = get(addr, &path).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.body.contains("<html") && page.body.contains("WebSocket"));
    assert_eq!(get(addr, "/elsewhere").await.status, 404);
}

#[tokio::test]
async fn ws_server_echoes_and_prints_the_tutorials_lines() {
    let mut example = Example::start("ws_server", &["--lang", "zh"]);
    let page = example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    assert_eq!((addr, path.as_str()), (page.0, "/websocket/ws"));
    let mut client = Client::connect(addr, &path).await;
    let opened = example.line().await;
    let (_, id) = opened.rsplit_once('：').unwrap();
    assert_eq!(opened, format!("一个客户端连接进来了 ... 它的sessionid是：{id}"));
    assert_eq!(id.len(), 32);
    client.text("hello").await;
    client.expect_text("hello").await;
    assert_eq!(example.line().await, format!("{id}客户端发送的消息是：hello"));
    client.close(1000, "").await;
    client.expect_close(1000).await;
    assert_eq!(example.line().await, format!("一个客户端关闭了，它的sessionid是：{id}"));
}

#[tokio::test]
async fn ws_server_prints_english_by_default() {
    for arguments in [&[][..], &["--lang", "en"]] {
        let mut example = Example::start("ws_server", arguments);
        let (addr, page) = example.url("page", "http").await;
        assert!(get(addr, &page).await.body.contains(r#"<html lang="en">"#));
        let (addr, path) = example.url("endpoint", "ws").await;
        let mut client = Client::connect(addr, &path).await;
        let opened = example.line().await;
        let id =
            opened.strip_prefix("a client has connected, its session id is ").unwrap_or_else(|| panic!("{opened}"));
        client.text("hello").await;
        client.expect_text("hello").await;
        assert_eq!(example.line().await, format!("client {id} has sent: hello"));
        client.close(1000, "").await;
        client.expect_close(1000).await;
        assert_eq!(example.line().await, format!("a client has left, its session id is {id}"));
    }
}

#[tokio::test]
async fn ws_server_admits_its_own_page_and_no_foreign_one() {
    let mut example = Example::start("ws_server", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let (answer, _) = Client::try_connect(addr, &path, &[&format!("Origin: http://{addr}")]).await;
    assert_eq!(answer.status, 101);
    let (answer, _) = Client::try_connect(addr, &path, &["Origin: http://evil.example"]).await;
    assert_eq!(answer.status, 403);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn ws_server_serves_tls_and_prints_its_certificate() {
    let mut example = Example::start("ws_server", &["--tls"]);
    let line = example.line().await;
    let place = line.strip_prefix("certificate: ").unwrap_or_else(|| panic!("{line:?}"));
    let trust = endpoint_runtime::Trust::only(std::fs::read(place).unwrap()).unwrap();
    std::fs::remove_file(place).unwrap();
    example.url("page", "https").await;
    let (addr, path) = example.url("endpoint", "wss").await;
    let (ear, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let container = ClientContainer::builder().trust(trust).build();
    let session = soon(container.connect(Ear(ear), format!("wss://{addr}{path}"))).await.unwrap();
    assert!(session.is_secure());
    soon(session.basic_remote().send_text("hello")).await.unwrap();
    assert_eq!(soon(heard.recv()).await.unwrap(), "hello");
}

/// Hands on what it hears.
#[cfg(feature = "tls")]
#[client_endpoint]
struct Ear(tokio::sync::mpsc::UnboundedSender<String>);

#[cfg(feature = "tls")]
impl Ear {
    #[on_message]
    fn text(&self, text: String) {
        let _ = self.0.send(text);
    }
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn ws_server_without_tls_explains_how_to_build_it() {
    let process = Command::new(Example::path("ws_server")).arg("--tls").kill_on_drop(true).output();
    let output = soon(process).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, "built without TLS: cargo run --release --features tls --example ws_server -- --tls\n");
}

#[tokio::test]
async fn ws_server_admits_every_page_if_configured() {
    let mut example = Example::start("ws_server", &["--allow-any-origin"]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let (answer, _) = Client::try_connect(addr, &path, &["Origin: http://evil.example"]).await;
    assert_eq!(answer.status, 101);
}

#[tokio::test]
async fn ws_server_ends_with_1001_to_its_clients_when_terminated() {
    let mut example = Example::start("ws_server", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let mut clients = [echoes(addr, &path).await, echoes(addr, &path).await];
    example.terminate();
    for client in &mut clients {
        client.expect_close(1001).await;
        client.close(1001, "").await;
        client.expect_end().await;
    }
    assert!(example.ended().await.success());
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn bench_server_echoes_and_broadcasts() {
    for threads in [&["--threads", "1"][..], &["--threads", "2"], &[]] {
        let mut example = Example::start("bench_server", threads);
        let (addr, path) = example.url("endpoint", "ws").await;
        assert_eq!(path, "/ws");
        let mut client = echoes(addr, &path).await;
        client.binary(&[7; 100_000]).await;
        assert!(client.expect(BINARY).await == [7; 100_000]);

        let (addr, path) = example.url("endpoint", "ws").await;
        assert_eq!(path, "/keeping");
        echoes(addr, &path).await;

        let (addr, path) = example.url("endpoint", "ws").await;
        assert_eq!(path, "/broadcast");
        // the first is known to be open once it has heard itself
        let mut first = Client::connect(addr, &path).await;
        first.text("alone").await;
        first.expect_text("alone").await;
        let mut second = Client::connect(addr, &path).await;
        second.text("to all").await;
        second.expect_text("to all").await;
        first.expect_text("to all").await;
        first.binary(&[1]).await;
        assert_eq!(first.expect(BINARY).await, [1]);
        assert_eq!(second.expect(BINARY).await, [1]);
    }
}

#[tokio::test]
async fn invalid_arguments_print_usage_and_exit_with_2() {
    for &name in ["bench_server"].iter().chain(PAGES) {
        let output = soon(Command::new(Example::path(name)).arg("--wrong").kill_on_drop(true).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        let output = String::from_utf8(output.stderr).unwrap();
        assert!(output.starts_with(&format!("usage: {name} ")), "{output}");
        assert!(name == "bench_server" || output.ends_with("\nunknown argument: --wrong\n"), "{output}");
    }
    for arguments in [&["--lang"][..], &["--lang", "de"], &["--addr"]] {
        let output =
            soon(Command::new(Example::path("chat")).args(arguments).kill_on_drop(true).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(output.stderr, b"usage: chat [--addr HOST:PORT] [--lang en|zh]\n");
    }
}

// ---- programs with a page ----

#[tokio::test]
async fn programs_with_a_page_serve_it_with_its_stylesheet_and_script() {
    for name in PAGES {
        let mut example = Example::start(name, &[]);
        let (addr, path) = example.url("page", "http").await;
        for (path, kind, part) in [
            (path.as_str(), "text/html; charset=utf-8", r#"<html lang="en">"#),
            (path.as_str(), "text/html; charset=utf-8", "/shared/page.js"),
            ("/shared/page.css", "text/css; charset=utf-8", "prefers-color-scheme: dark"),
            ("/shared/page.js", "text/javascript; charset=utf-8", "\"use strict\""),
        ] {
            let answer = get(addr, path).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{name} {path}");
            assert!(answer.body.contains(part), "{name} {path}");
        }
        assert_eq!(get(addr, "/elsewhere").await.status, 404, "{name}");

        let mut example = Example::start(name, &["--lang", "zh"]);
        let (addr, path) = example.url("page", "http").await;
        assert!(get(addr, &path).await.body.contains(r#"<html lang="zh-CN">"#), "{name}");
    }
}

#[tokio::test]
async fn programs_with_a_page_end_with_1001_to_its_connections_when_terminated() {
    for name in PAGES {
        let mut example = Example::start(name, &[]);
        example.url("page", "http").await;
        let (addr, path) = example.url("endpoint", "ws").await;
        let cookie = if name == &"axum_app" { login(addr, "Ming").await } else { "Cookie: none=".to_owned() };
        let mut client = Client::connect_with(addr, &path, &[&cookie]).await;
        example.terminate();
        // some have spoken before
        let mut last = client.frame().await.expect("a close frame");
        while last.opcode != CLOSE {
            last = client.frame().await.expect("a close frame");
        }
        assert_eq!(last.payload[..2], 1001_u16.to_be_bytes(), "{name}");
        client.close(1001, "").await;
        client.expect_end().await;
        assert!(example.ended().await.success(), "{name}");
    }
}

#[tokio::test]
async fn chat_reaches_exactly_the_members_of_the_room() {
    let mut example = Example::start("chat", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    assert_eq!(path, "/chat/lobby");
    let system = |en: &str, zh: &str| format!(r#"{{"type":"system","message":"{en}","both":["{en}","{zh}"]}}"#);
    let mut ming = Client::connect(addr, "/chat/lobby?name=Ming").await;
    ming.expect_text(&system("Ming entered the room (1 online)", "Ming 进入了聊天室（1 人在线）")).await;
    let mut guest = Client::connect(addr, "/chat/lobby").await;
    let mut elsewhere = Client::connect(addr, "/chat/elsewhere?name=Lei").await;
    elsewhere.expect_text(&system("Lei entered the room (1 online)", "Lei 进入了聊天室（1 人在线）")).await;
    for client in [&mut ming, &mut guest] {
        client.expect_text(&system("a guest entered the room (2 online)", "a guest 进入了聊天室（2 人在线）")).await;
    }

    // a name comes with the connection, or with a message
    ming.text(r#"{"type":"usermsg","message":"hello"}"#).await;
    guest.text(r#"{"message":"<b>","name":"Hong"}"#).await;
    for client in [&mut ming, &mut guest] {
        // two connections: either may be first
        let output = [client.expect(TEXT).await, client.expect(TEXT).await];
        for line in [
            r#"{"type":"usermsg","message":"hello","name":"Ming"}"#,
            r#"{"type":"usermsg","message":"<b>","name":"Hong"}"#,
        ] {
            assert!(output.iter().any(|output| output == line.as_bytes()), "{output:?}");
        }
    }

    // only the sender learns that its message is no JSON
    guest.text("hello").await;
    guest.expect_text(&system("the message is not valid JSON for this chat", "消息不是约定的 JSON")).await;
    guest.close(1000, "").await;
    ming.expect_text(&system("Hong left the room (1 online)", "Hong 离开了聊天室（1 人在线）")).await;
    elsewhere.expect_silence().await;
}

#[tokio::test]
async fn chat_sends_chinese_with_the_option() {
    let mut example = Example::start("chat", &["--lang", "zh"]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let mut guest = Client::connect(addr, &path).await;
    for sentence in ["一位客人 进入了聊天室（1 人在线）", "消息不是约定的 JSON"] {
        let message: serde_json::Value = serde_json::from_slice(&guest.expect(TEXT).await).unwrap();
        assert_eq!((&message["type"], &message["message"]), (&"system".into(), &sentence.into()));
        guest.text("hello").await;
    }
}

// ---- production ----

/// Starts production with a free port for operators; where that is, and where its endpoint is.
async fn production(arguments: &[&str]) -> (Example, SocketAddr, SocketAddr) {
    let all = [&["--admin-addr", "127.0.0.1:0"], arguments].concat();
    let mut example = Example::start("production", &all);
    let (admin, _) = example.url("page", "http").await;
    let scheme = if arguments.contains(&"--tls-cert") { "wss" } else { "ws" };
    let (addr, path) = example.url("endpoint", scheme).await;
    assert_eq!(path, "/ws");
    (example, admin, addr)
}

/// A JSON Web Token (RFC 7519) of HS256: of `ann`, until 2100, signed with `secret`.
const TOKEN: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
    "eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.",
    "cVrBox_0L5FHo58JlSpt6Ps2mCR4bbdeBriZf7WfYKk"
);

#[tokio::test]
async fn production_echoes_and_answers_its_operators() {
    let (_example, admin, addr) = production(&[]).await;
    let mut client = echoes(addr, "/ws").await;
    client.binary(&[0, 255]).await;
    assert_eq!(client.expect(BINARY).await, [0, 255]);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(admin, path).await.status, 200, "{path}");
    }
    let stats: serde_json::Value = serde_json::from_str(&get(admin, "/stats").await.body).unwrap();
    assert_eq!((&stats["sessions"], &stats["endpoints"][0]["path"]), (&1.into(), &"/ws".into()));
    assert_eq!(stats["endpoints"][0]["messages_received"], 5);
    let metrics = get(admin, "/metrics").await;
    assert!(metrics.body.contains("websocket_server_sessions{endpoint=\"/ws\"} 1"), "{}", metrics.body);
    assert_eq!(get(addr, "/stats").await.status, 404, "clients see no statistics");
}

#[tokio::test]
async fn production_limits_sessions_of_an_address_behind_a_trusted_proxy() {
    let arguments = ["--max-sessions-per-address", "1", "--trusted-proxies", "127.0.0.1"];
    let (_example, _, addr) = production(&arguments).await;
    let from = |client: &'static str| async move { Client::try_connect(addr, "/ws", &[client]).await };
    let (first, _kept) = from("X-Forwarded-For: 192.0.2.1").await;
    let (second, _) = from("X-Forwarded-For: 192.0.2.1").await;
    let (other, _) = from("X-Forwarded-For: 192.0.2.2").await;
    assert_eq!([first.status, second.status, other.status], [101, 429, 101]);
    assert!(second.header("retry-after").is_some());
}

#[tokio::test]
async fn production_limits_connections_of_an_address() {
    for limit in [["--max-connections-per-address", "1"], ["--handshakes-per-address", "1/h"]] {
        let (_example, _, addr) = production(&limit).await;
        let (first, _kept) = Client::try_connect(addr, "/ws", &[]).await;
        let (second, _) = Client::try_connect(addr, "/ws", &[]).await;
        assert_eq!([first.status, second.status], [101, 429], "{limit:?}");
        assert!(second.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn production_admits_only_valid_tokens_if_there_is_a_secret() {
    let (_example, _, addr) = production(&["--jwt-secret", "secret"]).await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let lower = bearer.replace("Bearer", "bearer");
    let forged = format!("Authorization: Bearer {}x", TOKEN.trim_end_matches(|last| last != '.'));
    let over_http2 = support::http2::Connection::open(addr).await;
    let statuses = [&[][..], &[forged.as_str()], &[bearer.as_str()], &[lower.as_str()]];
    for (headers, expected) in statuses.into_iter().zip([401, 401, 101, 101]) {
        for (answer, _) in
            [Client::try_connect(addr, "/ws", headers).await, over_http2.try_client("/ws", headers).await]
        {
            assert_eq!(answer.status, expected, "{headers:?}");
            assert_eq!(answer.header("www-authenticate").is_some(), expected == 401);
        }
    }
    echoes(addr, &format!("/ws?access_token={TOKEN}")).await;
}

#[tokio::test]
async fn production_stops_although_a_client_of_its_operators_page_does_not_finish() {
    let (mut example, admin, _) = production(&["--drain", "100ms"]).await;
    let mut unfinished = tokio::net::TcpStream::connect(admin).await.unwrap();
    unfinished.write_all(b"GET /me").await.unwrap();
    // it has been accepted once a later one is answered
    assert_eq!(get(admin, "/healthz").await.status, 200);
    example.terminate();
    assert!(example.ended().await.success());
}

#[tokio::test]
async fn production_drains_before_it_stops() {
    let (mut example, admin, addr) = production(&["--drain", "2s"]).await;
    let mut client = echoes(addr, "/ws").await;
    example.terminate();
    while get(admin, "/readyz").await.status == 200 {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(get(admin, "/healthz").await.status, 200);
    let close = client.expect(CLOSE).await;
    assert_eq!(close[..2], 1001_u16.to_be_bytes());
    assert!(close[2..].starts_with(b"retry="), "{:?}", String::from_utf8_lossy(&close));
    client.close(1001, "").await;
    assert!(example.ended().await.success());
}

#[tokio::test]
async fn production_explains_wrong_arguments() {
    for (arguments, reason) in [
        (&["--rate", "fast"][..], "a rate is written such as"),
        (&["--tls-cert", "cert.pem"], "--tls-key"),
        (&["--max-sessions", "0"], "a limit is at least 1"),
        (&["--jwt-secret", ""], "--jwt-secret"),
        (&["--addr", "127.0.0.1"], "a host and a port"),
        (&["--proxy-protocol", "maybe"], "possible values"),
        (&["--trusted-proxies", "10.0.0.1/8"], "10.0.0.0/8"),
    ] {
        let process = Command::new(Example::path("production")).args(arguments).kill_on_drop(true).output();
        let output = soon(process).await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(reason), "{arguments:?}: {error}");
    }
}

// ---- cluster_chat ----

/// The users of a room as a node lists them, and the nodes that did not answer.
async fn presence(addr: SocketAddr, room: &str) -> serde_json::Value {
    let answer = get(addr, &format!("/presence/{room}")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    serde_json::from_str(&answer.body).unwrap()
}

/// Waits until each node lists exactly these users.
async fn lists(nodes: &[SocketAddr], names: &[&str], limit: Duration) {
    let wanted = serde_json::json!({ "names": names, "missing": [] });
    for node in nodes {
        let mut last = serde_json::Value::Null;
        let listed = async {
            while last != wanted {
                last = presence(*node, "tea%20house").await;
                sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(timeout(limit, listed).await.is_ok(), "{node} lists {last} and not {wanted}");
    }
}

fn line(from: &str, line: &str, node: &str) -> String {
    format!(r#"{{"from":"{from}","line":"{line}","node":"{node}"}}"#)
}

#[tokio::test]
async fn cluster_chat_of_one_node_sends_lines_and_lists_users() {
    let mut example = Example::start("cluster_chat", &["--node", "a"]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    assert_eq!(path, "/chat/lobby?name=ann");
    let mut ann = Client::connect(addr, "/chat/tea%20house?name=ann").await;
    let mut ben = Client::connect(addr, "/chat/tea%20house?name=%E8%B4%9D").await;
    let mut lobby = Client::connect(addr, &path).await;
    lists(&[addr], &["ann", "贝"], Duration::from_secs(5)).await;
    for (from, name, text) in [(0, "ann", "hello <b>"), (1, "贝", "你好"), (0, "ann", "")] {
        [&mut ann, &mut ben][from].text(text).await;
        for client in [&mut ann, &mut ben] {
            client.expect_text(&line(name, text, "a")).await;
        }
    }
    for client in [&mut ann, &mut ben, &mut lobby] {
        client.expect_silence().await;
    }
    ann.text(&"x".repeat(4097)).await;
    ann.expect_close(1009).await;

    let health: serde_json::Value = serde_json::from_str(&get(addr, "/health").await.body).unwrap();
    assert_eq!((&health["node"], &health["status"], &health["engine"]), (&"a".into(), &"healthy".into(), &().into()));
}

#[tokio::test]
async fn cluster_chat_shows_its_page_lines_users_and_health() {
    let mut example = Example::start("cluster_chat", &["--node", "a"]);
    example.url("page", "http").await;
    let (addr, _) = example.url("endpoint", "ws").await;
    let mut window = Client::connect(addr, "/window/tea%20house?name=ann").await;
    let mut ben = Client::connect(addr, "/chat/tea%20house?name=ben").await;
    // a client is connected before it is a member
    lists(&[addr], &["ann", "ben"], Duration::from_secs(5)).await;
    window.text("hello").await;
    ben.expect_text(&line("ann", "hello", "a")).await;
    let (mut users, mut node, mut heard) = (Vec::new(), String::new(), false);
    while users.len() < 2 || node.is_empty() || !heard {
        let message: serde_json::Value = serde_json::from_slice(&window.expect(TEXT).await).unwrap();
        let joined = message["joined"].as_array().into_iter().flatten();
        users.extend(joined.map(|user| user["name"].as_str().unwrap().to_owned()));
        if message.get("status").is_some() {
            node = message["node"].to_string();
        }
        heard |= message["line"] == "hello";
    }
    users.sort();
    assert_eq!((users, node.as_str()), (vec!["ann".to_owned(), "ben".to_owned()], r#""a""#));
    ben.expect_silence().await;
}

#[tokio::test]
async fn cluster_chat_refuses_users_without_a_name() {
    let mut example = Example::start("cluster_chat", &[]);
    let (addr, _) = example.url("page", "http").await;
    for query in ["", "?name", "?name=%20", &format!("?name={}", "x".repeat(65))] {
        let (answer, _) = Client::try_connect(addr, &format!("/chat/lobby{query}"), &[]).await;
        let body = "say who you are, in 1 to 64 characters, such as ?name=ann\n";
        assert_eq!((answer.status, answer.body.as_str()), (400, body), "{query}");
    }
}

#[tokio::test]
async fn cluster_chat_explains_why_it_cannot_start() {
    for (arguments, reason) in [
        (&["--redis", "redis://127.0.0.1:1/"][..], "cannot use Redis at 127.0.0.1:1: "),
        (&["--nats", "nats://127.0.0.1:1"], "cannot use NATS at 127.0.0.1:1: "),
        (&["--nats", "nats://127.0.0.1:1", "--redis", "redis://127.0.0.1:1/"], "a node has one engine: "),
        (&["--key", "secret"], "--key is for a cluster: "),
    ] {
        let process = Command::new(Example::path("cluster_chat")).args(arguments).kill_on_drop(true).output();
        let output = soon(process).await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.starts_with(&format!("cluster_chat: {reason}")), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server: tests/run.sh has it, and names it in ENDPOINT_REDIS_SERVER"]
async fn cluster_chat_of_three_nodes_survives_the_death_of_one() {
    let (redis, names, nodes) = (engines::Engine::redis(&[]), ["ann", "ben", "cid"], ["a", "b", "c"]);
    let (mut examples, mut addrs, mut clients) = (Vec::new(), Vec::new(), Vec::new());
    for (name, node) in names.iter().zip(nodes) {
        let arguments = ["--node", node, "--redis", &redis.url(), "--key", "secret"];
        let mut example = Example::start("cluster_chat", &arguments);
        let (addr, _) = example.url("page", "http").await;
        clients.push(Client::connect(addr, &format!("/chat/tea%20house?name={name}")).await);
        examples.push(example);
        addrs.push(addr);
    }
    lists(&addrs, &names, Duration::from_secs(10)).await;
    for from in 0..3 {
        clients[from].text("hello").await;
        for client in &mut clients {
            client.expect_text(&line(names[from], "hello", nodes[from])).await;
        }
    }

    // a user who leaves stays for the grace of 5 seconds
    let mut dan = Client::connect(addrs[0], "/chat/tea%20house?name=dan").await;
    lists(&addrs, &["ann", "ben", "cid", "dan"], Duration::from_secs(2)).await;
    dan.close(1000, "").await;
    dan.expect_close(1000).await;
    lists(&addrs, &["ann", "ben", "cid", "dan"], Duration::from_secs(2)).await;
    lists(&addrs, &names, Duration::from_secs(8)).await;

    examples[2].process.kill().await.unwrap();
    clients.truncate(2);
    lists(&addrs[..2], &["ann", "ben"], Duration::from_secs(10)).await;
    for from in 0..2 {
        clients[from].text("still here").await;
        for client in &mut clients {
            client.expect_text(&line(names[from], "still here", nodes[from])).await;
        }
    }
    for client in &mut clients {
        client.expect_silence().await;
    }
}

// ---- polling_vs_push ----

/// Says a request and returns what was answered, until the end of the connection or `until` is in it.
async fn exchange(addr: SocketAddr, request: &str, until: Option<&str>) -> String {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !until.is_some_and(|until| String::from_utf8_lossy(&answer).contains(until)) {
        if soon(stream.read_buf(&mut answer)).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn polling_vs_push_counts_every_byte_of_an_answered_poll() {
    let mut example = Example::start("polling_vs_push", &[]);
    let (addr, _) = example.url("page", "http").await;
    for request in [
        format!("GET /events?after=0 HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n"),
        format!(
            "GET /events?after=0 HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nX-Long: {}\r\n\r\n",
            "x".repeat(999)
        ),
    ] {
        let answer = exchange(addr, &request, None).await;
        // hyper says of its own accord that it closes; a browser keeps its connection
        let length = request.len() + answer.len() - "connection: close\r\n".len();
        let (_, bytes) = answer.split_once("\r\nbytes: ").unwrap();
        assert_eq!(bytes[..5].parse::<usize>().unwrap(), length, "{answer}");
    }
}

#[tokio::test]
async fn polling_vs_push_counts_every_byte_of_a_handshake() {
    let mut example = Example::start("polling_vs_push", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n{upgrade}\r\n{key}\r\n\r\n");
    let answer = exchange(addr, &request, Some("}")).await;
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
    let (_, output) = rest.split_once(r#"{"handshake":"#).unwrap();
    let length = request.len() + head.len() + "\r\n\r\n".len();
    assert_eq!(output.split_once('}').unwrap().0.parse::<usize>().unwrap(), length, "{answer}");
}

#[tokio::test]
async fn polling_vs_push_pushes_what_polling_brings() {
    let mut example = Example::start("polling_vs_push", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let mut client = Client::connect(addr, &path).await;
    assert!(client.expect(TEXT).await.starts_with(br#"{"handshake":"#));
    let pushed: Vec<String> =
        [client.expect(TEXT).await, client.expect(TEXT).await].map(|event| String::from_utf8(event).unwrap()).to_vec();
    assert!(pushed[0].starts_with(r#"{"number":1,"at":"#), "{pushed:?}");
    assert_eq!(get(addr, "/events?after=0").await.body, format!("[{}]", pushed.join(",")));
    assert_eq!(get(addr, "/events?after=1").await.body, format!("[{}]", pushed[1]));
    assert_eq!(get(addr, "/events?after=2").await.body, "[]");
}

// ---- handshake ----

#[tokio::test]
async fn handshake_sends_each_connection_its_own_headers() {
    let mut example = Example::start("handshake", &[]);
    example.url("page", "http").await;
    let (addr, _) = example.url("endpoint", "ws").await;
    for (path, protocols, chosen, compressed) in [
        ("/compressed", "table.v1, table.v2", Some("table.v1"), true),
        ("/plain", "table.v9, table.v2", Some("table.v2"), false),
        ("/plain", "table.v9", None, false),
    ] {
        let (offered, own) = (format!("Sec-WebSocket-Protocol: {protocols}"), format!("X-Own: {path}"));
        let deflate = "Sec-WebSocket-Extensions: permessage-deflate";
        let (answer, mut client) = Client::try_connect(addr, path, &[&offered, &own, deflate]).await;
        assert_eq!(answer.status, 101);
        let frame = client.frame().await.unwrap();
        // it is long enough to be compressed where that was agreed
        let text = if frame.rsv == 0 { frame.payload } else { inflated(&frame.payload) };
        let shown: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(shown["target"], path);
        assert_eq!(shown["subprotocol"].as_str(), chosen);
        assert_eq!(shown["extensions"].as_array().unwrap().is_empty(), !compressed);
        let field = |side: &str, name: &str| {
            let fields = shown[side].as_array().unwrap();
            fields.iter().find(|field| field[0] == name).map(|field| field[1].as_str().unwrap().to_owned())
        };
        assert_eq!(field("request", "x-own").as_deref(), Some(path));
        assert_eq!(field("request", "sec-websocket-protocol").as_deref(), Some(protocols));
        for name in ["sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions"] {
            assert_eq!(field("response", name).as_deref(), answer.header(name), "{name}");
        }
        assert!(field("response", "sec-websocket-accept").is_some());
    }
}

fn inflated(compressed: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(10_000);
    let whole = [compressed, &[0, 0, 0xff, 0xff]].concat();
    flate2::Decompress::new(false).decompress_vec(&whole, &mut text, flate2::FlushDecompress::Sync).unwrap();
    text
}

// ---- broadcast ----

#[tokio::test]
async fn broadcast_sends_only_selected_topics() {
    let mut example = Example::start("broadcast", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let (mut silent, mut one, mut both) =
        (Client::connect(addr, &path).await, Client::connect(addr, &path).await, Client::connect(addr, &path).await);
    one.text(r#"{"listen":["scores"]}"#).await;
    both.text(r#"{"listen":["time","quotes"]}"#).await;
    let mut topics = Vec::new();
    for (client, count) in [(&mut one, 3), (&mut both, 4)] {
        for _ in 0..count {
            let news: serde_json::Value = serde_json::from_slice(&client.expect(TEXT).await).unwrap();
            assert_eq!(news["listeners"], 1);
            topics.push(news["topic"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(topics[..3], ["scores", "scores", "scores"]);
    // it may have come in the middle of a round
    assert!(topics[3..] == ["time", "quotes", "time", "quotes"] || topics[3..] == ["quotes", "time", "quotes", "time"]);
    silent.expect_silence().await;

    // what a page listens to is what it said last
    both.text(r#"{"listen":[]}"#).await;
    one.text(r#"{"listen":["time"]}"#).await;
    loop {
        let news: serde_json::Value = serde_json::from_slice(&one.expect(TEXT).await).unwrap();
        if news["topic"] == "time" && news["listeners"] == 1 {
            break;
        }
    }
}

// ---- programmatic ----

#[tokio::test]
async fn programmatic_adds_and_removes_handlers_of_one_session_while_it_is_open() {
    let mut example = Example::start("programmatic", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let (mut client, mut other) = (Client::connect(addr, &path).await, Client::connect(addr, &path).await);
    let opened: serde_json::Value = serde_json::from_slice(&client.expect(TEXT).await).unwrap();
    assert_eq!(opened["handlers"], serde_json::json!(["text"]));
    other.expect(TEXT).await;
    let sessions = format!("/sessions/{}", opened["id"].as_str().unwrap());
    let ask = async |method: &str, what: &str| {
        let (line, host) = (format!("{method} {sessions}/{what} HTTP/1.1"), format!("Host: {addr}"));
        let answer = Client::request(addr, &[&line, &host, "Connection: close"], b"").await.0;
        (answer.status, answer.body)
    };

    client.text("hello").await;
    client.expect_text(r#"{"heard":"text","what":"hello"}"#).await;
    client.binary(b"nobody").await;
    client.expect_silence().await;
    assert_eq!(ask("PUT", "handlers/binary").await, (200, r#"["text","binary"]"#.to_owned()));
    assert_eq!(ask("PUT", "handlers/binary").await.0, 409);
    client.binary(b"somebody").await;
    client.expect_text(r#"{"heard":"binary","what":"8 bytes"}"#).await;

    assert_eq!(ask("DELETE", "handlers/text").await, (200, r#"["binary"]"#.to_owned()));
    assert_eq!(ask("DELETE", "handlers/text").await.0, 409);
    client.text("hello").await;
    client.expect_silence().await;
    other.text("still here").await;
    other.expect_text(r#"{"heard":"text","what":"still here"}"#).await;

    assert_eq!(ask("PUT", "handlers/pong").await.0, 200);
    assert_eq!(ask("POST", "ping").await.0, 204);
    assert_eq!(client.expect(PING).await, b"ping");
    client.send(0x80 | PONG, "ping").await;
    client.expect_text(r#"{"heard":"pong","what":"ping"}"#).await;

    assert_eq!(ask("PUT", "handlers/nothing").await.0, 400);
    client.close(1000, "").await;
    client.expect_close(1000).await;
    client.expect_end().await;
    assert!(example.line().await.ends_with(" left: 1000"));
    assert_eq!(ask("POST", "ping").await.0, 404);
}

#[tokio::test]
async fn programmatic_pushes_the_same_by_both_remotes() {
    let mut example = Example::start("programmatic", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let mut client = Client::connect(addr, &path).await;
    let opened: serde_json::Value = serde_json::from_slice(&client.expect(TEXT).await).unwrap();
    for remote in ["basic", "async"] {
        let path = format!("/sessions/{}/push/{remote}", opened["id"].as_str().unwrap());
        let asked = tokio::spawn(async move { post(addr, &path, "X-None: ", "").await });
        for _ in 0..64 {
            assert_eq!(client.expect(BINARY).await.len(), 64 << 10);
        }
        let shown: serde_json::Value = serde_json::from_str(&soon(asked).await.unwrap().body).unwrap();
        assert_eq!((&shown["messages"], &shown["bytes"]), (&64.into(), &(4 << 20).into()));
        assert!(shown["returned"].as_u64() <= shown["written"].as_u64(), "{shown}");
        client.expect_silence().await;
    }
}

// ---- socketio_chat ----

/// Somebody of the world of Socket.IO, by hand: Engine.IO 4 over a WebSocket of its own.
#[cfg(feature = "socketio")]
async fn socket_io(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr, "/socket.io/?EIO=4&transport=websocket").await;
    hears(&mut client, r#"0{"sid":"#).await;
    client.text("40").await;
    hears(&mut client, r#"40{"sid":"#).await;
    client
}

/// The next packet begins so; pings of Engine.IO are answered.
#[cfg(feature = "socketio")]
async fn hears(client: &mut Client, beginning: &str) {
    loop {
        let packet = String::from_utf8(client.expect(TEXT).await).unwrap();
        if packet != "2" {
            return assert!(packet.starts_with(beginning), "{packet}");
        }
        client.text("3").await;
    }
}

#[cfg(feature = "socketio")]
#[tokio::test]
async fn socketio_chat_joins_both_protocols_in_one_group() {
    for (arguments, joined, colon, left) in
        [(&[][..], "joined the group", ": ", "left the group"), (&["--lang", "zh"], "加入了群聊", "：", "离开了群聊")]
    {
        one_group_of_two_worlds(arguments, joined, colon, left).await;
    }
}

#[cfg(feature = "socketio")]
async fn one_group_of_two_worlds(arguments: &[&str], joined: &str, colon: &str, left: &str) {
    let mut example = Example::start("socketio_chat", arguments);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    assert_eq!(path, "/chat?name=WebSocket");

    let mut plain = Client::connect(addr, "/chat?name=Hong").await;
    plain.expect_text(&format!("Hong {joined}")).await;
    let mut io = socket_io(addr).await;
    io.text(r#"42["join","Ming"]"#).await;
    hears(&mut io, r#"42["join","Ming"]"#).await;
    plain.expect_text(&format!("Ming {joined}")).await;

    io.text(r#"42["message","hello"]"#).await;
    hears(&mut io, &format!(r#"42["message","Ming{colon}hello"]"#)).await;
    plain.expect_text(&format!("Ming{colon}hello")).await;
    plain.text("hello, too").await;
    hears(&mut io, &format!(r#"42["message","Hong{colon}hello, too"]"#)).await;
    plain.expect_text(&format!("Hong{colon}hello, too")).await;

    let mut third = socket_io(addr).await;
    third.text(r#"42["join","Lei"]"#).await;
    for client in [&mut third, &mut io] {
        hears(client, r#"42["join","Lei"]"#).await;
    }
    plain.expect_text(&format!("Lei {joined}")).await;

    io.text("41").await;
    plain.expect_text(&format!("Ming {left}")).await;
    hears(&mut third, &format!(r#"42["message","Ming {left}"]"#)).await;
    plain.close(1000, "").await;
    hears(&mut third, &format!(r#"42["message","Hong {left}"]"#)).await;
}

#[cfg(feature = "socketio")]
#[tokio::test]
async fn socketio_chat_refuses_clients_without_a_name() {
    let mut example = Example::start("socketio_chat", &[]);
    example.url("page", "http").await;
    let (addr, _) = example.url("endpoint", "ws").await;
    let (answer, _) = Client::try_connect(addr, "/chat", &[]).await;
    assert_eq!(answer.status, 400);
}

// ---- axum_app ----

#[tokio::test]
async fn axum_app_refuses_users_without_a_login() {
    let mut example = Example::start("axum_app", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    for header in ["X-None: ", "Cookie: login=", "Cookie: login=0123456789abcdef0123456789abcdef"] {
        let (answer, _) = Client::try_connect(addr, &path, &[header]).await;
        assert_eq!(answer.status, 401, "{header}");
        assert_eq!(post(addr, "/api/items", header, r#"{"what":"tea"}"#).await.status, 401, "{header}");
    }
    assert_eq!(get(addr, "/api/items").await.body, "[]");
    assert_eq!(post(addr, "/api/login", "X-None: ", r#"{"name":" "}"#).await.status, 400);
}

#[tokio::test]
async fn axum_app_applies_roles() {
    let mut example = Example::start("axum_app", &[]);
    example.url("page", "http").await;
    let (addr, _) = example.url("endpoint", "ws").await;
    let (ming, hong) = (login(addr, "Ming").await, login(addr, "Hong").await);
    let host = format!("Host: {addr}");
    let ask = async |method: &str, path: &str, cookie: &str| {
        let line = format!("{method} {path} HTTP/1.1");
        let (answer, _) = Client::request(addr, &[&line, &host, "Connection: close", cookie], b"").await;
        (answer.status, answer.body)
    };
    for (cookie, status, body) in [
        (ming.as_str(), 200, r#"{"name":"Ming","roles":["admin","user"]}"#),
        (&hong, 200, r#"{"name":"Hong","roles":["user"]}"#),
        ("X-None: ", 401, ""),
    ] {
        assert_eq!(ask("GET", "/api/me", cookie).await, (status, body.to_owned()));
    }
    for (cookie, status) in [(hong.as_str(), 403), ("X-None: ", 401), (&ming, 204)] {
        assert_eq!(ask("DELETE", "/api/items", cookie).await.0, status, "{cookie}");
    }
}

#[tokio::test]
async fn axum_app_ends_a_thousand_sessions_and_counts_them() {
    const ALL: usize = 1000;
    let mut example = Example::start("axum_app", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let cookie = login(addr, "Ming").await;
    let mut clients = Vec::new();
    for _ in 0..ALL {
        let client = Client::connect_with(addr, &path, &[&cookie]).await;
        clients.push(tokio::spawn(ends(client, clients.len() % 50 != 0)));
    }
    // whoever is not counted yet has been answered, and that is enough
    example.terminate();
    for client in clients {
        soon(client).await.unwrap();
    }
    assert_eq!(example.line().await, format!("{ALL} connections closed, 0 cut"));
    assert!(example.ended().await.success());
}

/// Reads what it is told until the server ends it; answers that, or is silent.
async fn ends(mut client: Client, answers: bool) {
    loop {
        match client.frame().await.expect("a close frame comes first") {
            frame if frame.opcode == TEXT => {}
            frame => {
                assert_eq!((frame.opcode, &frame.payload[..2]), (CLOSE, &1001u16.to_be_bytes()[..]));
                break;
            }
        }
    }
    if answers {
        client.close(1001, "").await;
    }
    client.expect_end().await;
}

#[tokio::test]
async fn axum_app_sends_changes_to_every_window() {
    let mut example = Example::start("axum_app", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    assert_eq!(path, "/api/live");
    let (ming, hong) = (login(addr, "Ming").await, login(addr, "Hong").await);
    let mut first = Client::connect_with(addr, &path, &[&ming]).await;
    first.expect_text(r#"{"items":[],"windows":1}"#).await;
    let mut second = Client::connect_with(addr, &path, &[&hong]).await;
    for client in [&mut first, &mut second] {
        client.expect_text(r#"{"items":[],"windows":2}"#).await;
    }

    assert_eq!(post(addr, "/api/items", &hong, r#"{"what":"tea"}"#).await.status, 201);
    for client in [&mut first, &mut second] {
        client.expect_text(r#"{"items":[{"what":"tea","by":"Hong","done":false}],"windows":2}"#).await;
    }
    first.text("0").await;
    // there is none
    first.text("7").await;
    for client in [&mut first, &mut second] {
        for _ in 0..2 {
            client.expect_text(r#"{"items":[{"what":"tea","by":"Hong","done":true}],"windows":2}"#).await;
        }
    }
    assert_eq!(get(addr, "/api/items").await.body, r#"[{"what":"tea","by":"Hong","done":true}]"#);

    second.close(1000, "").await;
    first.expect_text(r#"{"items":[{"what":"tea","by":"Hong","done":true}],"windows":1}"#).await;
    second.expect_close(1000).await;
    second.expect_end().await;
    example.terminate();
    first.expect_close(1001).await;
    first.close(1001, "").await;
    first.expect_end().await;
    assert_eq!(example.line().await, "1 connections closed, 0 cut");
    assert!(example.ended().await.success());
}
