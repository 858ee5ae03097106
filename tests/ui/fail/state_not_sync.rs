use std::cell::Cell;

use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn text(&self, _text: &str, _count: State<Cell<u8>>) {}
}

fn main() {}
