//! One chat for two kinds of clients on one port: Socket.IO through `socketioxide`, plain WebSocket through an annotated
//! endpoint.
//!
//! `npm ci --prefix examples/socketio_chat` once, for the library that the browser loads; then
//! `cargo run --release -p examples --features socketio --example socketio_chat` and open the printed address in two windows.

#[path = "../shared/mod.rs"]
mod shared;

use std::convert::Infallible;

use axum::routing::get;
use endpoint_runtime::OpenSessions;
use endpoint_runtime::prelude::*;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use shared::Lang;
use socketioxide::SocketIo;
use socketioxide::extract::{Data, SocketRef};
use socketioxide::handler::ConnectHandler;

/// The library for browsers, where npm installs it.
const LIBRARY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/socketio_chat/node_modules/socket.io-client/dist/socket.io.min.js");

/// The name that a Socket.IO user has joined with.
#[derive(Clone)]
struct Name(String);

/// A user of plain WebSocket: a line is a message.
#[server_endpoint("/chat", max_message_size = "16KiB")]
#[derive(Default)]
struct Plain;

impl Plain {
    #[on_open]
    async fn enter(&self, session: &Session, group: State<Group>, #[query_param] name: String) {
        group.joined(&session.open_sessions(), &name).await;
    }

    #[on_message]
    async fn say(&self, line: String, session: &Session, group: State<Group>, #[query_param] name: String) {
        group.relay(&session.open_sessions(), &name, &line).await;
    }

    #[on_close]
    async fn leave(&self, session: &Session, group: State<Group>, #[query_param] name: String) {
        group.left(&session.open_sessions(), &name).await;
    }
}

/// Both kinds of users. The plain ones are handed in, because the container exists only after its state.
#[derive(Clone)]
struct Group {
    io: SocketIo,
    lang: Lang,
}

impl Group {
    /// Socket.IO users receive an event, plain ones a sentence.
    async fn joined(&self, plain: &OpenSessions, name: &str) {
        plain.async_remote().send_text(format!("{name} {}", self.lang.pick("joined the group", "加入了群聊")));
        self.emit("join", name).await;
    }

    async fn relay(&self, plain: &OpenSessions, name: &str, line: &str) {
        self.send(plain, &format!("{name}{}{line}", self.lang.pick(": ", "："))).await;
    }

    async fn left(&self, plain: &OpenSessions, name: &str) {
        self.send(plain, &format!("{name} {}", self.lang.pick("left the group", "离开了群聊"))).await;
    }

    async fn send(&self, plain: &OpenSessions, text: &str) {
        plain.async_remote().send_text(text.to_owned());
        self.emit("message", text).await;
    }

    async fn emit(&self, event: &str, value: &str) {
        // once the server is closing there is no namespace, and nobody in it
        let Some(everyone) = self.io.of("/") else { return };
        if let Err(error) = everyone.emit(event, value).await {
            tracing::warn!(%error, "an event did not reach every session");
        }
    }
}

/// Registers the events that pages may emit. A middleware does it, because the page learns that it is connected only
/// after the middleware has ended: a handler of connections runs later and can miss the first event.
fn socket_io(group: &Group, container: ServerContainer) {
    let io = group.io.clone();
    let group = group.clone();
    let middleware = async move |socket: SocketRef| {
        let (plain, own) = (container.clone(), group.clone());
        socket.on("join", async move |socket: SocketRef, Data(name): Data<String>| {
            socket.extensions.insert(Name(name.clone()));
            own.joined(&plain.sessions(), &name).await;
        });
        let (plain, own) = (container.clone(), group.clone());
        socket.on("message", async move |socket: SocketRef, Data(line): Data<String>| {
            if let Some(Name(name)) = socket.extensions.get() {
                own.relay(&plain.sessions(), &name, &line).await;
            }
        });
        let (plain, own) = (container.clone(), group.clone());
        socket.on_disconnect(async move |socket: SocketRef| {
            if let Some(Name(name)) = socket.extensions.get() {
                own.left(&plain.sessions(), &name).await;
            }
        });
        Ok::<_, Infallible>(())
    };
    io.ns("/", (async |_: SocketRef| {}).with(middleware));
}

/// Serves `/socket.io/socket.io.js` from where npm has put it. Without it, the page says how to install it.
async fn library() -> Result<([(http::HeaderName, &'static str); 1], Vec<u8>), (StatusCode, String)> {
    let path = std::env::var("SOCKET_IO_LIBRARY").unwrap_or_else(|_| LIBRARY.to_owned());
    match tokio::fs::read(&path).await {
        Ok(script) => Ok(([(CONTENT_TYPE, "text/javascript; charset=utf-8")], script)),
        Err(error) => Err((StatusCode::NOT_FOUND, format!("{path}: {error}\n"))),
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (addr, lang) = shared::arguments("socketio_chat", "127.0.0.1:3000", &mut []);
    let (service, io) = SocketIo::builder().max_payload(16 * 1024).build_svc();
    // the service takes all of /socket.io but the script
    let pages = shared::pages(include_str!("page.html"), lang)
        .route("/socket.io/socket.io.js", get(library))
        .fallback_service(service);
    let group = Group { io, lang };
    let server = Server::builder().state(group.clone()).fallback(pages).bind(addr).await?;
    socket_io(&group, server.container().clone());
    let addr = server.local_addr()?;
    println!("page: http://{addr}/");
    println!("endpoint: ws://{addr}/chat?name=WebSocket");
    let stop = shared::stop_signal();
    let stopped = async move {
        stop.await;
        group.io.close().await;
    };
    server.run_until(stopped).await?;
    Ok(())
}
