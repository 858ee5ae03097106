//! What a container counts, measures and answers about itself.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use endpoint_runtime::cluster::HealthStatus;
use endpoint_runtime::prelude::*;
use endpoint_runtime::test::TestCluster;
use endpoint_runtime::{
    CloseCount, Durations, EndpointStats, Interceptor, MessageRate, Metrics, Rate, StatusService, TrafficLog,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use support::{CONTINUATION, Log, PING, PONG, TEXT, TestServer, soon};
use tower::ServiceExt;

#[server_endpoint("/echo")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }
}

#[server_endpoint("/slow/{name}")]
#[derive(Default)]
struct Slow;

impl Slow {
    #[on_message]
    async fn text(&self, text: String, session: &Session) -> Result<String, Error> {
        // the messages behind this one wait in the inbox
        tokio::time::sleep(Duration::from_millis(20)).await;
        session.basic_remote().send_text("first").await?;
        match &*text {
            "fail" => Err(Error::user("as told")),
            "panic" => panic!("as told"),
            _ => Ok(text),
        }
    }

    #[on_error]
    fn failed(&self, _: &Error) {}
}

#[server_endpoint("/room")]
#[derive(Default)]
struct RoomOf;

impl RoomOf {
    #[on_open]
    fn enter(&self, session: &Session) {
        session.join("all");
    }

    #[on_message]
    fn number(&self, number: u32, session: &Session) {
        session.room("all").async_remote().send_text(number.to_string());
    }
}

fn of<'s>(stats: &'s [EndpointStats], path: &str) -> &'s EndpointStats {
    stats.iter().find(|endpoint| endpoint.path == path).unwrap()
}

