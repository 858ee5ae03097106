use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn text(&self, _text: String, _number: i32) {}
}

fn main() {}
