use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn pong(&self, _pong: Pong, _last: bool) {}
}

fn main() {}
