//! Query parameters and the request in every handler, in an ordinary `fn` and in an `async fn`.
#![deny(warnings)]

use std::net::IpAddr;

use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open]
    async fn open(
        &mut self,
        request: &HandshakeRequest,
        #[query_param] page: u32,
        #[query_param("per-page")] size: Option<u8>,
        #[query_param] r#type: String,
        #[query_param("tag")] tags: Vec<String>,
        #[query_param("{odd}")] mut odd: std::option::Option<IpAddr>,
        #[path_param] room: &str,
        session: &Session,
    ) {
        std::future::ready(()).await;
        odd.take();
        let _ = (request, page, size, r#type, tags, room, session);
    }
    #[on_message]
    fn text(&self, #[query_param] page: u32, text: &str, request: &HandshakeRequest) {
        let _ = (page, text, request);
    }
    #[on_message]
    async fn binary(&self, data: Vec<u8>, #[query_param] page: Vec<i64>, request: &HandshakeRequest) -> Option<String> {
        std::future::ready(()).await;
        drop((data, page));
        request.query_string().map(str::to_owned)
    }
    #[on_message]
    async fn pong(&self, pong: &Pong, #[query_param] page: Option<u8>, request: &endpoint_runtime::HandshakeRequest) {
        let _ = (pong, page, request);
    }
    #[on_close]
    fn close(&self, reason: CloseReason, #[query_param("page")] _: u64, _: &HandshakeRequest) {
        let _ = reason;
    }
    #[on_error]
    async fn failed(&self, error: Error, #[query_param] page: u64, request: &HandshakeRequest) {
        let _ = (error, page, request);
    }
}

fn main() {}
