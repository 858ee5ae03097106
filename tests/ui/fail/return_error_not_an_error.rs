use endpoint_runtime::prelude::*;

struct Failure;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn text(&self, _text: &str) -> Result<(), Failure> {
        Err(Failure)
    }
}

fn main() {}
