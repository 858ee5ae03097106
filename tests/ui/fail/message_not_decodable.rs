use endpoint_runtime::prelude::*;

struct Say;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message(text)]
    async fn say(&mut self, _say: Say) {}
}

fn main() {}
