use endpoint_runtime::prelude::*;

struct Said;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    async fn say(&mut self, _text: String) -> Option<Json<Said>> {
        None
    }
}

fn main() {}
