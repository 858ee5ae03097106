//! Spans of handshakes and of messages, and how they belong together.

mod support;

use std::time::Duration;

use endpoint_runtime::prelude::*;
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use support::{Client, Log, TestServer, soon};
use tracing_subscriber::layer::SubscriberExt;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[server_endpoint("/sync/{room}")]
#[derive(Default)]
struct Sync;

impl Sync {
    #[on_message]
    fn text(&self, text: &str) -> Result<String, Error> {
        tracing::info!("sync handler");
        assert_ne!(text, "panic");
        if text == "fail" { Err(Error::user("as told")) } else { Ok(text.to_owned()) }
    }

    #[on_error]
    fn failed(&self, _: &Error) {}
}

#[server_endpoint("/async/{room}")]
#[derive(Default)]
struct Async;

impl Async {
    #[on_message]
    async fn text(&self, text: String) -> String {
        tokio::time::sleep(Duration::from_millis(5)).await;
        tracing::info!("async handler");
        text
    }
}

#[server_endpoint("/events", events("ask", "tell"))]
#[derive(Default)]
struct Events;

impl Events {
    #[on_message(event = "ask")]
    fn asked(&self) {
        tracing::info!("asked handler");
    }

    #[on_message(event = "tell")]
    fn told(&self) {}
}

async fn server() -> TestServer {
    let hook = async |_: &HandshakeRequest, _: &mut HandshakeResponse| {
        tracing::info!("in the hook");
        Ok(())
    };
    TestServer::with(
        ServerContainer::builder()
            .trace_messages(true)
            .register::<Sync>()
            .register::<Async>()
            .register::<Events>()
            .handshake(hook),
    )
    .await
}

/// Opens a session as part of a trace, and exchanges a message.
async fn exchange(server: &TestServer, path: &str) -> Client {
    let traced = format!("traceparent: 00-{TRACE}-{PARENT}-01");
    let mut client = Client::connect_with(server.addr, path, &[&traced]).await;
    client.text("hello").await;
    client.expect_text("hello").await;
    client
}

#[tokio::test]
async fn handler_runs_in_the_span_of_its_message() {
    let log = Log::capture_from(tracing::Level::DEBUG);
    let server = server().await;
    let _first = exchange(&server, "/sync/1").await;
    let _second = exchange(&server, "/async/2").await;
    for (what, path) in [("traces: sync handler", "/sync/{room}"), ("async handler", "/async/{room}")] {
        let lines = log.lines(what);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = &lines[0];
        assert!(line.contains("websocket.message{") && !line.contains("websocket.handshake{"), "{line}");
        let fields = [format!("path=\"{path}\""), format!("trace_id={TRACE}"), format!("parent_id={PARENT}")];
        assert!(fields.iter().all(|field| line.contains(field)), "{line}");
        assert!(line.contains("kind=\"text\" size=5") && line.contains("handler=\"text\""), "{line}");
        assert!(!line.contains("event="), "{line}");
    }
    let hooks = log.lines("in the hook");
    assert_eq!(hooks.len(), 2, "{hooks:?}");
    for line in hooks {
        assert!(line.contains("websocket.handshake{") && line.contains(&format!("trace_id={TRACE}")), "{line}");
    }
}

#[tokio::test]
async fn span_names_the_event_and_its_handler() {
    let log = Log::capture_from(tracing::Level::DEBUG);
    let server = server().await;
    let mut client = server.connect("/events").await;
    client.text(r#"{"event":"ask","data":null}"#).await;
    client.expect_silence().await;
    let lines = log.lines("asked handler");
    assert!(lines.len() == 1 && lines[0].contains(r#"handler="asked" event="ask""#), "{lines:?}");
}

#[tokio::test]
async fn spans_have_no_query_and_no_invalid_trace() {
    let log = Log::capture_from(tracing::Level::DEBUG);
    let server = server().await;
    let invalid = format!("traceparent: 00-{TRACE}-0000000000000000-01");
    let mut client = Client::connect_with(server.addr, "/sync/1?access_token=s3cr3t", &[&invalid]).await;
    client.text("hello").await;
    client.expect_text("hello").await;
    assert_eq!(log.lines("s3cr3t"), [""; 0]);
    assert_eq!(log.lines("trace_id"), [""; 0]);
    assert_eq!(log.lines("sync handler").len(), 1);
}

#[tokio::test]
async fn there_is_no_span_at_info() {
    let log = Log::capture();
    let server = server().await;
    let _client = exchange(&server, "/sync/1").await;
    let lines = log.lines("sync handler");
    assert!(lines.len() == 1 && !lines[0].contains("websocket."), "{lines:?}");
}

// ---- OpenTelemetry ----

/// The spans that are exported while `exchange` runs.
async fn exported(exchange: impl AsyncFnOnce()) -> Vec<SpanData> {
    // somebody listens on every thread: see `Log`
    drop(Log::capture());
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    exchange().await;
    provider.force_flush().unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    spans.into_iter().filter(|span| ["GET", "text"].iter().any(|first| span.name.starts_with(first))).collect()
}

#[tokio::test]
async fn handshake_continues_the_callers_trace_and_messages_link_to_it() {
    let spans = exported(async || {
        let server = server().await;
        let mut client = exchange(&server, "/sync/1").await;
        client.text("fail").await;
        client.expect_silence().await;
        client.text("panic").await;
        client.expect_close(1011).await;
        drop(client);
        soon(server.shutdown()).await;
    })
    .await;
    let [handshake, message, failed, panicked] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((&*handshake.name, &handshake.span_kind), ("GET /sync/{room}", &SpanKind::Server));
    assert_eq!(handshake.span_context.trace_id().to_string(), TRACE);
    assert_eq!(handshake.parent_span_id.to_string(), PARENT);
    assert!(handshake.parent_span_is_remote);
    for (span, status) in [(message, Status::Unset), (failed, Status::error("")), (panicked, Status::error(""))] {
        assert_eq!((&*span.name, &span.span_kind), ("text /sync/{room}", &SpanKind::Consumer));
        assert_ne!(span.span_context.trace_id(), handshake.span_context.trace_id());
        assert_eq!(span.parent_span_id.to_string(), "0000000000000000");
        let links: Vec<_> = span.links.iter().map(|link| link.span_context.span_id()).collect();
        assert_eq!(links, [handshake.span_context.span_id()]);
        assert_eq!(std::mem::discriminant(&span.status), std::mem::discriminant(&status), "{:?}", span.status);
    }
}

#[tokio::test]
async fn trace_that_the_caller_does_not_record_is_not_recorded() {
    let spans = exported(async || {
        let server = server().await;
        let unsampled = format!("traceparent: 00-{TRACE}-{PARENT}-00");
        let mut client = Client::connect_with(server.addr, "/sync/1", &[&unsampled]).await;
        client.text("hello").await;
        client.expect_text("hello").await;
        drop(client);
        soon(server.shutdown()).await;
    })
    .await;
    // the message has a trace of its own
    let [message] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((&*message.name, message.links.len()), ("text /sync/{room}", 0));
}
