//! The programmatic way: an endpoint that implements the trait `Endpoint` instead of annotations, message handlers that
//! are added and removed while the session is open, and the two remotes side by side.
//!
//! `cargo run --release -p examples --example programmatic` and open the printed address.

#[path = "../shared/mod.rs"]
mod shared;

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::routing::{post, put};
use endpoint_runtime::prelude::*;
use endpoint_runtime::{Endpoint, MessageHandler, MessageKind, Sent};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::Lang;

/// The kinds of messages that the page can choose.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Text,
    Binary,
    Pong,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Remote {
    Basic,
    Async,
}

/// The first message of the endpoint.
#[derive(Serialize)]
struct Opened {
    id: String,
    handlers: Vec<Kind>,
}

/// The reply of a handler.
#[derive(Serialize)]
struct Heard {
    heard: Kind,
    what: String,
}

/// The time that a push took, in microseconds.
#[derive(Serialize)]
struct Pushed {
    messages: usize,
    bytes: usize,
    /// Until the last call had returned.
    returned: u128,
    /// Until the last message was with the socket.
    written: u128,
}

/// Mounted by hand; nothing in it is annotated.
struct Programmatic(Lang);

impl Endpoint for Programmatic {
    async fn on_open(&mut self, session: &Session) -> Result<(), Error> {
        session.add_message_handler(handler(Kind::Text))?;
        let opened = Opened { id: session.id().to_string(), handlers: handlers(session) };
        session.basic_remote().send_object(&Json(opened)).await
    }

    async fn on_close(&mut self, session: &Session, reason: CloseReason) -> Result<(), Error> {
        let id = session.id();
        match self.0 {
            Lang::English => println!("{id} left: {reason}"),
            Lang::Chinese => println!("{id} 离开了：{reason}"),
        }
        Ok(())
    }
}

/// A handler for one kind of messages; what it returns is sent back.
fn handler(kind: Kind) -> MessageHandler {
    let heard = move |what| Json(Heard { heard: kind, what });
    match kind {
        Kind::Text => MessageHandler::text(move |_, line: String| heard(line)),
        Kind::Binary => MessageHandler::binary(move |_, data: Bytes| heard(format!("{} bytes", data.len()))),
        Kind::Pong => {
            MessageHandler::pong(move |_, pong: Pong| heard(String::from_utf8_lossy(pong.data()).into_owned()))
        }
    }
}

/// The kinds that the session has a handler for.
fn handlers(session: &Session) -> Vec<Kind> {
    let kinds = session.message_handlers();
    [Kind::Text, Kind::Binary, Kind::Pong].into_iter().filter(|kind| kinds.contains(&(*kind).into())).collect()
}

impl From<Kind> for MessageKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
            Kind::Pong => Self::Pong,
        }
    }
}

// ---- the HTTP API of the page: any code that holds a session can do this ----

type Answer<T> = Result<axum::Json<T>, StatusCode>;

fn find(container: &ServerContainer, id: &str) -> Result<Session, StatusCode> {
    let sessions = container.sessions();
    sessions.iter().find(|session| session.id().to_string() == id).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn add(Shared(container): Shared<ServerContainer>, Path((id, kind)): Path<(String, Kind)>) -> Answer<Vec<Kind>> {
    let session = find(&container, &id)?;
    session.add_message_handler(handler(kind)).map_err(|_| StatusCode::CONFLICT)?;
    Ok(axum::Json(handlers(&session)))
}

async fn remove(
    Shared(container): Shared<ServerContainer>,
    Path((id, kind)): Path<(String, Kind)>,
) -> Answer<Vec<Kind>> {
    let session = find(&container, &id)?;
    session.remove_message_handler(kind.into()).ok_or(StatusCode::CONFLICT)?;
    Ok(axum::Json(handlers(&session)))
}

async fn ping(Shared(container): Shared<ServerContainer>, Path(id): Path<String>) -> Result<StatusCode, StatusCode> {
    let session = find(&container, &id)?;
    session.basic_remote().send_ping("ping").await.map_err(|_| StatusCode::GONE)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pushes the same messages by one remote or the other.
async fn push(Shared(container): Shared<ServerContainer>, Path((id, by)): Path<(String, Remote)>) -> Answer<Pushed> {
    const PIECE: &[u8] = &[0; 64 << 10];
    const MESSAGES: usize = 64;
    let gone = |_| StatusCode::GONE;
    let session = find(&container, &id)?;
    let (data, began) = (Bytes::from_static(PIECE), Instant::now());
    let returned = match by {
        Remote::Basic => {
            for _ in 0..MESSAGES {
                // each waits until its message is written
                session.basic_remote().send_binary(data.clone()).await.map_err(gone)?;
            }
            began.elapsed()
        }
        Remote::Async => {
            // none of them waits
            let sent: Vec<Sent> = (0..MESSAGES).map(|_| session.async_remote().send_binary(data.clone())).collect();
            let returned = began.elapsed();
            for sent in sent {
                sent.await.map_err(gone)?;
            }
            returned
        }
    };
    let (returned, written) = (returned.as_micros(), began.elapsed().as_micros());
    Ok(axum::Json(Pushed { messages: MESSAGES, bytes: MESSAGES * PIECE.len(), returned, written }))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (addr, lang) = shared::arguments("programmatic", "127.0.0.1:8080", &mut []);
    let container = ServerContainer::builder().add_endpoint("/programmatic", move || Programmatic(lang)).build()?;
    let requests = Router::new()
        .route("/sessions/{id}/handlers/{kind}", put(add).delete(remove))
        .route("/sessions/{id}/ping", post(ping))
        .route("/sessions/{id}/push/{remote}", post(push))
        .with_state(container.clone());
    let app = shared::pages(include_str!("page.html"), lang).merge(requests).fallback_service(container.clone());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/programmatic");
    let stop = shared::stop_signal();
    let shutdown = async move {
        stop.await;
        container.shutdown(Duration::from_secs(10)).await;
    };
    Ok(axum::serve(listener, app).with_graceful_shutdown(shutdown).await?)
}
