use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self, #[path_param(room)] _a: String, #[path_param = "room"] _b: String) {}
}

fn main() {}
