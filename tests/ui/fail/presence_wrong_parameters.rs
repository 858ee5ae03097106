use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", presence)]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&mut self, _change: Presence) {}

    #[on_presence]
    fn changed(&mut self, _change: Presence, _other: &Presence<String>, _message: String, _reason: CloseReason) {}
}

fn main() {}
