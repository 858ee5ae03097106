//! One chat for two worlds: Socket.IO by `socketioxide`, plain WebSocket by an annotated endpoint, both on one port.
//!
//! `npm ci --prefix examples/socketio_chat` once, for the library of the browser; then
//! `cargo run --release -p examples --features socketio --example socketio_chat` and open the printed address in two windows.

#[path = "../shared/mod.rs"]
mod shared;

use std::convert::Infallible;

use axum::routing::get;
use endpoint_runtime::OpenSessions;
use endpoint_runtime::prelude::*;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use socketioxide::SocketIo;
use socketioxide::extract::{Data, SocketRef};
use socketioxide::handler::ConnectHandler;

/// The library for browsers, as npm installs it.
const LIBRARY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/socketio_chat/node_modules/socket.io-client/dist/socket.io.min.js");

/// The name that somebody of the world of Socket.IO has joined with.
#[derive(Clone)]
struct Name(String);

/// Somebody of the world of plain WebSocket: a line is a message.
#[server_endpoint("/chat", max_message_size = "16KiB")]
#[derive(Default)]
struct Plain;

impl Plain {
    #[on_open]
    async fn enter(&self, session: &Session, io: State<SocketIo>, #[query_param] name: String) {
        joined(&io, &session.open_sessions(), &name).await;
    }

    #[on_message]
    async fn say(&self, line: String, session: &Session, io: State<SocketIo>, #[query_param] name: String) {
        said(&io, &session.open_sessions(), &format!("{name}：{line}")).await;
    }

    #[on_close]
    async fn leave(&self, session: &Session, io: State<SocketIo>, #[query_param] name: String) {
        said(&io, &session.open_sessions(), &format!("{name} 离开了群聊")).await;
    }
}

/// Tells both worlds who has come: Socket.IO by an event, WebSocket in words.
async fn joined(io: &SocketIo, plain: &OpenSessions, name: &str) {
    plain.async_remote().send_text(format!("{name} 加入了群聊"));
    emit(io, "join", name).await;
}

/// Tells both worlds a line.
async fn said(io: &SocketIo, plain: &OpenSessions, line: &str) {
    plain.async_remote().send_text(line.to_owned());
    emit(io, "message", line).await;
}

async fn emit(io: &SocketIo, event: &str, what: &str) {
    // once the server is closing there is no namespace, and nobody in it
    let Some(everyone) = io.of("/") else { return };
    if let Err(error) = everyone.emit(event, what).await {
        tracing::warn!(%error, "somebody was not told");
    }
}

/// What pages of the world of Socket.IO may emit. It is said in a middleware, since that is awaited before the page is
/// told that it is connected: a handler of connections runs after that, and may be too late for the first event.
fn socket_io(io: &SocketIo, container: ServerContainer) {
    let middleware = async move |socket: SocketRef| {
        let plain = container.clone();
        socket.on("join", async move |socket: SocketRef, io: SocketIo, Data(name): Data<String>| {
            socket.extensions.insert(Name(name.clone()));
            joined(&io, &plain.sessions(), &name).await;
        });
        let plain = container.clone();
        socket.on("message", async move |socket: SocketRef, io: SocketIo, Data(line): Data<String>| {
            if let Some(Name(name)) = socket.extensions.get() {
                said(&io, &plain.sessions(), &format!("{name}：{line}")).await;
            }
        });
        socket.on_disconnect(async move |socket: SocketRef, io: SocketIo| {
            if let Some(Name(name)) = socket.extensions.get() {
                said(&io, &container.sessions(), &format!("{name} 离开了群聊")).await;
            }
        });
        Ok::<_, Infallible>(())
    };
    io.ns("/", (async |_: SocketRef| {}).with(middleware));
}

/// `/socket.io/socket.io.js`, from where npm has put it; without it the page says what to do.
async fn library() -> Result<([(http::HeaderName, &'static str); 1], Vec<u8>), (StatusCode, String)> {
    let path = std::env::var("SOCKET_IO_LIBRARY").unwrap_or_else(|_| LIBRARY.to_owned());
    match tokio::fs::read(&path).await {
        Ok(script) => Ok(([(CONTENT_TYPE, "text/javascript; charset=utf-8")], script)),
        Err(error) => Err((StatusCode::NOT_FOUND, format!("{path}: {error}\n"))),
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let addr = shared::addr("socketio_chat", "127.0.0.1:3000");
    let (service, io) = SocketIo::builder().max_payload(16 * 1024).build_svc();
    // it takes all of /socket.io but the script
    let pages = shared::pages(include_str!("page.html"))
        .route("/socket.io/socket.io.js", get(library))
        .fallback_service(service);
    let server = Server::builder().state(io.clone()).fallback(pages).bind(addr).await?;
    socket_io(&io, server.container().clone());
    let addr = server.local_addr()?;
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/chat?name=WebSocket");
    let asked = shared::asked_to_stop();
    let stopped = async move {
        asked.await;
        io.close().await;
    };
    server.run_until(stopped).await?;
    Ok(())
}
