use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open(text)]
    fn open(&self) {}
}

fn main() {}
