use endpoint_runtime::prelude::*;

#[server_endpoint("/chat//{room}/{room}", idle_timeout = 60, max_mesage_size = "1KiB")]
struct Chat;

impl Chat {
    #[on_open]
    fn open(self, _a: &Session, _b: &Session, _text: String, #[path_param] (_x, _y): (u8, u8)) {}

    #[on_message(max_size = "0B")]
    async unsafe fn text(&self, _a: String, _b: String, _reason: CloseReason) {}

    #[on_close]
    fn close(&self, #[path_param] room: String) {
        let _ = room;
    }
}

fn main() {}
