use endpoint_runtime::prelude::*;

struct Say;

#[server_endpoint("/chat/{room}", events("say"))]
struct Chat;

impl Chat {
    #[on_message]
    fn text(&self, _say: Say) {}

    #[on_message(event = "say")]
    fn say(&self, _say: Say) {}
}

fn main() {}
