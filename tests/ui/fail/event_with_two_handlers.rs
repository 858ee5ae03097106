use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", events("say"))]
struct Chat;

impl Chat {
    #[on_message(event = "say")]
    fn say(&self, _say: Json<String>) {}

    #[on_message(event = "say")]
    fn say_again(&self, _say: Json<String>) {}
}

fn main() {}
