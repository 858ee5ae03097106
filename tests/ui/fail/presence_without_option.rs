use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_presence]
    fn changed(&mut self, _change: Presence) {}
}

fn main() {}
