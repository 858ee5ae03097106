//! What the programs with a page share: where they listen, the files of the page, and how they are asked to stop.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use http::header::CONTENT_TYPE;

/// The address after `--addr`, or `usual`. Any other argument ends the program with how it is called.
pub fn addr(program: &str, usual: &str) -> String {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, _, _) => usual.to_owned(),
        (Some("--addr"), Some(addr), None) => addr,
        _ => {
            eprintln!("usage: {program} [--addr HOST:PORT]");
            std::process::exit(2)
        }
    }
}

/// The page at `/`, with the stylesheet and the script that all pages share.
pub fn pages(page: &'static str) -> Router {
    Router::new()
        .route("/", get(move || async move { Html(page) }))
        .route("/shared/page.css", get(([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page.css"))))
        .route("/shared/page.js", get(([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page.js"))))
}

/// Ctrl-C, or a polite `kill`, from the call on: who calls it before he serves leaves no client without a close frame.
pub fn asked_to_stop() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let asked = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async move {
        match asked {
            [Ok(mut interrupt), Ok(mut terminate)] => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
            _ => drop(tokio::signal::ctrl_c().await),
        }
    }
}
