//! A page and an endpoint that says which HTTP opened its session, for http2.js.
//!
//! `http2_server --addr 127.0.0.1:0 [--no-http2]`, over TLS, with a certificate of its own.

use std::convert::Infallible;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use endpoint_runtime::TlsConfig;
use endpoint_runtime::prelude::*;

#[server_endpoint("/version", compression = on)]
#[derive(Default)]
struct Version(String);

impl Version {
    #[on_open]
    fn open(&mut self, request: &HandshakeRequest) {
        self.0 = format!("{:?} {}", request.http_version(), request.uri());
    }

    #[on_message]
    async fn text(&self, text: String, session: &Session) -> String {
        match text.as_str() {
            "version?" => self.0.clone(),
            "sessions?" => session.open_sessions().len().to_string(),
            _ => text,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (mut addr, mut speaks_http2) = ("127.0.0.1:0".to_owned(), true);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--addr" => addr = arguments.next().unwrap_or_default(),
            "--no-http2" => speaks_http2 = false,
            other => panic!("unknown option {other}"),
        }
    }
    let page = "<!doctype html><html lang=en><title>HTTP/2</title><main><h1>HTTP/2</h1></main></html>";
    let pages = Router::new().route("/", get(move || async move { Ok::<_, Infallible>(Html(page)) }));
    let tls = TlsConfig::self_signed(["localhost", "127.0.0.1"])?;
    let mut server = Server::with(ServerContainer::builder().register::<Version>()).quiet().fallback(pages).tls(tls);
    if !speaks_http2 {
        server = server.http2(None);
    }
    let server = server.bind(addr).await?;
    let addr = server.local_addr()?;
    println!("page: https://{addr}/");
    println!("endpoint: wss://{addr}/version");
    let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    server
        .run_until(async move {
            stop.recv().await;
        })
        .await?;
    Ok(())
}
