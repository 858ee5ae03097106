//! The `WSServer` of a Java tutorial, line by line, with the page that talks to it.
//!
//! `cargo run --release --example ws_server` and open the printed address in a browser. With `--tls` it makes itself a
//! certificate and says where it lies: a browser warns of it, as nobody else vouches for it.

use std::convert::Infallible;

use endpoint_runtime::TlsConfig;
use endpoint_runtime::prelude::*;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;

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

/// The page, at `/`.
async fn page<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match request.uri().path() {
        "/" => (StatusCode::OK, include_str!("page.html")),
        _ => (StatusCode::NOT_FOUND, "404\n"),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/html; charset=utf-8"));
    Ok(response)
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
    let mut server = Server::builder().context_path("/websocket").origins(origins).fallback(tower::service_fn(page));
    if secure {
        let tls = TlsConfig::self_signed(["localhost", "127.0.0.1", "::1"])?;
        let place = std::env::temp_dir().join(format!("ws_server-{}.pem", std::process::id()));
        std::fs::write(&place, tls.certificate_pem())?;
        println!("certificate: {}", place.display());
        server = server.tls(tls);
    }
    let server = server.bind(&addr).await?;
    let (addr, s) = (server.local_addr()?, if secure { "s" } else { "" });
    println!("page: http{s}://{addr}/");
    println!("endpoint: ws{s}://{addr}/websocket/ws");
    server.run_until(asked_to_stop()).await?;
    Ok(())
}
