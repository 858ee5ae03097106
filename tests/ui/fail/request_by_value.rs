use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self, _request: HandshakeRequest) {}
}

fn main() {}
