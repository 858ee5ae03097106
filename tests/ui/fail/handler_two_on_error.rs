use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_error]
    fn first(&self, _error: &Error) {}

    #[on_error]
    fn second(&self, _error: Error) {}
}

fn main() {}
