use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_close]
    async fn close(&self) -> String {
        String::new()
    }
}

fn main() {}
