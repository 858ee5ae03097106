use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn part(&self, _part: &[u8], _fin: bool) {}
}

fn main() {}
