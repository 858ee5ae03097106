use endpoint_runtime::prelude::*;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn say(&mut self, _say: Json<u8>, _last: bool) {}
}

fn main() {}
