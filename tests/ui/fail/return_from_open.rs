use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    async fn open(&self) -> String {
        String::new()
    }
}

fn main() {}
