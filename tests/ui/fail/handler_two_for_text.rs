use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn first(&self, _text: &str) {}

    #[on_message]
    async fn second(&self, _number: i32) {}
}

fn main() {}
