//! The `WSServer` of a Java tutorial, line by line, with a page that talks to it.
//!
//! `cargo run --release --example ws_server` and open the printed address in a browser. `-- --lang zh` prints the
//! tutorial's own sentences. With `--features tls … -- --tls` it makes a certificate and prints where the file is; a
//! browser warns of that certificate, because no authority has signed it.

#[path = "../shared/program.rs"]
mod program;

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use endpoint_runtime::ServerBuilder;
use endpoint_runtime::prelude::*;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::Full;
use program::Lang;
use tower_service::Service;

// The path of the annotation is what the client connects to, as in ws://127.0.0.1:8080/websocket/ws:
// ws://host:port/context path/path of the endpoint
#[server_endpoint("/ws", compression = on)]
#[derive(Default)]
pub struct WsServer {
    session: Option<Session>,
}

impl WsServer {
    // when a connection opens
    #[on_open]
    async fn on_open(&mut self, session: Session, lang: State<Lang>) {
        let id = session.id();
        match *lang {
            Lang::English => println!("a client has connected, its session id is {id}"),
            Lang::Chinese => println!("一个客户端连接进来了 ... 它的sessionid是：{id}"),
        }
        self.session = Some(session);
    }

    // when a message comes
    #[on_message]
    async fn on_message(&mut self, message: String, session: &Session, lang: State<Lang>) {
        let id = session.id();
        match *lang {
            Lang::English => println!("client {id} has sent: {message}"),
            Lang::Chinese => println!("{id}客户端发送的消息是：{message}"),
        }
        // sends the message back to the client
        if let Err(error) = self.send_message(message).await {
            eprintln!("{error:?}");
        }
        // a handler may return a value instead: the client then receives that value
    }

    // when a connection closes
    #[on_close]
    async fn on_close(&mut self, session: &Session, _reason: CloseReason, lang: State<Lang>) {
        let id = session.id();
        match *lang {
            Lang::English => println!("a client has left, its session id is {id}"),
            Lang::Chinese => println!("一个客户端关闭了，它的sessionid是：{id}"),
        }
    }

    // when something went wrong
    #[on_error]
    async fn on_error(&mut self, error: &Error) {
        eprintln!("{error:?}");
    }

    // the tutorial's own method that sends a message
    async fn send_message(&self, message: String) -> Result<(), Error> {
        let Some(session) = &self.session else { return Ok(()) };
        session.basic_remote().send_text(message).await
        // or hand it over without waiting: session.async_remote().send_text(message);
    }
}

/// The page and what it loads. Any `tower` service can serve what is no endpoint; an `axum::Router` is one, too.
#[derive(Clone)]
struct Pages(Lang);

impl<B> Service<Request<B>> for Pages {
    type Response = Response<Full<Bytes>>;
    type Error = http::Error;
    type Future = Ready<Result<Self::Response, http::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), http::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (status, kind, body) = match request.uri().path() {
            "/" => (200, "text/html", self.0.page(include_str!("page.html"))),
            "/shared/page.css" => (200, "text/css", include_str!("../shared/page.css").to_owned()),
            "/shared/page.js" => (200, "text/javascript", include_str!("../shared/page.js").to_owned()),
            _ => (404, "text/plain", "404\n".to_owned()),
        };
        let response = Response::builder().status(status).header(CONTENT_TYPE, format!("{kind}; charset=utf-8"));
        ready(response.body(Full::from(body)))
    }
}

/// Gives the server a certificate of its own, and prints where the file is.
#[cfg(feature = "tls")]
fn with_tls(server: ServerBuilder) -> Result<ServerBuilder, Error> {
    let tls = endpoint_runtime::TlsConfig::self_signed(["localhost", "127.0.0.1", "::1"])?;
    let file = std::env::temp_dir().join(format!("ws_server-{}.pem", std::process::id()));
    std::fs::write(&file, tls.certificate_pem())?;
    println!("certificate: {}", file.display());
    Ok(server.tls(tls))
}

#[cfg(not(feature = "tls"))]
fn with_tls(_: ServerBuilder) -> Result<ServerBuilder, Error> {
    eprintln!("built without TLS: cargo run --release --features tls --example ws_server -- --tls");
    std::process::exit(2)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (mut any_origin, mut secure) = (false, false);
    let (addr, lang) = program::arguments(
        "ws_server",
        "127.0.0.1:8080",
        &mut [("--allow-any-origin", &mut any_origin), ("--tls", &mut secure)],
    );
    let origins = if any_origin { Origins::any() } else { Origins::same_origin() };
    let mut server = Server::builder().context_path("/websocket").origins(origins).state(lang).fallback(Pages(lang));
    if secure {
        server = with_tls(server)?;
    }
    let server = server.bind(&addr).await?;
    let (addr, s) = (server.local_addr()?, if secure { "s" } else { "" });
    println!("page: http{s}://{addr}/");
    println!("endpoint: ws{s}://{addr}/websocket/ws");
    server.run_until(program::stop_signal()).await?;
    Ok(())
}
