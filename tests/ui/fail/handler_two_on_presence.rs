use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", presence)]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_presence]
    fn changed(&mut self, _change: Presence) {}

    #[on_presence]
    fn changed_too(&mut self, _change: Presence) {}
}

fn main() {}
