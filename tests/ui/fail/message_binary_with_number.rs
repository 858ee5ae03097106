use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn binary(&self, _data: Bytes, _number: i32) {}
}

fn main() {}
