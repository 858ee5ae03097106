use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_error]
    fn failed(&self, _error: &Error, _reason: &CloseReason) {}
}

fn main() {}
