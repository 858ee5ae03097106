use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    async fn text(&self, _text: &str, #[path_param] user: u64) {
        let _ = user;
    }
}

fn main() {}
