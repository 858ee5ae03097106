use endpoint_runtime::prelude::*;

mod domain {
    pub struct Session;
    pub struct Pong;
    pub struct State<T>(pub T);
    pub struct Error;
}

#[server_endpoint("/chat")]
#[derive(Default)]
struct Chat;

impl Chat {
    #[on_message]
    fn text(&self, _session: domain::Session) {}

    #[on_message]
    fn pong(&self, _pong: domain::Pong) {}

    #[on_message]
    fn binary(&self, _data: &[u8], _count: &domain::State<u8>) {}

    #[on_error]
    fn error(&self, _error: &domain::Error) {}
}

fn main() {}
