use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn text(&self, _text: &str, _a: &HandshakeRequest, _b: &HandshakeRequest) {}
}

fn main() {}
