use endpoint_runtime::prelude::*;

struct Room;

#[server_endpoint("/chat/{room}")]
struct Chat;

impl Chat {
    #[on_message]
    fn text(&self, _text: &str, #[path_param] room: Room) {
        let _ = room;
    }
}

fn main() {}
