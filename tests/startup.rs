//! What a server says when it starts: in the log, and on the standard error stream of a program without a log.

mod support;

use std::net::SocketAddr;
use std::process::{Command, Output};

use endpoint_runtime::prelude::*;
use endpoint_runtime::{ContainerBuilder, ServerBuilder};
use support::{Log, TestServer};
use tokio::sync::oneshot;

#[server_endpoint("/chat/{room}")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open]
    fn enter(&self) {}

    #[on_message]
    fn say(&self, _: &str) {}

    #[on_message]
    fn picture(&self, _: &[u8]) {}
}

/// Only sends, and says so.
#[server_endpoint("/feed")]
#[derive(Default)]
struct Feed;

impl Feed {
    #[on_open]
    fn enter(&self, session: &Session) {
        session.join("all");
    }

    #[on_message]
    fn ignore(&self, _: &str) {}
}

/// Has the other handlers.
#[server_endpoint("/forgot-one")]
#[derive(Default)]
struct ForgotOne;

impl ForgotOne {
    #[on_open]
    fn enter(&self, session: &Session) {
        session.join("all");
    }

    #[on_close]
    fn leave(&self) {}
}

#[server_endpoint("/events", events("one"))]
#[derive(Default)]
struct Events;

impl Events {
    #[on_message(event = "one")]
    fn one(&self, _: Json<u8>) {}
}

#[server_endpoint("/empty")]
#[derive(Default)]
struct Empty;

/// An attribute is missing.
#[server_endpoint("/forgot")]
#[derive(Default)]
struct Forgot;

impl Forgot {
    #[allow(dead_code)]
    fn say(&self, text: String) -> String {
        text
    }

    #[on_close]
    fn leave(&self) {}
}

fn builder() -> ContainerBuilder {
    ServerContainer::builder()
}

/// The part of a warning that names an endpoint: its type and its place.
fn named<E: endpoint_runtime::ServerEndpoint>() -> String {
    let container = builder().register::<E>().build().unwrap();
    let endpoint = container.endpoints().next().unwrap();
    format!("{} ({}:{})", endpoint.name, endpoint.file, endpoint.line)
}

// ---- the log ----

#[tokio::test]
async fn endpoints_are_logged_with_their_handlers_then_the_urls() {
    let log = Log::capture();
    let container = builder().register::<Chat>().register::<Feed>().register::<Events>().context_path("/ws");
    let server = Server::with(container).bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let lines = log.lines("");
    assert!(
        lines.len() == 3 && lines.iter().all(|line| line.contains("INFO") && line.contains("mounted")),
        "{lines:?}"
    );
    for (line, path, handlers) in [
        (&lines[0], "/ws/chat/{room}", "open, text, binary"),
        (&lines[1], "/ws/events", "text"),
        (&lines[2], "/ws/feed", "open, text"),
    ] {
        assert!(line.contains(path) && line.contains(&format!("handlers=\"{handlers}\"")), "{line}");
    }
    server.run_until(async {}).await.unwrap();
    let urls = format!("listening on ws://{addr}/ws/chat/{{room}}, ws://{addr}/ws/events, ws://{addr}/ws/feed");
    let lines = log.lines("listening on");
    assert!(lines.len() == 1 && lines[0].contains("INFO") && lines[0].ends_with(&urls), "{lines:?}");
}

#[tokio::test]
async fn urls_of_a_server_with_tls_are_wss_and_long_lists_are_cut() {
    use endpoint_runtime::{Endpoint, TlsConfig};
    struct Plain;
    impl Endpoint for Plain {
        async fn on_open(&mut self, _: &Session) -> Result<(), Error> {
            Ok(())
        }
    }
    let log = Log::capture();
    let container = (0..12).fold(builder(), |container, n| container.add_endpoint(format!("/{n}"), || Plain));
    let tls = TlsConfig::self_signed(["localhost"]).unwrap();
    let server = Server::with(container).tls(tls).bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    server.run_until(async {}).await.unwrap();
    let lines = log.lines("listening on");
    assert!(lines[0].contains(&format!("wss://{addr}/0")) && lines[0].ends_with(" and 4 more"), "{lines:?}");
}

#[tokio::test]
async fn failed_bind_names_the_address_and_logs_nothing_as_mounted() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, log) = (taken.local_addr().unwrap(), Log::capture());
    let server = || Server::with(builder().register::<Chat>());
    for error in [
        server().bind(addr).await.unwrap_err(),
        server().bind(addr.to_string()).await.unwrap_err(),
        server().bind(("127.0.0.1", addr.port())).await.unwrap_err(),
    ] {
        assert!(error.is_io(), "{error:?}");
        assert!(error.to_string().starts_with(&format!("cannot listen on {addr}: ")), "{error}");
        let cause = error.downcast_ref::<std::io::Error>().expect("the cause is kept");
        assert_eq!(cause.kind(), std::io::ErrorKind::AddrInUse);
    }
    let foreign: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let error = server().bind(foreign).await.unwrap_err();
    assert!(error.is_io() && error.to_string().starts_with("cannot listen on 192.0.2.1:80: "), "{error}");
    for nowhere in ["localhost", "localhost:none"] {
        let error = server().bind(nowhere).await.unwrap_err();
        assert!(error.is_io() && error.to_string().starts_with(&format!("cannot listen on {nowhere:?}: ")), "{error}");
    }
    let error = server().bind(&[][..]).await.unwrap_err();
    assert!(error.is_io() && error.to_string().contains("it has no address"), "{error}");
    assert_eq!(log.lines("mounted"), [""; 0]);
}

