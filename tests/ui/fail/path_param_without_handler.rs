use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[allow(dead_code)]
    fn helper(&self, #[path_param] _room: String) {}
}

fn main() {}
