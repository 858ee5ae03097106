use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_message(roles())]
    fn say(&mut self, _text: &str) {}
}

fn main() {}
