//! The parts that the programs on axum share.

mod program;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use http::header::CONTENT_TYPE;

pub use program::{Lang, arguments, stop_signal};

/// The page at `/`, with the stylesheet and the script of all pages.
pub fn pages(page: &str, lang: Lang) -> Router {
    let page = lang.page(page);
    Router::new()
        .route("/", get(move || async move { Html(page) }))
        .route("/shared/page.css", get(([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page.css"))))
        .route("/shared/page.js", get(([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page.js"))))
}
