use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    #[query_param("page")]
    fn open(&self, _page: u8) {}
}

fn main() {}
