use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn first(&self, _pong: Pong) {}

    #[on_message]
    fn second(&self, _pong: &Pong) {}
}

fn main() {}
