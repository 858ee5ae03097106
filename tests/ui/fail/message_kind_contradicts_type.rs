use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message(binary)]
    fn text(&self, _text: String) {}
}

fn main() {}
