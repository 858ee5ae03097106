use endpoint_runtime::prelude::*;

// such as axum's
struct State<T>(T);

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn text(&self, _text: &str, _db: State<u8>) {}
}

fn main() {}
