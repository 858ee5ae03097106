use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", events("chat.say"))]
struct Chat;

impl Chat {
    #[on_message(event = "chat.say")]
    fn say(&self) {}

    #[on_message(event = "chat.sing")]
    fn sing(&self) {}
}

fn main() {}
