use endpoint_runtime::prelude::*;

struct Said;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    async fn text(&self, _text: String) -> Said {
        Said
    }
}

fn main() {}
