use endpoint_runtime::prelude::*;

struct Reply;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    async fn text(&self, _text: &str) -> Result<Reply, Error> {
        Ok(Reply)
    }
}

fn main() {}
