//! The `WSServer` of a Java tutorial, line by line, with the page that talks to it.
//!
//! `cargo run --release --example ws_server` and open the printed address in a browser. With
//! `--features tls … -- --tls` it makes a certificate and prints where the file is. A browser warns of that certificate,
//! because no authority has signed it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use endpoint_runtime::ServerBuilder;
use endpoint_runtime::prelude::*;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
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
    async fn on_open(&mut self, session: Session) {
        println!("一个客户端连接进来了 ... 它的sessionid是：{}", session.id());
        self.session = Some(session);
    }

    // when a message comes
    #[on_message]
    async fn on_message(&mut self, message: String, session: &Session) {
        println!("{}客户端发送的消息是：{message}", session.id());
        // sends the message back to the client
        if let Err(error) = self.send_message(message).await {
            eprintln!("{error:?}");
        }
        // a handler may return a value instead: the client then receives that value
    }

    // when a connection closes
    #[on_close]
    async fn on_close(&mut self, session: &Session, _reason: CloseReason) {
        println!("一个客户端关闭了，它的sessionid是：{}", session.id());
    }

    // when something went wrong
    #[on_error]
    async fn on_error(&mut self, error: &Error) {
        eprintln!("{error:?}");
    }

    // a method of its own, to send a message
    async fn send_message(&self, message: String) -> Result<(), Error> {
        let Some(session) = &self.session else { return Ok(()) };
        session.basic_remote().send_text(message).await
        // or hand it over without waiting: session.async_remote().send_text(message);
    }
}

/// The page, at `/`: any `tower` service serves what is no endpoint, an `axum::Router` as well.
#[derive(Clone)]
struct Page;

impl<B> Service<Request<B>> for Page {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (status, body) = match request.uri().path() {
            "/" => (StatusCode::OK, include_str!("page.html")),
            _ => (StatusCode::NOT_FOUND, "404\n"),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        ready(Ok(response))
    }
}

/// Ctrl-C, or a polite `kill`.
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
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

fn usage() -> ! {
    eprintln!("usage: ws_server [--addr HOST:PORT] [--allow-any-origin] [--tls]");
    std::process::exit(2)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let (mut addr, mut origins, mut secure) = ("127.0.0.1:8080".to_owned(), Origins::same_origin(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--addr" => addr = arguments.next().unwrap_or_else(|| usage()),
            "--allow-any-origin" => origins = Origins::any(),
            "--tls" => secure = true,
            _ => usage(),
        }
    }
    let mut server = Server::builder().context_path("/websocket").origins(origins).fallback(Page);
    if secure {
        server = with_tls(server)?;
    }
    let server = server.bind(&addr).await?;
    let (addr, s) = (server.local_addr()?, if secure { "s" } else { "" });
    println!("page: http{s}://{addr}/");
    println!("endpoint: ws{s}://{addr}/websocket/ws");
    server.run_until(asked_to_stop()).await?;
    Ok(())
}
