use endpoint_runtime::prelude::*;

struct Chat;

impl Chat {
    #[on_message]
    async fn text(&mut self, _text: String) {}
}

fn main() {}
