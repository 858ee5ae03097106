use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn first(&self) {}

    #[on_open]
    fn second(&self) {}
}

fn main() {}
