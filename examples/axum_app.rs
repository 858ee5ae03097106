//! An endpoint inside an axum application: axum answers its own routes, the container everything else.
//!
//! `cargo run --release --example axum_app`, then `curl http://127.0.0.1:8080/api/time`

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::routing::get;
use axum::{Json, Router};
use endpoint_runtime::prelude::*;
use tokio::net::TcpListener;

#[server_endpoint("/ws")]
#[derive(Default)]
struct Echo;

impl Echo {
    #[on_message]
    async fn text(&self, message: String) -> String {
        message
    }

    #[on_message]
    async fn binary(&self, data: Bytes) -> Bytes {
        data
    }
}

/// The time in seconds since 1970.
async fn time() -> Json<BTreeMap<&'static str, u64>> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Json(BTreeMap::from([("seconds", seconds)]))
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

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let addr = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => "127.0.0.1:8080".to_owned(),
        (Some("--addr"), Some(addr)) => addr,
        _ => {
            eprintln!("usage: axum_app [--addr HOST:PORT]");
            std::process::exit(2)
        }
    };
    let container = ServerContainer::builder().discover().build()?;
    let app = Router::new().route("/api/time", get(time)).fallback_service(container.clone());

    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    println!("api: http://{addr}/api/time");
    println!("endpoint: ws://{addr}/ws");
    let shutdown = async move {
        asked_to_stop().await;
        // axum does not know of connections that were upgraded: the container ends them
        container.shutdown(Duration::from_secs(10)).await;
    };
    Ok(axum::serve(listener, app).with_graceful_shutdown(shutdown).await?)
}
