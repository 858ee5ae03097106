use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
struct Chat<T> {
    value: T,
}

impl<T> Chat<T> {
    #[on_message]
    fn text(&self, _text: &str) {}
}

fn main() {}