#[tokio::test]
async fn second_address_is_taken_if_the_first_cannot_be_bound() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addrs = [taken.local_addr().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let server = Server::with(builder().register::<Chat>()).bind(&addrs[..]).await.unwrap();
    assert_ne!(server.local_addr().unwrap(), addrs[0]);
}

#[tokio::test]
async fn endpoints_that_look_forgotten_are_warned_about() {
    let log = Log::capture();
    builder().register::<Chat>().register::<Feed>().register::<Events>().build().unwrap();
    assert_eq!(log.lines("WARN"), [""; 0]);
    let container = builder().register::<Chat>().register::<Empty>().register::<Forgot>().register::<ForgotOne>();
    let container = container.build().unwrap();
    let lines = log.lines("WARN");
    let forgot = "#[on_message]";
    for (place, remedy) in [
        (named::<Empty>() + " ", "#[on_open]"),
        (named::<Forgot>() + " ", forgot),
        (named::<ForgotOne>() + " ", forgot),
    ] {
        let about: Vec<_> = lines.iter().filter(|line| line.contains(&place)).collect();
        assert!(about.len() == 1 && about[0].contains(remedy), "{lines:?}");
    }
    assert_eq!(lines.len(), 3, "{lines:?}");
    // mounted later, or served without being mounted
    drop(log);
    let log = Log::capture();
    container.remove_endpoint("/empty");
    container.register::<Empty>().unwrap();
    assert_eq!(log.lines("WARN").len(), 1);
    let container = builder().register::<Chat>().build().unwrap();
    for _ in 0..2 {
        container.adopt::<Forgot>().unwrap();
    }
    assert_eq!(log.lines("WARN").len(), 2);
}

#[tokio::test]
async fn server_without_an_endpoint_says_where_it_listens() {
    let log = Log::capture();
    let server = TestServer::with(builder()).await;
    let addr = server.addr;
    server.shutdown().await;
    assert_eq!(log.lines("no endpoint is mounted").len(), 1);
    assert!(log.lines("listening on")[0].ends_with(&format!("listening on {addr}")));
}

// ---- the standard error stream ----

/// Says what the process of a test does; in any other process that test does nothing.
const ROLE: &str = "ENDPOINT_TEST_STARTUP";

/// Run by the next test in a process of its own, which has no log, or another.
#[test]
fn start_of_a_server() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let container = builder().register::<Chat>().register::<Empty>();
    let mut server: ServerBuilder = Server::with(if role == "nothing" { builder() } else { container });
    match role.as_str() {
        "log" => tracing_subscriber::fmt().with_writer(std::io::stdout).init(),
        "errors" => {
            tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(std::io::stdout).init();
        }
        "quiet" => server = server.quiet(),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (stop, stopped) = oneshot::channel::<()>();
        let server = server.bind("127.0.0.1:0").await.unwrap();
        println!("bound to {}", server.local_addr().unwrap());
        // in a task, as most programs do
        let running = tokio::spawn(server.run_until(async { drop(stopped.await) }));
        drop(stop);
        running.await.unwrap().unwrap();
    });
}

fn start(role: &str) -> (SocketAddr, Output) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", "start_of_a_server", "--nocapture"]).env(ROLE, role).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, addr) = text.split_once("bound to ").unwrap_or_else(|| panic!("{text}"));
    (addr.split_whitespace().next().unwrap().parse().unwrap(), output.clone())
}

#[test]
fn program_without_a_log_prints_its_urls_and_its_warnings() {
    let (addr, output) = start("plain");
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with(&format!("warning: {} has no handlers", named::<Empty>())), "{text}");
    assert_eq!(lines[1], format!("listening on ws://{addr}/chat/{{room}}, ws://{addr}/empty"));

    let (addr, output) = start("nothing");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("warning: no endpoint is mounted"), "{text}");
    assert!(text.ends_with(&format!("listening on {addr}\n")), "{text}");
}

#[test]
fn quiet_server_and_program_with_a_log_print_nothing() {
    for role in ["quiet", "log", "errors"] {
        let (_, output) = start(role);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{role}");
        let listening = String::from_utf8_lossy(&output.stdout).contains("listening on ws://");
        assert_eq!(listening, role == "log", "{role}");
    }
}
