//! The examples as programs: they start, print where they are, serve, and end politely.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use endpoint_runtime::Trust;
use endpoint_runtime::prelude::*;
use support::{Answer, BINARY, Client, soon};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

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
        assert!(path.exists(), "{} is not built: run `cargo build --examples`", path.display());
        path
    }

    async fn line(&mut self) -> String {
        soon(self.out.next_line()).await.unwrap().expect("it ended")
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
        let pid = self.process.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    async fn ended(&mut self) -> ExitStatus {
        soon(self.process.wait()).await.unwrap()
    }
}

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
async fn ws_server_echoes_and_tells_of_its_sessions() {
    let mut example = Example::start("ws_server", &[]);
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
async fn ws_server_admits_its_own_page_and_no_foreign_one() {
    let mut example = Example::start("ws_server", &[]);
    example.url("page", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let (answer, _) = Client::try_connect(addr, &path, &[&format!("Origin: http://{addr}")]).await;
    assert_eq!(answer.status, 101);
    let (answer, _) = Client::try_connect(addr, &path, &["Origin: http://evil.example"]).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn ws_server_speaks_tls_with_a_certificate_that_it_names() {
    let mut example = Example::start("ws_server", &["--tls"]);
    let line = example.line().await;
    let place = line.strip_prefix("certificate: ").unwrap_or_else(|| panic!("{line:?}"));
    let trust = Trust::only(std::fs::read(place).unwrap()).unwrap();
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
#[client_endpoint]
struct Ear(tokio::sync::mpsc::UnboundedSender<String>);

impl Ear {
    #[on_message]
    fn text(&self, text: String) {
        let _ = self.0.send(text);
    }
}

#[tokio::test]
async fn ws_server_admits_every_page_if_told_so() {
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
async fn axum_app_answers_its_route_and_echoes() {
    let mut example = Example::start("axum_app", &[]);
    let (addr, path) = example.url("api", "http").await;
    let answer = get(addr, &path).await;
    assert_eq!(answer.status, 200);
    let seconds = answer.body.strip_prefix(r#"{"seconds":"#).and_then(|rest| rest.strip_suffix('}'));
    assert!(seconds.unwrap().parse::<u64>().unwrap() > 1_700_000_000, "{answer:?}");
    let (addr, path) = example.url("endpoint", "ws").await;
    let mut client = echoes(addr, &path).await;
    client.binary(&[1, 2, 3]).await;
    assert_eq!(client.expect(BINARY).await, [1, 2, 3]);
    assert_eq!(get(addr, "/elsewhere").await.status, 404);
}

#[tokio::test]
async fn axum_app_ends_with_1001_to_its_clients_when_terminated() {
    let mut example = Example::start("axum_app", &[]);
    example.url("api", "http").await;
    let (addr, path) = example.url("endpoint", "ws").await;
    let mut client = echoes(addr, &path).await;
    example.terminate();
    client.expect_close(1001).await;
    client.close(1001, "").await;
    client.expect_end().await;
    assert!(example.ended().await.success());
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
async fn wrong_arguments_are_told_and_end_with_2() {
    for name in ["ws_server", "bench_server", "axum_app"] {
        let output = soon(Command::new(Example::path(name)).arg("--wrong").kill_on_drop(true).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(&format!("usage: {name} ")), "{said}");
    }
}
