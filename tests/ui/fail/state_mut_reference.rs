use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn text(&self, _text: &str, _count: &mut State<u8>) {}
}

fn main() {}
