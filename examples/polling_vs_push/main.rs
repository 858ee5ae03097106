//! The same events twice: a page asks for them again and again, as pages did before WebSocket, and is told of them.
//! What each way costs is counted here, octet by octet, and measured in the page.
//!
//! `cargo run --release -p examples --example polling_vs_push` and open the printed address.

mod octets;
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

/// Something that happened.
#[derive(Clone, Copy, Serialize)]
struct Event {
    number: u64,
    /// When, in milliseconds since 1970.
    at: u64,
}

/// What one of the ways has cost, for all pages together. No TCP, no IP: they come on top of both.
#[derive(Clone, Copy, Default, Serialize)]
struct Cost {
    requests: u64,
    messages: u64,
    octets: u64,
}

#[derive(Default)]
struct Log {
    events: VecDeque<Event>,
    polling: Cost,
    push: Cost,
}

type Events = Arc<Mutex<Log>>;

const KEPT: usize = 1000;
#[server_endpoint("/push", ping_interval = off)]
#[derive(Default)]
struct Push;

impl Push {
    /// The first message says what the handshake has cost; everything else is an event.
    #[on_open]
    fn listen(&self, session: &Session, request: &HandshakeRequest, events: State<Events>) {
        let handshake = octets::of_request(request.path(), request.headers()) + octets::of_acceptance();
        let hello = format!(r#"{{"handshake":{handshake}}}"#);
        lock(&events).push.add(1, 1, handshake + octets::of_frame(&hello));
        session.async_remote().send_text(hello);
    }
}

/// `GET /events?after=7`: what has happened since, most often nothing.
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
        (HeaderName::from_static("octets"), HeaderValue::from_static("00000")),
    ]);
    let asked = uri.path_and_query().map_or("", |target| target.as_str());
    let octets = octets::of_request(asked, &request) + octets::of_answer(&headers, &body);
    if let Ok(value) = HeaderValue::from_str(&format!("{octets:05}")) {
        headers.insert("octets", value);
    }
    log.polling.add(1, 0, octets);
    (headers, body)
}

#[derive(Deserialize)]
struct Poll {
    after: u64,
}

/// What was counted, for the page to compare; asking for it is not counted.
async fn counts(Shared(events): Shared<Events>) -> axum::Json<serde_json::Value> {
    let log = lock(&events);
    let last = log.events.back().map_or(0, |event| event.number);
    axum::Json(serde_json::json!({ "now": now(), "last": last, "polling": log.polling, "push": log.push }))
}

/// Lets things happen for ever, now and then, and tells everybody who listens.
async fn happen(events: Events, container: ServerContainer) -> Infallible {
    for number in 1.. {
        tokio::time::sleep(Duration::from_millis(rand::random_range(300..2700))).await;
        let event = Event { number, at: now() };
        let told = serde_json::to_string(&event).unwrap_or_default();
        let octets = octets::of_frame(&told);
        let mut log = lock(&events);
        log.events.push_back(event);
        if log.events.len() > KEPT {
            log.events.pop_front();
        }
        let told = container.sessions().async_remote().send_text(told).sent;
        log.push.add(0, told as u64, told * octets);
    }
    unreachable!("there are many numbers")
}

impl Cost {
    fn add(&mut self, requests: u64, messages: u64, octets: usize) {
        self.requests += requests;
        self.messages += messages;
        self.octets += octets as u64;
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
    let addr = shared::addr("polling_vs_push", "127.0.0.1:8080");
    let events = Events::default();
    let routes = axum::Router::new()
        .route("/events", axum::routing::get(poll))
        .route("/counts", axum::routing::get(counts))
        .with_state(events.clone());
    let pages = shared::pages(include_str!("page.html")).merge(routes);
    let server = Server::builder().state(events.clone()).fallback(pages).bind(addr).await?;
    let (addr, container) = (server.local_addr()?, server.container().clone());
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/push");
    tokio::select! {
        ended = server.run_until(shared::asked_to_stop()) => ended.map(drop),
        never = happen(events, container) => match never {},
    }
}
