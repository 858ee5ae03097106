use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}/{user}")]
struct Chat;

#[server_endpoint("/plain")]
struct Plain;

impl Chat {
    #[on_message]
    fn text(&self, _text: &str, #[path_param] rom: &str) {}
}

impl Plain {
    #[on_open]
    async fn open(&self, #[path_param] room: u8) {}
}

fn main() {}
