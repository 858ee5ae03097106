use endpoint_runtime::prelude::*;

#[server_endpoint("/chat")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_message(text)]
    fn text(&self, _session: &Session) {}

    #[on_message(binary)]
    fn binary(&self, _session: &Session, _request: &HandshakeRequest) {}
}

fn main() {}
