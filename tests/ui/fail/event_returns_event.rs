use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", events("say"))]
struct Chat;

impl Chat {
    #[on_message(event = "say")]
    fn say(&self, Json(line): Json<String>) -> Option<String> {
        Some(line)
    }
}

fn main() {}
