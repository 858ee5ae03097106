use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_close]
    fn close(&self, _session: &Session, _text: String) {}
}

fn main() {}
