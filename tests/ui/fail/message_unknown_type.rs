use endpoint_runtime::prelude::*;

struct Say;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn say(&self, _say: Vec<Say>) {}
}

fn main() {}
