//! The same events in two ways: a page polls for them, as pages did before WebSocket, and they are pushed to it. The
//! server counts what each way costs, byte by byte, and the page measures it.
//!
//! `cargo run --release -p examples --example polling_vs_push` and open the printed address.

mod bytes;
#[path = "../shared/mod.rs"]
mod shared;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Query, State as Shared};
use endpoint_runtime::prelude::*;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use serde::{Deserialize, Serialize};

/// An event: its number and its time.
#[derive(Clone, Copy, Serialize)]
struct Event {
    number: u64,
    /// In milliseconds since 1970.
    at: u64,
}

/// The cost of one way, for all pages together, without TCP and IP, which come on top of both.
#[derive(Clone, Copy, Default, Serialize)]
struct Cost {
    requests: u64,
    messages: u64,
    bytes: u64,
}

#[derive(Default)]
struct Log {
    events: VecDeque<Event>,
    polling: Cost,
    push: Cost,
}

type Events = Arc<Mutex<Log>>;

/// The number of events that can still be polled for.
const KEPT: usize = 1000;

#[server_endpoint("/push", ping_interval = off)]
#[derive(Default)]
struct Push;

impl Push {
    /// The first message has the cost of the handshake; every other message is an event.
    #[on_open]
    fn listen(&self, session: &Session, request: &HandshakeRequest, events: State<Events>) {
        let handshake = bytes::of_request(request.path(), request.headers()) + bytes::of_acceptance();
        let hello = format!(r#"{{"handshake":{handshake}}}"#);
        lock(&events).push.add(1, 1, handshake + bytes::of_frame(&hello));
        session.async_remote().send_text(hello);
    }

    /// The page sends nothing.
    #[on_message]
    fn ignore(&self, _: &str) {}
}

/// `GET /events?after=7`: the events since number 7, most often none.
async fn poll(
    Shared(events): Shared<Events>,
    Query(Poll { after }): Query<Poll>,
    uri: Uri,
    request: HeaderMap,
) -> (HeaderMap, String) {
    let mut log = lock(&events);
    let new: Vec<&Event> = log.events.iter().filter(|event| event.number > after).collect();
    let body = serde_json::to_string(&new).unwrap_or_default();
    let mut headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_LENGTH, HeaderValue::from(body.len())),
        (HeaderName::from_static("bytes"), HeaderValue::from_static("00000")),
    ]);
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let bytes = bytes::of_request(target, &request) + bytes::of_answer(&headers, &body);
    if let Ok(value) = HeaderValue::from_str(&format!("{bytes:05}")) {
        headers.insert("bytes", value);
    }
    log.polling.add(1, 0, bytes);
    (headers, body)
}

#[derive(Deserialize)]
struct Poll {
    after: u64,
}

/// The counts, for the page to compare. This request is not counted.
async fn counts(Shared(events): Shared<Events>) -> axum::Json<serde_json::Value> {
    let log = lock(&events);
    let last = log.events.back().map_or(0, |event| event.number);
    axum::Json(serde_json::json!({ "now": now(), "last": last, "polling": log.polling, "push": log.push }))
}

/// Makes an event every few seconds, for ever, and pushes it to every listener.
async fn happen(events: Events, container: ServerContainer) -> Infallible {
    for number in 1.. {
        tokio::time::sleep(Duration::from_millis(rand::random_range(300..2700))).await;
        let event = Event { number, at: now() };
        let message = serde_json::to_string(&event).unwrap_or_default();
        let bytes = bytes::of_frame(&message);
        let mut log = lock(&events);
        log.events.push_back(event);
        if log.events.len() > KEPT {
            log.events.pop_front();
        }
        let sent = container.sessions().async_remote().send_text(message).sent;
        log.push.add(0, sent as u64, sent * bytes);
    }
    unreachable!("there are many numbers")
}

impl Cost {
    fn add(&mut self, requests: u64, messages: u64, bytes: usize) {
        self.requests += requests;
        self.messages += messages;
        self.bytes += bytes as u64;
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn lock(events: &Events) -> std::sync::MutexGuard<'_, Log> {
    events.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (addr, lang) = shared::arguments("polling_vs_push", "127.0.0.1:8080", &mut []);
    let events = Events::default();
    let routes = axum::Router::new()
        .route("/events", axum::routing::get(poll))
        .route("/counts", axum::routing::get(counts))
        .with_state(events.clone());
    let pages = shared::pages(include_str!("page.html"), lang).merge(routes);
    let server = Server::builder().state(events.clone()).fallback(pages).bind(addr).await?;
    let (addr, container) = (server.local_addr()?, server.container().clone());
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/push");
    tokio::select! {
        ended = server.run_until(shared::stop_signal()) => ended.map(drop),
        never = happen(events, container) => match never {},
    }
}
