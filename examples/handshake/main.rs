//! The opening handshake of a page's own connection: the request of the browser and the response of the server, field by
//! field.
//!
//! `cargo run --release -p examples --example handshake` and open the printed address.

#[path = "../shared/mod.rs"]
mod shared;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State as Shared};
use axum::middleware::{self, Next};
use axum::response::Response;
use endpoint_runtime::prelude::*;
use http::header::SEC_WEBSOCKET_KEY;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

/// The response headers of connections that are about to open, by the keys of their requests.
type Answers = Arc<Mutex<HashMap<HeaderValue, HeaderMap>>>;

/// The most responses that wait, because not every accepted handshake becomes a connection.
const WAITING: usize = 1000;

#[derive(Serialize)]
struct Handshake<'a> {
    target: &'a str,
    request: Vec<(&'a str, String)>,
    response: Vec<(&'a str, String)>,
    subprotocol: Option<&'a str>,
    extensions: Vec<String>,
}

#[server_endpoint("/plain", subprotocols("table.v2", "table.v1"))]
#[derive(Default)]
struct Plain;

impl Plain {
    #[on_open]
    async fn open(&self, session: &Session, answers: State<Answers>) -> Result<(), Error> {
        send_handshake(session, &answers).await
    }

    /// The page sends nothing.
    #[on_message]
    fn ignore(&self, _: &str) {}
}

#[server_endpoint("/compressed", subprotocols("table.v2", "table.v1"), compression = on)]
#[derive(Default)]
struct Compressed;

impl Compressed {
    #[on_open]
    async fn open(&self, session: &Session, answers: State<Answers>) -> Result<(), Error> {
        send_handshake(session, &answers).await
    }

    /// The page sends nothing.
    #[on_message]
    fn ignore(&self, _: &str) {}
}

/// Sends the session its own handshake.
async fn send_handshake(session: &Session, answers: &Answers) -> Result<(), Error> {
    let request = session.handshake_request();
    let key = request.headers().get(SEC_WEBSOCKET_KEY);
    let answer = key.and_then(|key| lock(answers).remove(key)).unwrap_or_default();
    let handshake = Handshake {
        target: request.path(),
        request: fields(request.headers()),
        response: fields(&answer),
        subprotocol: session.subprotocol(),
        extensions: session.extensions().iter().map(ToString::to_string).collect(),
    };
    session.basic_remote().send_object(&Json(handshake)).await
}

fn fields(headers: &HeaderMap) -> Vec<(&str, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

/// Keeps the response of the container for the session, which opens only after the response is written.
async fn keep(Shared(answers): Shared<Answers>, request: Request, next: Next) -> Response {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
    let response = next.run(request).await;
    if let (Some(key), StatusCode::SWITCHING_PROTOCOLS) = (key, response.status()) {
        let mut answers = lock(&answers);
        if answers.len() >= WAITING {
            answers.clear();
        }
        answers.insert(key, response.headers().clone());
    }
    response
}

fn lock(answers: &Answers) -> std::sync::MutexGuard<'_, HashMap<HeaderValue, HeaderMap>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (addr, lang) = shared::arguments("handshake", "127.0.0.1:8080", &mut []);
    let answers = Answers::default();
    let container = ServerContainer::builder().discover().state(answers.clone()).build()?;
    let app = shared::pages(include_str!("page.html"), lang)
        .fallback_service(container.clone())
        .layer(middleware::from_fn_with_state(answers, keep));
    let listener = tokio::net::TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/compressed");
    let stop = shared::stop_signal();
    let shutdown = async move {
        stop.await;
        container.shutdown(Duration::from_secs(10)).await;
    };
    Ok(axum::serve(listener, app).with_graceful_shutdown(shutdown).await?)
}
