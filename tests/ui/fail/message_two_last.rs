use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn part(&self, _part: &str, last: bool, _last: bool) {
        let _ = last;
    }
}

fn main() {}
