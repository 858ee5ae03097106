use endpoint_runtime::prelude::*;

struct Say;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    async fn say(&mut self, _say: Json<Say>) {}
}

fn main() {}
