use endpoint_runtime::prelude::*;

struct Reply;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn text(&self, _text: &str) -> Reply {
        Reply
    }
}

fn main() {}