/// The statistics of an endpoint once they fulfil `is_there`: counts follow what a peer sees by an instant.
async fn until(server: &TestServer, path: &str, is_there: impl Fn(&EndpointStats) -> bool) -> EndpointStats {
    soon(async {
        loop {
            let stats = server.container.stats().endpoints;
            if is_there(of(&stats, path)) {
                return of(&stats, path).clone();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
}

#[tokio::test]
async fn messages_and_bytes_are_counted_in_both_directions() {
    let server = TestServer::of::<Echo>().await;
    let mut client = server.connect("/echo").await;
    for _ in 0..3 {
        client.text("hello").await;
        client.expect_text("hello").await;
    }
    // a message in three frames, with a ping between two of them
    client.send(TEXT, "a").await;
    client.send(0x80 | PING, "p").await;
    client.send(CONTINUATION, "b").await;
    client.send(0x80 | CONTINUATION, "c").await;
    assert_eq!(client.expect(PONG).await, b"p");
    client.expect_text("abc").await;
    let (received, sent) = (3 * (6 + 5) + 4 * (6 + 1), 3 * (2 + 5) + (2 + 1) + (2 + 3));
    let traffic = until(&server, "/echo", |it| it.traffic.bytes_sent == sent).await.traffic;
    assert_eq!((traffic.messages_received, traffic.messages_sent, traffic.messages_dropped), (4, 4, 0));
    assert_eq!(traffic.bytes_received, received);

    // the counts stay when the session has ended
    client.close(1000, "").await;
    client.expect_close(1000).await;
    client.expect_end().await;
    let stats = until(&server, "/echo", |it| it.sessions == 0 && !it.closes.is_empty()).await;
    assert_eq!((stats.traffic.messages_received, stats.traffic.messages_sent, stats.counts.opened), (4, 4, 1));
    assert_eq!(stats.session_durations.count, 1);
    let closes: Vec<_> =
        stats.closes.iter().map(|CloseCount { code, initiator, count, .. }| (*code, *initiator, *count)).collect();
    assert_eq!(closes, [(Some(1000), "peer", 1)]);
}

#[tokio::test]
async fn messages_that_wait_while_a_handler_runs_are_counted_once() {
    let server = TestServer::of::<Slow>().await;
    let mut client = server.connect("/slow/x").await;
    for text in ["a", "b", "c"] {
        client.text(text).await;
    }
    for text in ["a", "b", "c"] {
        client.expect_text("first").await;
        client.expect_text(text).await;
    }
    let traffic = until(&server, "/slow/{name}", |it| it.traffic.messages_sent == 6).await.traffic;
    assert_eq!(traffic.messages_received, 3);
}

#[tokio::test]
async fn broadcasts_are_counted_for_each_session() {
    let server = TestServer::of::<RoomOf>().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(server.connect("/room").await);
    }
    until(&server, "/room", |it| it.sessions == 3).await;
    clients[0].text("1").await;
    for client in &mut clients {
        client.expect_text("1").await;
    }
    let traffic = until(&server, "/room", |it| it.traffic.messages_sent == 3).await.traffic;
    assert_eq!((traffic.messages_received, traffic.bytes_sent), (1, 3 * 3));
}

#[tokio::test]
async fn errors_and_messages_without_a_handler_are_counted_by_kind() {
    let server = TestServer::with(ServerContainer::builder().register::<Slow>().register::<RoomOf>()).await;
    let mut client = server.connect("/slow/x").await;
    client.text("fail").await;
    client.expect_text("first").await;
    client.binary(b"nobody takes it").await;
    client.text("panic").await;
    client.expect_text("first").await;
    client.expect_close(1011).await;
    drop(client);
    let stats = until(&server, "/slow/{name}", |it| !it.closes.is_empty()).await;
    assert_eq!((stats.errors.user, stats.errors.panic, stats.counts.unhandled), (1, 1, 1));
    assert_eq!(stats.traffic.messages_received, 3);

    let mut client = server.connect("/room").await;
    client.text("not a number").await;
    client.expect_close(1007).await;
    let mut client = server.connect("/room").await;
    // a reserved opcode
    client.send(0x83, "").await;
    client.expect_close(1002).await;
    let stats = until(&server, "/room", |it| it.errors.protocol == 1).await;
    assert_eq!((stats.errors.decode, stats.errors.user), (1, 0));
}

#[tokio::test]
async fn connections_are_counted_as_http_until_they_become_sessions() {
    let server = TestServer::serving(Server::with(ServerContainer::builder().register::<Echo>())).await;
    let http = async |count| {
        soon(async {
            while server.container.stats().connections.http != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
    };
    let silent = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    http(1).await;
    let _session = server.connect("/echo").await;
    http(1).await;
    assert_eq!((server.container.stats().sessions, server.container.stats().connections.accepted), (1, 2));
    drop(silent);
    http(0).await;
}

#[tokio::test]
async fn handshakes_are_counted_by_status_and_measured() {
    let server = TestServer::of::<Echo>().await;
    let _client = server.connect("/echo").await;
    let (answer, _) = server.request(&["GET /echo HTTP/1.1", "Host: x"]).await;
    assert_eq!(answer.status, 426);
    let stats = server.container.stats();
    let counts: Vec<_> = stats.handshakes.iter().map(|it| (it.status, it.count)).collect();
    assert_eq!(counts, [(Some(101), 1), (Some(426), 1)]);
    assert_eq!(stats.handshake_durations.count, 2);
}

#[tokio::test]
async fn handshakes_for_a_path_without_an_endpoint_are_counted_and_pages_are_not() {
    let server = TestServer::of::<Echo>().await;
    let handshake = ["Host: x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    for lines in [&["GET /old HTTP/1.1"][..], &["GET /page HTTP/1.1"]] {
        let more = if lines[0].contains("old") { &handshake[..] } else { &handshake[..1] };
        let (answer, _) = server.request(&[lines, more].concat()).await;
        assert_eq!(answer.status, 404);
    }
    let counts: Vec<_> = server.container.stats().handshakes.iter().map(|it| (it.status, it.count)).collect();
    assert_eq!(counts, [(Some(404), 1)]);
}

#[tokio::test(start_paused = true)]
async fn pings_and_timeouts_are_counted() {
    let container = ServerContainer::builder().register::<Echo>().ping_interval(Some(Duration::from_secs(1)));
    let container = container.idle_timeout(None).pong_timeout(Some(Duration::from_secs(2))).build().unwrap();
    let server = endpoint_runtime::test::TestServer::new(container);
    let mut live = server.connect("/echo").await;
    let mut silent = server.request("/echo").silent().connect().await;
    silent.expect_ping().await;
    silent.expect_close(1001).await;
    live.expect_nothing().await;
    let metrics = server.metrics();
    let label = ("endpoint", "/echo");
    assert!(metrics.get("websocket_server_ping_round_trip_seconds_count", [label]) >= Some(1.0));
    assert_eq!(metrics.get("websocket_server_session_timeouts_total", [label, ("kind", "ping")]), Some(1.0));
    assert_eq!(metrics.get("websocket_server_session_timeouts_total", [label, ("kind", "idle")]), Some(0.0));
    assert_eq!(metrics.get("websocket_server_sessions", [label]), Some(1.0));
    let closed = [label, ("code", "1006"), ("initiator", "container")];
    assert_eq!(metrics.get("websocket_server_sessions_closed_total", closed), Some(1.0));
}

#[tokio::test]
async fn counts_never_decrease_while_sessions_end() {
    let server = TestServer::of::<Echo>().await;
    let (container, last) = (server.container.clone(), Arc::new(AtomicU64::new(0)));
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let (watched, seen) = (container.clone(), last.clone());
    let watcher = tokio::task::spawn_blocking(move || {
        while matches!(stopped.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty)) {
            let count = of(&watched.stats().endpoints, "/echo").traffic.messages_received;
            let before = seen.swap(count, Ordering::Relaxed);
            assert!(count >= before, "{count} after {before}");
        }
    });
    for _ in 0..50 {
        let mut client = server.connect("/echo").await;
        client.text("x").await;
        client.expect_text("x").await;
        drop(client);
    }
    let _ = stop.send(());
    soon(watcher).await.unwrap();
    let stats = until(&server, "/echo", |it| it.sessions == 0).await;
    assert_eq!((stats.traffic.messages_received, stats.counts.opened), (50, 50));
}

#[tokio::test]
async fn handlers_are_measured_only_if_asked() {
    for is_measured in [false, true] {
        let container = ServerContainer::builder().register::<Slow>().register::<Echo>();
        let server = TestServer::with(container.measure_handlers(is_measured)).await;
        let mut client = server.connect("/slow/x").await;
        client.text("a").await;
        client.expect_text("first").await;
        client.expect_text("a").await;
        let mut client = server.connect("/echo").await;
        client.text("a").await;
        client.expect_text("a").await;
        let stats = server.container.stats().endpoints;
        let Durations { count, sum, .. } = &of(&stats, "/slow/{name}").handler_durations;
        assert_eq!(*count, u64::from(is_measured));
        assert_eq!(*sum >= Duration::from_millis(20), is_measured, "{sum:?}");
        assert_eq!(of(&stats, "/echo").handler_durations.count, u64::from(is_measured));
    }
}

// ---- the answers ----

async fn ask(service: StatusService, method: Method) -> (Response<()>, String) {
    let request = Request::builder().method(method).uri("/any").body(Empty::<endpoint_runtime::Bytes>::new()).unwrap();
    let (parts, body) = service.oneshot(request).await.unwrap().into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (Response::from_parts(parts, ()), body)
}

/// The series of a page in the text format of Prometheus: name and labels, and the value.
fn series(page: &str) -> BTreeMap<String, f64> {
    let (mut series, mut kinds, mut helped) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(helped.insert(name.to_owned()) && !help.is_empty(), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(helped.contains(name) && kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
        } else {
            let (key, value) = line.rsplit_once(' ').unwrap();
            let name = key.split('{').next().unwrap();
            let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
            assert!(name.chars().all(is_word) && name.starts_with("websocket_"), "{line}");
            if let Some(labels) = key.strip_prefix(name).filter(|labels| !labels.is_empty()) {
                let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}')).unwrap();
                // no label of these tests has a quote or a comma
                for label in labels.split(',') {
                    let (key, value) = label.split_once('=').unwrap();
                    assert!(key.chars().all(is_word) && value.starts_with('"') && value.ends_with('"'), "{line}");
                }
            }
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                let family = name.strip_suffix(suffix)?;
                (kinds.get(family).map(String::as_str) == Some("histogram")).then_some(family)
            });
            assert!(kinds.contains_key(of_histogram.unwrap_or(name)), "{line} comes before its type");
            assert!(series.insert(key.to_owned(), value.parse().unwrap()).is_none(), "{line} is there twice");
        }
    }
    series
}

#[tokio::test]
async fn metrics_are_a_page_that_prometheus_reads() {
    let server = TestServer::with(ServerContainer::builder().register::<Echo>().register::<Slow>()).await;
    let mut client = server.connect("/echo").await;
    client.text("x").await;
    client.expect_text("x").await;
    until(&server, "/echo", |it| it.traffic.messages_sent == 1).await;
    let (response, page) = ask(server.container.metrics_service(), Method::GET).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let series = series(&page);
    assert_eq!(series[r#"websocket_server_messages_total{endpoint="/echo",direction="received"}"#], 1.0);
    assert_eq!(series[r#"websocket_server_messages_total{endpoint="/echo",direction="sent"}"#], 1.0);
    assert_eq!(series[r#"websocket_server_sessions{endpoint="/slow/{name}"}"#], 0.0);
    assert_eq!(series[r#"websocket_server_handshakes_total{status="101"}"#], 1.0);
    assert_eq!(series["websocket_server_handshake_duration_seconds_count"], 1.0);
    assert_eq!(series[r#"websocket_server_memory_limit_bytes{pool="send_queues"}"#], f64::from(1 << 30));
    assert_eq!(series["websocket_server_ready"], 1.0);
}

#[tokio::test]
async fn pages_answer_get_and_head_only() {
    let container = ServerContainer::builder().register::<Echo>().build().unwrap();
    let services = || {
        [
            container.metrics_service(),
            container.stats_service(),
            container.health_service(),
            container.readiness_service(),
        ]
    };
    for service in services() {
        assert_eq!(ask(service.clone(), Method::GET).await.0.status(), StatusCode::OK);
        assert_eq!(ask(service.clone(), Method::HEAD).await.0.status(), StatusCode::OK);
        let (refused, _) = ask(service, Method::POST).await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(refused.headers()["allow"], "GET, HEAD");
    }
}

#[tokio::test]
async fn statistics_are_json() {
    let server = TestServer::of::<Slow>().await;
    let mut client = server.connect("/slow/x").await;
    client.text("a").await;
    client.expect_text("first").await;
    client.expect_text("a").await;
    let (response, body) = ask(server.container.stats_service(), Method::GET).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let stats: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&stats["sessions"], &stats["is_ready"], &stats["cluster"]), (&1.into(), &true.into(), &().into()));
    assert_eq!(stats["endpoints"][0]["path"], "/slow/{name}");
    assert_eq!(stats["endpoints"][0]["messages_received"], 1);
    assert_eq!(stats["endpoints"][0]["counts"]["opened"], 1);
    assert_eq!(stats["handshakes"][0]["status"], 101);
    assert!(stats["uptime_seconds"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn readiness_flips_when_a_shutdown_begins_and_health_does_not() {
    let server = TestServer::of::<Slow>().await;
    let container = server.container.clone();
    let mut client = server.connect("/slow/x").await;
    let (readiness, health) = (container.readiness_service(), container.health_service());
    assert!(container.is_ready());
    assert_eq!(ask(readiness.clone(), Method::GET).await.0.status(), StatusCode::OK);
    let shutdown = tokio::spawn(server.shutdown());
    // the session is still there: the peer has not answered the close frame
    client.expect_close(1001).await;
    let (response, body) = ask(readiness, Method::GET).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["is_draining"], &body["status"]), (&true.into(), &"healthy".into()));
    assert_eq!(ask(health, Method::GET).await.0.status(), StatusCode::OK);
    assert_eq!(container.stats().metrics().get("websocket_server_ready", []), Some(0.0));
    client.close(1001, "").await;
    drop(client);
    soon(shutdown).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn health_is_degraded_without_the_engine_and_says_so() {
    let cluster = TestCluster::of::<Echo>(2);
    cluster.settle().await;
    let container = cluster.node(0).container();
    // some signs of life return
    tokio::time::sleep(Duration::from_secs(5)).await;
    let metrics = container.stats().metrics();
    let names = ["connected", "nodes", "reconnects_total", "node_deaths_total"];
    let values = names.map(|name| metrics.get(&format!("websocket_cluster_{name}"), []).unwrap());
    assert_eq!(values, [1.0, 2.0, 0.0, 0.0]);
    assert!(metrics.get("websocket_cluster_lag_seconds", []).is_some_and(|lag| lag > 0.0 && lag < 1.0));
    assert_eq!(metrics.get("websocket_cluster_messages_total", [("outcome", "lost")]), Some(0.0));
    assert_eq!(container.health().reasons, [""; 0]);

    cluster.port(0).cut();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let health = container.health();
    assert_eq!(
        (health.status, &health.reasons[..]),
        (HealthStatus::Degraded, &["the engine of the cluster cannot be reached"][..])
    );
    let lenient = container.readiness_service();
    let (response, body) = ask(lenient.clone(), Method::GET).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(body.contains("the engine of the cluster cannot be reached"), "{body}");
    assert_eq!(ask(lenient.fail_when_degraded(), Method::GET).await.0.status(), StatusCode::SERVICE_UNAVAILABLE);
    let metrics = container.stats().metrics();
    assert_eq!(metrics.get("websocket_cluster_connected", []), Some(0.0));
    assert_eq!(metrics.get("websocket_cluster_lag_seconds", []), None);
}

// ---- the traffic log ----

#[tokio::test]
async fn traffic_log_shows_each_message_and_no_secret() {
    let log = Log::capture_from(tracing::Level::DEBUG);
    let container = ServerContainer::builder().register::<Echo>().register::<RoomOf>().register::<Slow>();
    let server = TestServer::with(container.traffic_log(TrafficLog::payloads(40).redact(["pin"]))).await;
    let mut client = server.connect("/echo").await;
    let text = r#"{"token":"s3cr3t","pin":"1234"}"#;
    client.text(text).await;
    client.expect_text(text).await;
    client.text("two\nlines").await;
    client.expect_text("two\nlines").await;
    let mut room = server.connect("/room").await;
    room.text("42").await;
    room.expect_text("42").await;
    let mut slow = server.connect("/slow/x").await;
    slow.text("a").await;
    slow.expect_text("first").await;
    slow.expect_text("a").await;
    let lines = log.lines("endpoint_runtime::traffic");
    let of = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    let all = ["direction=\"in\"", "direction=\"out\""].map(of);
    assert_eq!(all, [4, 5], "{lines:#?}");
    assert_eq!(of(r#"payload="{\"token\":[redacted],\"pin\":[redacted]}""#), 2, "{lines:#?}");
    assert_eq!((of("s3cr3t"), of("1234")), (0, 0));
    assert_eq!((of("two\\\\nlines"), of("path=\"/room\""), of("payload=\"first\"")), (2, 2, 1), "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("session=\"") && line.contains("bytes=")), "{lines:#?}");
    let session = server.container.sessions_of::<RoomOf>().iter().next().unwrap().id().to_string();
    assert_eq!(of(&session), 2);
}

/// Messages that no handler takes are not observed, also where a rate or an interceptor sees them.
#[tokio::test]
async fn messages_without_a_handler_are_not_observed() {
    #[derive(Default)]
    struct Passes;
    impl Interceptor for Passes {}
    let container = ServerContainer::builder().register::<Echo>().intercept(Passes);
    let container = container.rate(MessageRate::new().messages(Rate::per_second(100))).measure_handlers(true);
    let server = TestServer::with(container).await;
    let mut client = server.connect("/echo").await;
    client.binary(b"nobody takes it").await;
    client.text("one").await;
    client.expect_text("one").await;
    let echo = of(&server.container.stats().endpoints, "/echo").clone();
    assert_eq!((echo.handler_durations.count, echo.counts.unhandled), (1, 1));
}

/// Observing changes nothing: a message that no handler takes is dropped while it arrives, whatever its size.
#[tokio::test]
async fn observed_endpoint_drops_messages_without_a_handler_as_any_other() {
    for is_observed in [false, true] {
        let container =
            ServerContainer::builder().register::<Echo>().max_message_size(64).measure_handlers(is_observed);
        let server = TestServer::with(container).await;
        let mut client = server.connect("/echo").await;
        client.binary(&[0; 1000]).await;
        client.text("still open").await;
        client.expect_text("still open").await;
        let echo = of(&server.container.stats().endpoints, "/echo").clone();
        assert_eq!((echo.handler_durations.count, echo.counts.unhandled), (u64::from(is_observed), 1));
    }
}

#[tokio::test]
async fn traffic_is_not_logged_without_the_option_or_at_info() {
    let log = Log::capture_from(tracing::Level::DEBUG);
    let server = TestServer::of::<Echo>().await;
    let mut client = server.connect("/echo").await;
    client.text("quiet").await;
    client.expect_text("quiet").await;
    assert_eq!(log.lines("endpoint_runtime::traffic"), [""; 0]);
    drop(log);
    let log = Log::capture();
    let server = TestServer::with(ServerContainer::builder().register::<Echo>().traffic_log(TrafficLog::sizes())).await;
    let mut client = server.connect("/echo").await;
    client.binary(b"nobody takes it").await;
    client.text("quiet").await;
    client.expect_text("quiet").await;
    assert_eq!(log.lines("endpoint_runtime::traffic"), [""; 0]);
    let twice = ServerContainer::builder().traffic_log(TrafficLog::sizes()).traffic_log(TrafficLog::sizes()).build();
    assert!(twice.unwrap_err().to_string().contains("the traffic log is set twice"));
}

// ---- the recorder ----

/// A recorder that keeps counters and gauges by name and labels.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, f64>>>);

struct Cell(Kept, String);

impl Cell {
    fn of(kept: &Kept, key: &metrics::Key) -> Arc<Self> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Self(kept.clone(), format!("{} {}", key.name(), labels.join(","))))
    }

    fn keep(&self, value: f64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl metrics::CounterFn for Cell {
    fn increment(&self, _: u64) {
        panic!("counters are absolute");
    }
    fn absolute(&self, value: u64) {
        self.keep(value as f64);
    }
}

impl metrics::GaugeFn for Cell {
    fn increment(&self, _: f64) {
        panic!("gauges are set");
    }
    fn decrement(&self, _: f64) {
        panic!("gauges are set");
    }
    fn set(&self, value: f64) {
        self.keep(value);
    }
}

impl metrics::Recorder for Kept {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(Cell::of(self, key))
    }
    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(Cell::of(self, key))
    }
    fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        panic!("{key} is a histogram");
    }
}

#[tokio::test]
async fn recorder_gets_every_value_of_the_page() {
    let server = TestServer::of::<Echo>().await;
    let mut client = server.connect("/echo").await;
    client.text("x").await;
    client.expect_text("x").await;
    client.close(1000, "").await;
    client.expect_close(1000).await;
    client.expect_end().await;
    until(&server, "/echo", |it| it.sessions == 0).await;
    let kept = Kept::default();
    metrics::with_local_recorder(&kept, || server.container.record_metrics());
    let page = series(&server.container.stats().metrics().to_string());
    let plain = |key: &String| key.replace(['{', '}', '"'], "").replacen("endpoint=/", " endpoint=/", 1);
    let (kept, page): (BTreeSet<_>, BTreeSet<_>) = (
        kept.0.lock().unwrap().keys().map(|key| key.replace(' ', "")).collect(),
        page.keys().map(|key| plain(key).replace(' ', "")).collect(),
    );
    assert_eq!(kept, page);
}

// ---- the documents ----

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/src/observe.md");
const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/observe/dashboard.json");

fn metrics() -> Metrics {
    ServerContainer::builder().build().unwrap().stats().metrics()
}

#[test]
fn guide_explains_every_metric_and_no_other() {
    let guide = fs::read_to_string(GUIDE).unwrap();
    let page = metrics().to_string();
    let mut explained = BTreeSet::new();
    for line in guide.lines().filter(|line| line.starts_with("| `websocket_")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, labels, meaning, worry] = cells[..] else { panic!("{line} has {} cells", cells.len()) };
        let name = name.trim_matches('`');
        assert!(page.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind} of the page");
        assert!([labels, meaning, worry].iter().all(|cell| !cell.is_empty()), "{line}");
        assert!(explained.insert(name.to_owned()), "{name} is explained twice");
    }
    let names: BTreeSet<String> = metrics().names().map(str::to_owned).collect();
    assert_eq!(explained, names);
}

#[test]
fn dashboard_uses_metrics_of_the_page_and_misses_none() {
    let text = fs::read_to_string(DASHBOARD).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 10, "{queries:?}");
    let names: BTreeSet<&str> = metrics().names().collect();
    let mut used = BTreeSet::new();
    for word in queries.iter().flat_map(|query| query.split(|char: char| !char.is_ascii_alphanumeric() && char != '_'))
    {
        if word.starts_with("websocket_") {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| names.get(word.strip_suffix(suffix)?));
            let name = family.or_else(|| names.get(word)).unwrap_or_else(|| panic!("{word} is no metric"));
            used.insert(*name);
        }
    }
    assert_eq!(used, names);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
}
