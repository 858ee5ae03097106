use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message(text, binary)]
    fn say(&self, _say: String) {}
}

fn main() {}
