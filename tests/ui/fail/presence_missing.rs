use endpoint_runtime::prelude::*;

#[server_endpoint("/chat", presence)]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_presence]
    fn changed(&mut self, _session: &Session) {}
}

fn main() {}
