use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self, #[query_param("a")] #[query_param("b")] _a: u8, #[path_param("room")] #[query_param] _room: u8) {}
}

fn main() {}
