use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self, #[query_param] _page: &str, #[query_param] _size: &u8) {}
}

fn main() {}
