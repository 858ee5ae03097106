use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(&self, #[path_param] (a, b): (u8, u8)) {
        let _ = (a, b);
    }
}

fn main() {}
