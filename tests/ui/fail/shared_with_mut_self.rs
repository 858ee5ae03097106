use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", instance = shared)]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_message]
    fn say(&self, _text: &str) {}

    #[on_close]
    async fn leave(&mut self) {}
}

fn main() {}
