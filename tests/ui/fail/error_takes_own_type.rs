use endpoint_runtime::prelude::*;

struct ChatError;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_error]
    fn failed(&self, _error: ChatError) {}
}

fn main() {}
