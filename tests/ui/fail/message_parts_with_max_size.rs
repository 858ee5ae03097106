use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message(max_size = "4KiB")]
    fn part(&self, _part: &str, _last: bool) {}
}

fn main() {}
