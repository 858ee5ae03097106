use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn part(&self, _number: i32, _last: bool) {}
}

fn main() {}
