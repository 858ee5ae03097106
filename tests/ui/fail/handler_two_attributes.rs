use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    #[on_close]
    fn both(&self) {}
}

fn main() {}
