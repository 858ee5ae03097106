use std::net::SocketAddr;
use std::sync::Arc;

use endpoint_runtime::prelude::*;

struct Db;
struct HeaderMap;
struct Path<T>(T);
struct Query<T>(T);
struct Extension<T>(T);

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self, _db: Arc<Db>, _headers: &HeaderMap, _address: SocketAddr) {}

    #[on_message]
    fn text(&self, _db: Arc<Db>, _text: String, Path(_room): Path<String>, _page: Query<u8>) {}

    #[on_message]
    fn binary(&self, _db: Arc<Db>) {}

    #[on_close]
    fn close(&self, _db: Extension<Db>) {}

    #[on_error]
    fn error(&self, _error: &Error, _db: Arc<Db>) {}
}

fn main() {}
