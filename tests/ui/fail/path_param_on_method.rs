use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    #[path_param("room")]
    fn open(&self, _session: &Session) {}
}

fn main() {}
