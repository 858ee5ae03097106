use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", events("chat.say", "chat.leave"))]
struct Chat;

impl Chat {
    #[on_message(event = "chat.say")]
    fn say(&self, _say: Json<String>) {}
}

fn main() {}
