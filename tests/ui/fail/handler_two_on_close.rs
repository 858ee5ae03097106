use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_close]
    fn first(&self) {}

    #[on_close]
    fn second(&self) {}
}

fn main() {}
